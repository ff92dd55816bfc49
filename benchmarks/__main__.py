"""`python -m benchmarks [NAME…]`, from the repository's root; without names, all of them.

Needs the extra `bench`, and for MariaDB the server; what is missing is skipped with its reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import (
    adapters,
    clients,
    growth,
    imports,
    items,
    passcodes,
    plots,
    report,
    stores,
    totp,
)
from benchmarks.timing import Section, UnavailableError

Run = Callable[..., Section]
_ACCOUNTS = (1_000, 100_000)


def main(given: Sequence[str] | None = None) -> int:
    """Run what was named; 1 if a target is missed and `--check` was given."""
    arguments = _parse(given)
    runs = _runs(arguments.accounts)
    on = report.machine()
    sections: dict[str, Section] = {}
    skipped: dict[str, str] = {}
    for name in arguments.names or runs:
        try:
            sections[name] = runs[name](is_quick=arguments.quick)
        except UnavailableError as missing:
            skipped[name] = str(missing)
        if not arguments.json:
            found = sections.get(name)
            print(report.as_text(found) if found else f"\n{name} is skipped. {skipped[name]}")
    if arguments.json:
        print(json.dumps(report.as_json(sections, skipped, on), indent=2))
    if arguments.write:
        _write(arguments.write, sections, on)
    missed = [
        claim for section in sections.values() for claim in section.claims if not claim.is_met
    ]
    return 1 if missed and arguments.check else 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_runs(_ACCOUNTS)))
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    parser.add_argument(
        "--accounts",
        type=int,
        nargs="+",
        default=_ACCOUNTS,
        metavar="N",
        help="sizes of the tables that growth compares; a million takes 10 GB for a while",
    )
    arguments = parser.parse_args(given)
    unknown = set(arguments.names) - set(_runs(_ACCOUNTS))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if min(arguments.accounts) < growth.MEASURED:
        parser.error(f"the smallest table has {growth.MEASURED:,} accounts")
    return arguments


def _runs(accounts: Sequence[int]) -> dict[str, Run]:
    limited = {"postgres": "PostgresStore"}
    return {
        "totp": totp.run,
        "passcodes": passcodes.run,
        "imports": imports.run,
        **{name: partial(stores.run, case) for name, case in stores.CASES.items()},
        **{
            f"adapter-{name}": partial(adapters.run, case.title, case.open, limited.get(name))
            for name, case in stores.CASES.items()
        },
        "clients": clients.run,
        **items.RUNS,
        "growth-sqlite": partial(growth.run, "SQLite, NORMAL", growth.sqlite, accounts),
        "growth-postgres": partial(growth.run, "PostgreSQL", growth.postgres, accounts),
    }


def _write(page: Path, sections: dict[str, Section], on: dict[str, str]) -> None:
    text = report.fill_in(
        page.read_text(encoding="utf-8"), "machine", report.machine_as_markdown(on)
    )
    for name, section in sections.items():
        text = report.fill_in(text, name, report.as_markdown(section))
        if section.curves:
            picture = page.parent / "pictures" / f"{name}.svg"
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(plots.as_svg(section.title, section.curves), encoding="utf-8")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
