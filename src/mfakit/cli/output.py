"""How commands answer: text for people, JSON for programs, on standard output; the rest on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["as_json_value", "printable", "show", "table", "when"]


def show(data: Mapping[str, object], shown: Iterable[RenderableType], *, as_json: bool) -> None:
    """Print a result once: `data` as one line of JSON, or what is shown to people."""
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=True))
        return
    console = Console(highlight=False)
    for one in shown:
        console.print(one)


def table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table whose cells are text, never markup."""
    made = Table()
    for head in heads:
        made.add_column(head, overflow="fold")
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else printable(cell) for cell in row])
    return made


def printable(text: str) -> Text:
    """Return text that no account id can turn into a command to the terminal."""
    return Text(
        "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)
    )


def when(moment: datetime | None) -> str:
    """Return a moment for people, to the minute, in UTC; nothing for None."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def as_json_value(value: Any) -> Any:
    """Return a value as JSON can write it: moments in ISO 8601, tuples as lists."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: as_json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json_value(one) for one in value]
    return value
