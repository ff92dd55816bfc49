"""Verify passwords against stored hashes: Dovecot's schemes, Apache's, and hashes that name themselves.

A stored hash is parsed first, and only a well-formed one of a known scheme and a bearable cost is
verified. Everything else is a `ConfigurationError`, which names the scheme and no part of the hash.

Reference: https://doc.dovecot.org, "Password Schemes".
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from functools import cache, partial
from hmac import compare_digest, digest
from typing import Any

from mfakit.errors import ConfigurationError

__all__ = ["PASSWORD_BYTES_MAX", "parse_hash", "verify_hash"]

Verify = Callable[[bytes], bool]

# The time of SHA-512-crypt grows with the length of the password, too.
PASSWORD_BYTES_MAX = 1024
_BCRYPT_BYTES = 72
_ITERATIONS_MAX = 5_000_000  # of PBKDF2 and SCRAM
# What libpass verifies -> the greatest cost of a hash by its parameter; bcrypt's is a power of two.
_CRYPT_COSTS_MAX: Mapping[str, Mapping[str, int]] = {
    "argon2": {"rounds": 64, "memory_cost": 1_048_576, "parallelism": 64},
    "bcrypt": {"rounds": 16},
    "sha512_crypt": {"rounds": 5_000_000},
    "sha256_crypt": {"rounds": 5_000_000},
    "md5_crypt": {},
    "apr_md5_crypt": {},
}
_CRYPT_SCHEMES = [
    "ARGON2",
    "ARGON2I",
    "ARGON2ID",
    "BLF-CRYPT",
    "CRYPT",
    "MD5",
    "MD5-CRYPT",
    "SHA256-CRYPT",
    "SHA512-CRYPT",
]
_PLAIN_SCHEMES = ("PLAIN", "CLEAR", "CLEARTEXT")
_DIGESTS = {
    "SHA": "sha1",
    "SHA1": "sha1",
    "SHA256": "sha256",
    "SHA512": "sha512",
    "LDAP-MD5": "md5",
    "PLAIN-MD5": "md5",
}
_SALTED_DIGESTS = {"SSHA": "sha1", "SSHA256": "sha256", "SSHA512": "sha512", "SMD5": "md5"}
_SCRAM_DIGESTS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
# Schemes that an error may name: what stands in braces could also be part of a password.
_UNVERIFIABLE = frozenset(
    ["CRAM-MD5", "DES-CRYPT", "DIGEST-MD5", "HMAC-MD5", "OTP", "PLAIN-MD4", "PLAIN-TRUNC"]
)
_UNVERIFIABLE_CRYPTS = {"$y$": "yescrypt", "$gy$": "gost-yescrypt", "$7$": "scrypt"}
_SCHEME = re.compile(r"\{([A-Z0-9-]+)(?:\.(B64|BASE64|HEX))?\}", re.IGNORECASE | re.ASCII)
_PBKDF2 = re.compile(r"\$1\$([^$]+)\$([0-9]{1,9})\$([0-9a-f]{40})", re.IGNORECASE | re.ASCII)
_SCRAM = re.compile(r"([0-9]{1,9}),([^,]+),([^,]+),([^,]+)", re.ASCII)


def verify_hash(password: str, stored: str) -> bool:
    """Say whether a password is the one that was hashed. Takes as long as the hash wants.

    Args:
        password: What the client sent. One of more than 1,024 bytes is nobody's, and is not hashed.
        stored: With or without Dovecot's `{SCHEME}`: Argon2, bcrypt, SHA-512-, SHA-256-, MD5-crypt,
            Apache's MD5. With it: PLAIN, SHA, SHA256, SHA512, SMD5, SSHA, SSHA256, SSHA512, PLAIN-MD5,
            LDAP-MD5, PBKDF2, SCRAM-SHA-1, SCRAM-SHA-256; `.B64` and `.HEX` of each.

    Raises:
        ConfigurationError: The hash is of another scheme, malformed, or costs too much.
    """
    verify = parse_hash(stored)
    secret = password.encode(errors="surrogatepass")
    if len(secret) > PASSWORD_BYTES_MAX or b"\0" in secret:
        return False
    return verify(secret)


def parse_hash(stored: str) -> Verify:
    """Return what says of a password whether the hash is its own.

    Raises:
        ConfigurationError: As `verify_hash`.
    """
    named = _SCHEME.match(stored)
    scheme = named[1].upper() if named else "CRYPT"
    encoding = (named[2] or "").upper() if named else ""
    parse = _PARSERS.get(scheme)
    if parse is None:
        raise _unverifiable(scheme if scheme in _UNVERIFIABLE else None)
    text = stored[named.end() :] if named else stored
    try:
        verify = parse(text, encoding)
    except ValueError:
        verify = None
    if verify is None:
        raise _unverifiable(_name_crypt(text) or (scheme if named else None))
    return verify


def _unverifiable(scheme: str | None) -> ConfigurationError:
    kind = "an unknown scheme" if scheme is None else f"the scheme {scheme}"
    return ConfigurationError(
        f"A password hash of {kind} cannot be verified. Store one of a scheme that docs/auth-service.md lists."
    )


def _name_crypt(text: str) -> str | None:
    return next(
        (name for mark, name in _UNVERIFIABLE_CRYPTS.items() if text.startswith(mark)), None
    )


# Each parser takes the text after {SCHEME} and its encoding. It returns None, or raises ValueError, if
# that is no hash of its scheme.


def _parse_plain(text: str, encoding: str) -> Verify | None:
    wanted = _decode_text(text, encoding)
    return partial(compare_digest, wanted) if wanted else None


def _parse_digest(text: str, encoding: str, *, algorithm: str) -> Verify | None:
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    is_hex = encoding == "HEX" or (not encoding and len(text) == 2 * size)
    wanted = _decode(text, "HEX" if is_hex else "B64")
    if len(wanted) != size:
        return None
    return lambda secret: compare_digest(_hash(algorithm, secret), wanted)


def _parse_salted_digest(text: str, encoding: str, *, algorithm: str) -> Verify | None:
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    raw = _decode(text, encoding or "B64")
    wanted, salt = raw[:size], raw[size:]
    if not salt:
        return None
    return lambda secret: compare_digest(_hash(algorithm, secret + salt), wanted)


def _parse_pbkdf2(text: str, encoding: str) -> Verify | None:
    found = _PBKDF2.fullmatch(_decode_text(text, encoding).decode())
    if found is None:
        return None
    salt, iterations, wanted = found[1].encode(), int(found[2]), bytes.fromhex(found[3])
    if not 0 < iterations <= _ITERATIONS_MAX:
        return None
    return lambda secret: compare_digest(
        hashlib.pbkdf2_hmac("sha1", secret, salt, iterations), wanted
    )


def _parse_scram(text: str, encoding: str, *, algorithm: str) -> Verify | None:
    """Reference: RFC 5802 §3; the third part is StoredKey."""
    found = _SCRAM.fullmatch(_decode_text(text, encoding).decode())
    if found is None:
        return None
    iterations, salt, wanted = int(found[1]), _decode(found[2], "B64"), _decode(found[3], "B64")
    if not 0 < iterations <= _ITERATIONS_MAX or len(wanted) != hashlib.new(algorithm).digest_size:
        return None

    def verify(secret: bytes) -> bool:
        salted = hashlib.pbkdf2_hmac(algorithm, secret, salt, iterations)
        return compare_digest(_hash(algorithm, digest(salted, b"Client Key", algorithm)), wanted)

    return verify


def _parse_crypt(text: str, encoding: str) -> Verify | None:
    stored = _decode_text(text, encoding).decode()
    handler = _crypt_context().identify(stored, resolve=True)
    if handler is None:
        return None
    parsed = handler.from_string(stored)
    costs = _CRYPT_COSTS_MAX[handler.name]
    if any(getattr(parsed, name) > most for name, most in costs.items()):
        return None
    # bcrypt has never looked further; newer libraries raise instead.
    counted = _BCRYPT_BYTES if handler.name == "bcrypt" else None
    return lambda secret: bool(handler.verify(secret[:counted], stored))


@cache
def _crypt_context() -> Any:
    from passlib.context import CryptContext

    return CryptContext(list(_CRYPT_COSTS_MAX))


def _decode_text(text: str, encoding: str) -> bytes:
    return _decode(text, encoding) if encoding else text.encode()


def _decode(text: str, encoding: str) -> bytes:
    if encoding == "HEX":
        return bytes.fromhex(text)
    try:
        return b64decode(text, validate=True)
    except Base64Error as error:
        raise ValueError from error


def _hash(algorithm: str, content: bytes) -> bytes:
    return hashlib.new(algorithm, content, usedforsecurity=False).digest()


_PARSERS: Mapping[str, Callable[[str, str], Verify | None]] = {
    **dict.fromkeys(_CRYPT_SCHEMES, _parse_crypt),
    **dict.fromkeys(_PLAIN_SCHEMES, _parse_plain),
    **{name: partial(_parse_digest, algorithm=one) for name, one in _DIGESTS.items()},
    **{name: partial(_parse_salted_digest, algorithm=one) for name, one in _SALTED_DIGESTS.items()},
    **{name: partial(_parse_scram, algorithm=one) for name, one in _SCRAM_DIGESTS.items()},
    "PBKDF2": _parse_pbkdf2,
}
