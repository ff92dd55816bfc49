"""The contract of a store, kept by the stores on PostgreSQL, at every isolation level."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from postgres_stores import Database, on_postgres, table_of
from sqlalchemy_stores import new_table

from mfakit.storage.postgres import AsyncPostgresStore, PostgresStore
from mfakit.testing import AsyncStoreContract, StoreContract

pytestmark = pytest.mark.server


class OnPostgres:
    """Where a contract runs."""

    SECONDS = 0.7  # each commit waits for a disk that others use too
    level = "read committed"

    @property
    def database(self) -> Database:
        database = on_postgres(self.level)
        database.execute("CREATE TABLE IF NOT EXISTS platform (number INT)")
        return database

    def cut_connections(self, store: Any) -> None:
        self.database.cut_connections()


class TestPostgres(OnPostgres, StoreContract):
    def make_store(self) -> PostgresStore:
        return self.database.new_store()

    def opener(self, store: PostgresStore) -> Callable[[], PostgresStore]:
        return self.database.opener(table_of(store))

    @contextmanager
    def caller_transaction(self, store: PostgresStore) -> Iterator[None]:
        with self.database.connect() as connection:
            connection.execute("INSERT INTO platform VALUES (1)")
            yield
            connection.rollback()


class TestPostgresAsync(OnPostgres, AsyncStoreContract):
    async def make_store(self) -> AsyncPostgresStore:
        return await self.database.new_async_store()

    def opener(self, store: AsyncPostgresStore) -> Callable[[], AsyncPostgresStore]:
        return self.database.async_opener(table_of(store))

    @asynccontextmanager
    async def caller_transaction(self, store: AsyncPostgresStore) -> AsyncIterator[None]:
        connection = await psycopg.AsyncConnection.connect(self.database.conninfo)
        async with connection:
            await connection.execute("INSERT INTO platform VALUES (1)")
            yield
            await connection.rollback()


# -------------------------------------------------------------------------- on the platform's pool


class PlatformStore(PostgresStore):
    """A store on a platform's pool, which ends with it here."""

    def close(self) -> None:
        assert self._given is not None
        self._given.close()


class AsyncPlatformStore(AsyncPostgresStore):
    async def aclose(self) -> None:
        assert self._given is not None
        await self._given.close()


class TestPlatformsPool(OnPostgres, StoreContract):
    def make_store(self) -> PostgresStore:
        store = PlatformStore(self.database.pool(), table=new_table())
        store.create_table()
        return store

    @contextmanager
    def caller_transaction(self, store: PostgresStore) -> Iterator[None]:
        assert store._given is not None
        with store._given.connection() as connection:
            connection.execute("INSERT INTO platform VALUES (1)")
            yield
            connection.rollback()


class TestPlatformsPoolAsync(OnPostgres, AsyncStoreContract):
    async def make_store(self) -> AsyncPostgresStore:
        store = AsyncPlatformStore(await self.database.async_pool(), table=new_table())
        await store.create_table()
        return store

    @asynccontextmanager
    async def caller_transaction(self, store: AsyncPostgresStore) -> AsyncIterator[None]:
        assert store._given is not None
        async with store._given.connection() as connection:
            await connection.execute("INSERT INTO platform VALUES (1)")
            yield
            await connection.rollback()


# ------------------------------------------------------------------------------- isolation levels

AT_EVERY_LEVEL = (
    "test_one_creator_wins",
    "test_one_replacer_wins",
    "test_one_deleter_wins",
    "test_load_shows_every_answered_write",
    "test_load_is_not_of_the_callers_snapshot",
    "test_scan_beside_writers",
)


@pytest.mark.parametrize("promise", AT_EVERY_LEVEL)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
@pytest.mark.parametrize("kind", [TestPostgres, TestPostgresAsync, TestPlatformsPool])
def test_promises_hold_at_every_isolation_level(
    kind: type[TestPostgres | TestPostgresAsync | TestPlatformsPool], level: str, promise: str
) -> None:
    contract = kind()
    contract.level, contract.SECONDS = level, 0.3
    getattr(contract, promise)()
