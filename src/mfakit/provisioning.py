"""The `otpauth://` URI that an authenticator app reads from the QR code. It contains the secret.

Built by pyotp (the only module that knows it). Parsed here: pyotp has no way to take the short
secrets that old software made, and lets through what apps or attackers would trip over. Source: the
Key URI Format, as Google published it.
"""

from __future__ import annotations

from mfakit.arguments import parse_label
from mfakit.core.secret import Secret, Value
from mfakit.errors import InvalidInputError
from mfakit.policy import SECRET_BYTES

__all__ = [
    "ImportedSecret",
    "build_uri",
    "decode_base32",
    "encode_base32",
    "parse_account_name",
    "parse_secret_or_uri",
    "split_uri",
]

SECRET_BYTES_LEAST = 16  # RFC 4226 §4 R6: 128 bits
WEAK_SECRET_BYTES_LEAST = 10  # 80 bits: what apps and servers made before they read R6
SECRET_BYTES_MOST = 64
ACCOUNT_NAME_CHARACTERS_MAX = 255
_BASE32_SYMBOLS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TOTP = "otpauth://totp/"
_DIGITS = {str(digits): digits for digits in range(6, 9)}
_PERIODS = {str(seconds): seconds for seconds in range(15, 121)}
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
    from pyotp import utils

    uri = utils.build_uri(
        secret_text,
        account_name,
        issuer=issuer,
        algorithm=algorithm.lower(),
        digits=digits,
        period=period_seconds,
    )
    # pyotp leaves a slash of a name as it is, and some apps would end the name there.
    before, label = uri[: len(_TOTP)], uri[len(_TOTP) :]
    names, mark, parameters = label.partition("?")
    return before + names.replace("/", "%2F") + mark + parameters


def parse_secret_or_uri(text: Secret | None, *, allow_weak: bool = False) -> ImportedSecret:
    """Read a base32 key or an `otpauth://totp/` URI.

    Raises:
        InvalidInputError: Neither, or the secret has fewer than 128 bits (80 if `allow_weak`) or
            more than 512.
    """
    least = WEAK_SECRET_BYTES_LEAST if allow_weak is True else SECRET_BYTES_LEAST
    imported = None if text is None else _parse(text)
    if imported is None or not least <= len(imported.secret.reveal()) <= SECRET_BYTES_MOST:
        raise InvalidInputError("secret_or_uri")
    return imported


def _parse(typed: Secret) -> ImportedSecret | None:
    text = Secret(typed.reveal().strip())
    if text.reveal().lower().startswith(b"otpauth:"):
        return _parse_uri(text)
    secret = decode_base32(text)
    return None if secret is None else ImportedSecret(secret=secret)


def _parse_uri(text: Secret) -> ImportedSecret | None:
    """Each parameter known and there once, and the two issuers equal when both are there."""
    parts = split_uri(text)
    if parts is None:
        return None
    kind, label, parameters = parts
    before, colon, _ = label.partition(":")
    if kind != "totp" or not set(parameters) <= _PARAMETERS:
        return None
    if colon and parameters.get("issuer", before) != before:
        return None
    secret = decode_base32(Secret(parameters.get("secret", "").encode()))
    algorithm = (parameters.get("algorithm") or "SHA1").upper()
    digits = _DIGITS.get(parameters.get("digits") or "6")
    period = _PERIODS.get(parameters.get("period") or "30")
    if secret is None or algorithm not in SECRET_BYTES or digits is None or period is None:
        return None
    return ImportedSecret(secret=secret, algorithm=algorithm, digits=digits, period_seconds=period)


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


def split_uri(text: Secret) -> tuple[str, str, dict[str, str]] | None:
    """Take an `otpauth://` URI apart: kind in lower case, label, parameters; None if it is none.

    A parameter that is there twice could mean one thing here and another in the app: None, too.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit

    try:
        parts = urlsplit(text.reveal().decode())
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=True, max_num_fields=16
        )
    except ValueError:
        return None
    parameters = dict(pairs)
    if parts.scheme != "otpauth" or len(parameters) < len(pairs):
        return None
    return parts.netloc.lower(), unquote(parts.path.removeprefix("/")), parameters
