"""Adapters with one mistake each, every one of a kind that is made in practice.

All stand on SQLite and on `SQLiteStore`. Here, not in the test file: spawned processes import it.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mfakit.errors import StoreConfigurationError
from mfakit.storage import StoredRecord
from mfakit.storage.columns import encode_summary
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore

_SAVE = (
    "INSERT INTO mfakit_account (account_id, revision, document, summary) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET revision = excluded.revision, document = excluded.document,"
    " summary = excluded.summary"
)


def wait_until(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for another thread or process, which is surely on its way."""
    give_up_at = time.monotonic() + seconds
    while not holds() and time.monotonic() < give_up_at:
        time.sleep(0.001)


class EditedStore(SQLiteStore):
    """`SQLiteStore` with a word of its SQL changed."""

    edit = ("", "")

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="NORMAL")

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        return super()._execute(statement.replace(*self.edit), values)


class LostUpdateStore(EditedStore):
    """Compares in Python what it read, and then saves without a condition, as an ORM does.

    Args:
        path: The file.
        contended: Part of the ids of rows that several write at once. The first to replace such a row
            has read it and waits until another has written it, so one update is lost whatever the
            machine does. None leaves the loss to luck.
    """

    def __init__(self, path: Path, contended: str | None = None) -> None:
        super().__init__(path)
        self._beside, self._contended = path, contended

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        if not self._is_at(new.account_id, expected):
            return False
        if self._is_first(new.account_id):
            wait_until(lambda: not self._is_at(new.account_id, expected))
        summary = encode_summary(new.summary).decode()
        return self._write(_SAVE, (new.account_id, new.revision, new.document, summary))

    def delete(self, account_id: str, *, expected: int) -> bool:
        if not self._is_at(account_id, expected):
            return False
        return self._write("DELETE FROM mfakit_account WHERE account_id = ?", (account_id,))

    def _is_at(self, account_id: str, revision: int) -> bool:
        row = self.load(account_id)
        return row is not None and row.revision == revision

    def _is_first(self, account_id: str) -> bool:
        """Say whether no thread of any process has replaced a contended row before."""
        if self._contended is None or self._contended not in account_id:
            return False
        try:
            self._beside.with_name(f"{account_id.encode().hex()}.met").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def lost_update_store_of_a_storm(path: Path) -> LostUpdateStore:
    """Open it, contended in the processes of a storm only: alone, its parent enrols the accounts."""
    return LostUpdateStore(path, "raced-" if multiprocessing.parent_process() else None)


class NewerRevisionStore(EditedStore):
    """Takes a row that is newer than expected for one that is expected."""

    edit = ("AND revision = ?", "AND revision >= ?")


class OverwritingStore(EditedStore):
    """Creates by upsert."""

    edit = (
        "ON CONFLICT DO NOTHING",
        "ON CONFLICT DO UPDATE SET revision = excluded.revision, document = excluded.document",
    )


class CollatingStore(EditedStore):
    """Stands on a table whose ids have another collation than BINARY."""

    collation = "BINARY"

    def __init__(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS mfakit_account ("
                f"account_id TEXT NOT NULL PRIMARY KEY COLLATE {self.collation},"
                " revision INTEGER NOT NULL, document BLOB NOT NULL, summary TEXT NOT NULL)"
            )
        super().__init__(path)


class CaseFoldingStore(CollatingStore):
    collation = "NOCASE"


class TrailingSpaceStore(CollatingStore):
    collation = "RTRIM"


class WriteBehindStore(MemoryStore):
    """Answers at once and writes to the file later: when it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = EditedStore(path)
        page = self._file.scan(cursor=None, limit=1_000_000)
        self._rows = {row.account_id: row for row in page.records}

    def close(self) -> None:
        with self._lock:
            for row in self._file.scan(cursor=None, limit=1_000_000).records:
                self._file.delete(row.account_id, expected=row.revision)
            for row in self._rows.values():
                self._file.create(row)
            self._file.close()


class JoiningStore(EditedStore):
    """Writes through the platform's own connection, and so inside its transactions."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.platform = self._connect()
        self._lock = threading.Lock()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        with self._lock:
            cursor = self.platform.execute(statement, values)
            return cursor.fetchall(), cursor.rowcount

    @contextmanager
    def platform_transaction(self) -> Iterator[None]:
        self.platform.execute("BEGIN")
        yield
        self.platform.execute("ROLLBACK")


class SnapshotStore(JoiningStore):
    """Writes on a connection of its own, but reads through the platform's."""

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        if statement.startswith("SELECT"):
            return super()._execute(statement, values)
        return EditedStore._execute(self, statement, values)


class RefusingStore(JoiningStore):
    """Not broken: knows that it is inside the platform's transaction, and says so."""

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        if self.platform.in_transaction:
            raise StoreConfigurationError("Inside a transaction that could be rolled back.")
        return super()._execute(statement, values)
