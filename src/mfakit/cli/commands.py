"""The commands as click reads them: arguments in, exit status out."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from rich.console import Console

from mfakit.cli.accounts import devices, passcodes, status, verify
from mfakit.cli.check_store import check_store
from mfakit.cli.config import Configuration
from mfakit.cli.demo import run_demo
from mfakit.cli.doctor import doctor
from mfakit.cli.files import DemoFiles
from mfakit.cli.keys import keys
from mfakit.cli.moving import export_accounts, import_accounts
from mfakit.cli.options import INTERRUPTED
from mfakit.cli.quiet import QuietGroup
from mfakit.cli.report import report
from mfakit.cli.serve_auth import serve_auth
from mfakit.cli.upkeep import reset
from mfakit.errors import ConfigurationError

__all__ = ["commands"]


@click.group(cls=QuietGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mfakit")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="MFAKIT_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="TOML: store, keys, realm, and a table [policy]. Options and variables come first.",
)
@click.pass_context
def commands(context: click.Context, *, config: Path | None) -> None:
    """Two-step verification for mail platforms."""
    try:
        context.obj = None if config is None else Configuration.read(config)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error


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


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print what makes a shell complete these commands.

    As in: mfakit completion bash > ~/.local/share/bash-completion/completions/mfakit
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(commands, {}, "mfakit", "_MFAKIT_COMPLETE").source())


_COMMANDS: tuple[click.Command, ...] = (
    check_store,
    devices,
    doctor,
    export_accounts,
    import_accounts,
    keys,
    passcodes,
    report,
    reset,
    serve_auth,
    status,
    verify,
)
for _one in _COMMANDS:
    commands.add_command(_one)
