"""What the PostgreSQL stores refuse, and what they answer when the database fails them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from postgres_stores import Database, on_postgres, table_of
from psycopg import errors as pg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import MetaData, create_engine
from sqlalchemy_stores import new_table

from mfakit.errors import InvalidInputError, StoreConfigurationError, StoreUnavailableError
from mfakit.storage import StoredRecord, Summary
from mfakit.storage import postgres as postgres_module
from mfakit.storage.postgres import AsyncPostgresStore, PostgresStore
from mfakit.storage.sqlalchemy import SQLAlchemyStore, account_table
from servers import postgres

pytestmark = pytest.mark.server
SECRET = "hunter2"
SUMMARY = Summary(state="enrolled", authenticators=1, key_ids=("2026",))


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=SUMMARY
    )


@pytest.fixture
def database() -> Database:
    return on_postgres()


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    with database.new_store() as store:
        yield store


# ----------------------------------------------------------------------------- where it may lead


def test_a_connection_is_refused_and_each_store_takes_its_own_pool(database: Database) -> None:
    """A connection carries the caller's transaction."""
    pool = ConnectionPool(database.conninfo, open=False)
    async_pool = AsyncConnectionPool(database.conninfo, open=False)
    with database.connect() as connection:
        for wrong in (connection, async_pool, None, b"dbname=mail"):
            with pytest.raises(StoreConfigurationError, match="never a connection"):
                PostgresStore(wrong)  # type: ignore[arg-type]
        for wrong in (connection, pool, None):
            with pytest.raises(StoreConfigurationError, match="never a connection"):
                AsyncPostgresStore(wrong)  # type: ignore[arg-type]


def test_what_is_no_connection_string_is_refused_and_not_repeated() -> None:
    """libpq's own words about it would show the password."""
    wrong = f"host=db password={SECRET} 'x"
    for kind in (PostgresStore, AsyncPostgresStore):
        with pytest.raises(StoreConfigurationError, match="no connection string") as caught:
            kind(wrong)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None


@pytest.mark.parametrize("wrong", [{"connections_min": 11}, {"wait_seconds": 0}])
def test_a_pool_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    for kind in (PostgresStore, AsyncPostgresStore):
        with pytest.raises(StoreConfigurationError, match="connections_min"):
            kind("dbname=mail", **wrong)


def test_repr_shows_where_it_leads_and_no_password() -> None:
    url = "postgresql://mfa:hunter2@db.example.org/mail?sslpassword=hunter3"
    for kind in (PostgresStore, AsyncPostgresStore):
        shown = repr(kind(url, table="second_factors", schema="security"))
        assert shown.startswith(kind.__name__)
        assert "user=mfa host=db.example.org dbname=mail" in shown
        assert '"security"."second_factors"' in shown
        assert "hunter" not in shown
    assert "a pool" in repr(PostgresStore(ConnectionPool(url, open=False)))


# ------------------------------------------------------------------------------------- the table


def test_the_table_is_made_once_by_many_at_once(database: Database) -> None:
    """Eight workers start at the same moment on an empty database."""
    table, barrier = new_table(), threading.Barrier(8)

    def begin(_: int) -> None:
        with database.opener(table)() as store:
            barrier.wait()
            store.create_table()
            store.create_table()
            store.check()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(8)))
    with database.opener(table)() as store:
        assert store.create(row()) is True


def test_another_name_and_schema(database: Database) -> None:
    """Names are quoted: no part of one is ever a statement."""
    database.execute("CREATE SCHEMA IF NOT EXISTS security")
    with PostgresStore(database.conninfo, table='2" %s', schema="security") as store:
        store.create_table()
        assert store.create(row()) is True
        assert store.scan(cursor=None, limit=10).records == (row(),)
    assert database.execute('SELECT account_id FROM security."2"" %s"') == [("ann",)]


def _sqlalchemy_store(database: Database, table: str) -> SQLAlchemyStore:
    url = postgres.running().url(database.name, "postgresql+psycopg")
    return SQLAlchemyStore(create_engine(url), account_table(MetaData(), table))


@pytest.mark.parametrize("maker", ["postgres", "sqlalchemy"])
def test_it_shares_its_table_with_the_sqlalchemy_store(database: Database, maker: str) -> None:
    """Whichever made it, each reads and replaces what the other wrote; a platform may change over."""
    table = new_table()
    other = _sqlalchemy_store(database, table)
    with database.opener(table)() as store:
        (store if maker == "postgres" else other).create_table()
        store.check()
        assert store.create(row("ann ", document=bytes(range(256)) * 16)) is True
        assert other.load("ann ") == row("ann ", document=bytes(range(256)) * 16)
        assert other.create(row("ann ")) is False
        assert other.replace(row("ann ", 2), expected=1) is True
        assert store.replace(row("ann ", 3), expected=1) is False
        assert store.load("ann ") == row("ann ", 2)
        assert other.create(row("Änn")) is True
        assert store.scan(cursor=None, limit=9) == other.scan(cursor=None, limit=9)
        assert store.delete("Änn", expected=1) is True
        assert other.load("Änn") is None
    other._engine.dispose()


WRONG_TABLES = {
    "": "not there",
    'account_id VARCHAR(150) COLLATE "C" PRIMARY KEY, revision BIGINT, document BYTEA': "not there",
    "account_id TEXT PRIMARY KEY, revision BIGINT, document BYTEA, summary TEXT": 'COLLATE "C"',
    'account_id TEXT COLLATE "C" PRIMARY KEY, revision INT, document BYTEA, summary TEXT': "not there",
    'account_id TEXT COLLATE "C", revision BIGINT, document BYTEA, summary TEXT': "key of its own",
}


@pytest.mark.parametrize(("columns", "words"), WRONG_TABLES.items(), ids=range(len(WRONG_TABLES)))
def test_another_table_is_refused_before_the_first_call(
    database: Database, columns: str, words: str
) -> None:
    """The second is like that of the Django app, which has the same name and other columns."""
    table = new_table()
    if columns:
        database.execute(f"CREATE TABLE {table} ({columns})")
    with database.opener(table)() as store:
        for call in (store.check, partial(store.load, "ann"), partial(store.create, row())):
            with pytest.raises(StoreConfigurationError, match=words):
                call()

    async def run() -> None:
        async with database.async_opener(table)() as store:
            with pytest.raises(StoreConfigurationError, match=words):
                await store.load("ann")
            with pytest.raises(StoreConfigurationError, match=words):
                await store.delete("ann", expected=1)

    asyncio.run(run())


def test_columns_of_the_platforms_own_do_no_harm(database: Database) -> None:
    with database.new_store() as store:
        database.execute(f"ALTER TABLE {table_of(store)} ADD COLUMN seen TIMESTAMPTZ DEFAULT now()")
        assert store.create(row()) is True
        assert store.load("ann") == row()


def test_a_database_of_another_encoding_is_refused() -> None:
    """It could not hold every id."""
    server = postgres.running()
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with PostgresStore(server.dsn("latin")) as store:
        store.create_table()
        with pytest.raises(StoreConfigurationError, match="UTF8"):
            store.check()


def test_a_standby_is_refused() -> None:
    """It lags: a passcode that was revoked would still be good there."""
    server = postgres.running()
    database = Database(server.new_database())
    with database.new_store() as store:
        store.create(row())
        (server._data / "standby.signal").touch()
        try:
            server.restart()
            fresh = database.opener(table_of(store))()
            with fresh, pytest.raises(StoreConfigurationError, match="standby"):
                fresh.load("ann")
            with pytest.raises(StoreUnavailableError):
                store.replace(row(revision=2), expected=1)
            with pytest.raises(StoreConfigurationError, match="standby"):
                store.load("ann")
        finally:
            (server._data / "standby.signal").unlink(missing_ok=True)
            server.restart()
        assert store.load("ann") == row()
        assert store.replace(row(revision=2), expected=1) is True


# --------------------------------------------------------------------------------- rows and pools


def test_a_torn_summary_keeps_nobody_out(store: PostgresStore, database: Database) -> None:
    """It is for reports, and somebody may have edited it."""
    store.create(row())
    database.execute(f"UPDATE {table_of(store)} SET summary = '{{\"state\": '")
    assert store.load("ann") == StoredRecord(
        account_id="ann", revision=1, document=b"{}", summary=Summary(state="unknown")
    )


@pytest.mark.parametrize(
    "wrong", ["", "a\0b", "\ud800", "x" * 256, "é" * 128], ids=["empty", "NUL", "lone", "256", "é"]
)
def test_ids_that_no_account_has_are_refused_and_not_cut(store: PostgresStore, wrong: str) -> None:
    for call in (
        partial(store.load, wrong),
        partial(store.create, row(wrong)),
        partial(store.replace, row(wrong, 2), expected=1),
        partial(store.delete, wrong, expected=1),
    ):
        with pytest.raises(InvalidInputError):
            call()
    assert store.scan(cursor=None, limit=10).records == ()


def test_scan_of_an_ill_formed_prefix_is_unavailable(store: PostgresStore) -> None:
    """No account begins so; what the driver says to it is not let through."""
    for prefix in ("\ud800", "a\0"):
        with pytest.raises(StoreUnavailableError):
            store.scan(cursor=None, limit=10, prefix=prefix)


def test_a_platforms_pool_of_another_kind(database: Database) -> None:
    """Rows as dictionaries, transactions of psycopg's own, its text encoding: not the store's affair."""
    kwargs = {"row_factory": dict_row, "client_encoding": "utf8"}
    with database.pool(kwargs=kwargs) as pool, PostgresStore(pool, table=new_table()) as store:
        store.create_table()
        assert store.create(row()) is True
        assert store.load("ann") == row()
        store.close()  # the pool is the platform's
        assert store.replace(row(revision=2), expected=1) is True
    with pytest.raises(StoreUnavailableError):
        store.load("ann")


@pytest.mark.parametrize("threshold", [0, 5, None])
def test_nothing_is_prepared_on_a_platforms_pool(database: Database, threshold: int | None) -> None:
    """It may lead to a pooler, where another client prepares under the same names."""
    kwargs = {"autocommit": True, "prepare_threshold": threshold}
    with database.pool(kwargs=kwargs, max_size=1) as pool:
        store = PostgresStore(pool, table=new_table())
        store.create_table()
        store.create(row())
        for revision in range(1, 12):
            store.load("ann")
            assert store.replace(row(revision=revision + 1), expected=revision) is True
        with pool.connection() as connection:
            query = "SELECT count(*) FROM pg_prepared_statements"
            assert connection.execute(query, prepare=False).fetchone() == (0,)
            assert connection.prepare_threshold == threshold


def test_a_closed_store_may_be_used_again(database: Database) -> None:
    store = database.new_store()
    store.create(row())
    store.close()
    store.close()
    assert store.load("ann") == row()
    store.close()

    async def run() -> None:
        store = await database.new_async_store()
        await store.aclose()
        await store.aclose()
        assert await store.load("ann") is None
        await store.aclose()

    asyncio.run(run())


def test_how_long_a_connect_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's word comes first, in the string or in libpq's environment."""
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)

    def told(conninfo: str) -> object:
        return (
            PostgresStore(conninfo, wait_seconds=7)._pool_options["kwargs"].get("connect_timeout")
        )

    assert told("dbname=mail") == 7
    assert told("dbname=mail connect_timeout=3") is None
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert told("dbname=mail") is None


# ------------------------------------------------------------- what the database's failures mean


class Failing(psycopg.Cursor[Any]):
    """A cursor that raises instead of executing, as long as there are errors to raise."""

    errors: list[Exception] = []  # noqa: RUF012
    refused: list[object] = []  # noqa: RUF012

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if self.errors:
            self.refused.append(query)
            raise self.errors.pop(0)
        return super().execute(query, *args, **kwargs)


class AsyncFailing(psycopg.AsyncCursor[Any]):
    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if Failing.errors:
            Failing.refused.append(query)
            raise Failing.errors.pop(0)
        return await super().execute(query, *args, **kwargs)


@contextmanager
def failing(error: Exception, *, times: int = 100) -> Iterator[list[object]]:
    """Let the driver raise an error instead of executing; yields the statements so refused."""
    Failing.errors[:], Failing.refused[:] = [error] * times, []
    yield Failing.refused
    Failing.errors.clear()


@pytest.fixture(params=[True, False], ids=["autocommit", "transactions"])
def failing_store(request: pytest.FixtureRequest, database: Database) -> Iterator[PostgresStore]:
    kwargs = {"autocommit": request.param, "cursor_factory": Failing}
    with database.pool(kwargs=kwargs) as pool:
        store = PostgresStore(pool, table=new_table())
        store.create_table()
        store.create(row())
        yield store


# Each error as the driver raises it, and what it means for create, replace and delete:
# "lost" is False, "down" is StoreUnavailableError.
FAILURES = [
    (pg.SerializationFailure("could not serialize access"), "lost", "lost", "lost"),
    (pg.DeadlockDetected("deadlock detected"), "lost", "lost", "lost"),
    (pg.UniqueViolation("duplicate key"), "lost", "down", "down"),
    (pg.NotNullViolation("null value"), "down", "down", "down"),
    (pg.CheckViolation("check constraint"), "down", "down", "down"),
    (pg.StatementCompletionUnknown("result is ambiguous"), "down", "down", "down"),
    (pg.QueryCanceled("statement timeout"), "down", "down", "down"),
    (pg.ReadOnlySqlTransaction("hot standby"), "down", "down", "down"),
    (pg.AdminShutdown("terminating connection"), "down", "down", "down"),
    (pg.DiskFull("no space left on device"), "down", "down", "down"),
    (pg.UndefinedTable("no such table"), "down", "down", "down"),
    (psycopg.OperationalError("the connection is lost"), "down", "down", "down"),
    (AttributeError("'NoneType' object has no attribute 'write'"), "down", "down", "down"),
]


@pytest.mark.parametrize(
    ("error", "create", "replace", "delete"), FAILURES, ids=[repr(one[0])[:40] for one in FAILURES]
)
def test_a_write_that_fails_is_lost_or_unknown_and_sent_once(
    failing_store: PostgresStore, error: Exception, create: str, replace: str, delete: str
) -> None:
    for call, meaning in (
        (partial(failing_store.create, row()), create),
        (partial(failing_store.replace, row(revision=2), expected=1), replace),
        (partial(failing_store.delete, "ann", expected=1), delete),
    ):
        failing_store.check()  # a failure before may have led to another server
        with failing(error) as refused:
            if meaning == "lost":
                assert call() is False
            else:
                with pytest.raises(StoreUnavailableError):
                    call()
        assert len(refused) == 1
    assert failing_store.load("ann") == row()


AGAIN = [pg.SerializationFailure("restart"), pg.AdminShutdown("terminating connection")]


# A connection that was cut may come back to another server, which is checked before it is read.
@pytest.mark.parametrize(
    ("error", "tries"), [(AGAIN[0], 8), (AGAIN[1], 1 + 8)], ids=["lost", "cut"]
)
def test_a_read_that_fails_is_tried_again(
    failing_store: PostgresStore, error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read changes nothing, so a lost race or a dead connection is not the caller's affair."""
    pauses = [seconds / 10 for seconds in postgres_module._READ_PAUSES_SECONDS]
    monkeypatch.setattr(postgres_module, "_READ_PAUSES_SECONDS", pauses)
    with failing(error, times=7) as refused:
        assert failing_store.load("ann") == row()
    assert len(refused) == 7
    with failing(error) as refused, pytest.raises(StoreUnavailableError):
        failing_store.scan(cursor=None, limit=10)
    assert len(refused) == tries


def test_a_read_that_fails_otherwise_is_not_tried_again(failing_store: PostgresStore) -> None:
    with failing(pg.QueryCanceled("timeout")) as refused, pytest.raises(StoreUnavailableError):
        failing_store.load("ann")
    assert len(refused) == 1


def test_failures_on_an_event_loop(database: Database) -> None:
    """The same meanings; seven lost races take half a second, in which the loop goes on."""

    async def run() -> int:
        kwargs = {"autocommit": True, "cursor_factory": AsyncFailing}
        async with await database.async_pool(kwargs=kwargs) as pool:
            store = AsyncPostgresStore(pool, table=new_table())
            await store.create_table()
            await store.create(row())
            turns = 0
            with failing(AGAIN[0], times=7):
                loading = asyncio.ensure_future(store.load("ann"))
                while not loading.done():
                    await asyncio.sleep(0.01)
                    turns += 1
            assert await loading == row()
            with failing(AGAIN[0]), pytest.raises(StoreUnavailableError):
                await store.load("ann")
            with failing(AGAIN[0]) as refused:
                assert await store.replace(row(revision=2), expected=1) is False
            assert len(refused) == 1
            with failing(AGAIN[1]) as refused, pytest.raises(StoreUnavailableError):
                await store.delete("ann", expected=1)
            assert len(refused) == 1
            assert await store.load("ann") == row()
        return turns

    assert asyncio.run(run()) > 10


def _at_commit(database: Database, store: PostgresStore, action: str) -> None:
    """Let the server do something when a replace is committed."""
    table = table_of(store)
    database.execute(
        f"CREATE FUNCTION at_{table}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {action}; RETURN NULL; END $$"
    )
    database.execute(
        f"CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON {table}"
        f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_{table}()"
    )


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_serialization_failure_at_commit_is_a_lost_race(
    database: Database, *, autocommit: bool
) -> None:
    with database.pool(kwargs={"autocommit": autocommit}) as pool:
        store = PostgresStore(pool, table=new_table())
        store.create_table()
        store.create(row())
        _at_commit(database, store, "RAISE EXCEPTION 'no' USING ERRCODE = '40001'")
        assert store.create(row("bob")) is False
        assert store.replace(row(revision=2), expected=1) is False
        assert store.delete("ann", expected=1) is False
        assert store.load("ann") == row()
        assert store.load("bob") is None


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_cut_at_the_commit_leaves_the_outcome_unknown(
    database: Database, *, autocommit: bool
) -> None:
    """Never True, never False, and never sent twice: the next load shows it."""
    with database.pool(kwargs={"autocommit": autocommit}) as pool:
        store = PostgresStore(pool, table=new_table())
        store.create_table()
        store.create(row())
        _at_commit(database, store, "PERFORM pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        assert store.load("ann") == row()


class CutAfter(psycopg.Cursor[Any]):
    """The statement arrives and its answer does not."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        done = super().execute(query, *args, **kwargs)
        if b"UPDATE" in query:
            self.connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return done


def test_an_answer_that_is_lost_leaves_the_outcome_unknown(database: Database) -> None:
    kwargs = {"autocommit": True, "cursor_factory": CutAfter}
    with database.pool(kwargs=kwargs) as pool:
        store = PostgresStore(pool, table=new_table())
        store.create_table()
        store.create(row())
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        assert store.load("ann") == row(revision=2)


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_a_row_that_another_holds_is_a_lost_race(level: str) -> None:
    """It waits for the other's commit, and then the revision is another."""
    database = on_postgres(level)
    with database.new_store() as store, ThreadPoolExecutor(1) as thread:
        store.create(row())
        with database.connect() as other:
            other.execute(f"UPDATE {table_of(store)} SET revision = 5")  # type: ignore[call-overload]
            replacing = thread.submit(store.replace, row(revision=2), expected=1)
            time.sleep(0.2)
            assert not replacing.done()
        assert replacing.result(30) is False


def test_an_error_does_not_quote_the_row(store: PostgresStore, database: Database) -> None:
    """PostgreSQL says "Failing row contains (…)", and SQLAlchemy the parameters too."""
    table = table_of(store)
    url = postgres.running().url(database.name, "postgresql+psycopg")
    other = SQLAlchemyStore(create_engine(url), account_table(MetaData(), table))
    store.check()
    refused = row("ann@example.org", document=SECRET.encode())
    database.execute(f"ALTER TABLE {table} ADD CHECK (octet_length(document) < 3)")
    for one in (store, other):
        with pytest.raises(StoreUnavailableError) as caught:
            one.create(refused)
        shown = "".join(traceback.format_exception(caught.value))
        assert "CheckViolation (23514)" in shown
        assert caught.value.__context__ is None
        for part in ("Failing row", "ann@", SECRET, SECRET.encode().hex(), "[parameters"):
            assert part not in shown
    other._engine.dispose()


def test_an_error_says_why_there_is_no_connection() -> None:
    """There the server had no part in the text, and an operator needs it."""
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    with pytest.raises(StoreUnavailableError) as caught:
        SQLAlchemyStore(create_engine(url)).load("ann")
    assert "127.0.0.1" in str(caught.value.__cause__)


# -------------------------------------------------------------- servers and connections that die


CALLS: dict[str, Callable[[Any], Any]] = {
    "load": lambda store: store.load("ann"),
    "create": lambda store: store.create(row("bob")),
    "replace": lambda store: store.replace(row(revision=2), expected=1),
    "create_table": lambda store: store.create_table(),
}


def test_a_killed_server_is_unavailable_and_comes_back_by_itself(database: Database) -> None:
    """kill -9: no call answers meanwhile, and the first call afterwards does."""
    server = postgres.running()
    with database.new_store(wait_seconds=0.7) as store:
        store.create(row())
        server.kill()
        try:
            for call in CALLS.values():
                with pytest.raises(StoreUnavailableError):
                    call(store)
        finally:
            server.start()
        assert store.load("ann") == row()
        assert store.replace(row(revision=2), expected=1) is True


def test_a_killed_server_on_an_event_loop(database: Database) -> None:
    server = postgres.running()

    async def run() -> None:
        async with await database.new_async_store(wait_seconds=0.7) as store:
            await store.create(row())
            server.kill()
            try:
                for call in CALLS.values():
                    with pytest.raises(StoreUnavailableError):
                        await call(store)
            finally:
                server.start()
            assert await store.load("ann") == row()
            assert await store.replace(row(revision=2), expected=1) is True

    asyncio.run(run())


def test_a_server_that_is_not_there_yet(database: Database) -> None:
    """A platform may start before its database: the store needs no server to be made."""
    server = postgres.running()
    with database.new_store() as first:
        first.create(row())
        server.kill()
        with database.opener(table_of(first), wait_seconds=0.7)() as store:
            try:
                with pytest.raises(StoreUnavailableError) as caught:
                    store.load("ann")
            finally:
                server.start()
            assert "couldn't get a connection" in str(caught.value.__cause__)
            assert store.load("ann") == row()


def test_one_dead_connection_costs_the_whole_pool(database: Database) -> None:
    """Twelve that died while idle: one load notices, and no write is the worse for it."""
    with database.new_store(connections_min=12, connections_max=12) as store:
        store.create(row("user-0"))
        store._pool().wait(10)
        database.cut_connections()
        assert store.load("user-0") == row("user-0")
        for place in range(1, 13):
            assert store.create(row(f"user-{place}")) is True


def test_a_write_on_a_dead_connection_fails_once(database: Database) -> None:
    with database.new_store(connections_min=4) as store:
        store.create(row())
        store._pool().wait(10)
        database.cut_connections()
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        for revision in range(1, 9):
            assert store.replace(row(revision=revision + 1), expected=revision) is True


def test_many_threads_whose_connections_die_do_not_empty_the_pool_again_and_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All wait for one lock when the server ends them: one of them drains the pool."""
    with database.new_store(connections_min=8) as store:
        for place in range(8):
            store.create(row(f"user-{place}"))
        pool = store._pool()
        pool.wait(10)
        drained: list[int] = []
        drain = pool.drain
        monkeypatch.setattr(pool, "drain", lambda: (drained.append(1), drain()))
        other = database.connect()
        other.execute(f"LOCK TABLE {table_of(store)}")  # type: ignore[call-overload]
        with ThreadPoolExecutor(8) as threads:
            loads = [threads.submit(store.load, f"user-{place}") for place in range(8)]
            time.sleep(0.3)
            database.cut_connections()
            assert [load.result(30) for load in loads] == [row(f"user-{n}") for n in range(8)]
        other.close()
        assert 1 <= len(drained) <= 2


def test_a_pool_with_nothing_left_is_unavailable(database: Database) -> None:
    """Somebody's lock holds the only connection, as at the top of a traffic peak."""
    with database.new_store(connections_max=1, wait_seconds=0.2) as store:
        store.create(row())
        with ThreadPoolExecutor(1) as thread, database.connect() as other:
            other.execute(f"LOCK TABLE {table_of(store)}")  # type: ignore[call-overload]
            loading = thread.submit(store.load, "ann")
            time.sleep(0.1)
            for name in ("load", "replace"):
                with pytest.raises(StoreUnavailableError) as caught:
                    CALLS[name](store)
                assert "couldn't get a connection" in str(caught.value.__cause__)
            other.rollback()
            assert loading.result(30) == row()
        assert store.replace(row(revision=2), expected=1) is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_its_own_connections(database: Database) -> None:
    """A preforking server needs no hook, and its parent's connections are left alone."""
    with database.new_store() as store:
        store.create(row())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads
            child = os.fork()
        if child == 0:
            try:
                won = store.replace(row(revision=2), expected=1)
                store.close()
                os._exit(0 if won else 1)
            except BaseException:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert store.load("ann") == row(revision=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("is_open", [True, False], ids=["opened before", "opened after"])
def test_a_given_pool_is_not_used_on_both_sides_of_a_fork(
    database: Database, is_open: bool
) -> None:
    """Two processes on one connection would read each other's answers."""
    with database.new_store() as made:
        made.create(row())
        table = made._table.strip('"')
    pool = ConnectionPool(database.conninfo, open=is_open, min_size=1)
    store = PostgresStore(pool, table=table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads
        child = os.fork()
    if child == 0:
        try:
            if not is_open:
                pool.open()
            os._exit(0 if store.load("ann") == row() else 1)
        except StoreConfigurationError:
            os._exit(3)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (3 if is_open else 0)
    pool.open()
    assert store.load("ann") == row()
    pool.close()


def test_a_cancelled_call_gives_its_connection_back(database: Database) -> None:
    """One connection, held up by a lock: the call is cancelled, the next one works."""

    async def run() -> None:
        async with await database.new_async_store(connections_max=1) as store:
            await store.create(row())
            with database.connect() as other:
                other.execute(f"LOCK TABLE {table_of(store)}")  # type: ignore[call-overload]
                writing = asyncio.ensure_future(store.replace(row(revision=2), expected=1))
                await asyncio.sleep(0.2)
                writing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await writing
            assert await store.load("ann") == row()
            page = await store.scan(cursor=None, limit=10, prefix="a")
            assert page.records == (row(),)
            assert await store.delete("ann", expected=1) is True

    asyncio.run(run())
