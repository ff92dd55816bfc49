"""What `MFA` and `AsyncMFA` ask of their arguments beyond the parsing of the core."""

from __future__ import annotations

from typing import Literal

from mfakit import errors
from mfakit.core.administration import Authority
from mfakit.core.encoding import parse_label, parse_secret_text
from mfakit.core.secret import Secret

__all__ = ["Method", "parse_authority", "parse_binding", "require_page", "require_password"]

Method = Literal["totp", "recovery"]

ACTOR_CHARACTERS_MAX = 64
REASON_CHARACTERS_MAX = 200
PAGE_LIMIT_MAX = 10_000


def require_password(password_verified: object) -> None:
    """Raise `PasswordNotVerifiedError` unless the platform says that the password is right."""
    # SECURITY: the very object True: a coroutine, a Mock, a "false" string are all truthy.
    if password_verified is not True:
        raise errors.PasswordNotVerifiedError


def parse_binding(value: str | None, field: str = "bound_to") -> Secret | None:
    """Take a value that a token is bound to; one that is no text must not mean "not bound"."""
    if value is None:
        return None
    value, binding = "", parse_secret_text(value)
    if binding is None or not binding.reveal():
        raise errors.InvalidInputError(field)
    return binding


def parse_authority(actor: str, reason: str) -> Authority:
    """Take who does something to somebody's account, and why."""
    return Authority(
        actor=parse_label(actor, field="actor", characters_max=ACTOR_CHARACTERS_MAX),
        reason=parse_label(reason, field="reason", characters_max=REASON_CHARACTERS_MAX),
    )


def require_page(cursor: str | None, limit: int, prefix: str) -> None:
    """Raise `InvalidInputError` unless these can be asked of a store."""
    if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT_MAX:
        raise errors.InvalidInputError("limit")
    if cursor is not None and parse_secret_text(cursor) is None:
        raise errors.InvalidInputError("cursor")
    if parse_secret_text(prefix) is None:
        raise errors.InvalidInputError("prefix")
