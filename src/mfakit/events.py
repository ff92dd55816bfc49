"""Audit events: who, what, when, where, with what outcome. Ids and outcomes, never secrets.

Nothing that a stranger can cause is for the owner: an inbox full of notices hides the one that
counts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from unicodedata import category

from attrs import field, frozen

from mfakit.errors import InvalidInputError

__all__ = [
    "FACTOR_KINDS",
    "OWNER_KINDS",
    "Audience",
    "AuditEvent",
    "ClientInfo",
    "EventKind",
    "parse_ip",
    "to_datetime",
]

USER_AGENT_CHARACTERS_MAX = 256


class Audience(StrEnum):
    """Who should hear of an event."""

    OWNER = "owner"
    AUDIT = "audit"


class EventKind(StrEnum):
    """What happened."""

    # For the owner: a change, or the use of something that only the owner should have.
    AUTHENTICATOR_ADDED = "authenticator_added"
    AUTHENTICATOR_IMPORTED = "authenticator_imported"
    AUTHENTICATOR_REMOVED = "authenticator_removed"
    AUTHENTICATOR_RESYNCED = "authenticator_resynced"
    DEVICE_REVOKED = "device_revoked"
    DEVICE_TRUSTED = "device_trusted"
    DISABLED = "disabled"
    ENROLLED = "enrolled"
    FORGOTTEN = "forgotten"
    LOCKED = "locked"
    PASSCODE_CREATED = "passcode_created"
    PASSCODE_FIRST_USED = "passcode_first_used"
    PASSCODE_REVOKED = "passcode_revoked"
    PASSWORD_CHANGED = "password_changed"
    RECOVERY_CODES_LOW = "recovery_codes_low"
    RECOVERY_CODES_REGENERATED = "recovery_codes_regenerated"
    RECOVERY_CODE_USED = "recovery_code_used"
    RESET = "reset"
    SESSIONS_ENDED = "sessions_ended"
    # For the audit log.
    ACCOUNT_OPENED = "account_opened"
    AUTHENTICATOR_RENAMED = "authenticator_renamed"
    CLIENT_REFUSED = "client_refused"
    CLIENT_SIGNED_IN = "client_signed_in"
    CODE_ACCEPTED = "code_accepted"
    CODE_REFUSED = "code_refused"
    CODE_REPLAYED = "code_replayed"
    CODE_REQUIRED = "code_required"
    CODE_THROTTLED = "code_throttled"
    DEVICE_RENAMED = "device_renamed"
    ENROLLMENT_REQUIRED = "enrollment_required"
    KEYS_ROTATED = "keys_rotated"
    OFFERED = "offered"
    OFFER_DROPPED = "offer_dropped"
    PASSCODE_RENAMED = "passcode_renamed"
    PASSWORD_REFUSED = "password_refused"
    SIGNED_IN = "signed_in"


_KINDS = tuple(EventKind)
OWNER_KINDS = frozenset(_KINDS[: _KINDS.index(EventKind.SESSIONS_ENDED) + 1])
# Of these, what bound or unbound a factor: the history keeps them longest.
FACTOR_KINDS = frozenset(
    {
        EventKind.AUTHENTICATOR_ADDED,
        EventKind.AUTHENTICATOR_IMPORTED,
        EventKind.AUTHENTICATOR_REMOVED,
        EventKind.DISABLED,
        EventKind.ENROLLED,
        EventKind.RECOVERY_CODES_REGENERATED,
        EventKind.RESET,
    }
)


def parse_ip(value: object) -> str:
    """Return an address in its canonical form, IPv4 in IPv6 as IPv4, without a zone.

    Raises:
        InvalidInputError: It is no IP address.
    """
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        raise InvalidInputError("remote_ip")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address).partition("%")[0]


def _parse_optional_ip(value: str | None) -> str | None:
    return None if value is None else parse_ip(value)


def _parse_user_agent(value: str | None) -> str | None:
    if not isinstance(value, str):
        return None
    kept = value[:USER_AGENT_CHARACTERS_MAX]
    return "".join([" " if category(one)[0] in "CZ" else one for one in kept])


@frozen(kw_only=True)
class ClientInfo:
    """Where a request came from, as the platform's server saw it.

    Args:
        remote_ip: IP address text, or None. From the server, never from a header clients set.
        user_agent: The User-Agent header; control characters become spaces, 256 are kept.

    Raises:
        InvalidInputError: `remote_ip` is no IP address.
    """

    remote_ip: str | None = field(default=None, converter=_parse_optional_ip)
    user_agent: str | None = field(default=None, converter=_parse_user_agent)


@frozen(kw_only=True)
class AuditEvent:
    """One thing that happened to one account.

    Attributes:
        kind: What happened.
        account_id: To which account.
        realm: In which installation.
        at: Aware UTC datetime.
        revision: The record's revision that made it true; events sort by it.
        client: Where from, when known.
        method: "totp", "recovery", "trusted_device", "passcode", "password" or "password+code".
        protocol: Mail protocol, or None.
        item_id: Id of the authenticator, passcode or device, or None.
        label: Name of the item, or None.
        actor: Operator who did it, or None for the owner.
        reason: The operator's reason, or why something was refused.
        count: How many are left or were affected, or None.
    """

    kind: EventKind
    account_id: str
    realm: str
    at: datetime
    revision: int
    client: ClientInfo | None = None
    method: str | None = None
    protocol: str | None = None
    item_id: str | None = None
    label: str | None = None
    actor: str | None = None
    reason: str | None = None
    count: int | None = None

    @property
    def audience(self) -> Audience:
        """OWNER: send the owner a notice. AUDIT: log it."""
        return Audience.OWNER if self.kind in OWNER_KINDS else Audience.AUDIT


def to_datetime(seconds: int) -> datetime:
    """Return the aware UTC datetime of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)
