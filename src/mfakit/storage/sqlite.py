"""A store in one SQLite file: safe across threads and processes, durable before it answers.

Each method is one statement in autocommit, so it begins as a write and holds the lock only while
it runs. WAL, `synchronous=FULL`; NORMAL is faster and may lose the last commits at a power cut
(never at a crash of the process). The file must be on a local disk: no WAL over a network.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from msgspec import MsgspecError, json

from mfakit.errors import InvalidInputError, StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Page, StoredRecord, Summary

__all__ = ["SQLiteStore"]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS mfakit_schema (version INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS mfakit_account (
    account_id TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    document BLOB NOT NULL,
    summary TEXT NOT NULL
) STRICT;
"""
_COLUMNS = "account_id, revision, document, summary"
_LOAD = f"SELECT {_COLUMNS} FROM mfakit_account WHERE account_id = ?"
_CREATE = f"INSERT INTO mfakit_account ({_COLUMNS}) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_REPLACE = (
    "UPDATE mfakit_account SET revision = ?, document = ?, summary = ?"
    " WHERE account_id = ? AND revision = ?"
)
_DELETE = "DELETE FROM mfakit_account WHERE account_id = ? AND revision = ?"
_SCAN = (
    f"SELECT {_COLUMNS} FROM mfakit_account WHERE account_id >= ? AND account_id > ?"
    " ORDER BY account_id LIMIT ?"
)

_encode_summary = json.Encoder().encode
_decode_summary = json.Decoder(Summary).decode


class SQLiteStore:
    """Keep rows in a SQLite file; the table is made on first use.

    Args:
        path: The file. Its directory must exist, on a local disk.
        synchronous: "FULL" survives a power cut; "NORMAL" may lose the last commits at one.
        busy_seconds: How long a write waits for another process's before it is unavailable.

    Raises:
        StoreConfigurationError: A path that cannot be shared, or a table of a newer version.
        StoreUnavailableError: The file cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        busy_seconds: float = 10.0,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise StoreConfigurationError('synchronous must be "FULL" or "NORMAL".')
        self._path = os.fspath(path)
        if self._path in ("", ":memory:") or self._path.startswith("file:"):
            raise StoreConfigurationError(
                "SQLiteStore needs a file that connections share. In memory, use MemoryStore."
            )
        self._path = str(Path(self._path).absolute())
        self._synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._begin_in_this_process()
        self._prepare()

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        rows, _ = self._execute(_LOAD, (account_id,))
        return _stored(rows[0]) if rows else None

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        summary = _encode_summary(new.summary).decode()
        return self._write(_CREATE, (new.account_id, new.revision, new.document, summary))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        summary = _encode_summary(new.summary).decode()
        return self._write(
            _REPLACE, (new.revision, new.document, summary, new.account_id, expected)
        )

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return self._write(_DELETE, (account_id, expected))

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        rows, _ = self._execute(_SCAN, (prefix, cursor or "", limit + 1))
        found = [_stored(row) for row in rows if row[0].startswith(prefix)]
        page = tuple(found[:limit])
        return Page(page, page[-1].account_id if len(found) > limit else None)

    def close(self) -> None:
        """Close the idle connections; the store may be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def _begin_in_this_process(self) -> None:
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._turn = Lock()

    def _write(self, statement: str, values: tuple[Any, ...]) -> bool:
        """Write when no other thread does: SQLite's own waiters sleep for milliseconds and retry."""
        self._notice_fork()
        turn = self._turn
        if not turn.acquire(timeout=self._busy_seconds):
            raise StoreUnavailableError
        try:
            return self._execute(statement, values)[1] == 1
        finally:
            turn.release()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        """Run one statement on a connection that nobody else uses; a failed one is dropped."""
        connection = None
        try:
            connection = self._borrow()
            cursor = connection.execute(statement, values)
            rows = cursor.fetchall()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailableError from error
            if isinstance(error, UnicodeEncodeError):
                raise InvalidInputError("account_id") from error
            raise
        self._idle.append(connection)
        return rows, cursor.rowcount

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            # Neither a connection nor a lock that some thread may hold crosses a fork.
            self._begin_in_this_process()

    def _borrow(self) -> sqlite3.Connection:
        self._notice_fork()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=16,
        )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection

    def _prepare(self) -> None:
        try:
            with closing(self._connect()) as connection:
                _make_tables(connection)
        except sqlite3.Error as error:
            raise StoreUnavailableError from error

    def __repr__(self) -> str:
        return f"SQLiteStore({self._path!r})"


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)
    (version,) = connection.execute("SELECT max(version) FROM mfakit_schema").fetchone()
    if version is None:
        connection.execute("INSERT INTO mfakit_schema VALUES (?)", (SCHEMA_VERSION,))
    elif version != SCHEMA_VERSION:
        raise StoreConfigurationError(
            "The SQLite file was made by another version of mfakit. Use that one, or upgrade."
        )
    connection.execute("COMMIT")


def _stored(row: tuple[Any, ...]) -> StoredRecord:
    account_id, revision, document, summary = row
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=_parse(summary)
    )


def _parse(summary: str) -> Summary:
    # The summary is for reports only: a torn one must not keep anybody out.
    try:
        return _decode_summary(summary)
    except MsgspecError:
        return Summary(state="unknown")
