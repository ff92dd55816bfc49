"""Stores on PostgreSQL by psycopg 3 alone, sync and async: the fastest way to it from Python.

Each call is one statement in autocommit on a pooled connection that nobody else has: it joins no
caller's transaction, is durable when it answers, and keeps its promises at every isolation level.
The table is that of `mfakit.storage.sqlalchemy`: a platform may change from one to the other, or
run both.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from threading import Lock
from time import monotonic
from typing import Any, Literal, NamedTuple, Self, TypeGuard

try:
    from psycopg import AsyncConnection, Connection, ProgrammingError, sql
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.rows import tuple_row
    from psycopg_pool import AsyncConnectionPool, ConnectionPool
except ImportError as _missing:
    raise ImportError(
        "mfakit.storage.postgres needs psycopg and its pool: pip install 'mfakit[postgres]'"
    ) from _missing

from mfakit.arguments import parse_account_id
from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.forks import Forkable, watch_forks
from mfakit.storage import Page, StoredRecord
from mfakit.storage.causes import DriverError
from mfakit.storage.columns import encode_summary, page_of, stored_row
from mfakit.storage.poolers import OWN_PROCESS, notes

__all__ = ["AsyncPostgresStore", "PostgresStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS {table} (
    account_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    document BYTEA NOT NULL,
    summary TEXT NOT NULL
)
"""
_COLUMNS = "account_id, revision, document, summary"
_LOAD = f"SELECT {_COLUMNS} FROM {{table}} WHERE account_id = %s"
_CREATE = (
    f"INSERT INTO {{table}} ({_COLUMNS}) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (account_id) DO NOTHING"
)
_REPLACE = (
    "UPDATE {table} SET revision = %s, document = %s, summary = %s"
    " WHERE account_id = %s AND revision = %s"
)
_DELETE = "DELETE FROM {table} WHERE account_id = %s AND revision = %s"
_SCAN = (
    f"SELECT {_COLUMNS} FROM {{table}} WHERE account_id >= %s AND account_id > %s"
    " ORDER BY account_id LIMIT %s"
)
_CHECK = b"""
SELECT pg_is_in_recovery(), current_setting('server_encoding'),
       attname::text, format_type(atttypid, NULL), collname::text,
       EXISTS (SELECT FROM pg_index WHERE indrelid = found AND indisunique AND indpred IS NULL
               AND indnkeyatts = 1 AND indkey[0] = attnum),
       (SELECT format('%%I.%%I', nspname, relname) FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = found),
       found::oid::bigint, pg_backend_pid()
FROM (SELECT to_regclass(%s) AS found) AS wanted
LEFT JOIN pg_attribute ON attrelid = found AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
"""
_TYPES = {"account_id": "text", "revision": "bigint", "document": "bytea", "summary": "text"}

# 40001 serialization failure, 40P01 deadlock: known not to have written.
_LOST = frozenset({"40001", "40P01"})
_DUPLICATE = frozenset({"23505"})
# IF NOT EXISTS fails when another process creates table or row type at that moment.
_CREATED_BY_ANOTHER = frozenset({"23505", "42710", "42P07"})
# The server goes down, or has become a standby: a new connection may lead to another.
_GONE = frozenset({"57P01", "57P02", "57P03", "25006"})
# A read that lost a race meets the same rival again until that one has committed: wait, longer each
# time, and half a second in all.
_READ_PAUSES_SECONDS = tuple(0.004 * 2**attempt for attempt in range(7))

# Uses of a statement before psycopg prepares it, where nothing is between it and the server.
_PREPARE_AFTER = 5
# A server that is back is found after this time at the latest, while a call waits for it.
_RECONNECT_SECONDS = 0.5

_ANOTHER_TABLE = (
    "PostgreSQL answered from another table than the store's. Another client has changed the search "
    "path of a shared connection, or the table is made anew again and again: give schema=."
)
_SHOWN = ("user", "host", "hostaddr", "port", "dbname")

Rows = list[tuple[Any, ...]]
_Read = Literal["load", "scan"]
_Write = Literal["schema", "create", "replace", "delete"]
_TEXTS = (_SCHEMA, _LOAD, _CREATE, _REPLACE, _DELETE, _SCAN)


class _Statements(NamedTuple):
    """The statements on one table, made once."""

    schema: bytes
    load: bytes
    create: bytes
    replace: bytes
    delete: bytes
    scan: bytes


class _Done(NamedTuple):
    """What one statement returned, and how many rows it met.

    Args:
        rows: The rows.
        met: How many there were, or were written.
        source: The OID of the table that the first column comes from, 0 if none.
        process: The id of the server's process, as the connection was told it.
    """

    rows: Rows
    met: int
    source: int
    process: int


class _Failed:
    """What a failed statement means, and what became of its connection."""

    def __init__(self, error: Exception, connection: Any) -> None:
        self.code = getattr(error, "sqlstate", None)
        self.is_cut = self.code in _GONE or (connection is not None and connection.closed)
        self.may_be_read_again = self.is_cut or self.code in _LOST
        self.cause = DriverError(error, self.code)


class _Layout:
    """What both stores share: the table, its statements, and the pool's settings."""

    def __init__(
        self,
        source: object,
        table: str,
        schema: str | None,
        connections_min: int,
        connections_max: int,
        wait_seconds: float,
    ) -> None:
        name = sql.Identifier(table) if schema is None else sql.Identifier(schema, table)
        self._table = name.as_string(None)
        self._use_table(self._table)
        if not 0 <= connections_min <= connections_max > 0 < wait_seconds:
            raise StoreConfigurationError(
                "Give 0 <= connections_min <= connections_max, at least one, and wait_seconds > 0."
            )
        self._place, self._pool_options = "a pool", dict[str, Any]()
        # SECURITY: a pool's connections may lead to a pooler, where a prepared statement of another
        # client has the same name: the row of another table. With a string see `_prepare_if_direct`.
        self._prepare = None if isinstance(source, str) else False
        if isinstance(source, str):
            self._place, settings = _connection_options(source, wait_seconds)
            self._pool_options = {
                "conninfo": source,
                "kwargs": settings,
                "min_size": connections_min,
                "max_size": connections_max,
                "timeout": wait_seconds,
                # Past this, a new attempt is made at once, instead of ever more rarely.
                "reconnect_timeout": min(wait_seconds, _RECONNECT_SECONDS),
                "name": "mfakit",
                "open": False,
            }
        self._accepted = False
        self._oid = 0
        self._drained_at = 0.0

    def _use_table(self, name: str) -> None:
        self._table_in_use = name
        text = name.replace("%", "%%")
        self._sql = _Statements(*(one.replace("{table}", text).encode() for one in _TEXTS))

    def _is_read(self, done: _Done | _Failed) -> TypeGuard[_Done]:
        """Say whether rows were read, and from the table that was checked."""
        if isinstance(done, _Failed):
            return False
        # SECURITY: the same account's row of another table may pass for ours, an empty one for "not
        # enrolled". The server says with each answer which table it is from.
        is_ours = done.source == self._oid
        if not is_ours:
            self._accepted = False  # made anew, maybe
        return is_ours

    def _is_news(self, failed: _Failed, asked_at: float) -> bool:
        """Say whether the other connections are as old as the one that was cut."""
        is_news = failed.is_cut and asked_at > self._drained_at
        if is_news:
            self._drained_at = monotonic()
            self._accepted = False  # the next connection may lead to another server
        return is_news

    def _accept(self, done: _Done) -> tuple[str, ...]:
        """Raise `StoreConfigurationError` if the server or the table cannot keep the promises."""
        is_standby, encoding, *_, place, oid, process = done.rows[0]
        # SECURITY: a standby lags, so a revoked passcode would still be good.
        if is_standby:
            raise StoreConfigurationError(
                "This PostgreSQL server is a standby. Give the primary, or name all servers and "
                "add target_session_attrs=read-write."
            )
        if encoding != "UTF8":
            raise StoreConfigurationError("The database's encoding must be UTF8.")
        columns = {name: kind for _, _, name, kind, *_ in done.rows}
        if not columns.items() >= _TYPES.items():
            raise StoreConfigurationError(
                f"The table {self._table} is not there, or is not one of mfakit's for this store. "
                "Call create_table() once, or write the documented migration."
            )
        # SECURITY: two accounts must never be one row, nor one account two.
        keys = {(name, *rest) for _, _, name, _, *rest, _, _, _ in done.rows}
        if ("account_id", "C", True) not in keys:
            raise StoreConfigurationError('account_id must be COLLATE "C" and a key of its own.')
        if self._table_in_use != place:
            self._use_table(place)  # with its schema: from now on no search path leads elsewhere
        self._oid, self._accepted = oid, True
        return notes(is_pooled=process != done.process)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place!r}, {self._table!r})"


class PostgresStore(_Layout, Forkable):
    """Keep rows in a table of a PostgreSQL database.

    A dead connection costs the whole pool, which is filled anew. Reads try again on a new one; a
    write is sent once, and when it fails its outcome is unknown.

    Args:
        source: A connection string or URL as libpq takes it (`postgresql://…`, `host=… dbname=…`),
            or an open `psycopg_pool.ConnectionPool` of the platform's, which the platform opens in
            each process (never before a fork) and closes. With a string the pool is made on first use, in a forked child anew.
        table: The table's name.
        schema: Its schema; None is the connection's own.
        connections_min: How many connections are kept, with a string.
        connections_max: How many there are at most in this process, with a string.
        wait_seconds: How long a call waits for a connection, with a string.

    Raises:
        StoreConfigurationError: The source is neither. From a method: the server is a standby, or
            has no such table; the text says what to do.
    """

    def __init__(
        self,
        source: str | ConnectionPool[Any],
        *,
        table: str = "mfakit_account",
        schema: str | None = None,
        connections_min: int = 1,
        connections_max: int = 10,
        wait_seconds: float = 5.0,
    ) -> None:
        super().__init__(source, table, schema, connections_min, connections_max, wait_seconds)
        if not isinstance(source, (str, ConnectionPool)):
            raise StoreConfigurationError(
                "PostgresStore takes a connection string or a ConnectionPool, never a connection."
            )
        self._given = None if isinstance(source, str) else source
        self._own: ConnectionPool[Connection[Any]] | None = None
        self._parents: list[object] = []
        self._making = Lock()
        self._is_shared = False
        watch_forks(self)

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        rows = self._read("load", (parse_account_id(account_id),))
        return stored_row(rows[0]) if rows else None

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        values = (parse_account_id(new.account_id), *_values(new))
        return self._write("create", values, _DUPLICATE)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        place = (parse_account_id(new.account_id), expected)
        return self._write("replace", (*_values(new), *place))

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return self._write("delete", (parse_account_id(account_id), expected))

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        return page_of(self._read("scan", (prefix, cursor or "", limit + 1)), limit, prefix)

    def create_table(self) -> None:
        """Create the table if it is missing; several processes may do so at once.

        For tests and platforms without migrations. Raises `StoreUnavailableError`.
        """
        self._send("schema", (), _CREATED_BY_ANOTHER)

    def check(self) -> tuple[str, ...]:
        """Check the server and the table now: at start, rather than at the first sign-in.

        Returns:
            What an operator should know and need not mend: that a connection pooler is between.

        Raises:
            StoreConfigurationError: They cannot keep a store's promises; the text says why.
            StoreUnavailableError: The server does not answer. Retry later.
        """
        pauses = iter(_READ_PAUSES_SECONDS)
        while True:
            done = self._run(_CHECK, (self._table_in_use,))
            if not isinstance(done, _Failed):
                return self._accept(done)
            time.sleep(_next_pause(done, pauses))

    def close(self) -> None:
        """Close the store's own pool; the store may be used again afterwards."""
        pool, self._own = self._own, None
        if pool is not None:
            pool.close()

    def after_fork(self, *, is_child: bool) -> None:
        """Leave the pool to the parent, whose connections it has; the child makes its own."""
        if is_child:
            self._parents.append(self._own)  # kept, for nobody may close it here
            # A thread that the child does not have may hold the lock.
            self._own, self._making = None, Lock()
            self._is_shared = self._given is not None and not self._given.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(
        self, name: _Write, values: Sequence[Any], known: frozenset[str] = frozenset()
    ) -> bool:
        if not self._accepted:
            self.check()
        return self._send(name, values, known)

    def _read(self, name: _Read, values: Sequence[Any]) -> Rows:
        """Read, and again if the connection was dead or a race was lost: it changes nothing."""
        pauses = iter(_READ_PAUSES_SECONDS)
        while True:
            if not self._accepted:
                self.check()
            done = self._run(getattr(self._sql, name), values)
            if self._is_read(done):
                return done.rows
            time.sleep(_next_pause(done, pauses))

    def _send(self, name: _Write, values: Sequence[Any], known: frozenset[str]) -> bool:
        """Write, once only: unless the failure is a known one, the row may have been written."""
        done = self._run(getattr(self._sql, name), values)
        if not isinstance(done, _Failed):
            return done.met == 1
        if done.code in known | _LOST:
            return False
        raise StoreUnavailableError from done.cause

    def _run(self, statement: bytes, values: Sequence[Any]) -> _Done | _Failed:
        # SECURITY: parent and child would read each other's answers: the row of another account, or
        # "won" for a write that lost.
        if self._is_shared:
            raise StoreConfigurationError(
                "The pool was opened before a fork. Open one in each process, after it."
            )
        asked_at, pool, connection = monotonic(), None, None
        try:
            pool = self._pool()
            connection = pool.getconn()
            try:
                return _execute(connection, statement, values, prepare=self._prepare)
            finally:
                pool.putconn(connection)
        except Exception as error:
            failed = _Failed(error, connection)
        if pool is not None and self._is_news(failed, asked_at):
            pool.drain()
        return failed

    def _pool(self) -> ConnectionPool[Connection[Any]]:
        if self._given is not None:
            return self._given
        pool = self._own
        if pool is None:
            with self._making:
                pool = self._own or ConnectionPool(
                    configure=_prepare_if_direct,
                    reconnect_failed=_connect_again,
                    **self._pool_options,
                )
                pool.open()  # does nothing to one that is open
                self._own = pool
        return pool


class AsyncPostgresStore(_Layout):
    """`PostgresStore` for an event loop, to which it belongs.

    A cancelled call cancels its statement on the server; from a write the outcome is then unknown.
    Arguments and errors are those of `PostgresStore`; the pool is an `AsyncConnectionPool`.
    """

    def __init__(
        self,
        source: str | AsyncConnectionPool[Any],
        *,
        table: str = "mfakit_account",
        schema: str | None = None,
        connections_min: int = 1,
        connections_max: int = 10,
        wait_seconds: float = 5.0,
    ) -> None:
        super().__init__(source, table, schema, connections_min, connections_max, wait_seconds)
        if not isinstance(source, (str, AsyncConnectionPool)):
            raise StoreConfigurationError(
                "AsyncPostgresStore takes a connection string or an AsyncConnectionPool, never a "
                "connection."
            )
        self._given = None if isinstance(source, str) else source
        self._own: AsyncConnectionPool[AsyncConnection[Any]] | None = None

    async def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        rows = await self._read("load", (parse_account_id(account_id),))
        return stored_row(rows[0]) if rows else None

    async def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        values = (parse_account_id(new.account_id), *_values(new))
        return await self._write("create", values, _DUPLICATE)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        place = (parse_account_id(new.account_id), expected)
        return await self._write("replace", (*_values(new), *place))

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return await self._write("delete", (parse_account_id(account_id), expected))

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        rows = await self._read("scan", (prefix, cursor or "", limit + 1))
        return page_of(rows, limit, prefix)

    async def create_table(self) -> None:
        """Create the table if it is missing. Raises `StoreUnavailableError`."""
        await self._send("schema", (), _CREATED_BY_ANOTHER)

    async def check(self) -> tuple[str, ...]:
        """As `PostgresStore.check`."""
        pauses = iter(_READ_PAUSES_SECONDS)
        while True:
            done = await self._run(_CHECK, (self._table_in_use,))
            if not isinstance(done, _Failed):
                return self._accept(done)
            await asyncio.sleep(_next_pause(done, pauses))

    async def aclose(self) -> None:
        """Close the store's own pool; the store may be used again afterwards."""
        pool, self._own = self._own, None
        if pool is not None:
            await pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _write(
        self, name: _Write, values: Sequence[Any], known: frozenset[str] = frozenset()
    ) -> bool:
        if not self._accepted:
            await self.check()
        return await self._send(name, values, known)

    async def _read(self, name: _Read, values: Sequence[Any]) -> Rows:
        pauses = iter(_READ_PAUSES_SECONDS)
        while True:
            if not self._accepted:
                await self.check()
            done = await self._run(getattr(self._sql, name), values)
            if self._is_read(done):
                return done.rows
            await asyncio.sleep(_next_pause(done, pauses))

    async def _send(self, name: _Write, values: Sequence[Any], known: frozenset[str]) -> bool:
        done = await self._run(getattr(self._sql, name), values)
        if not isinstance(done, _Failed):
            return done.met == 1
        if done.code in known | _LOST:
            return False
        raise StoreUnavailableError from done.cause

    async def _run(self, statement: bytes, values: Sequence[Any]) -> _Done | _Failed:
        asked_at, pool, connection = monotonic(), None, None
        try:
            pool = await self._pool()
            connection = await pool.getconn()
            try:
                return await _execute_async(connection, statement, values, prepare=self._prepare)
            finally:
                await pool.putconn(connection)
        except Exception as error:
            failed = _Failed(error, connection)
        if pool is not None and self._is_news(failed, asked_at):
            await pool.drain()
        return failed

    async def _pool(self) -> AsyncConnectionPool[AsyncConnection[Any]]:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = AsyncConnectionPool(
                configure=_prepare_if_direct_async,
                reconnect_failed=_connect_again_async,
                **self._pool_options,
            )
        if self._own.closed:
            await self._own.open()
        return self._own


def _execute(
    connection: Connection[Any], statement: bytes, values: Sequence[Any], *, prepare: bool | None
) -> _Done:
    with nullcontext() if connection.autocommit else connection:
        cursor = connection.cursor(binary=True, row_factory=tuple_row)
        cursor.execute(statement, values, prepare=prepare)
        rows = cursor.fetchall() if cursor.rownumber is not None else []
        return _done(cursor, rows)


async def _execute_async(
    connection: AsyncConnection[Any],
    statement: bytes,
    values: Sequence[Any],
    *,
    prepare: bool | None,
) -> _Done:
    async with nullcontext() if connection.autocommit else connection:
        cursor = connection.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute(statement, values, prepare=prepare)
        rows = await cursor.fetchall() if cursor.rownumber is not None else []
        return _done(cursor, rows)


def _done(cursor: Any, rows: Rows) -> _Done:
    return _Done(
        rows, cursor.rowcount, cursor.pgresult.ftable(0), cursor.connection.pgconn.backend_pid
    )


def _next_pause(done: _Done | _Failed, pauses: Iterator[float]) -> float:
    """Return how long to wait before a read is tried again; raise if it is not."""
    pause_seconds = next(pauses, None)
    if isinstance(done, _Failed):
        if pause_seconds is None or not done.may_be_read_again:
            raise StoreUnavailableError from done.cause
    elif pause_seconds is None:
        raise StoreConfigurationError(_ANOTHER_TABLE)
    return pause_seconds


# ------------------------------------------------------------------------------ a pool of the store's


def _prepare_if_direct(connection: Connection[Any]) -> None:
    """Let a new connection prepare statements if it leads to the server itself."""
    found = connection.execute(OWN_PROCESS, prepare=False).fetchone()
    if found == (connection.pgconn.backend_pid,):
        connection.prepare_threshold = _PREPARE_AFTER


async def _prepare_if_direct_async(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute(OWN_PROCESS, prepare=False)
    if await cursor.fetchone() == (connection.pgconn.backend_pid,):
        connection.prepare_threshold = _PREPARE_AFTER


def _connect_again(pool: ConnectionPool[Any]) -> None:
    """Begin a new series of attempts, if somebody waits for a connection."""
    if pool.get_stats().get("requests_waiting"):
        pool.check()


async def _connect_again_async(pool: AsyncConnectionPool[Any]) -> None:
    if pool.get_stats().get("requests_waiting"):
        await pool.check()


def _connection_options(conninfo: str, wait_seconds: float) -> tuple[str, dict[str, Any]]:
    """Return where it leads, without its password, and what is set beside it."""
    given = None
    with suppress(ProgrammingError):  # it quotes the string, password and all
        given = conninfo_to_dict(conninfo)
    if given is None:
        raise StoreConfigurationError("That is no connection string of PostgreSQL.")
    place = " ".join(f"{name}={given[name]}" for name in _SHOWN if name in given)
    settings: dict[str, Any] = {
        "autocommit": True,
        "client_encoding": "utf8",
        "prepare_threshold": None,
    }
    if "connect_timeout" not in given and "PGCONNECT_TIMEOUT" not in os.environ:
        settings["connect_timeout"] = max(2, round(wait_seconds))
    return place, settings


def _values(new: StoredRecord) -> tuple[int, bytes, str]:
    return new.revision, new.document, encode_summary(new.summary).decode()
