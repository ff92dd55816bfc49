"""The commands and their options."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console

from mfakit.cli.demo import Demo, StepFailedError
from mfakit.errors import MFAKitError

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("mfakit"), prog_name="mfakit")
def cli() -> None:
    """Two-step verification for mail platforms."""


@cli.command()
@click.option("--auto", is_flag=True, help="Use a phone in memory instead of a real one.")
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("mfakit-demo.db"),
    show_default=True,
    help="SQLite file; keys and the phone of --auto are kept beside it.",
)
def demo(*, auto: bool, store: Path) -> None:
    """Try everything once: set-up, sign-in, recovery, a mail client, revoking."""
    console = Console()
    if not auto and not sys.stdin.isatty():
        click.echo("No terminal to ask for codes. Run `mfakit demo --auto` instead.", err=True)
        sys.exit(2)
    try:
        Demo(store, console, auto=auto).run()
    except (MFAKitError, StepFailedError) as error:
        console.print(f"[bold red]✗[/] The demo stopped: {error}", highlight=False)
        console.print(f"To begin again, remove {store} and the files {store.stem}.* beside it.")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nStopped. What was done so far is stored; run it again to go on.")
        sys.exit(130)
