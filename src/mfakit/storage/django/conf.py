"""The setting `MFAKIT`: where the admin finds the platform's `MFA`."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from mfakit.errors import ConfigurationError
from mfakit.results import HistoryItem, Status

__all__ = ["Administration", "configured_mfa"]

_NOT_SET = "The setting MFAKIT is missing: the dotted path of the platform's MFA."
_NOT_FOUND = "What the setting MFAKIT names cannot be loaded."
_NOT_ONE = "The setting MFAKIT must lead to an MFA, or to a callable that returns one."


class Administration(Protocol):
    """What the admin needs of an `MFA`."""

    def status(self, account_id: str) -> Status:
        """As `MFA.status`."""

    def history(self, account_id: str) -> tuple[HistoryItem, ...]:
        """As `MFA.history`."""

    def reset(self, account_id: str, *, actor: str, reason: str, reenroll: bool = False) -> str:
        """As `MFA.reset`."""


def configured_mfa() -> Administration:
    """Return the `MFA` that the setting `MFAKIT` leads to.

    The setting is a dotted path, of an `MFA` or of a callable without arguments that returns one.

    Raises:
        ConfigurationError: There is no such thing; the text and the cause say why.
    """
    path = getattr(settings, "MFAKIT", None)
    if not isinstance(path, str):
        raise ConfigurationError(_NOT_SET)
    try:
        named = import_string(path)
        mfa: Any = named() if callable(named) else named
    except Exception as error:
        raise ConfigurationError(_NOT_FOUND) from error
    needed = [getattr(mfa, name, None) for name in ("status", "history", "reset")]
    if not all(callable(one) and not iscoroutinefunction(one) for one in needed):
        raise ConfigurationError(_NOT_ONE)
    found: Administration = mfa
    return found
