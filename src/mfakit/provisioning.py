"""The `otpauth://` URI that an authenticator app reads from the QR code. It contains the secret.

Built and parsed by pyotp (the only module that knows pyotp); what pyotp lets through and apps or
attackers would trip over is refused first. Source: the Key URI Format, as Google published it.
"""

from __future__ import annotations

from hashlib import sha1, sha256, sha512
from typing import Any

from mfakit.core.encoding import decode_base32, parse_label
from mfakit.core.secret import Secret, Value
from mfakit.errors import InvalidInputError

__all__ = ["ImportedSecret", "build_uri", "parse_account_name", "parse_secret_or_uri"]

SECRET_BYTES_LEAST = 16  # RFC 4226 §4 R6: 128 bits
SECRET_BYTES_MOST = 64
ACCOUNT_NAME_CHARACTERS_MAX = 255
_HASHES: dict[str, Any] = {"SHA1": sha1, "SHA256": sha256, "SHA512": sha512}
_PARAMETERS = {"secret", "issuer", "algorithm", "digits", "period", "image"}


class ImportedSecret(Value, frozen=True, kw_only=True):
    """A secret from elsewhere with the parameters that its app uses."""

    secret: Secret
    algorithm: str = "SHA1"
    digits: int = 6
    period_seconds: int = 30


def parse_account_name(value: object) -> str:
    """Return the name that the app shows beside the code, 1-255 characters, usually the address.

    Raises:
        InvalidInputError: Empty, too long, control characters, or a colon: apps split names there.
    """
    name = parse_label(value, field="account_name", characters_max=ACCOUNT_NAME_CHARACTERS_MAX)
    if ":" in name:
        raise InvalidInputError("account_name")
    return name


def build_uri(
    secret_text: str,
    *,
    account_name: str,
    issuer: str,
    algorithm: str,
    digits: int,
    period_seconds: int,
) -> str:
    """Return `otpauth://totp/Issuer:account?secret=…&issuer=…`, spaces as %20, no padding."""
    from pyotp import TOTP

    totp = TOTP(secret_text, digits=digits, digest=_HASHES[algorithm], interval=period_seconds)
    return totp.provisioning_uri(name=account_name, issuer_name=issuer)


def parse_secret_or_uri(text: Secret | None) -> ImportedSecret:
    """Read a base32 key or an `otpauth://totp/` URI.

    Raises:
        InvalidInputError: Neither, or the secret has fewer than 128 or more than 512 bits.
    """
    imported = None if text is None else _parse(text)
    if (
        imported is None
        or not SECRET_BYTES_LEAST <= len(imported.secret.reveal()) <= SECRET_BYTES_MOST
    ):
        raise InvalidInputError("secret_or_uri")
    return imported


def _parse(text: Secret) -> ImportedSecret | None:
    if not text.reveal().lower().startswith(b"otpauth:"):
        secret = decode_base32(text)
        return None if secret is None else ImportedSecret(secret=secret)
    return _parse_uri(text) if _is_plain_uri(text) else None


def _is_plain_uri(text: Secret) -> bool:
    """Each parameter known and there once, and the two issuers equal when both are there."""
    from urllib.parse import parse_qsl, unquote, urlsplit

    try:
        parts = urlsplit(text.reveal().decode())
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=True, max_num_fields=16
        )
    except ValueError:
        return False
    names = [name for name, _ in pairs]
    before, colon, _ = unquote(parts.path.removeprefix("/")).partition(":")
    issuer = dict(pairs).get("issuer", before)
    return (
        parts.netloc.lower() == "totp"
        and len(set(names)) == len(names)
        and set(names) <= _PARAMETERS
        and (not colon or issuer == before)
    )


def _parse_uri(text: Secret) -> ImportedSecret | None:
    from pyotp import TOTP, parse_uri

    try:
        otp = parse_uri(text.reveal().decode())
    except Exception:  # pyotp raises what its parsers raise, with the text in the message
        return None
    secret = decode_base32(Secret(otp.secret.encode())) if isinstance(otp, TOTP) else None
    if not isinstance(otp, TOTP) or secret is None:
        return None
    algorithm = otp.digest().name.upper()
    if algorithm not in _HASHES or otp.digits not in {6, 7, 8} or not 15 <= otp.interval <= 120:
        return None
    return ImportedSecret(
        secret=secret, algorithm=algorithm, digits=otp.digits, period_seconds=otp.interval
    )
