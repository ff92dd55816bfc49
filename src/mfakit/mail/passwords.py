"""Ready password checks: a Dovecot-style passwd file, an htpasswd file, an SQL query.

Each has the two functions of `mfakit.mail.Platform`, `resolve_account` and `check_password`, over one
list of accounts. Hashes are checked by kept libraries: libpass and argon2-cffi. Files are read again
when they change; one that cannot be read makes logins fail for the moment, not for good.
"""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from mfakit.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Htpasswd", "PasswdFile", "SQLQuery", "verify_hash"]

# Clear text is not among them: what cannot be a hash must not be compared as a password.
_SCHEMES = (
    "argon2",
    "bcrypt",
    "sha512_crypt",
    "sha256_crypt",
    "md5_crypt",
    "apr_md5_crypt",
    "ldap_sha1",
    "ldap_salted_sha1",
    "ldap_salted_sha256",
    "ldap_salted_sha512",
)
# Dovecot's names before hashes that name themselves; the LDAP ones ({SSHA}…) belong to the hash.
_PREFIX = re.compile(
    r"\{(?:ARGON2ID?|BLF-CRYPT|CRYPT|(?:SHA512|SHA256|MD5)-CRYPT)\}", re.IGNORECASE
)
_BCRYPT_BYTES = 72
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def verify_hash(password: str, stored: str) -> bool:
    """Say whether a password is the one that was hashed. Takes as long as the hash wants.

    Args:
        password: What the client sent.
        stored: Argon2, bcrypt, SHA-512-, SHA-256- or MD5-crypt, Apache's MD5, or {SSHA}, {SSHA256},
            {SSHA512}, {SHA}; Dovecot's `{SCHEME}` before it is allowed.

    Raises:
        ConfigurationError: The hash is of no known kind.
    """
    from passlib.exc import PasswordValueError, UnknownHashError

    if "\0" in password:
        return False
    bare = _PREFIX.sub("", stored, count=1)
    # bcrypt has never looked further; newer libraries raise instead.
    secret = password.encode()[: _BCRYPT_BYTES if bare.startswith("$2") else None]
    try:
        return bool(_context().verify(secret, bare))
    except PasswordValueError:  # longer than any password
        return False
    except (UnknownHashError, ValueError):
        text = "A password hash is of no kind that mfakit knows."
    raise ConfigurationError(text)


@cache
def _context() -> Any:
    from passlib.context import CryptContext

    return CryptContext(_SCHEMES)


def _fold(login: str) -> str:
    """Fold as Dovecot's `%L` does: ASCII only, or two people could become one."""
    return login.translate(_ASCII_LOWER)


class _PasswordFile(ABC):
    """Accounts and their hashes in a file. The account's id is its name in the file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._hashes: Mapping[str, tuple[str, str]] = {}
        self._entries()

    async def resolve_account(self, login: str) -> str | None:
        """Return the account's id; None if the file does not have it, or it is suspended.

        Raises:
            OSError: The file cannot be read.
        """
        found = self._entries().get(_fold(login))
        return found and found[0]

    def check_password(self, login: str, password: str) -> str | None:
        """Return the account's id if the password is its own.

        Raises:
            OSError: The file cannot be read.
            ConfigurationError: The hash is of no known kind.
        """
        account_id, stored = self._entries().get(_fold(login), (None, ""))
        return account_id if account_id and verify_hash(password, stored) else None

    def _entries(self) -> Mapping[str, tuple[str, str]]:
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            if seen != self._seen:
                self._hashes, self._seen = _by_login(self._read()), seen
            return self._hashes

    @abstractmethod
    def _read(self) -> list[tuple[str, str]]:
        """Return name and hash of each entry that is not suspended."""


class PasswdFile(_PasswordFile):
    """A file as Dovecot's passwd-file driver reads it: `login:{SCHEME}hash:…`, a line each.

    Suspended are who have no hash, one behind `!` or `*`, or the extra field `nologin`.
    """

    def _read(self) -> list[tuple[str, str]]:
        lines = self._path.read_text(encoding="utf-8").splitlines()
        rows = [line.split(":", 7) for line in lines if line.strip() and not line.startswith("#")]
        return [(row[0], row[1]) for row in rows if row[0] and not _is_suspended(row)]


class Htpasswd(_PasswordFile):
    """A file of Apache's `htpasswd`, read by libpass. Entries in clear text let nobody in."""

    def _read(self) -> list[tuple[str, str]]:
        from passlib.apache import HtpasswdFile

        file: Any = HtpasswdFile(str(self._path))
        return [(name, file.get_hash(name).decode("ascii")) for name in file.users()]


def _is_suspended(row: list[str]) -> bool:
    is_locked = len(row) < 2 or not row[1] or row[1][0] in "!*"
    return is_locked or (len(row) == 8 and "nologin" in re.split(r"[ =]", row[7]))


def _by_login(rows: list[tuple[str, str]]) -> Mapping[str, tuple[str, str]]:
    found = {_fold(name): (name, stored) for name, stored in rows}
    if len(found) < len(rows):
        raise ConfigurationError("Two entries of the password file have the same name.")
    return found


class SQLQuery:
    """A query of the platform's own database, run by SQLAlchemy (2.0 or later).

    Args:
        engine: Connections; its pool should hold `Platform.threads` of them twice.
        query: Has `:login` and gives at most one row of two columns, account id and password hash.
            It leaves suspended accounts out, and decides about upper and lower case.
    """

    def __init__(self, engine: Engine, query: str) -> None:
        from sqlalchemy import text

        self._engine = engine
        self._query = text(query)

    def resolve_account(self, login: str) -> str | None:
        """Return the account's id, None if the query gives no row. Raises what SQLAlchemy raises."""
        found = self._find(login)
        return found and found[0]

    def check_password(self, login: str, password: str) -> str | None:
        """Return the account's id if the password is its own.

        Raises:
            ConfigurationError: More than one row, or a hash of no known kind.
        """
        found = self._find(login)
        return found[0] if found and verify_hash(password, found[1]) else None

    def _find(self, login: str) -> tuple[str, str] | None:
        with self._engine.connect() as connection:
            rows = connection.execute(self._query, {"login": login}).fetchmany(2)
        if len(rows) > 1:
            raise ConfigurationError("The query gives more than one account for a login.")
        return (str(rows[0][0]), str(rows[0][1])) if rows else None
