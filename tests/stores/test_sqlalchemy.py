"""What the SQLAlchemy stores refuse, and what they answer when the database fails them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    AsyncAdaptedQueuePool,
    Engine,
    MetaData,
    QueuePool,
    StaticPool,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy_stores import (
    Database,
    OpenStore,
    new_table,
    on_mariadb,
    on_postgres,
    on_sqlite,
    open_store,
)

from mfakit.core.record import decode_record
from mfakit.errors import (
    InvalidInputError,
    MFAKitError,
    StoreConfigurationError,
    StoreUnavailableError,
    WrongCodeError,
)
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, account_table
from servers import mariadb, postgres
from world import START, World

SUMMARY = Summary(state="enrolled", authenticators=1)
Start = Callable[[Path], Database]


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=SUMMARY
    )


def _sqlite(directory: Path) -> Database:
    return on_sqlite(directory)


def _postgres(_: Path) -> Database:
    return on_postgres()


def _mariadb(_: Path) -> Database:
    return on_mariadb()


ON_SERVERS = [
    pytest.param(_postgres, id="postgres", marks=pytest.mark.server),
    pytest.param(_mariadb, id="mariadb", marks=pytest.mark.server),
]
EVERYWHERE = [pytest.param(_sqlite, id="sqlite"), *ON_SERVERS]


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    start: Start = request.param
    return start(tmp_path)


@pytest.fixture
def store(database: Database) -> Iterator[OpenStore]:
    store = database.new_store()
    yield store
    store.close()


everywhere = pytest.mark.parametrize("database", EVERYWHERE, indirect=True)
on_servers = pytest.mark.parametrize("database", ON_SERVERS, indirect=True)


# ------------------------------------------------------------------------------- only an engine


class UnknownDialect(SQLiteDialect_pysqlite):
    name = "unknown"
    supports_statement_cache = True


class CockroachLikeDialect(PGDialect_psycopg):
    """PostgreSQL under the name that CockroachDB's dialect has."""

    name = "cockroachdb"
    supports_statement_cache = True


registry.impls["unknown"] = lambda: UnknownDialect
registry.impls["cockroachdb.psycopg"] = lambda: CockroachLikeDialect


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    yield engine
    engine.dispose()


def test_a_session_a_connection_and_a_url_are_refused(engine: Engine) -> None:
    """They carry the caller's transaction, or nothing that the store may use."""
    with engine.connect() as connection, Session(engine) as session:
        for wrong in (session, connection, sessionmaker(engine), engine.url, str(engine.url), None):
            with pytest.raises(StoreConfigurationError, match="Engine, never a session"):
                SQLAlchemyStore(wrong)  # type: ignore[arg-type]
            with pytest.raises(StoreConfigurationError, match="AsyncEngine, never a session"):
                AsyncSQLAlchemyStore(wrong)  # type: ignore[arg-type]


def test_each_store_takes_its_own_kind_of_engine(engine: Engine, tmp_path: Path) -> None:
    asynchronous = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    for wrong in (asynchronous, asynchronous.sync_engine, AsyncSession(asynchronous)):
        with pytest.raises(StoreConfigurationError, match="synchronous Engine"):
            SQLAlchemyStore(wrong)  # type: ignore[arg-type]
    with pytest.raises(StoreConfigurationError, match="AsyncEngine"):
        AsyncSQLAlchemyStore(engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "options"),
    [("sqlite://", {}), ("sqlite:///a.db", {"poolclass": StaticPool})],
    ids=["in memory", "one connection for all"],
)
def test_a_pool_that_shares_connections_is_refused(url: str, options: dict[str, Any]) -> None:
    """On a shared connection the caller's rollback would take the store's writes with it."""
    engine = create_engine(url, **options)
    with pytest.raises(StoreConfigurationError, match="one connection to several callers"):
        SQLAlchemyStore(engine)
    engine.dispose()


def test_an_unknown_database_is_refused(tmp_path: Path) -> None:
    """What its errors mean is not known: a lost race could look like an outage, or the reverse."""
    engine = create_engine(f"unknown:///{tmp_path / 'a.db'}")
    with pytest.raises(StoreConfigurationError, match="know PostgreSQL"):
        SQLAlchemyStore(engine)


# ------------------------------------------------------------------------------------- the table


@everywhere
def test_the_table_is_made_once_by_many_at_once(database: Database) -> None:
    """Eight workers start at the same moment on an empty database."""
    table, barrier = new_table(), threading.Barrier(8)

    def begin(_: int) -> None:
        store = database.opener(table)()
        barrier.wait()
        store.create_table()
        store.create_table()
        store.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(8)))
    store = database.opener(table)()
    assert store.create(row()) is True
    store.close()


@pytest.mark.server
def test_types_on_mariadb() -> None:
    """Whatever the server's default character set and engine are, ids are bytes and rows InnoDB's."""
    database = on_mariadb()
    store = database.new_store()
    with store.engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT column_name, column_type, is_nullable, collation_name"
                " FROM information_schema.columns"
                " WHERE table_schema = database() AND table_name = :name"
            ),
            {"name": store.table_name},
        ).all()
        kind = connection.execute(
            text("SELECT engine FROM information_schema.tables WHERE table_name = :name"),
            {"name": store.table_name},
        ).scalar_one()
    store.close()
    assert set(map(tuple, columns)) == {
        ("account_id", "varbinary(255)", "NO", None),
        ("revision", "bigint(20)", "NO", None),
        ("document", "mediumblob", "NO", None),
        ("summary", "text", "NO", "utf8mb4_bin"),
    }
    assert kind == "InnoDB"


@pytest.mark.server
def test_types_on_postgres() -> None:
    database = on_postgres()
    store = database.new_store()
    with store.engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT column_name, data_type, is_nullable, collation_name"
                " FROM information_schema.columns WHERE table_name = :name"
            ),
            {"name": store.table_name},
        ).all()
    store.close()
    assert set(map(tuple, columns)) == {
        ("account_id", "text", "NO", "C"),
        ("revision", "bigint", "NO", None),
        ("document", "bytea", "NO", None),
        ("summary", "text", "NO", None),
    }


@pytest.mark.server
def test_the_table_joins_the_platforms_metadata() -> None:
    """Another name and schema; the platform's own tables beside it."""
    database = on_postgres()
    database.execute("CREATE SCHEMA IF NOT EXISTS security")
    metadata = MetaData()
    table = account_table(metadata, "second_factors", schema="security")
    engine = database.engine()
    metadata.create_all(engine)
    store = SQLAlchemyStore(engine, table)
    assert store.create(row()) is True
    assert store.load("ann") == row()
    assert "second_factors" in inspect(engine).get_table_names(schema="security")
    assert "'security.second_factors'" in repr(store)
    metadata.drop_all(engine)
    engine.dispose()


def test_repr_shows_no_password() -> None:
    engine = create_engine("postgresql+psycopg://mfa:hunter2@db.example.org/mail")
    asynchronous = create_async_engine(engine.url)
    for store in (SQLAlchemyStore(engine), AsyncSQLAlchemyStore(asynchronous)):
        assert type(store).__name__ in repr(store)
        assert "db.example.org" in repr(store)
        assert "hunter2" not in repr(store)


@everywhere
def test_a_torn_summary_keeps_nobody_out(store: OpenStore) -> None:
    """It is for reports, and somebody may have edited it."""
    store.create(row())
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {store.table_name} SET summary = '{{\"state\": '"))
    assert store.load("ann") == StoredRecord(
        account_id="ann", revision=1, document=b"{}", summary=Summary(state="unknown")
    )


@everywhere
@pytest.mark.parametrize(
    "wrong", ["", "a\0b", "\ud800", "x" * 256, "é" * 128], ids=["empty", "NUL", "lone", "256", "é"]
)
def test_ids_that_no_account_has_are_refused_and_not_cut(store: OpenStore, wrong: str) -> None:
    """A database that cuts what is too long would open another's record."""
    for call in (
        partial(store.load, wrong),
        partial(store.create, row(wrong)),
        partial(store.replace, row(wrong, 2), expected=1),
        partial(store.delete, wrong, expected=1),
    ):
        with pytest.raises(InvalidInputError):
            call()
    assert store.scan(cursor=None, limit=10).records == ()


@on_servers
def test_scan_of_an_ill_formed_prefix_is_unavailable(store: OpenStore) -> None:
    """No account begins so; what the driver says to it is not let through."""
    with pytest.raises(StoreUnavailableError):
        store.scan(cursor=None, limit=10, prefix="\ud800")


# ------------------------------------------------------------- what the database's failures mean


@contextmanager
def failing(engine: Engine, error: Exception, *, times: int = 100) -> Iterator[list[str]]:
    """Let the driver raise an error instead of executing; yields the statements so refused."""
    refused: list[str] = []

    def refuse(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if len(refused) < times:
            refused.append(statement)
            raise error

    event.listen(engine, "do_execute", refuse)
    yield refused
    event.remove(engine, "do_execute", refuse)


PG, MY = psycopg.errors, pymysql.err
# Each error as the driver raises it, and what it means for create, replace and delete:
# "lost" is False, "down" is StoreUnavailableError.
POSTGRES_FAILURES = [
    # 40001: PostgreSQL at REPEATABLE READ and above; CockroachDB and YugabyteDB at any level.
    (PG.SerializationFailure("restart transaction"), "lost", "lost", "lost"),
    (PG.DeadlockDetected("deadlock detected"), "lost", "lost", "lost"),
    (PG.UniqueViolation("duplicate key"), "lost", "down", "down"),
    (PG.NotNullViolation("null value"), "down", "down", "down"),
    (PG.CheckViolation("check constraint"), "down", "down", "down"),
    (PG.StatementCompletionUnknown("result is ambiguous"), "down", "down", "down"),
    (PG.QueryCanceled("statement timeout"), "down", "down", "down"),
    (PG.ReadOnlySqlTransaction("hot standby"), "down", "down", "down"),
    (PG.AdminShutdown("terminating connection"), "down", "down", "down"),
    (PG.DiskFull("no space left on device"), "down", "down", "down"),
    (PG.UndefinedTable("no such table"), "down", "down", "down"),
    (psycopg.OperationalError("the connection is lost"), "down", "down", "down"),
]
MARIADB_FAILURES = [
    (MY.OperationalError(1213, "Deadlock found"), "lost", "lost", "lost"),
    (MY.OperationalError(1205, "Lock wait timeout exceeded"), "lost", "lost", "lost"),
    (MY.OperationalError(1020, "Record has changed since last read"), "lost", "lost", "lost"),
    (MY.IntegrityError(1062, "Duplicate entry"), "lost", "down", "down"),
    (MY.IntegrityError(1048, "Column cannot be null"), "down", "down", "down"),
    (MY.OperationalError(1047, "WSREP has not yet prepared node"), "down", "down", "down"),
    (MY.OperationalError(1290, "The server is read-only"), "down", "down", "down"),
    (MY.DataError(1406, "Data too long"), "down", "down", "down"),
    (MY.OperationalError(2013, "Lost connection during query"), "down", "down", "down"),
    (MY.InterfaceError(0, ""), "down", "down", "down"),
    (MY.OperationalError(), "down", "down", "down"),
]
SQLITE_FAILURES = [
    (sqlite3.OperationalError("database is locked"), "down", "down", "down"),
    (sqlite3.IntegrityError("NOT NULL constraint failed"), "down", "down", "down"),
]


@pytest.mark.parametrize(
    ("database", "error", "create", "replace", "delete"),
    [
        pytest.param(start, *failure, id=repr(failure[0])[:60], marks=marks)
        for start, marks, failures in (
            (_postgres, pytest.mark.server, POSTGRES_FAILURES),
            (_mariadb, pytest.mark.server, MARIADB_FAILURES),
            (_sqlite, (), SQLITE_FAILURES),
        )
        for failure in failures
    ],
    indirect=["database"],
)
def test_a_write_that_fails_is_lost_or_unknown_and_sent_once(
    store: OpenStore, error: Exception, create: str, replace: str, delete: str
) -> None:
    store.create(row())
    for call, meaning in (
        (partial(store.create, row()), create),
        (partial(store.replace, row(revision=2), expected=1), replace),
        (partial(store.delete, "ann", expected=1), delete),
    ):
        with failing(store.engine, error) as refused:
            if meaning == "lost":
                assert call() is False
            else:
                with pytest.raises(StoreUnavailableError):
                    call()
        assert len(refused) == 1
    assert store.load("ann") == row()


@pytest.mark.parametrize(
    ("database", "error"),
    [
        pytest.param(_postgres, PG.SerializationFailure("restart"), marks=pytest.mark.server),
        pytest.param(_mariadb, MY.OperationalError(1213, "Deadlock"), marks=pytest.mark.server),
        pytest.param(_mariadb, MY.OperationalError(2013, "Lost"), marks=pytest.mark.server),
    ],
    indirect=["database"],
)
def test_a_read_that_fails_is_tried_again_eight_times_in_all(
    store: OpenStore, error: Exception
) -> None:
    """A read changes nothing, so a lost race or a dead connection is not the caller's affair."""
    store.create(row())
    with failing(store.engine, error, times=7) as refused:
        assert store.load("ann") == row()
    assert len(refused) == 7
    with failing(store.engine, error, times=7):
        assert store.scan(cursor=None, limit=10).records == (row(),)
    with failing(store.engine, error) as refused, pytest.raises(StoreUnavailableError):
        store.load("ann")
    assert len(refused) == 8


@pytest.mark.server
def test_a_read_on_an_event_loop_waits_and_lets_others_run() -> None:
    """Seven lost races take half a second of waiting, in which the loop goes on."""

    async def run() -> int:
        store = await on_postgres().new_async_store()
        await store.create(row())
        turns = 0
        with failing(store.engine.sync_engine, PG.SerializationFailure("restart"), times=7):
            loading = asyncio.ensure_future(store.load("ann"))
            while not loading.done():
                await asyncio.sleep(0.01)
                turns += 1
        assert await loading == row()
        await store.aclose()
        return turns

    assert asyncio.run(run()) > 10


@on_servers
def test_a_read_that_fails_otherwise_is_not_tried_again(store: OpenStore) -> None:
    error = PG.QueryCanceled("timeout"), MY.OperationalError(1047, "WSREP")
    wrong = error[store.engine.dialect.name == "mariadb"]
    with failing(store.engine, wrong) as refused, pytest.raises(StoreUnavailableError):
        store.load("ann")
    assert len(refused) == 1


def test_whatever_a_driver_raises_is_unavailable(tmp_path: Path) -> None:
    """Drivers have raised AttributeError on connections that were closed under them."""
    store = on_sqlite(tmp_path).new_store()
    with failing(store.engine, AttributeError("'NoneType' object has no attribute 'write'")):
        with pytest.raises(StoreUnavailableError):
            store.load("ann")
        with pytest.raises(StoreUnavailableError):
            store.create(row())
    assert store.create(row()) is True
    store.close()


@everywhere
def test_errors_show_no_parameters(store: OpenStore) -> None:
    """SQLAlchemy's own error would print the document into the platform's log."""
    with store.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {store.table_name}"))
    document = os.urandom(8).hex()
    with pytest.raises(StoreUnavailableError) as caught:
        store.create(row(document=document.encode()))
    shown = "".join(traceback.format_exception(caught.value))
    assert "mfakit.storage.causes.DriverError: " in shown  # the driver's class, and its code
    assert caught.value.__context__ is None
    assert document not in shown
    assert "[parameters" not in shown


# --------------------------------------------------------------------------- failures at the commit


class CommitRefused(psycopg.Connection[Any]):
    """A serializable database that notices at the commit: 40001, and nothing is written."""

    def commit(self) -> None:
        self.rollback()
        raise PG.SerializationFailure("restart transaction: TransactionRetryWithProtoRefreshError")


class CommitCut(psycopg.Connection[Any]):
    """The commit arrives and the answer does not."""

    def commit(self) -> None:
        super().commit()
        self.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


class CutBeforeCommit(psycopg.Connection[Any]):
    """The commit does not even arrive."""

    def commit(self) -> None:
        self.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


def with_connections(kind: type[psycopg.Connection[Any]], store: OpenStore) -> OpenStore:
    """The same table through another kind of connection; its first commit is the engine's own."""
    server = postgres.running()
    dsn = server.dsn(str(store.engine.url.database))
    options = {"creator": partial(kind.connect, dsn)}
    return open_store("postgresql+psycopg://", store.table_name, options)


@pytest.mark.server
def test_a_serialization_failure_at_commit_is_a_lost_race() -> None:
    """Simulated CockroachDB and YugabyteDB; PostgreSQL too may notice only at the commit."""
    first = on_postgres().new_store()
    first.create(row())
    store = with_connections(CommitRefused, first)
    assert store.create(row("bob")) is False
    assert store.replace(row(revision=2), expected=1) is False
    assert store.delete("ann", expected=1) is False
    assert first.load("ann") == row()
    assert first.load("bob") is None
    store.close()
    first.close()


@pytest.mark.server
@pytest.mark.parametrize(("kind", "is_written"), [(CommitCut, True), (CutBeforeCommit, False)])
def test_a_connection_cut_at_the_commit_leaves_the_outcome_unknown(
    kind: type[psycopg.Connection[Any]], is_written: bool
) -> None:
    """Never True, never False, and never sent twice: the next load shows it."""
    first = on_postgres().new_store()
    first.create(row())
    store = with_connections(kind, first)
    with pytest.raises(StoreUnavailableError):
        store.replace(row(revision=2), expected=1)
    assert first.load("ann") == row(revision=2 if is_written else 1)
    store.close()
    first.close()


# ------------------------------------------------------------------------------- real lost races


@on_servers
def test_a_row_that_another_holds_is_a_lost_race(database: Database) -> None:
    """PostgreSQL answers 40001 once the other has committed; MariaDB gives up waiting, 1205."""
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
    if database.dialect == "mariadb":
        wait = "SET SESSION innodb_lock_wait_timeout = 1"
        options["connect_args"] = {"init_command": wait}
    store = database.new_store(**options)
    store.create(row())
    codes: list[object] = []
    event.listen(store.engine, "handle_error", lambda context: codes.append(_code(context)))
    with ThreadPoolExecutor(1) as thread, store.engine.connect() as other:
        other.execute(text(f"UPDATE {store.table_name} SET revision = 5"))
        replacing = thread.submit(store.replace, row(revision=2), expected=1)
        time.sleep(0.3)  # it waits for the lock
        if database.dialect == "postgresql":
            other.commit()
        assert replacing.result(30) is False
    assert codes == (["40001"] if database.dialect == "postgresql" else [1205])
    store.close()


def _code(context: Any) -> object:
    error = context.original_exception
    return getattr(error, "sqlstate", None) if isinstance(error, psycopg.Error) else error.args[0]


def _loaded(store: SQLAlchemyStore, account_id: str) -> StoredRecord:
    found = store.load(account_id)
    assert found is not None
    return found


# -------------------------------------------------------------- servers and connections that die


class Writer:
    """A thread that writes one row again and again, as long as it is told True or nothing."""

    def __init__(self, store: SQLAlchemyStore) -> None:
        self.store, self.answered, self.failures = store, 1, 0
        self._is_done = threading.Event()
        store.create(row(revision=1))
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._is_done.is_set():
            try:
                new = row(revision=self.answered + 1)
                if self.store.replace(new, expected=self.answered):
                    self.answered += 1
                else:
                    self._is_done.set()  # the one of unknown outcome had won
            except StoreUnavailableError:
                self.failures += 1
                time.sleep(0.01)

    def stop(self) -> None:
        self._is_done.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@on_servers
def test_a_killed_server_is_unavailable_and_comes_back_by_itself(database: Database) -> None:
    """kill -9 in mid-write: nothing that was answered is lost, no call answers meanwhile."""
    server: Any = (postgres if database.dialect == "postgresql" else mariadb).running()
    store = database.new_store()
    writer = Writer(store)
    time.sleep(0.3)
    server.kill()
    try:
        for call in (
            partial(store.load, "ann"),
            partial(store.create, row("bob")),
            partial(store.replace, row(revision=2), expected=1),
            partial(store.delete, "ann", expected=1),
            partial(store.scan, cursor=None, limit=1),
            store.create_table,
        ):
            with pytest.raises(StoreUnavailableError):
                call()
        writer.stop()
    finally:
        server.start()
    found = _loaded(store, "ann")
    assert writer.failures >= 1
    assert writer.answered > 1
    assert found.revision in (writer.answered, writer.answered + 1)
    assert store.replace(row(revision=found.revision + 1), expected=found.revision) is True
    store.close()


@on_servers
def test_a_killed_server_on_an_event_loop(database: Database) -> None:
    """The asynchronous drivers tell of it in other ways; the store does not."""
    server: Any = (postgres if database.dialect == "postgresql" else mariadb).running()

    async def run() -> None:
        store = await database.new_async_store()
        assert await store.create(row()) is True
        server.kill()
        try:
            for call in (
                partial(store.load, "ann"),
                partial(store.create, row("bob")),
                partial(store.replace, row(revision=2), expected=1),
                partial(store.delete, "ann", expected=1),
                partial(store.scan, cursor=None, limit=1),
            ):
                with pytest.raises(StoreUnavailableError):
                    await call()
        finally:
            server.start()
        assert await store.load("ann") == row()
        assert await store.replace(row(revision=2), expected=1) is True
        server.restart()
        assert await store.load("ann") == row(revision=2)
        await store.aclose()

    asyncio.run(run())


@on_servers
def test_a_restart_between_two_calls_is_not_noticed(database: Database) -> None:
    """Every operation loads first, and a load replaces the connections that died meanwhile."""
    server: Any = (postgres if database.dialect == "postgresql" else mariadb).running()
    store = database.new_store()
    store.create(row())
    server.restart()
    assert store.load("ann") == row()
    assert store.replace(row(revision=2), expected=1) is True
    store.close()


@on_servers
def test_a_write_on_a_dead_connection_fails_once(database: Database) -> None:
    """It is not sent again; that failure replaces every connection of the pool."""
    store = database.new_store()
    with ThreadPoolExecutor(4) as threads:  # so that the pool holds several
        list(threads.map(lambda place: store.create(row(f"user-{place}")), range(8)))
    database.cut_connections()
    with pytest.raises(StoreUnavailableError):
        store.create(row())
    for place in range(8):
        assert store.replace(row(f"user-{place}", 2), expected=1) is True
    store.close()


def test_a_pool_with_nothing_left_is_unavailable(tmp_path: Path) -> None:
    """The platform holds the only connection, as it may at the top of a traffic peak."""
    database = on_sqlite(tmp_path)
    store = database.new_store(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with store.engine.connect():
        with pytest.raises(StoreUnavailableError):
            store.load("ann")
        with pytest.raises(StoreUnavailableError):
            store.create(row())
    assert store.create(row()) is True
    store.close()


def test_a_locked_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    """Another process holds the write lock longer than the engine's timeout."""
    database = on_sqlite(tmp_path)
    store = database.new_store(connect_args={"timeout": 0.05})
    other = sqlite3.connect(str(store.engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError):
        store.create(row())
    other.execute("ROLLBACK")
    other.close()
    assert store.create(row()) is True
    store.close()


@pytest.mark.server
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_lets_go_of_the_pool_opens_its_own_connections() -> None:
    """A preforking server: `engine.dispose(close=False)` in the child, as SQLAlchemy asks."""
    store = on_postgres().new_store()
    store.create(row())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads
        child = os.fork()
    if child == 0:
        try:
            store.engine.dispose(close=False)
            os._exit(0 if store.replace(row(revision=2), expected=1) else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.load("ann") == row(revision=2)
    store.close()


def test_a_cancelled_call_gives_its_connection_back(tmp_path: Path) -> None:
    """One connection, held up by a lock: the call behind it is cancelled, the next one works."""
    database = on_sqlite(tmp_path)

    async def run() -> None:
        store = await database.new_async_store(
            poolclass=AsyncAdaptedQueuePool,  # SQLAlchemy 2.0 would take another one
            pool_size=1,
            max_overflow=0,
            pool_timeout=5,
            connect_args={"timeout": 0.5},
        )
        other = sqlite3.connect(str(store.engine.url.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(store.create(row()))
        await asyncio.sleep(0.1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        other.execute("ROLLBACK")
        other.close()
        assert await store.load("bob") is None
        assert await store.create(row("bob")) is True
        page = await store.scan(cursor=None, limit=10, prefix="b")
        assert page.records == (row("bob"),)
        assert await store.delete("bob", expected=1) is True
        await store.aclose()

    asyncio.run(run())


# ------------------------------------------------------------------------------------ through MFA


@pytest.mark.server
def test_threads_that_share_one_code_sign_in_once() -> None:
    """Two browsers, one code, fifty times: one is signed in and the other is told it is wrong."""
    store = on_postgres().new_store()
    world = World(store)
    with ThreadPoolExecutor(2) as threads:
        for number in range(50):
            person = world.enroll(f"ann-{number}")
            code = person.app.code(START + 60)
            world.clock.now = START + 60
            tokens = [world.challenge(person) for _ in range(2)]
            barrier = threading.Barrier(2)

            def sign_in(token: str, code: str = code, barrier: Any = barrier) -> str:
                barrier.wait()
                try:
                    return type(world.mfa.complete_login(token, code)).__name__
                except MFAKitError as error:
                    return type(error).__name__

            assert sorted(threads.map(sign_in, tokens)) == ["SignedIn", "WrongCodeError"]
            world.clock.now = START
    store.close()


@everywhere
def test_a_wrong_code_counts_although_the_page_rolls_back(store: OpenStore) -> None:
    """The platform's transaction ends in an error, as a refused sign-in often makes it."""
    world = World(store)
    person = world.enroll("ann")
    for count in (1, 2, 3):
        with store.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            with pytest.raises(WrongCodeError):
                world.mfa.verify_code(person.id, world.wrong_code(person.app))
            connection.rollback()
        record = decode_record(_loaded(store, person.id), world.mfa._env.vault)
        assert record.code_throttle.failures == count


# -------------------------------------------------------------------------------- other databases


@pytest.mark.server
def test_the_name_of_cockroachdbs_dialect_is_known() -> None:
    """CockroachDB does not run here: its dialect's name and SQLSTATEs, on a PostgreSQL server."""
    database = on_postgres()
    url = database.url.replace("postgresql+psycopg", "cockroachdb+psycopg")
    store = open_store(url, new_table(), {})
    store.create_table()
    assert store.create(row()) is True
    assert store.create(row()) is False
    assert store.replace(row(revision=2), expected=1) is True
    assert store.load("ann") == row(revision=2)
    with failing(store.engine, PG.SerializationFailure("restart transaction")):
        assert store.replace(row(revision=3), expected=2) is False
    store.close()


# ---------------------------------------------------------------------------------------- Alembic


@everywhere
def test_the_documented_migration_makes_the_table(database: Database) -> None:
    """It makes what `account_table` describes, so Alembic finds no difference afterwards."""
    database.execute("DROP TABLE IF EXISTS mfakit_account")
    migration = _documented_migration()
    metadata = MetaData()
    account_table(metadata)
    engine = database.engine()
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _is_ours})
        with Operations.context(context):
            migration["upgrade"]()
        assert compare_metadata(context, metadata) == []
    store = SQLAlchemyStore(engine)
    for account_id in ("Ann", "ann", "ann ", "änn"):
        assert store.create(row(account_id, document=bytes(range(256)) * 256)) is True
    store.create_table()
    assert store.load("ann ") == row("ann ", document=bytes(range(256)) * 256)
    with engine.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            migration["downgrade"]()
        assert not inspect(connection).has_table("mfakit_account")
    engine.dispose()


def _is_ours(name: str | None, kind: str, parents: Any) -> bool:
    return kind != "table" or name == "mfakit_account"


def _documented_migration() -> dict[str, Any]:
    page = Path(__file__).parents[2] / "docs" / "sqlalchemy.md"
    blocks = page.read_text(encoding="utf-8").split("```python\n")
    (migration,) = [block.partition("```")[0] for block in blocks if "def upgrade" in block]
    namespace: dict[str, Any] = {}
    exec(migration, namespace)
    return namespace


# -------------------------------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own() -> None:
    """On those of its parent, each would read answers to the other's questions."""
    store = on_postgres().new_store(pool_size=1, max_overflow=0)
    assert store.create(row())
    session = _server_process(store.engine)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = store.load("ann"), store.replace(row(revision=2), expected=1)
            is_own = _server_process(store.engine) != session
            os.write(writing, f"{found == (row(), True)} {is_own}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        assert answer.read() == "True True"
    assert store.load("ann") == row(revision=2)
    assert (
        _server_process(store.engine) == session
    )  # the child's end did not cost the parent its own
    store.close()


def _server_process(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT pg_backend_pid()")))
