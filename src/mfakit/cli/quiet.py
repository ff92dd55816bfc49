"""Errors of the command line without the secrets that somebody typed at the wrong place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mfakit.migration.names import without_secrets

__all__ = ["QuietGroup"]

# A code, a passcode or a URI that `verify` or `import` does not take as an argument.
_EXTRA_ARGUMENTS = re.compile(r"(unexpected extra arguments?) \(.*\)", re.DOTALL)


class QuietGroup(click.Group):
    """A group whose errors repeat no key, no URI of a key, and no URL with a password.

    SECURITY: standard error goes to logs of cron and CI, which the arguments themselves do not.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the group's own arguments."""
        with _quiet_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Read the arguments of a command, and run it."""
        with _quiet_errors():
            return super().invoke(ctx)


@contextmanager
def _quiet_errors() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # its message is the help
        raise
    except click.UsageError as error:
        raise click.UsageError(_quiet(error), error.ctx) from None
    except click.ClickException as error:
        raise click.ClickException(_quiet(error)) from None


def _quiet(error: click.ClickException) -> str:
    return without_secrets(_EXTRA_ARGUMENTS.sub(r"\1", error.format_message()))
