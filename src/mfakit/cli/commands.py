"""The commands as click reads them: arguments in, exit status out."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

import click
from rich.console import Console

from mfakit.cli.check_store import check_store
from mfakit.cli.demo import run_demo
from mfakit.cli.files import DemoFiles
from mfakit.cli.options import INTERRUPTED
from mfakit.cli.serve_auth import serve_auth
from mfakit.cli.upkeep import keys, reset

__all__ = ["commands"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mfakit")
def commands() -> None:
    """Two-step verification for mail platforms."""


@commands.command()
@click.option("--auto", is_flag=True, help="Play the phone, too: ask nothing.")
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("mfakit-demo.db"),
    show_default=True,
    metavar="FILE",
    help="SQLite file; the key is kept beside it. Run again to go on with it.",
)
def demo(*, auto: bool, store: Path) -> None:
    """Set two-step verification up and use it, step by step."""
    if store.suffix in DemoFiles.SUFFIXES:
        raise click.UsageError("The key and the phone are kept under that name: choose another.")
    if not auto and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to type codes at. Use: mfakit demo --auto")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a check mark must not end a run in an ASCII log
    console = Console(highlight=False)
    try:
        is_done = run_demo(DemoFiles(store), console, auto=auto)
    except (KeyboardInterrupt, EOFError):
        console.print("\nStopped. Run it again to go on.")
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(0 if is_done else 1)


commands.add_command(check_store)
commands.add_command(keys)
commands.add_command(reset)
commands.add_command(serve_auth)
