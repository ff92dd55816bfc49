"""Untrusted text is parsed once, here: lengths first, ASCII before case, canonical or nothing.

What a person or a client typed becomes a value or None: the caller answers with the error of a wrong
one. `mfakit.arguments` puts the text into a `Secret` first, and parses what a developer passes.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Container
from struct import pack
from typing import Any

from mfakit.core.secret import Secret

Random = Callable[[int], bytes]


TYPED_BYTES_MAX = 64
# What separates groups: a page that shows "123 456" may give a no-break space to the clipboard.
_SEPARATORS = dict.fromkeys(map(ord, " -\u00a0\u202f"))
# Japanese keyboards type full-width digits.
_DIGITS = _SEPARATORS | {0xFF10 + digit: ord("0") + digit for digit in range(10)}


def without_separators(text: Secret | None) -> Secret | None:
    """Return typed text without whitespace around it, spaces, no-break spaces and hyphens.

    None if there is no text, or if it is longer than 64 bytes.
    """
    return _fold(text, _SEPARATORS)


def _fold(text: Secret | None, table: dict[int, Any]) -> Secret | None:
    if text is None or len(text.reveal()) > TYPED_BYTES_MAX:
        return None
    return Secret(text.reveal().decode().strip().translate(table).encode())


def parse_digits(text: Secret | None, lengths: Container[int]) -> Secret | None:
    """Return the ASCII digits of a typed code, or None if it is not a code of one of these lengths.

    Separators are dropped and full-width digits read; nothing else is folded.

    Reference: RFC 4226 §5.3. `bytes.isdigit` knows ASCII only: no superscript, no other script.
    """
    digits = _fold(text, _DIGITS)
    if digits is None:
        return None
    return digits if digits.reveal().isdigit() and len(digits.reveal()) in lengths else None


def encode_base64(data: bytes) -> str:
    """Return URL-safe base64 without padding (RFC 4648 §5)."""
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return text.translate(_TO_URL_SAFE).decode()


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of URL-safe base64, or None unless it is exactly what `encode_base64` gives."""
    if not text.isascii():
        return None
    try:
        padding = b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(text.encode().translate(_FROM_URL_SAFE) + padding)
    except binascii.Error:
        return None
    # SECURITY: one text per value, or a changed bit could go unnoticed (RFC 4648 §3.5).
    return data if encode_base64(data) == text else None


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
