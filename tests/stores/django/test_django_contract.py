"""The Django stores keep the contract on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import django_project
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mfakit.storage.django import AsyncDjangoStore, DjangoStore
from mfakit.testing import AsyncStoreContract, StoreContract


class Ends(threading.local):
    """Closes a thread's connections when the thread ends: here no request ends before it."""

    def __init__(self) -> None:
        self.connections: set[BaseDatabaseWrapper] = set()
        self.end = _End(self.connections)


class _End:
    def __init__(self, connections: set[BaseDatabaseWrapper]) -> None:
        self.connections = connections

    def __del__(self) -> None:
        for connection in self.connections:
            connection.inc_thread_sharing()
            connection.close()


ENDS = Ends()


class ClosingStore(DjangoStore):
    """A `DjangoStore` for threads that come and go."""

    @contextmanager
    def _alone(self) -> Iterator[BaseDatabaseWrapper]:
        ENDS.connections.add(self._connection())
        with super()._alone() as connection:
            yield connection


class Contract(StoreContract):
    alias: str
    SECONDS = 2.0  # a thread or process of Django takes its time to connect

    def make_store(self) -> DjangoStore:
        return ClosingStore(self.alias)

    def opener(self, store: Any) -> Callable[[], DjangoStore]:
        settings = connections.settings[self.alias]
        return partial(django_project.open_store, self.alias, settings)

    @contextmanager
    def caller_transaction(self, store: Any) -> Iterator[None]:
        with transaction.atomic(using=self.alias):
            yield
            transaction.set_rollback(True, using=self.alias)


class AsyncContract(AsyncStoreContract):
    alias: str
    SECONDS = 2.0
    options: Mapping[str, Any] = MappingProxyType({})

    async def make_store(self) -> AsyncDjangoStore:
        await sync_to_async(lambda: connections[self.alias].close())()
        return AsyncDjangoStore(self.alias, **self.options)

    @asynccontextmanager
    async def caller_transaction(self, store: Any) -> AsyncIterator[None]:
        await sync_to_async(self._begin)()
        try:
            yield
        finally:
            await sync_to_async(self._roll_back)()

    def _begin(self) -> None:
        self.block = transaction.atomic(using=self.alias)
        self.block.__enter__()

    def _roll_back(self) -> None:
        transaction.set_rollback(True, using=self.alias)
        self.block.__exit__(None, None, None)
        connections[self.alias].close()


class TestSQLite(Contract):
    alias = "default"


class TestSQLiteAsync(AsyncContract):
    alias = "default"
    KILLS = 2

    def opener(self, store: Any) -> Callable[[], AsyncDjangoStore]:
        settings = connections.settings[self.alias]
        return partial(django_project.open_async_store, self.alias, settings)


class TestSQLiteAsyncThreads(AsyncContract):
    """Its own threads write independently of the caller; SQLite would make them wait for him."""

    alias = "default"
    options = MappingProxyType({"threads": 4})
    caller_transaction = AsyncStoreContract.caller_transaction  # type: ignore[assignment]


def test_a_store_with_threads_of_its_own_may_be_closed_twice() -> None:
    store = AsyncDjangoStore("default", threads=2)
    store.close()
    store.close()


@pytest.mark.server
class TestPostgreSQL(Contract):
    alias = "postgres"

    @pytest.fixture(autouse=True)
    def _server(self, postgres: Any) -> None:
        self.cut_connections = lambda _: _cut(postgres, "postgres")  # type: ignore[method-assign]


@pytest.mark.server
class TestPostgreSQLSerializable(Contract):
    """Where the platform has its connections at another level than Django's default."""

    alias = "serializable"
    opener = StoreContract.opener  # type: ignore[assignment]

    @pytest.fixture(autouse=True)
    def _server(self, postgres: Any) -> None:
        from psycopg import IsolationLevel

        options = {"isolation_level": IsolationLevel.SERIALIZABLE}
        database = {**connections.settings["postgres"], "OPTIONS": options}
        if self.alias not in connections.settings:
            django_project.add_database(self.alias, database)


@pytest.mark.server
class TestPostgreSQLAsync(AsyncContract):
    alias = "postgres"

    @pytest.fixture(autouse=True)
    def _server(self, postgres: Any) -> None:
        self.cut_connections = lambda _: _cut(postgres, "postgres")  # type: ignore[method-assign]


@pytest.mark.server
class TestPostgreSQLAsyncThreads(TestPostgreSQLAsync):
    """As a service has it that is no site: threads and connections that stay."""

    alias = "kept"
    options = MappingProxyType({"threads": 4})

    @pytest.fixture(autouse=True)
    def _kept(self, postgres: Any) -> None:
        kept = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        if self.alias not in connections.settings:
            django_project.add_database(self.alias, {**connections.settings["postgres"], **kept})


@pytest.mark.server
class TestMariaDB(Contract):
    alias = "mariadb"
    CUTS = 6  # a cut is a connection for each session to kill
    KILLS = 2

    @pytest.fixture(autouse=True)
    def _server(self, mariadb: Any) -> None:
        self.cut_connections = lambda _: _cut(mariadb, "mariadb")  # type: ignore[method-assign]


def _cut(server: Any, alias: str) -> None:
    server.cut_connections(connections.settings[alias]["NAME"])
