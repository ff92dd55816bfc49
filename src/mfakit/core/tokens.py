"""What travels through the browser between two steps: challenge, proof, offer. Sealed, never stored.

Each token is bound to account, epoch and kind, and to `bound_to` when the platform gives a session
value. Text of at most 512 URL-safe characters.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import MsgspecError, msgpack

from mfakit.core.sealing import Vault
from mfakit.core.secret import Secret, Value

# How far a clock of another process may be ahead of this one.
CLOCK_SKEW_SECONDS = 60


class Payload(Value, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What every token says."""

    account_id: str
    epoch: str
    issued_at: int
    lifetime_seconds: int

    @property
    def expires_at(self) -> int:
        """Unix second at which the token's own life ends."""
        return self.issued_at + self.lifetime_seconds


class Challenge(Payload, frozen=True):
    """The password was right; a code is still due. Spent by a success."""

    id: str


class Proof(Payload, frozen=True):
    """Somebody just proved who they are; `earned_by` says with what: "password" or an item's id."""

    earned_by: str


class OfferPayload(Payload, frozen=True):
    """The holder was shown this offer's secret."""

    offer_id: str


KINDS: dict[type[Payload], str] = {Challenge: "challenge", Proof: "proof", OfferPayload: "offer"}

P = TypeVar("P", bound=Payload)


def seal_token(payload: Payload, vault: Vault, bound_to: Secret | None) -> str:
    """Return the token of a payload."""
    return vault.seal_token(KINDS[type(payload)], msgpack.encode(payload), bound_to)


def open_token(
    kind: type[P], token: Secret | None, vault: Vault, bound_to: Secret | None
) -> P | None:
    """Return the payload of a token, or None if it is not an authentic token of this kind."""
    payload = vault.open_token(KINDS[kind], token, bound_to)
    if payload is None:
        return None
    try:
        return msgpack.decode(payload, type=kind)
    except (MsgspecError, UnicodeDecodeError):
        return None


def is_alive(payload: Payload, *, lifetime_seconds: int, now: int) -> bool:
    """Say whether a token is in time: of its own life and the policy's, the shorter counts."""
    age = now - payload.issued_at
    return -CLOCK_SKEW_SECONDS <= age < min(payload.lifetime_seconds, lifetime_seconds)
