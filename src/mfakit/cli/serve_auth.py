"""`mfakit serve-auth`: run the authentication service for mail servers (extra `mail`)."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

from mfakit.errors import ConfigurationError

__all__ = ["serve_auth"]

_EXTRA = ("aiohttp", "bcrypt", "passlib", "prometheus_client")
_FILES = ("mfakit.lua", "mfakit-auth.service", "mfakit-auth.toml")
_LEVELS = ("debug", "info", "warning", "error")


@click.command("serve-auth")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/etc/mfakit/auth.toml"),
    show_default=True,
    metavar="FILE",
    help="Configuration; `--show mfakit-auth.toml` prints one to begin with.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Check configuration, platform and accounts, list what is wrong, then exit.",
)
@click.option("--login", metavar="LOGIN", help="With --check: name the account of this login.")
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option(
    "--show", type=click.Choice(_FILES), help="Print a file that comes with it, and exit."
)
def serve_auth(
    *, config: Path, check: bool, login: str | None, log_level: str, show: str | None
) -> None:
    """Answer Dovecot, Postfix, Exim and nginx who may come in. SIGHUP reloads, SIGTERM stops."""
    if show is not None:
        click.echo((files("mfakit") / "mail" / show).read_text(encoding="utf-8"), nl=False)
        return
    if login is not None and not check:
        raise click.UsageError("--login goes with --check.")
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise click.UsageError(f"{', '.join(missing)} not found: pip install 'mfakit[cli,mail]'")
    sys.path.insert(0, "")  # the platform's module may be in the working directory
    try:
        _set_up_logs(log_level)
        if check:
            _check(config, login)
        else:
            _serve(config)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


def _set_up_logs(level: str) -> None:
    from mfakit.mail.journal import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _serve(config: Path) -> None:
    from mfakit.mail.service import run_service

    asyncio.run(run_service(config))


def _check(config: Path, login: str | None) -> None:
    from mfakit.mail.service import check_service

    for line in asyncio.run(check_service(config, login)):
        click.echo(line)
