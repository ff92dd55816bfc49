"""Untrusted text is parsed once, here: lengths first, ASCII before case, canonical or nothing.

What a person or a client typed becomes a value or None: the caller answers with the error of a wrong
one. `mfakit.arguments` puts the text into a `Secret` first, and parses what a developer passes.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Container
from struct import pack

from mfakit.core.secret import Secret

Random = Callable[[int], bytes]


def parse_digits(text: Secret | None, lengths: Container[int]) -> Secret | None:
    """Return the ASCII digits of a typed code, spaces and hyphens dropped, or None if it is no code.

    Reference: RFC 4226 §5.3. `bytes.isdigit` knows ASCII only: no superscript, no other script.
    """
    if text is None or len(text.reveal()) > 64:
        return None
    digits = text.reveal().translate(None, b" -")
    return Secret(digits) if digits.isdigit() and len(digits) in lengths else None


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
