"""Ready password checks: a Dovecot-style passwd file, an htpasswd file, an SQL query.

Each has the two functions of `mfakit.mail.Platform`, `resolve_account` and `check_password`, over one
list of accounts, and says before the first login what is wrong with that list. Files are read again
when they change; one that cannot be read makes logins fail for the moment, not for good.
"""

from __future__ import annotations

import logging
import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from mfakit.errors import ConfigurationError
from mfakit.mail import journal
from mfakit.mail.hashes import parse_hash, verify_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sqlalchemy import Engine

__all__ = ["Htpasswd", "PasswdFile", "PasswordSource", "SQLQuery", "verify_hash"]

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# Extra fields of Dovecot's passwd file that change nothing about who may come in; every other one
# refuses its account. Reference: https://doc.dovecot.org, "Password database extra fields".
_HARMLESS_FIELDS = frozenset({"nodelay"})
_HARMLESS_PREFIXES = ("event_", "forward_", "userdb_")
# Fields that a message may name. Any other word could be part of a password that has a colon in it.
_NAMED_FIELDS = frozenset(
    [
        "allow_nets",
        "allow_real_nets",
        "delay_until",
        "domain",
        "fail",
        "host",
        "hostip",
        "login_user",
        "master",
        "noauthenticate",
        "nologin",
        "nopassword",
        "pass",
        "passdb_import",
        "password",
        "password_noscheme",
        "port",
        "proxy",
        "proxy_maybe",
        "reason",
        "reject",
        "ssl",
        "starttls",
        "user",
        "username",
    ]
)
# Types of psycopg that give neither text nor a whole number. Reference: PostgreSQL, pg_type.dat.
_POSTGRES_TYPES_REFUSED = frozenset({16, 17, 700, 701, 1700, 2950})
_POSTGRES_BYTEA = 17


class PasswordSource(ABC):
    """What the ready password checks have in common."""

    @abstractmethod
    def resolve_account(self, login: str) -> str | Awaitable[str | None] | None:
        """Return the account's id; None if there is no such account, or it is suspended."""

    @abstractmethod
    def check_password(self, login: str, password: str) -> str | None:
        """Return the account's id if the password is its own."""

    @abstractmethod
    def find_problems(self) -> list[str]:
        """Return a line for each account that cannot sign in as its operator may expect.

        `mfakit serve-auth` asks for them at its start and at each reload, and `--check` prints them.

        Raises:
            ConfigurationError: No account can sign in. The text says what to correct.
        """


@frozen
class _Entry:
    """One account of a file.

    Attributes:
        line: Its number in the file, from 1.
        name: The account's id.
        stored: The password's hash.
        is_suspended: It has no password, or a locked one.
        restriction: Why every login is refused, or None.
    """

    line: int
    name: str
    stored: str = field(repr=False)
    is_suspended: bool = False
    restriction: str | None = None

    def find_problem(self) -> str | None:
        """Return what keeps the account from signing in with its password; None if nothing does."""
        if self.restriction is not None:
            return f"line {self.line}: {self.restriction}: every login of the account is refused."
        try:
            if not self.is_suspended:
                parse_hash(self.stored)
        except ConfigurationError as error:
            return f"line {self.line}: {error}"
        return None


def _fold(login: str) -> str:
    """Fold as Dovecot's `%L` does: ASCII only, or two people could become one."""
    return login.translate(_ASCII_LOWER)


class _PasswordFile(PasswordSource):
    """Accounts and their hashes in a file. The account's id is its name in the file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._entries: Mapping[str, _Entry] = {}
        self._read()

    async def resolve_account(self, login: str) -> str | None:
        """Return the account's id; None if the file does not have it, or it may not sign in.

        Raises:
            OSError: The file cannot be read.
            ConfigurationError: Two entries have the same name.
        """
        found = self._find(login)
        return None if found is None else found.name

    def check_password(self, login: str, password: str) -> str | None:
        """Return the account's id if the password is its own.

        Raises:
            OSError: The file cannot be read.
            ConfigurationError: The hash cannot be verified, or two entries have the same name.
        """
        found = self._find(login)
        return found.name if found and verify_hash(password, found.stored) else None

    def find_problems(self) -> list[str]:
        """Return a line for each account that is restricted or whose hash cannot be verified."""
        found = [entry.find_problem() for entry in self._read().values()]
        return [f"{self._path} {problem}" for problem in found if problem is not None]

    def _find(self, login: str) -> _Entry | None:
        entry = self._read().get(_fold(login))
        if entry is None or entry.is_suspended:
            return None
        if entry.restriction is not None:
            where = {"file": str(self._path), "line": entry.line}
            journal.say("account_restricted", logging.WARNING, **where, reason=entry.restriction)
            return None
        return entry

    def _read(self) -> Mapping[str, _Entry]:
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            if seen != self._seen:
                self._entries, self._seen = self._parse(self._path.read_bytes()), seen
            return self._entries

    def _parse(self, content: bytes) -> Mapping[str, _Entry]:
        # SECURITY: lines end at \n alone. The owner of an account writes some fields; other ends of
        # lines in them, which Dovecot and Apache take for text, would begin an account of the owner's.
        lines = content.decode(errors="surrogateescape").split("\n")
        numbered = enumerate(lines, 1)
        return _by_login([self._parse_line(number, line) for number, line in numbered])

    @staticmethod
    @abstractmethod
    def _parse_line(number: int, line: str) -> _Entry | None:
        """Return the entry of a line, None if there is none."""


class PasswdFile(_PasswordFile):
    """A file as Dovecot's passwd-file driver reads it: `login:{SCHEME}hash:…`, a line each.

    Who has no hash, or one behind `!` or `*`, is suspended. An extra field of Dovecot that could
    restrict logins (`allow_nets`, `nologin`…), or that is unknown, refuses its account.
    """

    @staticmethod
    def _parse_line(number: int, line: str) -> _Entry | None:
        line = line.removesuffix("\r")
        if not line or line[0] in ":#":
            return None
        name, _, after = line.partition(":")
        stored, *rest = after.split(":")
        return _Entry(
            line=number,
            name=name,
            stored=stored,
            is_suspended=not stored or stored[0] in "!*",
            restriction=_find_restriction(line, rest[5:]),
        )


class Htpasswd(_PasswordFile):
    """A file of Apache's `htpasswd`: `login:hash`, a line each. Bare clear text lets nobody in."""

    @staticmethod
    def _parse_line(number: int, line: str) -> _Entry | None:
        name, _, rest = line.strip(" \t\r").partition(":")
        if not name or name[0] == "#":
            return None
        stored = rest.partition(":")[0]
        return _Entry(line=number, name=name, stored=stored, is_suspended=not stored)


def _find_restriction(line: str, last: Sequence[str]) -> str | None:
    """Return why Dovecot might refuse an account; `last` is what follows its shell."""
    if "\0" in line:  # where Dovecot's line ends
        return "a NUL character"
    if (
        not last or not last[0]
    ):  # an empty one is the old format, which ends in the place of the mail
        return None
    names = [one.partition("=")[0] for one in ":".join(last).split(" ") if one]
    found = next((name for name in names if not _is_harmless(name)), None)
    if found is None:
        return None
    return f"the field {found}" if found in _NAMED_FIELDS else "an unknown extra field"


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_FIELDS or name.startswith(_HARMLESS_PREFIXES)


def _by_login(entries: Sequence[_Entry | None]) -> Mapping[str, _Entry]:
    found: dict[str, _Entry] = {}
    for entry in entries:
        if entry is None:
            continue
        first = found.setdefault(_fold(entry.name), entry)
        if first is not entry:
            # SECURITY: Dovecot takes the first, which may be the suspended one.
            lines = f"Lines {first.line} and {entry.line}"
            raise ConfigurationError(f"{lines} of the password file have the same name.")
    return found


class SQLQuery(PasswordSource):
    """A query of the platform's own database, run by SQLAlchemy (2.0 or later).

    Args:
        engine: Connections; its pool should hold `Platform.threads` of them twice.
        query: Has `:login` and gives at most one row of two columns: the account's id, as text or a
            whole number, and the password's hash, as text or NULL, which no password fits. It leaves
            suspended accounts out, and decides about upper and lower case. The id is a column:
            `:login` itself would be another account for each way of typing it.

    Raises:
        ConfigurationError: The query does not have `:login` as its one parameter.
    """

    def __init__(self, engine: Engine, query: str) -> None:
        from sqlalchemy import text

        self._engine = engine
        self._query = text(query)
        if set(self._query.compile().params) != {"login"}:
            raise ConfigurationError("The query must have the parameter :login and no other.")

    def resolve_account(self, login: str) -> str | None:
        """Return the account's id, None if the query gives no row. Raises what SQLAlchemy raises.

        Raises:
            ConfigurationError: More than one row, or an id that is neither text nor a whole number.
        """
        found = self._find(login)
        return None if found is None else _read_id(found[0])

    def check_password(self, login: str, password: str) -> str | None:
        """Return the account's id if the password is its own. Raises what SQLAlchemy raises.

        Raises:
            ConfigurationError: As `resolve_account`, or a hash that is no text or cannot be verified.
        """
        found = self._find(login)
        if found is None:
            return None
        account_id, stored = _read_id(found[0]), _read_hash(found[1])
        return account_id if stored is not None and verify_hash(password, stored) else None

    def find_problems(self) -> list[str]:
        """Run the query for a login that nobody has. Raises what SQLAlchemy raises.

        Raises:
            ConfigurationError: The database refuses the query; it has other than two columns, a type
                that is no id or no hash (as far as the driver tells), or a row for every login.
        """
        from sqlalchemy.exc import ProgrammingError

        nobody = {"login": f"mfakit-check-{secrets.token_hex(16)}"}
        try:
            with self._engine.connect() as connection:
                result = connection.execute(self._query, nobody)
                _check_columns(self._engine.driver, result.cursor and result.cursor.description)
                row = result.fetchone()
        except ProgrammingError as error:
            raise ConfigurationError("The database refuses the query of SQLQuery.") from error
        if row is not None:
            raise ConfigurationError("The query gives an account for a login that nobody has.")
        return []

    def _find(self, login: str) -> Sequence[object] | None:
        with self._engine.connect() as connection:
            rows = connection.execute(self._query, {"login": login}).fetchmany(2)
        if len(rows) > 1:
            raise ConfigurationError("The query gives more than one account for a login.")
        if rows and len(rows[0]) != 2:
            raise ConfigurationError("The query must give two columns: account id, password hash.")
        return rows[0] if rows else None


def _check_columns(driver: str, columns: Any) -> None:
    if columns is None or len(columns) != 2:
        raise ConfigurationError("The query must give two columns: account id, password hash.")
    if driver != "psycopg":  # the others do not tell text from bytes
        return
    if columns[0][1] in _POSTGRES_TYPES_REFUSED:
        raise _no_id()
    if columns[1][1] == _POSTGRES_BYTEA:
        raise _no_hash()


def _read_id(value: object) -> str:
    # SECURITY: the text of anything else (b'ann', None, 7.0) names an account that has no record, and
    # so no two-step verification. CHAR pads with spaces, to the same effect.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str) and value and value == value.strip():
        return str(value)
    raise _no_id()


def _read_hash(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise _no_hash()


def _no_id() -> ConfigurationError:
    return ConfigurationError(
        "The query's first column, the account's id, must be text without spaces around it or a whole "
        "number. Cast it in the query."
    )


def _no_hash() -> ConfigurationError:
    return ConfigurationError(
        "The query's second column, the password's hash, must be text. Cast it in the query."
    )
