"""`mfakit check-store`: the contract of a store without pytest, and in words what is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mfakit.cli.options import DONE, FAILED, json_option, status
from mfakit.cli.output import printable, show, table
from mfakit.errors import ConfigurationError
from mfakit.testing.contract import CheckResult, check_names, run_check
from mfakit.testing.contract.base import ROW_PREFIX, Checks
from mfakit.testing.contract.factory import contract_of

__all__ = ["check_store"]

_WARNING = (
    f"This writes rows whose ids begin with {ROW_PREFIX} and leaves them there. Give it an empty test"
    " database, never one in use."
)
_STYLES = {"passed": "green", "failed": "bold red", "not tested": "yellow"}


@click.command("check-store")
@click.argument("target", metavar="MODULE:NAME")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check; may be repeated.")
@json_option
@status
def check_store(*, target: str, only: tuple[str, ...], as_json: bool) -> int:
    """Check that a store keeps its promises.

    NAME is a function without arguments that returns the store (or awaits it), each time a new one
    on the same empty test database; or a StoreContract, whose hooks allow more checks.

    Exit status: 0 every promise that was tested is kept, 1 one is broken, 2 wrong usage.
    """
    click.echo(_WARNING, err=True)
    make = contract_of(target)
    names = check_names(type(make()))
    if unknown := set(only) - set(names):
        raise ConfigurationError(f"There is no check {min(unknown)}.")
    _require_empty(make())
    results = _run(make, only or names)
    show(_data(target, results), _text(results), as_json=as_json)
    return FAILED if any(one.outcome == "failed" for one in results) else DONE


def _require_empty(contract: Checks) -> None:
    if not contract.holds_only_rows_of_checks():
        raise ConfigurationError("The store holds accounts. Give it an empty test database.")


def _run(make: Callable[[], Checks], names: Sequence[str]) -> list[CheckResult]:
    console = Console(stderr=True)
    columns = (MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    results = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=name)
            results.append(run_check(make(), name))
            progress.advance(task)
    return results


def _data(target: str, results: Sequence[CheckResult]) -> dict[str, object]:
    counts = Counter[str](one.outcome for one in results)
    return {
        "store": target,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "not_tested": counts["not tested"],
        "checks": [
            {
                "name": one.name,
                "promise": one.promise,
                "outcome": one.outcome,
                "text": one.text,
                "needs": one.needs,
                "seconds": round(one.seconds, 3),
            }
            for one in results
        ],
    }


def _text(results: Sequence[CheckResult]) -> Iterator[RenderableType]:
    yield table(
        ("check", "outcome", "needs"),
        [(one.name, Text(one.outcome, _STYLES[one.outcome]), one.needs) for one in results],
    )
    for one in results:
        if one.outcome == "failed":
            yield Text("\n").append_text(printable(one.text))
    counts = Counter[str](one.outcome for one in results)
    yield "\n" + ", ".join(f"{counts[one]} {one}" for one in _STYLES) + "."
