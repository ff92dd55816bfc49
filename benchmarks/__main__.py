"""`python -m benchmarks [--quick] [--json] [--check]`, from the repository's root."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import ssl
import sys
from importlib.metadata import version
from os import cpu_count

from benchmarks import code_check, imports, passcodes, totp
from benchmarks.timing import Section

_PACKAGES = (
    "mfakit",
    "attrs",
    "msgspec",
    "cryptography",
    "argon2-cffi",
    "pyotp",
    "django",
    "django-otp",
)


def main() -> int:
    """Run everything; 1 if a target is missed and `--check` was given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    arguments = parser.parse_args()
    modules = (totp, code_check, passcodes, imports)
    sections = [module.run(is_quick=arguments.quick) for module in modules]
    if arguments.json:
        results = [section.as_json() for section in sections]
        print(json.dumps({"machine": machine(), "sections": results}, indent=2))
    else:
        _print_tables(sections)
    missed = [claim for section in sections for claim in section.claims if not claim.is_met]
    return 1 if missed and arguments.check else 0


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in _PACKAGES},
    }


def _print_tables(sections: list[Section]) -> None:
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print("Contenders interleaved; medians; ratios are medians of per-round ratios.")
    for section in sections:
        print(f"\n{section.title}")
        for name, microseconds in section.microseconds.items():
            print(f"  {name:<44}{microseconds:>12,.1f} µs")
        for claim in section.claims:
            verdict = "met" if claim.is_met else "MISSED"
            print(f"  {claim.name:<44}{claim.value:>12,.2f}    target {claim.target}: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
