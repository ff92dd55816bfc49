"""The one form that every format becomes: whose, which secret, which parameters, from where."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

from attrs import field, frozen

from mfakit.core.secret import Secret
from mfakit.errors import ConfigurationError
from mfakit.migration.names import could_be_key, holds_secret
from mfakit.policy import SECRET_BYTES
from mfakit.provisioning import (
    SECRET_BYTES_LEAST,
    SECRET_BYTES_MOST,
    WEAK_SECRET_BYTES_LEAST,
    build_uri,
    decode_base32,
    encode_base32,
)

__all__ = ["BadRow", "Reading", "Row", "Source", "as_number", "bad_row", "make_row", "require"]

_DIGITS, _PERIODS = range(6, 9), range(15, 121)


def require(*modules: str) -> None:
    """Raise `ConfigurationError` with the command that installs them, if one is not there."""
    missing = [name for name in modules if not _is_there(name)]
    if missing:
        raise ConfigurationError(f"{missing[0]} not found: pip install 'mfakit[import]'")


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _as_it_is(text: str) -> str:
    return text


@frozen(kw_only=True)
class Source:
    """What to read, and what a format needs to know to read it.

    Args:
        place: Path of a file (of a directory for `qr`), or URL of a database for a table.
        table: Name of the table; None is the one that the format's software makes.
        id_field: Column or attribute that names the account; None is the format's own.
        secret_field: Column or attribute that holds the secret; None is the format's own.
        passphrase: What opens secrets that are stored sealed, or None.
        decrypt: Turns a secret as it is stored into the base32 text that it stands for.

    Raises:
        ConfigurationError: The place is itself an `otpauth:` URI.
    """

    place: str = field(repr=False)  # may hold a password
    table: str | None = None
    id_field: str | None = None
    secret_field: str | None = None
    passphrase: str | None = field(default=None, repr=False)
    decrypt: Callable[[str], str] = _as_it_is

    def __attrs_post_init__(self) -> None:
        if self.place.lstrip(" '\"").lower().startswith("otpauth"):
            raise ConfigurationError(
                "SOURCE is a file. Put the URI into one, on a line of its own."
            )

    @property
    def path(self) -> Path:
        """The place as a path."""
        return Path(self.place)

    def text(self) -> str:
        """Read the file.

        Raises:
            ConfigurationError: It cannot be read, or is no UTF-8.
        """
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            # SECURITY: the place is not repeated. It may be a key, or a URL with a password.
            raise ConfigurationError("SOURCE cannot be read as text.") from None


@frozen(kw_only=True)
class Row:
    """One authenticator to take over. Its `repr` shows where it stands.

    Attributes:
        source: Where it stands, for people: "line 3".
        account: Whose, as the source names the account. May be a key if columns are swapped: show
            `shown(account)`.
        uri: Secret and parameters as an `otpauth://totp/` URI. Holds the secret.
        label: Name of the authenticator, or "".
        issuer: Whom the app names beside the account, or "".
        is_weak: The secret has fewer than 128 bits.
    """

    source: str
    account: str = field(repr=False)
    uri: str = field(repr=False)
    label: str = field(repr=False)
    issuer: str = field(repr=False)
    is_weak: bool

    def shown(self, name: str) -> str:
        """Return a name as it may be shown: "" if it could be a key, or holds the key of this row."""
        return "" if could_be_key(name) or self.holds_secret(name) else name

    def holds_secret(self, name: str) -> bool:
        """Say whether a name holds the key of this row, in any encoding, or a URI of a key."""
        secret = decode_base32(Secret(self.uri.partition("secret=")[2].partition("&")[0].encode()))
        return secret is None or holds_secret(name, secret.reveal())


@frozen(kw_only=True)
class BadRow:
    """One entry that cannot be taken over, and why.

    Attributes:
        source: Where it stands.
        account: Whose; "" unless it is certain that this is no key.
        reason: Static text.
    """

    source: str
    account: str = field(repr=False)
    reason: str


Reading = Row | BadRow


def make_row(
    source: str,
    account: object,
    secret: object,
    *,
    label: object = "",
    issuer: object = "",
    kind: object = "totp",
    algorithm: object = "SHA1",
    digits: object = 6,
    period: object = 30,
) -> Reading:
    """Return a row, or why there is none.

    Args:
        source: Where it stands.
        account: Whose: text, a whole number or a UUID; anything else is refused.
        secret: The key in bytes, or its base32 text; anything else is none.
        label: Name of the authenticator.
        issuer: Whom the app names.
        kind: "totp" in any case; everything else is refused.
        algorithm: As "SHA1", "sha-256", "HMAC-SHA512".
        digits: Length of the codes.
        period: Seconds.
    """
    whose = "" if account is None else _text(account)
    is_id = account is None or whose == _id_text(account)
    is_text, secret = isinstance(secret, str) and secret != "", _key(secret)
    hashed = _algorithm(algorithm)
    length, seconds = as_number(digits), as_number(period)
    checks = (
        (str(kind).lower() != "totp", "Not time-based (TOTP). The owner must enrol anew."),
        (not whose, "No account is named."),
        (not is_id, "The account's id is neither text nor a whole number."),
        (not secret, "The secret is not base32." if is_text else "There is no secret."),
        (hashed not in SECRET_BYTES, "The hash is none of SHA1, SHA256, SHA512."),
        (length not in _DIGITS, "Codes have 6, 7 or 8 digits."),
        (seconds not in _PERIODS, "A code lives 15 to 120 seconds."),
        (len(secret) > SECRET_BYTES_MOST, "The secret is longer than 512 bits."),
        (len(secret) < WEAK_SECRET_BYTES_LEAST, "The secret is shorter than 80 bits."),
    )
    reason = next((reason for is_so, reason in checks if is_so), None)
    if reason is not None:
        return bad_row(source, account, secret, reason)
    return Row(
        source=source,
        account=whose,
        uri=_uri(secret, hashed, length or 0, seconds or 0),
        label=_text(label or ""),
        issuer=_text(issuer or ""),
        is_weak=len(secret) < SECRET_BYTES_LEAST,
    )


def bad_row(source: str, account: object, secret: bytes | None, reason: str) -> BadRow:
    """Return an entry that cannot be taken over.

    SECURITY: only a secret that was read proves that the account is not it. Without one the account
    is named only if it is a number, as the keys of tables are.
    """
    is_number = isinstance(account, int)
    name = "" if account is None else _text(account)
    is_shown = is_number or (_is_key(secret) and not could_be_key(name))
    if not is_shown or (secret and holds_secret(name, secret)):
        name = ""
    return BadRow(source=source, account=name, reason=reason)


def _is_key(secret: bytes | None) -> bool:
    return secret is not None and len(secret) >= WEAK_SECRET_BYTES_LEAST


def _uri(secret: bytes, algorithm: str, digits: int, period_seconds: int) -> str:
    return build_uri(
        encode_base32(Secret(secret)),
        account_name="account",
        issuer="import",
        algorithm=algorithm,
        digits=digits,
        period_seconds=period_seconds,
    )


def _key(secret: object) -> bytes:
    if isinstance(secret, str):
        decoded = decode_base32(Secret(secret.encode("utf-8", "replace")))
        return b"" if decoded is None else decoded.reveal()
    return bytes(secret) if isinstance(secret, bytes | bytearray | memoryview) else b""


def _id_text(value: object) -> str | None:
    """Return an id as it is; None if its text would name another account, as b'ann' and True do."""
    is_id = isinstance(value, str | int | UUID) and not isinstance(value, bool)
    return str(value) if is_id else None


def _text(value: object) -> str:
    """Return a name that can be printed and stored: JSON may escape half a character."""
    return str(value).encode("utf-8", "replace").decode()


def _algorithm(value: object) -> str:
    return str(value or "SHA1").upper().replace("HMAC", "").replace("-", "").replace("_", "")


def as_number(value: object) -> int | None:
    """Return a whole number that may be written as text, None if it is none."""
    if isinstance(value, int | str):
        try:
            return int(value)
        except ValueError:
            return None
    return None
