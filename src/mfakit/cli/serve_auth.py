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
@click.option("--check", is_flag=True, help="Check configuration and platform, then exit.")
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.option(
    "--show", type=click.Choice(_FILES), help="Print a file that comes with it, and exit."
)
def serve_auth(*, config: Path, check: bool, log_level: str, show: str | None) -> None:
    """Answer Dovecot, Postfix, Exim and nginx who may come in. SIGHUP reloads, SIGTERM stops."""
    if show is not None:
        click.echo((files("mfakit") / "mail" / show).read_text(encoding="utf-8"), nl=False)
        return
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise click.UsageError(f"{', '.join(missing)} not found: pip install 'mfakit[cli,mail]'")
    sys.path.insert(0, "")  # the platform's module may be in the working directory
    try:
        _serve(config, log_level, only_check=check)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None


def _serve(config: Path, log_level: str, *, only_check: bool) -> None:
    from mfakit.mail.journal import JsonFormatter
    from mfakit.mail.service import check_service, run_service

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    asyncio.run(check_service(config) if only_check else run_service(config))
