"""Adapters with one mistake each, every one of a kind that is made in practice.

All stand on SQLite and on `SQLiteStore`. Here, not in the test file: spawned processes import it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mfakit.errors import StoreConfigurationError
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore


class EditedStore(SQLiteStore):
    """`SQLiteStore` with a word of its SQL changed."""

    edit = ("", "")

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="NORMAL")

    def _execute(self, statement: str, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        return super()._execute(statement.replace(*self.edit), values)


class LostUpdateStore(EditedStore):
    """Compares in Python what it read, and then writes without a condition."""

    edit = (" AND revision = ?", "")

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        row = self.load(new.account_id)
        if row is None or row.revision != expected:
            return False
        return super().replace(new, expected=expected)

    def delete(self, account_id: str, *, expected: int) -> bool:
        row = self.load(account_id)
        if row is None or row.revision != expected:
            return False
        return super().delete(account_id, expected=expected)

    def _write(self, statement: str, values: tuple[Any, ...]) -> bool:
        is_conditional = "revision = ?" in statement and "WHERE" in statement
        return super()._write(statement, values[:-1] if is_conditional else values)


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
    """Answers at once and writes to the file later: every hundred writes, and when it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = EditedStore(path)
        self._since = 0
        page = self._file.scan(cursor=None, limit=1_000_000)
        self._rows = {row.account_id: row for row in page.records}

    def create(self, new: StoredRecord) -> bool:
        return self._noted(super().create(new))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return self._noted(super().replace(new, expected=expected))

    def delete(self, account_id: str, *, expected: int) -> bool:
        return self._noted(super().delete(account_id, expected=expected))

    def _noted(self, won: bool) -> bool:
        self._since += won
        if self._since > 100:
            self.close()
        return won

    def close(self) -> None:
        with self._lock:
            self._since = 0
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
