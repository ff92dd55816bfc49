"""The stores that tests of the whole library run on, by name.

Each entry is a context manager that takes an empty directory and gives an opener: a callable without
arguments that opens one and the same data, here or (picklable) in another process. A store with a
server of its own starts it there and stops it at exit; where it cannot be had it calls
`pytest.skip` with the command that gets it, or fails when `CI` is set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import postgres_stores
import sqlalchemy_stores
from django.conf import settings
from django.db import connections

from mfakit.storage import Store
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from servers import postgres
from servers.etcd import EtcdCluster
from servers.valkey import ValkeyServer

sys.path.append(str(Path(__file__).parent / "django"))  # where its project is

Opener = Callable[[], Store]


@contextmanager
def memory(directory: Path) -> Iterator[Opener]:
    store = MemoryStore()
    yield lambda: store


@contextmanager
def sqlite(directory: Path) -> Iterator[Opener]:
    yield partial(SQLiteStore, directory / "mfa.db", synchronous="NORMAL")


@contextmanager
def django_postgres(directory: Path) -> Iterator[Opener]:
    import django_project

    server = postgres.running()
    database = django_project.postgresql(server.port, server.new_database())
    alias = f"racing_{server.port}_{database['NAME']}"
    django_project.configure({"default": {}}, django_project.APPS)
    django_project.add_database(alias, database)
    yield partial(django_project.open_store, alias, connections.settings[alias])
    connections[alias].close()


@contextmanager
def valkey(directory: Path) -> Iterator[Opener]:
    from test_valkey import open_store

    server = ValkeyServer()
    try:
        yield partial(open_store, "valkey", server.address, "{racing}:")
    finally:
        server.stop()


@contextmanager
def etcd(directory: Path) -> Iterator[Opener]:
    from test_etcd import open_store

    cluster = EtcdCluster()
    try:
        yield partial(open_store, cluster.endpoints, "racing/")
    finally:
        cluster.stop()


def leave_thread() -> None:
    """Close what a store keeps for each thread: Django keeps its connections so."""
    if settings.configured:
        connections.close_all()


STORES: dict[str, Callable[[Path], AbstractContextManager[Opener]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "postgres": postgres_stores.postgres_store,
    "sqlalchemy-sqlite": sqlalchemy_stores.sqlalchemy_sqlite,
    "sqlalchemy-postgres": sqlalchemy_stores.sqlalchemy_postgres,
    "sqlalchemy-mariadb": sqlalchemy_stores.sqlalchemy_mariadb,
    "django-postgres": django_postgres,
    "valkey": valkey,
    "etcd": etcd,
}
IN_ONE_PROCESS = {"memory"}
