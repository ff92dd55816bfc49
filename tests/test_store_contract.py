"""Every store that ships keeps the promises of `mfakit.testing.StoreContract`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

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


class ThreadedStore:
    """SQLite behind an event loop by threads, as an adapter for an engine without one would be."""

    def __init__(self, path: Path) -> None:
        self._store = SQLiteStore(path, synchronous="NORMAL")

    async def load(self, account_id):
        return await asyncio.to_thread(self._store.load, account_id)

    async def create(self, new):
        return await asyncio.to_thread(self._store.create, new)

    async def replace(self, new, *, expected):
        return await asyncio.to_thread(self._store.replace, new, expected=expected)

    async def delete(self, account_id, *, expected):
        return await asyncio.to_thread(self._store.delete, account_id, expected=expected)

    async def scan(self, *, cursor, limit, prefix=""):
        return await asyncio.to_thread(self._store.scan, cursor=cursor, limit=limit, prefix=prefix)

    async def close(self):
        self._store.close()


class TestThreadedStore(AsyncStoreContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "mfa.db"

    async def make_store(self) -> ThreadedStore:
        return ThreadedStore(self.path)

    def opener(self, store: object) -> Callable[[], ThreadedStore]:
        return partial(ThreadedStore, self.path)

    def caller_transaction(self, store: object):
        return TestSQLiteStore.caller_transaction(self, store)
