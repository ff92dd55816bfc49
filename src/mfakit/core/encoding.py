"""Untrusted text is parsed once, here: lengths first, ASCII before case, canonical or nothing.

What a person or a client typed becomes a value or None (the caller answers with the error of a wrong
one). What a developer passed becomes a value or `InvalidInputError`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from struct import pack
from unicodedata import category, normalize

from mfakit.core.secret import Secret
from mfakit.errors import InvalidInputError

Random = Callable[[int], bytes]

PROTOCOLS = ("imap", "pop3", "smtp", "sieve", "dav", "eas")
NETWORKS_MAX = 20
ACCOUNT_ID_BYTES_MAX = 255
LABEL_CHARACTERS_MAX = 64
TEXT_CHARACTERS_MAX = 4096
# Right-to-left overrides make one label look like another (Unicode TR 36 §2.8).
_BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_EPOCH, _LAST_SECOND = datetime(1970, 1, 1, tzinfo=UTC), 253_402_300_799  # the end of 9999
_REFUSED_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_BASE32_SYMBOLS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def parse_secret_text(value: object, *, characters_max: int = TEXT_CHARACTERS_MAX) -> Secret | None:
    """Take untrusted text out of sight: UTF-8 in a `Secret`, None if it is no text or too long."""
    if not isinstance(value, str) or len(value) > characters_max:
        return None
    encoded = _encode_utf8(value)
    return None if encoded is None else Secret(encoded)


def parse_account_id(value: object) -> str:
    """Return an account id: 1-255 UTF-8 bytes, no NUL, no lone surrogate; compared byte for byte.

    Raises:
        InvalidInputError: It is not; pass the platform's stable opaque id.
    """
    if isinstance(value, str) and 0 < len(value) <= ACCOUNT_ID_BYTES_MAX and "\0" not in value:
        encoded = _encode_utf8(value)
        if encoded is not None and len(encoded) <= ACCOUNT_ID_BYTES_MAX:
            return encoded.decode()  # a plain str: msgspec writes no subclass
    raise InvalidInputError("account_id")


def parse_item_id(value: object) -> str:
    """Return the id of an item as a plain text; what is no id becomes one that names nothing."""
    encoded = _encode_utf8(value) if isinstance(value, str) else None
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
    raise InvalidInputError(field)


def parse_digits(text: Secret | None, lengths: Container[int]) -> Secret | None:
    """Return the ASCII digits of a typed code, spaces and hyphens dropped, or None if it is no code.

    Reference: RFC 4226 §5.3. `bytes.isdigit` knows ASCII only: no superscript, no other script.
    """
    if text is None or len(text.reveal()) > 64:
        return None
    digits = text.reveal().translate(None, b" -")
    return Secret(digits) if digits.isdigit() and len(digits) in lengths else None


def parse_protocols(value: object) -> tuple[str, ...] | None:
    """Return known mail protocols in a fixed order, None for any.

    Raises:
        InvalidInputError: An empty set (it could never be used) or an unknown protocol.
    """
    if value is None:
        return None
    asked = _parse_strings(value, "protocols")
    if not set(asked) <= set(PROTOCOLS):
        raise InvalidInputError("protocols")
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
        raise InvalidInputError("networks")
    return tuple(sorted({network for network in networks if network}))


def _parse_strings(value: object, field: str) -> list[str]:
    # A bare "imap" would otherwise be taken letter by letter.
    if isinstance(value, list | tuple | set | frozenset) and value:
        strings = [one for one in value if isinstance(one, str)]
        if len(strings) == len(value):
            return strings
    raise InvalidInputError(field)


def _parse_network(text: str) -> str | None:
    from ipaddress import IPv6Network, ip_network

    if len(text) > 64 or "%" in text:  # a zone means nothing here, and has any length
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    is_mapped = mapped is not None and network.prefixlen >= 96
    return f"{mapped}/{network.prefixlen - 96}" if is_mapped else str(network)


def parse_moment(value: object, *, field: str) -> int | None:
    """Return whole Unix seconds of an aware datetime, None for None.

    Raises:
        InvalidInputError: It is neither.
    """
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInputError(field)
    seconds = (value - _EPOCH) // timedelta(seconds=1)  # exact: a float would round up
    return min(max(0, seconds), _LAST_SECOND)


def to_datetime(seconds: int) -> datetime:
    """Return the aware UTC datetime of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def encode_base64(data: bytes) -> str:
    """Return URL-safe base64 without padding (RFC 4648 §5)."""
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return text.translate(_TO_URL_SAFE).decode()


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of URL-safe base64, or None unless it is exactly what `encode_base64` gives."""
    if not text.isascii():
        return None
    try:
        data = binascii.a2b_base64(
            text.encode().translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4)
        )
    except binascii.Error:
        return None
    # SECURITY: one text per value, or a changed bit could go unnoticed (RFC 4648 §3.5).
    return data if encode_base64(data) == text else None


def encode_base32(data: Secret) -> str:
    """Return base32 without padding, as apps show and type it (RFC 4648 §6)."""
    from base64 import b32encode

    return b32encode(data.reveal()).rstrip(b"=").decode()


def decode_base32(text: Secret) -> Secret | None:
    """Return the bytes of a typed key: case, spaces, hyphens and right padding ignored; else None."""
    from base64 import b32decode

    symbols = text.reveal().translate(None, b" -\t").rstrip(b"=").upper()
    if not symbols or len(symbols) > 256 or symbols.translate(None, _BASE32_SYMBOLS):
        return None
    if len(symbols) % 8 in {1, 3, 6}:  # no byte string has such a length (RFC 4648 §6)
        return None
    return Secret(b32decode(symbols + b"=" * (-len(symbols) % 8)))


def frame(*parts: bytes) -> bytes:
    """Join parts so that no other list of parts gives the same bytes: their lengths first."""
    return pack(f">{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def generate_id(random: Random) -> str:
    """Return a new opaque id: 128 random bits as 22 characters of URL-safe base64 (ASVS 7.2.3)."""
    return encode_base64(random(16))


def pick_symbols(random: Random, alphabet: str, count: int) -> str:
    """Return `count` symbols, each uniform: a byte that would favour the first symbols is dropped."""
    highest = 256 - 256 % len(alphabet)
    picked: list[str] = []
    while len(picked) < count:
        picked += [alphabet[byte % len(alphabet)] for byte in random(2 * count) if byte < highest]
    return "".join(picked[:count])


_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# The standard alphabet's own two symbols become one that is in neither, so they do not decode.
_FROM_URL_SAFE = bytes.maketrans(b"-_+/", b"+/!!")


def _encode_utf8(value: str) -> bytes | None:
    try:
        return value.encode()
    except UnicodeEncodeError:
        return None


def _is_refused(character: str) -> bool:
    return category(character) in _REFUSED_CATEGORIES or character in _BIDI_CONTROLS
