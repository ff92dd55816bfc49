"""How tests open the stores on PostgreSQL: each on a new table of this process's server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy_stores import new_table

from mfakit.storage.postgres import AsyncPostgresStore, PostgresStore
from servers import postgres

WAIT_SECONDS = 10.0
POOL: dict[str, Any] = {
    "min_size": 1,
    "max_size": 10,
    "timeout": WAIT_SECONDS,
    "reconnect_timeout": WAIT_SECONDS,
}


@frozen
class Database:
    """One database, and at which isolation level its transactions run."""

    name: str
    level: str = "read committed"

    @property
    def conninfo(self) -> str:
        level = self.level.lower().replace(" ", "\\\\ ")
        dsn = postgres.running().dsn(self.name)
        return f"{dsn} options='-c default_transaction_isolation={level}'"

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Connect as a platform does."""
        return psycopg.connect(self.conninfo, **options)

    def execute(self, statement: str) -> list[Any]:
        """Run a statement of the platform's, in a transaction of its own."""
        with self.connect() as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def cut_connections(self) -> None:
        postgres.running().cut_connections(self.name)

    def new_store(self, **options: Any) -> PostgresStore:
        """Open a store on a new table, which is empty."""
        store = self.opener(new_table(), **options)()
        store.create_table()
        return store

    async def new_async_store(self, **options: Any) -> AsyncPostgresStore:
        store = self.async_opener(new_table(), **options)()
        await store.create_table()
        return store

    def opener(self, table: str, **options: Any) -> Callable[[], PostgresStore]:
        """What opens the store in another process too."""
        options = {"wait_seconds": WAIT_SECONDS} | options
        return partial(PostgresStore, self.conninfo, table=table, **options)

    def async_opener(self, table: str, **options: Any) -> Callable[[], AsyncPostgresStore]:
        options = {"wait_seconds": WAIT_SECONDS} | options
        return partial(AsyncPostgresStore, self.conninfo, table=table, **options)

    def pool(self, **options: Any) -> ConnectionPool[Any]:
        """A platform's pool, with the transactions that psycopg begins by itself."""
        return ConnectionPool(self.conninfo, open=True, **POOL | options)

    async def async_pool(self, **options: Any) -> AsyncConnectionPool[Any]:
        pool = AsyncConnectionPool(self.conninfo, open=False, **POOL | options)
        await pool.open()
        return pool


@cache
def on_postgres(level: str = "read committed") -> Database:
    return Database(postgres.running().new_database(), level)


def table_of(store: PostgresStore | AsyncPostgresStore) -> str:
    return store._table.strip('"')


@contextmanager
def postgres_store(directory: Path) -> Iterator[Callable[[], PostgresStore]]:
    """Give a picklable opener of a new table, for tests that run on every store."""
    with on_postgres().new_store() as store:
        yield on_postgres().opener(table_of(store))
