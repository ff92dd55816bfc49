"""Every store that ships keeps the promises of `mfakit.testing.StoreContract`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self) -> MemoryStore:
        return MemoryStore()


class TestSQLiteStore(StoreContract):
    made = 0

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def make_store(self) -> SQLiteStore:
        self.made += 1
        return SQLiteStore(self.directory / f"{self.made}.db", synchronous="NORMAL")
