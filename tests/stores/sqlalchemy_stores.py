"""Databases that the tests of the SQLAlchemy stores run on, and how to open a store on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from attrs import field, frozen
from sqlalchemy import Engine, MetaData, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mfakit.storage.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, account_table
from servers import mariadb, postgres

ISOLATION_LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
_numbers = count(1)


class OpenStore(SQLAlchemyStore):
    """A store with an engine of its own, which ends with it."""

    def __init__(self, engine: Engine, table: str) -> None:
        super().__init__(engine, account_table(MetaData(), table))
        self.engine = engine
        self.table_name = table

    def close(self) -> None:
        self.engine.dispose()


class OpenAsyncStore(AsyncSQLAlchemyStore):
    """The same for an event loop."""

    def __init__(self, engine: AsyncEngine, table: str) -> None:
        super().__init__(engine, account_table(MetaData(), table))
        self.engine = engine
        self.table_name = table

    async def aclose(self) -> None:
        await self.engine.dispose()


@frozen
class Database:
    """One database: where it is, what its engines are made with, and who cuts its connections."""

    url: str
    async_url: str
    cut_connections: Callable[[], object] = field(default=lambda: None)
    options: dict[str, Any] = field(factory=dict)

    @property
    def dialect(self) -> str:
        return make_url(self.url).get_backend_name()

    def engine(self, **options: Any) -> Engine:
        return make_engine(self.url, self.options | options)

    def execute(self, statement: str) -> None:
        """Run a statement of the platform's, in a transaction of its own."""
        engine = self.engine()
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def new_store(self, **options: Any) -> OpenStore:
        """Open a store on a new table, which is empty."""
        store = self.opener(new_table(), **options)()
        store.create_table()
        return store

    async def new_async_store(self, **options: Any) -> OpenAsyncStore:
        store = self.async_opener(new_table(), **options)()
        await store.create_table()
        return store

    def opener(self, table: str, **options: Any) -> Callable[[], OpenStore]:
        """What opens the store in another process too."""
        return partial(open_store, self.url, table, self.options | options)

    def async_opener(self, table: str, **options: Any) -> Callable[[], OpenAsyncStore]:
        return partial(open_async_store, self.async_url, table, self.options | options)


def new_table() -> str:
    return f"account_{os.getpid()}_{next(_numbers)}"


def open_store(url: str, table: str, options: dict[str, Any]) -> OpenStore:
    return OpenStore(make_engine(url, options), table)


def open_async_store(url: str, table: str, options: dict[str, Any]) -> OpenAsyncStore:
    engine = create_async_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    return OpenAsyncStore(engine, table)


def make_engine(url: str, options: dict[str, Any]) -> Engine:
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """As the documentation asks for it; durable at a crash of a process, which is all tests do."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def on_sqlite(directory: Path) -> Database:
    """A new file."""
    path = directory / f"{next(_numbers)}.db"
    options = {"connect_args": {"timeout": 20.0}}
    return Database(f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}", options=options)


@cache
def on_postgres() -> Database:
    """A database of this process's PostgreSQL."""
    server = postgres.running()
    name = server.new_database()
    return Database(
        server.url(name, "postgresql+psycopg"),
        server.url(name, "postgresql+psycopg"),
        partial(server.cut_connections, name),
    )


@cache
def on_mariadb() -> Database:
    """A database of this process's MariaDB."""
    server = mariadb.running()
    name = server.new_database()
    return Database(
        server.url(name, "mariadb+pymysql"),
        server.url(name, "mariadb+asyncmy"),
        partial(server.cut_connections, name),
    )


def at_level(level: str, database: Database) -> dict[str, Any]:
    """Options of an engine whose transactions, and whose sessions, have an isolation level.

    AUTOCOMMIT is as the documentation recommends an engine of the store's own.
    """
    if level == "AUTOCOMMIT":
        return {"isolation_level": level, "skip_autocommit_rollback": True}
    value = level.lower().replace(" ", "\\ ")
    session = {
        "postgresql": {"options": f"-c default_transaction_isolation={value}"},
        "mariadb": {"init_command": f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"},
    }
    return {"isolation_level": level, "connect_args": session[database.dialect]}


# ------------------------------------------------------------- for tests that run on every store


@contextmanager
def _opener_on(database: Database) -> Iterator[Callable[[], OpenStore]]:
    table = new_table()
    opener = database.opener(table)
    store = opener()
    store.create_table()
    store.close()
    yield opener


def sqlalchemy_sqlite(directory: Path) -> AbstractContextManager[Callable[[], OpenStore]]:
    """Give a picklable opener of a new table in a new file."""
    return _opener_on(on_sqlite(directory))


def sqlalchemy_postgres(directory: Path) -> AbstractContextManager[Callable[[], OpenStore]]:
    """Give a picklable opener of a new table on this process's PostgreSQL."""
    return _opener_on(on_postgres())


def sqlalchemy_mariadb(directory: Path) -> AbstractContextManager[Callable[[], OpenStore]]:
    """Give a picklable opener of a new table on this process's MariaDB."""
    return _opener_on(on_mariadb())
