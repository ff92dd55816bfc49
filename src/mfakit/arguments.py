"""What a call brings, parsed once. What a developer passes becomes a value or `InvalidInputError`.

What a person or a client typed is only taken out of sight here; `mfakit.core` reads it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from unicodedata import category, normalize

from mfakit import errors
from mfakit.core.secret import Secret, Value

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    IPAddress = IPv4Address | IPv6Address
    IPNetwork = IPv4Network | IPv6Network

__all__ = [
    "Authority",
    "EnrollmentRequest",
    "GivenPassword",
    "LoginRequest",
    "Method",
    "PasscodeRequest",
    "parse_account_id",
    "parse_authority",
    "parse_binding",
    "parse_item_id",
    "parse_label",
    "parse_moment",
    "parse_networks",
    "parse_password",
    "parse_protocols",
    "parse_secret_text",
    "require_page",
]

Method = Literal["totp", "recovery"]

PROTOCOLS = ("imap", "pop3", "smtp", "sieve", "dav", "eas")
ACTOR_CHARACTERS_MAX = 64
REASON_CHARACTERS_MAX = 200
PAGE_LIMIT_MAX = 10_000
NETWORKS_MAX = 20
ACCOUNT_ID_BYTES_MAX = 255
LABEL_CHARACTERS_MAX = 64
TEXT_CHARACTERS_MAX = 4096
# Right-to-left overrides make one label look like another (Unicode TR 36 §2.8).
_BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_EPOCH, _LAST_SECOND = datetime(1970, 1, 1, tzinfo=UTC), 253_402_300_799  # the end of 9999
_REFUSED_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}


# ------------------------------------------------------------------------ what belongs together


class LoginRequest(Value, frozen=True, kw_only=True):
    """What a sign-in brings beside the code.

    Args:
        bound_to: Session value that tokens are bound to, or None.
        device_token: Cookie of a trusted device, or None.
        device_id: Id that the platform keeps for the device, or None.
        trust_label: Name under which the device becomes trusted, or None.
    """

    bound_to: Secret | None = None
    device_token: Secret | None = None
    device_id: Secret | None = None
    trust_label: str | None = None


class GivenPassword(Value, frozen=True, kw_only=True):
    """The password of a first step: a text for `check_password`, or the platform's word for it."""

    is_vouched: bool
    text: Secret | None = None


class EnrollmentRequest(Value, frozen=True, kw_only=True):
    """What an enrolment brings: names for app and lists, and the authenticator it replaces."""

    account_name: str
    label: str
    replaces: str | None = None
    bound_to: Secret | None = None


class PasscodeRequest(Value, frozen=True, kw_only=True):
    """What a new passcode is for. None for protocols or networks is any."""

    label: str
    protocols: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at: int | None = None


class Authority(Value, frozen=True, kw_only=True):
    """The operator who acts, and why; both are kept in the history."""

    actor: str
    reason: str


# ------------------------------------------------------------------------------------ parsing


def parse_secret_text(value: object, *, characters_max: int = TEXT_CHARACTERS_MAX) -> Secret | None:
    """Take untrusted text out of sight: UTF-8 in a `Secret`, None if it is no text or too long."""
    if not isinstance(value, str) or len(value) > characters_max:
        return None
    encoded = _encode(value)
    return None if encoded is None else Secret(encoded)


def parse_account_id(value: object) -> str:
    """Return an account id: 1-255 UTF-8 bytes, no NUL, no lone surrogate; compared byte for byte.

    Raises:
        InvalidInputError: It is not; pass the platform's stable opaque id.
    """
    if isinstance(value, str) and 0 < len(value) <= ACCOUNT_ID_BYTES_MAX and "\0" not in value:
        encoded = _encode(value)
        if encoded is not None and len(encoded) <= ACCOUNT_ID_BYTES_MAX:
            return encoded.decode()  # a plain str: msgspec writes no subclass
    raise errors.InvalidInputError("account_id")


def parse_item_id(value: object) -> str:
    """Return the id of an item as a plain text; what is no id becomes one that names nothing."""
    encoded = _encode(value) if isinstance(value, str) else None
    return "" if encoded is None else encoded.decode()


def parse_label(
    value: object, *, field: str = "label", characters_max: int = LABEL_CHARACTERS_MAX
) -> str:
    """Return a name for people: trimmed, NFC, 1-64 characters, no control or direction character.

    Raises:
        InvalidInputError: It is not; ask the person for another name.
    """
    if isinstance(value, str) and len(value) <= 4 * characters_max:
        label = normalize("NFC", value).strip()
        if 0 < len(label) <= characters_max and not any(map(_is_refused, label)):
            return label
    raise errors.InvalidInputError(field)


def parse_protocols(value: object) -> tuple[str, ...] | None:
    """Return known mail protocols in a fixed order, None for any.

    Raises:
        InvalidInputError: An empty set (it could never be used) or an unknown protocol.
    """
    if value is None:
        return None
    asked = _parse_strings(value, "protocols")
    if not set(asked) <= set(PROTOCOLS):
        raise errors.InvalidInputError("protocols")
    return tuple([protocol for protocol in PROTOCOLS if protocol in asked])


def parse_networks(value: object) -> tuple[str, ...] | None:
    """Return at most 20 networks in canonical CIDR form, IPv4 in IPv6 as IPv4, None for any.

    Raises:
        InvalidInputError: An empty set, too many, or no network.
    """
    if value is None:
        return None
    networks = [_parse_network(text) for text in _parse_strings(value, "networks")]
    if None in networks or len(networks) > NETWORKS_MAX:
        raise errors.InvalidInputError("networks")
    return tuple(sorted({network for network in networks if network}))


def _parse_strings(value: object, field: str) -> list[str]:
    # A bare "imap" would otherwise be taken letter by letter.
    if isinstance(value, list | tuple | set | frozenset) and value:
        strings = [one for one in value if isinstance(one, str)]
        if len(strings) == len(value):
            return strings
    raise errors.InvalidInputError(field)


def _parse_network(text: str) -> str | None:
    from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

    if len(text) > 64 or "%" in text:  # a zone means nothing here, and has any length
        return None
    address, slash, mask = text.partition("/")
    try:
        network = ip_network(text, strict=False)
        if slash and not _is_plain_mask(network, ip_address(address), mask):
            return None
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return str(network)
    unmapped = IPv6Address(address).ipv4_mapped
    return _parse_network(f"{unmapped}/{network.prefixlen - 96}")


def _is_plain_mask(network: IPNetwork, address: IPAddress, mask: str) -> bool:
    """Say whether a mask means one thing: a prefix length or a netmask, and not "every address".

    Python also reads host masks, so "10.1.2.3/0.0.0.0", a single host to some, is the whole Internet.
    """
    if network.prefixlen == 0:
        return mask == "0" and int(address) == 0
    return mask.isascii() and (mask.isdigit() or mask == str(network.netmask))


def parse_moment(value: object, *, field: str) -> int | None:
    """Return whole Unix seconds of an aware datetime, None for None.

    Raises:
        InvalidInputError: It is neither.
    """
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise errors.InvalidInputError(field)
    seconds = (value - _EPOCH) // timedelta(seconds=1)  # exact: a float would round up
    return min(max(0, seconds), _LAST_SECOND)


def parse_password(
    password_verified: object, text: Secret | None, check_password: object, *, is_given: bool
) -> GivenPassword:
    """Take the password of a first step, in one of two ways and not in both.

    Args:
        password_verified: The platform's word that the password is right, None if it gives none.
        text: What was typed, None if it is no text or too long.
        check_password: What checks it, or None.
        is_given: A password was given, whatever it is.

    Raises:
        PasswordNotVerifiedError: The platform does not say that it is right, or gave none.
        InvalidInputError: Both ways at once, or a password that nothing can check.
    """
    if not is_given and check_password is None:
        # SECURITY: the very object True: a coroutine, a Mock, a "false" string are all truthy.
        if password_verified is not True:
            raise errors.PasswordNotVerifiedError
        return GivenPassword(is_vouched=True)
    if password_verified is not None:
        raise errors.InvalidInputError("password_verified")
    if not is_given:
        raise errors.InvalidInputError("password")
    if not callable(check_password):
        raise errors.InvalidInputError("check_password")
    return GivenPassword(is_vouched=False, text=text)


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


def _encode(value: str) -> bytes | None:
    """Return UTF-8, None if the text has a lone surrogate."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        return None


def _is_refused(character: str) -> bool:
    return category(character) in _REFUSED_CATEGORIES or character in _BIDI_CONTROLS
