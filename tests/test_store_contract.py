"""Every store that ships keeps the promises of `mfakit.testing.StoreContract`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from mfakit.aio import InThreads
from mfakit.storage import Store
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import AsyncStoreContract, StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self) -> MemoryStore:
        return MemoryStore()


class TestSQLiteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "mfa.db"

    def make_store(self) -> SQLiteStore:
        return SQLiteStore(self.path, synchronous="NORMAL")

    def opener(self, store: Store) -> Callable[[], SQLiteStore]:
        return partial(SQLiteStore, self.path, synchronous="NORMAL")

    @contextmanager
    def caller_transaction(self, store: Store) -> Iterator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as platform:
            platform.execute("BEGIN")
            platform.execute("SELECT count(*) FROM mfakit_account").fetchone()
            yield
            platform.execute("ROLLBACK")


def _in_threads(path: Path) -> InThreads:
    return InThreads(SQLiteStore(path, synchronous="NORMAL"))


class TestSQLiteInThreads(AsyncStoreContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "mfa.db"

    async def make_store(self) -> InThreads:
        return _in_threads(self.path)

    def opener(self, store: object) -> Callable[[], InThreads]:
        return partial(_in_threads, self.path)

    def caller_transaction(self, store: object):
        return TestSQLiteStore.caller_transaction(self, store)
