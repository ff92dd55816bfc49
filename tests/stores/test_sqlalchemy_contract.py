"""The contract of a store, kept by the SQLAlchemy stores on every database, at every level."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy_stores import (
    ISOLATION_LEVELS,
    Database,
    OpenAsyncStore,
    OpenStore,
    at_level,
    on_mariadb,
    on_postgres,
    on_sqlite,
)

from mfakit.testing import AsyncStoreContract, StoreContract

# What the platform does in a transaction of its own; a write in SQLite would lock everybody out.
READ = text("SELECT 1")
WRITE = text("INSERT INTO platform VALUES (1)")


class OnDatabase:
    """Where a contract runs; `options` are those of the engine."""

    database: Database
    options: dict[str, Any]
    make_database: Callable[[Path], Database]

    @pytest.fixture(autouse=True)
    def _a_database(self, tmp_path: Path) -> None:
        self.open(tmp_path)

    def open(self, directory: Path) -> None:
        self.database = self.make_database(directory)
        self.options = {}
        self.database.execute("CREATE TABLE IF NOT EXISTS platform (number INT)")

    @property
    def work(self) -> Any:
        return READ if self.database.dialect == "sqlite" else WRITE

    def cut_connections(self, store: Any) -> object:
        return self.database.cut_connections()


class Contract(OnDatabase, StoreContract):
    def make_store(self) -> OpenStore:
        return self.database.new_store(**self.options)

    def opener(self, store: OpenStore) -> Callable[[], OpenStore]:
        return self.database.opener(store.table_name, **self.options)

    @contextmanager
    def caller_transaction(self, store: OpenStore) -> Iterator[None]:
        with store.engine.connect() as connection:
            connection.execute(self.work)
            yield
            connection.rollback()


class AsyncContract(OnDatabase, AsyncStoreContract):
    async def make_store(self) -> OpenAsyncStore:
        return await self.database.new_async_store(**self.options)

    def opener(self, store: OpenAsyncStore) -> Callable[[], OpenAsyncStore]:
        return self.database.async_opener(store.table_name, **self.options)

    @asynccontextmanager
    async def caller_transaction(self, store: OpenAsyncStore) -> AsyncIterator[None]:
        async with store.engine.connect() as connection:
            await connection.execute(self.work)
            yield
            await connection.rollback()


class OnServer(OnDatabase):
    SECONDS = 1.5  # each commit waits for a disk that others use too


class OnPostgres(OnServer):
    @staticmethod
    def make_database(directory: Path) -> Database:
        return on_postgres()


class OnMariaDB(OnServer):
    @staticmethod
    def make_database(directory: Path) -> Database:
        return on_mariadb()


class OnSQLite(OnDatabase):
    cut_connections = StoreContract.cut_connections  # there is no connection to cut

    @staticmethod
    def make_database(directory: Path) -> Database:
        return on_sqlite(directory)


class TestSQLite(OnSQLite, Contract):
    pass


class TestSQLiteAsync(OnSQLite, AsyncContract):
    pass


@pytest.mark.server
class TestPostgres(OnPostgres, Contract):
    pass


@pytest.mark.server
class TestPostgresAsync(OnPostgres, AsyncContract):
    pass


@pytest.mark.server
class TestMariaDB(OnMariaDB, Contract):
    pass


@pytest.mark.server
class TestMariaDBAsync(OnMariaDB, AsyncContract):
    pass


# ------------------------------------------------------------------------------- isolation levels

AT_EVERY_LEVEL = (
    "test_one_creator_wins",
    "test_one_replacer_wins",
    "test_one_deleter_wins",
    "test_counter_counts_exactly",
    "test_load_shows_every_answered_write",
    "test_caller_rollback_loses_nothing",
    "test_load_is_not_of_the_callers_snapshot",
    "test_scan_beside_writers",
)


@pytest.mark.server
@pytest.mark.parametrize("promise", AT_EVERY_LEVEL)
@pytest.mark.parametrize("level", [*ISOLATION_LEVELS, "AUTOCOMMIT"])
@pytest.mark.parametrize("kind", [TestPostgres, TestPostgresAsync, TestMariaDB, TestMariaDBAsync])
def test_promises_hold_at_every_isolation_level(
    kind: type[Contract | AsyncContract], level: str, promise: str, tmp_path: Path
) -> None:
    contract = kind()
    contract.open(tmp_path)
    contract.options = at_level(level, contract.database)
    getattr(contract, promise)()
