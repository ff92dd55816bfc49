"""Behind PgBouncer, whose clients take turns on the server's connections: no store meets another's rows.

The pooler is Debian's own program, in transaction pooling as it ships unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_stores import Database, on_postgres
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import MetaData, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn
from sqlalchemy_stores import new_table

from cli_world import KEY, run
from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.postgres import AsyncPostgresStore, PostgresStore
from mfakit.storage.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, account_table
from mfakit.testing import AsyncStoreContract, StoreContract
from servers import postgres
from servers.child import need
from servers.pgbouncer import PgBouncer

pytestmark = pytest.mark.server
MODES = ("transaction", "statement", "session")
TABLES = ("customers", "staff")
THREADS, LOADS = 12, 60
SAYS = "A connection pooler (PgBouncer, say) is between mfakit and PostgreSQL."


def row(document: bytes = b"{}", revision: int = 1) -> StoredRecord:
    summary = Summary(state="enrolled")
    return StoredRecord(account_id="ann", revision=revision, document=document, summary=summary)


def pooler(mode: str = "transaction") -> PgBouncer:
    return _poolers()[mode]


@cache
def _poolers() -> dict[str, PgBouncer]:
    server = postgres.running()
    return {mode: PgBouncer(server, pool_mode=mode) for mode in MODES}


@pytest.fixture(autouse=True, scope="module")
def _servers() -> None:
    """Start them in this thread: each ends with the thread that started it."""
    _poolers()


@cache
def _made() -> Database:
    return Database(postgres.running().new_database())


@pytest.fixture
def database() -> Database:
    """A database with two new tables, in which one account has two rows."""
    made = _made()  # one for all: a killed server takes long to recover the making of many
    for table in TABLES:
        made.execute(f"DROP TABLE IF EXISTS {table}")
        with made.opener(table)() as store:
            store.create_table()
            assert store.create(row(table.encode()))
    return made


@pytest.fixture
def pooled(database: Database) -> str:
    """The way to that database through the pooler."""
    return pooler().dsn(database.name)


# ----------------------------------------------------------------------------- rows of another table


def _own_pool(conninfo: str, table: str) -> PostgresStore:
    return PostgresStore(conninfo, table=table)


def _platforms_pool(conninfo: str, table: str) -> PostgresStore:
    options = {"autocommit": True, "prepare_threshold": 1}
    return PostgresStore(ConnectionPool(conninfo, kwargs=options, open=True), table=table)


def _platforms_engine(conninfo: str, table: str) -> SQLAlchemyStore:
    return _on_engine(conninfo, table, prepare_threshold=1)


def _own_engine(conninfo: str, table: str) -> SQLAlchemyStore:
    return _on_engine(conninfo, table)


def _on_engine(conninfo: str, table: str, **options: Any) -> SQLAlchemyStore:
    given = psycopg.conninfo.conninfo_to_dict(conninfo) | options
    level = {} if options else {"isolation_level": "AUTOCOMMIT"}
    engine = create_engine("postgresql+psycopg://", connect_args=given, **level)
    return SQLAlchemyStore(engine, account_table(MetaData(), table))


async def _aclose(store: Any) -> None:
    if isinstance(store, AsyncSQLAlchemyStore):
        await greenlet_spawn(store._rows._engine.dispose)
    else:
        await store.aclose()


def _close(store: Any) -> None:
    if isinstance(store, SQLAlchemyStore):
        store._engine.dispose()
    else:
        store.close()
        if store._given:
            store._given.close()


def _found(store: Any) -> str:
    """Say which table a load was answered from, or how it failed."""
    try:
        found = store.load("ann")
    except StoreUnavailableError as error:
        return str(error.__cause__)
    return "nothing" if found is None else found.document.decode()


@pytest.mark.parametrize("make", [_own_pool, _platforms_pool, _own_engine, _platforms_engine])
def test_two_stores_behind_a_pooler_load_each_its_own_row(
    make: Callable[[str, str], Any], pooled: str
) -> None:
    """Whatever a driver prepares by default: one name would mean another's statement there."""
    stores = {table: make(pooled, table) for table in TABLES}
    found = Counter[tuple[str, str]]()
    at_once = threading.Barrier(THREADS)

    def load(worker: int) -> None:
        at_once.wait()
        for turn in range(LOADS):
            table = TABLES[(worker + turn) % 2]
            found[table, _found(stores[table])] += 1

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(load, range(THREADS)))
    for store in stores.values():
        _close(store)
    each = THREADS * LOADS // 2
    assert found == {("customers", "customers"): each, ("staff", "staff"): each}


def _async_own_pool(conninfo: str, table: str) -> AsyncPostgresStore:
    return AsyncPostgresStore(conninfo, table=table)


def _async_engine(conninfo: str, table: str) -> AsyncSQLAlchemyStore:
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    engine = create_async_engine("postgresql+psycopg://", connect_args=given)
    return AsyncSQLAlchemyStore(engine, account_table(MetaData(), table))


@pytest.mark.parametrize("make", [_async_own_pool, _async_engine])
def test_two_asynchronous_stores_behind_a_pooler_load_each_its_own_row(
    make: Callable[[str, str], Any], pooled: str
) -> None:
    found = Counter[tuple[str, str]]()

    async def load(stores: dict[str, Any], worker: int) -> None:
        for turn in range(LOADS):
            table = TABLES[(worker + turn) % 2]
            try:
                answer = (await stores[table].load("ann")).document.decode()
            except StoreUnavailableError as error:
                answer = str(error.__cause__)
            found[table, answer] += 1

    async def run() -> None:
        stores = {table: make(pooled, table) for table in TABLES}
        await asyncio.gather(*(load(stores, worker) for worker in range(THREADS)))
        for store in stores.values():
            await _aclose(store)

    asyncio.run(run())
    each = THREADS * LOADS // 2
    assert found == {("customers", "customers"): each, ("staff", "staff"): each}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_prepared_is_prepared_on_the_servers_own_connections_alone(
    database: Database, mode: str
) -> None:
    """Directly, a store's own pool prepares what it uses often; through a pooler it prepares nothing."""
    query = b"SELECT statement FROM pg_prepared_statements"
    for conninfo, is_prepared in (
        (postgres.running().dsn(database.name), True),
        (pooler(mode).dsn(database.name), False),
    ):
        with PostgresStore(conninfo, table="staff", connections_max=1) as store:
            for revision in range(1, 12):
                store.load("ann")
                assert store.replace(row(revision=revision + 1), expected=revision)
            done: Any = store._run(query, ())
            assert any(b"staff" in one.encode() for (one,) in done.rows) is is_prepared
            assert store.delete("ann", expected=12)
            assert store.create(row())


def test_an_asynchronous_pool_prepares_on_the_servers_own_connections_alone(
    database: Database, pooled: str
) -> None:
    async def prepared(conninfo: str) -> int:
        async with AsyncPostgresStore(conninfo, table="staff", connections_max=1) as store:
            for _ in range(12):
                await store.load("ann")
            done: Any = await store._run(b"SELECT statement FROM pg_prepared_statements", ())
            return sum("staff" in one for (one,) in done.rows)

    assert asyncio.run(prepared(postgres.running().dsn(database.name))) == 1
    assert asyncio.run(prepared(pooled)) == 0


def test_an_engine_prepares_as_the_platform_set_it_where_no_pooler_is(database: Database) -> None:
    """And what the platform set is there again after each call."""
    for conninfo, prepared in (
        (postgres.running().dsn(database.name), 1),
        (pooler().dsn(database.name), 0),
    ):
        store = _platforms_engine(conninfo, "staff")
        for _ in range(5):
            store.load("ann")
        with store._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            assert driver.prepare_threshold == 1
            driver.prepare_threshold = None
            query = "SELECT count(*) FROM pg_prepared_statements WHERE position('staff' in statement) > 0"
            assert connection.exec_driver_sql(query).scalar_one() == prepared
        store._engine.dispose()


class Elsewhere(psycopg.Cursor[Any]):
    """A cursor whose statement is another client's: the same, on another table."""

    asked = 0

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if b"FROM" in query and b"staff" in query and b"pg_class" not in query:
            Elsewhere.asked += 1
            query = query.replace(b"staff", b"customers")
        return super().execute(query, *args, **kwargs)


class AsyncElsewhere(psycopg.AsyncCursor[Any]):
    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        if b"FROM" in query and b"staff" in query and b"pg_class" not in query:
            query = query.replace(b"staff", b"customers")
        return await super().execute(query, *args, **kwargs)


@pytest.mark.parametrize("account_id", ["ann", "nobody"])
def test_an_answer_from_another_table_is_refused(database: Database, account_id: str) -> None:
    """However it came about; no row there is not "not enrolled" either."""
    with database.pool(kwargs={"autocommit": True, "cursor_factory": Elsewhere}) as pool:
        store = PostgresStore(pool, table="staff")
        with pytest.raises(StoreConfigurationError, match="another table"):
            store.load(account_id)
        with pytest.raises(StoreConfigurationError, match="another table"):
            store.scan(cursor=None, limit=10)
    assert Elsewhere.asked

    async def run() -> None:
        kwargs = {"autocommit": True, "cursor_factory": AsyncElsewhere}
        async with AsyncConnectionPool(database.conninfo, kwargs=kwargs, open=False) as pool:
            with pytest.raises(StoreConfigurationError, match="another table"):
                await AsyncPostgresStore(pool, table="staff").load(account_id)

    asyncio.run(run())


def test_a_table_that_is_made_anew_is_taken_for_the_store_s(database: Database) -> None:
    """As after a restore, with the store in use."""
    with database.opener("staff")() as store:
        assert store.load("ann") == row(b"staff")
        database.execute("ALTER TABLE staff RENAME TO old")
        database.execute("CREATE TABLE staff (LIKE old INCLUDING ALL)")
        assert store.load("ann") is None
        assert store.create(row(b"new"))
        assert store.load("ann") == row(b"new")
    database.execute("DROP TABLE old")


def test_a_search_path_that_another_client_leaves_behind_leads_nowhere_else(
    database: Database,
) -> None:
    """In transaction pooling a SET stays on the server's connection: the next client has it."""
    database.execute("CREATE SCHEMA IF NOT EXISTS tenant")
    database.execute("CREATE TABLE tenant.staff (LIKE public.staff INCLUDING ALL)")
    database.execute("INSERT INTO tenant.staff SELECT * FROM public.customers")
    one = PgBouncer(postgres.running(), pool_mode="transaction", default_pool_size=1)
    conninfo = one.dsn(database.name)
    with PostgresStore(conninfo, table="staff") as store:
        store.check()
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as other:
            other.execute("SET search_path TO tenant")
        assert store.load("ann") == row(b"staff")
        assert store.replace(row(b"changed", 2), expected=1)
        assert store.scan(cursor=None, limit=10).records == (row(b"changed", 2),)
        store.check()
        assert store.load("ann") == row(b"changed", 2)
    assert database.execute("SELECT document FROM tenant.staff") == [(b"customers",)]
    one.close()
    database.execute("DROP SCHEMA tenant CASCADE")


# ------------------------------------------------------------------------------ what an operator hears


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("make", [_own_pool, _platforms_pool, _own_engine, _platforms_engine])
def test_check_says_that_a_pooler_is_between(
    database: Database, make: Callable[[str, str], Any], mode: str
) -> None:
    """And says nothing where the server is reached directly."""
    for conninfo, said in (
        (pooler(mode).dsn(database.name), [SAYS]),
        (postgres.running().dsn(database.name), []),
    ):
        store = make(conninfo, "staff")
        assert [one[: len(SAYS)] for one in store.check()] == said
        _close(store)


def test_the_asynchronous_stores_say_so_too(pooled: str) -> None:
    async def run() -> None:
        async with _async_own_pool(pooled, "staff") as store:
            assert [one[: len(SAYS)] for one in await store.check()] == [SAYS]
        other = _async_engine(pooled, "staff")
        assert [one[: len(SAYS)] for one in await other.check()] == [SAYS]
        await _aclose(other)

    asyncio.run(run())


def test_check_of_an_engine_misses_a_table_that_is_not_there(database: Database) -> None:
    store = _own_engine(postgres.running().dsn(database.name), "nowhere")
    with pytest.raises(StoreUnavailableError):
        store.check()
    store._engine.dispose()


def test_doctor_says_that_a_pooler_is_between_and_finds_nothing_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Information in text and in JSON; nothing to do, no problem, exit status 0."""
    made = _made()
    with PostgresStore(made.conninfo) as store:
        store.create_table()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "keys").write_text(KEY, encoding="utf-8")
    (tmp_path / "keys").chmod(0o600)
    (tmp_path / "asynchronous.py").write_text(
        "from mfakit.storage.postgres import AsyncPostgresStore\n"
        f"def store(): return AsyncPostgresStore({pooler().dsn(made.name)!r})\n"
    )
    for store_of in (pooler().url(made.name), "asynchronous:store"):
        done = run("doctor", "--store", store_of, "--keys", "keys", "--json")
        assert done.exit_code == 0, done.output
        findings = json.loads(done.stdout)["findings"]
        (told,) = [one for one in findings if one["text"].startswith(SAYS)]
        assert (told["what"], told["level"], told["todo"]) == ("store", "ok", "")
        assert SAYS in run("doctor", "--store", store_of, "--keys", "keys").stdout
    direct = postgres.running().url(made.name)
    assert "pooler" not in run("doctor", "--store", direct, "--keys", "keys").stdout


def test_asyncpg_is_refused_behind_a_pooler_and_works_without(
    database: Database, pooled: str
) -> None:
    """It names its statements on its own, and cannot be told not to."""
    need("asyncpg", "pip install asyncpg")

    async def run(port: int) -> StoredRecord | None:
        engine = create_async_engine(
            f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{database.name}"
        )
        store = AsyncSQLAlchemyStore(engine, account_table(MetaData(), "staff"))
        try:
            await store.check()
            assert await store.replace(row(b"new", 2), expected=1)
            return await store.load("ann")
        finally:
            await engine.dispose()

    assert asyncio.run(run(postgres.running().port)) == row(b"new", 2)
    with pytest.raises(StoreConfigurationError, match="Use the driver psycopg"):
        asyncio.run(run(pooler().port))


# ------------------------------------------------------------------------------------- the contract


class TestThroughPgBouncer(StoreContract):
    SECONDS = 0.7
    mode = "transaction"

    @property
    def conninfo(self) -> str:
        return pooler(self.mode).dsn(on_postgres().name)

    def make_store(self) -> PostgresStore:
        store = PostgresStore(self.conninfo, table=new_table())
        store.create_table()
        return store

    def cut_connections(self, store: Any) -> None:
        on_postgres().cut_connections()


class TestThroughPgBouncerByStatement(TestThroughPgBouncer):
    mode = "statement"


class TestThroughPgBouncerAsync(AsyncStoreContract):
    SECONDS = 0.7

    async def make_store(self) -> AsyncPostgresStore:
        conninfo = pooler().dsn(on_postgres().name)
        store = AsyncPostgresStore(conninfo, table=new_table())
        await store.create_table()
        return store

    def cut_connections(self, store: Any) -> None:
        on_postgres().cut_connections()


# ------------------------------------------------------------------------------------ servers that die


@pytest.fixture
def quick_pooler() -> Iterator[PgBouncer]:
    """A pooler set as docs/postgres.md says."""
    settings = {"server_login_retry": 1, "query_wait_timeout": 5}
    made = PgBouncer(postgres.running(), pool_mode="transaction", **settings)
    yield made
    made.close()


def test_a_call_through_a_pooler_ends_when_the_server_is_gone_and_works_when_it_is_back(
    database: Database, quick_pooler: PgBouncer
) -> None:
    server = postgres.running()
    with PostgresStore(quick_pooler.dsn(database.name), table="staff", wait_seconds=2) as store:
        assert store.load("ann") == row(b"staff")
        server.kill()
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                store.load("ann")
            assert time.monotonic() - began < 10
        finally:
            server.start()
        assert _seconds_until_loaded(store) < 5


# psycopg's pool alone tries after 1, 3 and 7 seconds, each a tenth off at most. It is the pooler that
# goes and comes back here, because it is there again at once.
BETWEEN_ATTEMPTS, BACK_SECONDS = 3.8, 1.5


def test_a_call_that_waits_finds_a_server_that_is_back(
    database: Database, quick_pooler: PgBouncer
) -> None:
    """Within half a second, however long it was away."""
    with PostgresStore(quick_pooler.dsn(database.name), table="staff", wait_seconds=30) as store:
        assert store.load("ann") == row(b"staff")
        quick_pooler.stop()
        with ThreadPoolExecutor(1) as thread:
            with pytest.raises(StoreUnavailableError):  # on the dead connection
                store.replace(row(), expected=9)
            waiting = thread.submit(store.load, "ann")
            time.sleep(BETWEEN_ATTEMPTS)
            assert not waiting.done()
            quick_pooler.start()
            began = time.monotonic()
            assert waiting.result(30) == row(b"staff")
            assert time.monotonic() - began < BACK_SECONDS


def test_an_asynchronous_call_that_waits_finds_it_as_soon(
    database: Database, quick_pooler: PgBouncer
) -> None:
    conninfo = quick_pooler.dsn(database.name)

    async def run() -> float:
        async with AsyncPostgresStore(conninfo, table="staff", wait_seconds=30) as store:
            assert await store.load("ann") == row(b"staff")
            quick_pooler.stop()
            with pytest.raises(StoreUnavailableError):
                await store.replace(row(), expected=9)
            waiting = asyncio.ensure_future(store.load("ann"))
            await asyncio.sleep(BETWEEN_ATTEMPTS)
            assert not waiting.done()
            quick_pooler.start()
            began = time.monotonic()
            assert await waiting == row(b"staff")
            return time.monotonic() - began

    assert asyncio.run(run()) < BACK_SECONDS


def _seconds_until_loaded(store: PostgresStore) -> float:
    began = time.monotonic()
    while time.monotonic() - began < 30:
        try:
            assert store.load("ann") == row(b"staff")
        except StoreUnavailableError:
            continue
        break
    return time.monotonic() - began
