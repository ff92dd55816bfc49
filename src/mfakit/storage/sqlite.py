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
from threading import Condition, Lock
from typing import Any, Literal

from mfakit.errors import InvalidInputError, StoreConfigurationError, StoreUnavailableError
from mfakit.forks import Forkable, watch_forks
from mfakit.storage import Page, StoredRecord
from mfakit.storage.columns import encode_summary, page_of, stored_row

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

_UNSAFE = "The process was forked while a statement of its parent did not end. Start it again."


class SQLiteStore(Forkable):
    """Keep rows in a SQLite file; the table is made on first use.

    It may be made and used before a fork. SQLite's connections must not cross one, not even to be
    closed: a child that has one believes to hold the locks of its parent, and writes into a log
    that others remove. So a fork waits until no statement runs and no connection is open.

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
        self._idle: list[sqlite3.Connection] = []
        self._turn = Condition()
        self._writing = Lock()
        self._running = 0
        self._forking = self._is_unsafe = False
        self._prepare()
        watch_forks(self)

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        rows, _ = self._execute(_LOAD, (account_id,))
        return stored_row(rows[0]) if rows else None

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        summary = encode_summary(new.summary).decode()
        return self._write(_CREATE, (new.account_id, new.revision, new.document, summary))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        summary = encode_summary(new.summary).decode()
        return self._write(
            _REPLACE, (new.revision, new.document, summary, new.account_id, expected)
        )

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return self._write(_DELETE, (account_id, expected))

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        rows, _ = self._execute(_SCAN, (prefix, cursor or "", limit + 1))
        return page_of(rows, limit, prefix)

    def close(self) -> None:
        """Close the idle connections; the store may be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def before_fork(self) -> None:
        """Wait for what runs, let nothing begin, and close what is idle."""
        self._turn.acquire()
        self._forking = True
        self._turn.wait_for(lambda: not self._running, self._busy_seconds)
        self.close()

    def after_fork(self, *, is_child: bool) -> None:
        """Go on; the child opens connections of its own."""
        self._forking = False
        if is_child:
            self._writing = Lock()  # a thread that the child does not have may hold it
        if is_child and self._running:
            self._running, self._is_unsafe = 0, True
        self._turn.notify_all()
        self._turn.release()

    def _write(self, statement: str, values: tuple[Any, ...]) -> bool:
        """Write when no other thread does: SQLite's own waiters sleep for milliseconds and retry."""
        writing = self._writing
        if not writing.acquire(timeout=self._busy_seconds):
            raise StoreUnavailableError
        try:
            return self._execute(statement, values)[1] == 1
        finally:
            writing.release()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        with self._turn:
            if self._forking:
                self._turn.wait_for(lambda: not self._forking)
            # SECURITY: it has a connection of its parent, so what it writes may be lost.
            if self._is_unsafe:
                raise StoreConfigurationError(_UNSAFE)
            self._running += 1
        try:
            return self._run(statement, values)
        finally:
            with self._turn:
                self._running -= 1
                if self._forking:
                    self._turn.notify_all()

    def _run(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
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

    def _borrow(self) -> sqlite3.Connection:
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
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            connection.close()
            raise
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
