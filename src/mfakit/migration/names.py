"""Names that may be shown, told from what could be a secret.

Columns get swapped, mapped to the wrong field, or hold URIs. So a row is untrusted as a whole: a text
of it is a name only when it cannot be a key and does not hold the key of its row.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import unquote

from mfakit.core.secret import Secret
from mfakit.provisioning import encode_base32

__all__ = ["could_be_key", "holds_secret", "without_secrets"]

HIDDEN = "(not shown)"
# Of a key in the URI format: the scheme, also in `otpauth-migration:`, or the parameter.
_URI = re.compile(r"otpauth|secret\s*=", re.IGNORECASE)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
# Each of 80 bits.
_BASE32 = re.compile(r"[a-z2-7]{16,}", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]{20,}", re.IGNORECASE)
_BASE64_RUN = re.compile(r"[a-z0-9+/_-]{14,}", re.IGNORECASE)
_PADDED = re.compile(r"[a-z0-9+/_-]{14,}={1,2}(?![a-z0-9])", re.IGNORECASE)
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9+/])")
_GROUPS = re.compile(r"[\s:=-]+")
_PATH = re.compile(r"['\"]?(?:\.{0,2}/|[a-z+]+://)", re.IGNORECASE)
_WORD = re.compile(r"'[^']*'|\"[^\"]*\"|\S+")
_PASSWORD = re.compile(r":[^/\s]*@|//[^\s]*:[^\s]*@|password=", re.IGNORECASE)
# A part of an encoded key this long is the key for anybody who sees it.
_TELLING_CHARACTERS = 8


def could_be_key(text: str) -> bool:
    """Say whether a text looks like a key of 80 bits or more in base32, hex or base64, or like its URI.

    UUIDs, and words of letters that are not all capitals, are names. A key in base32 has only letters
    once in 28 (80 bits) to once in 770 (160 bits).
    """
    plain = _unquoted(text)
    if _URI.search(plain):
        return True
    rest = _UUID.sub(" ", plain)
    parts = (_GROUPS.sub("", rest), *re.findall(r"[A-Za-z0-9]+", rest))
    if any(_HEX.fullmatch(part) or _is_base32(part) for part in parts):
        return True
    is_padded = _PADDED.search(rest) is not None
    return is_padded or any(_MIXED.match(run) for run in _BASE64_RUN.findall(rest))


def holds_secret(text: str, secret: bytes) -> bool:
    """Say whether a text holds a URI of a key, or this secret: in any encoding, in part, or in groups."""
    plain = _unquoted(text)
    if _URI.search(plain):
        return True
    folded = _folded(plain)
    is_telling = len(folded) >= _TELLING_CHARACTERS
    return any(form in folded or (is_telling and folded in form) for form in _forms(secret))


def without_secrets(text: str) -> str:
    """Return a message without the words that could be keys, or URLs with a password."""
    return _WORD.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    word = found[0]
    parts = re.split(r"[/_-]", word) if _PATH.match(word) else [word]
    if _PASSWORD.search(word) is None and not any(map(could_be_key, parts)):
        return word
    quote = word[0] if word[0] in "'\"" else ""
    return f"{quote}{HIDDEN}{quote}"


def _is_base32(text: str) -> bool:
    is_word = text.isalpha() and not text.isupper()
    return _BASE32.fullmatch(text) is not None and not is_word


def _unquoted(text: str) -> str:
    return unquote(unquote(text))


def _folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _forms(secret: bytes) -> Iterator[str]:
    """Yield the ways to write a secret, folded; both alphabets of base64 fold to one."""
    yield _folded(encode_base32(Secret(secret)))
    yield secret.hex()
    yield _folded(b64encode(secret).decode())
    text = _folded(secret.decode("ascii", "ignore"))
    if len(text) >= _TELLING_CHARACTERS:
        yield text
