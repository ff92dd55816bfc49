"""`python -m benchmarks.load`, from the repository's root: five minutes on each store, then the audit.

Needs the extra `bench`. Two processes with eight threads each; the exit status is 1 when anything that
was promised did not hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import report
from benchmarks.load import storm
from benchmarks.timing import UnavailableError


def main(given: Sequence[str] | None = None) -> int:
    """Run what was named; 1 if an invariant is broken."""
    arguments = _parse(given)
    console, is_clean = Console(), True
    for name in arguments.stores or storm.STORES:
        try:
            outcome = _run(name, 60 * arguments.minutes, console)
        except UnavailableError as missing:
            console.print(f"{name} is skipped. {missing}")
            continue
        table = "\n".join(as_markdown(outcome))
        console.print(f"\n{table}\n", markup=False, highlight=False, soft_wrap=True)
        for finding in outcome.findings[:20]:
            console.print(finding, markup=False, highlight=False)
        is_clean = is_clean and all(claim.is_met for claim in outcome.claims)
        if arguments.write:
            page = arguments.write.read_text(encoding="utf-8")
            arguments.write.write_text(
                report.fill_in(page, f"load-{name}", table), encoding="utf-8"
            )
    return 0 if is_clean else 1


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=", ".join(storm.STORES))
    parser.add_argument("--minutes", type=float, default=5.0, help="for each store")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    arguments = parser.parse_args(given)
    unknown = set(arguments.stores) - set(storm.STORES)
    if unknown:
        parser.error(f"no such store: {', '.join(sorted(unknown))}")
    return arguments


def _run(name: str, seconds: float, console: Console) -> storm.Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(f"{name}: enrolling", total=seconds)

        def tell(elapsed: float, calls: int) -> None:
            shown.update(task, completed=elapsed, description=f"{name}: {calls:,} calls")

        return storm.run(name, seconds, progress=tell)


def as_markdown(outcome: storm.Outcome) -> Iterator[str]:
    """Give the lines of three tables: what must hold, how long calls took, what was refused."""
    yield f"{outcome.title}: {outcome.calls:,} calls in {outcome.seconds:,.0f} s,"
    yield f"{outcome.calls / outcome.seconds:,.0f} a second."
    yield from ("", "| what must hold | found | bound | |", "|---|---:|---|---|")
    for claim in outcome.claims:
        verdict = "held" if claim.is_met else "**broken**"
        yield f"| {claim.name} | {claim.value:,.4g} | {claim.target} | {verdict} |"
    for name, text in outcome.notes.items():
        yield f"| {name} | {text} | | |"
    yield from ("", "| call | times | p50, ms | p99, ms |", "|---|---:|---:|---:|")
    for what, (times, p50, p99) in outcome.percentiles.items():
        yield f"| {what} | {times:,} | {p50:.1f} | {p99:.1f} |"
    yield from ("", "| call | not accepted | times |", "|---|---|---:|")
    for (what, error), times in sorted(outcome.refusals.items()):
        yield f"| {what} | `{error}` | {times:,} |"


if __name__ == "__main__":
    sys.exit(main())
