"""One adapter for PostgreSQL, MariaDB, MySQL and SQLite over SQLAlchemy 2 Core, sync and async.

It takes an engine and joins nobody's transaction: each method is one statement in a transaction of
its own, on a pooled connection of its own. So it is durable when it answers, reads no older
snapshot, and keeps its promises at every isolation level.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, overload

from sqlalchemy import (
    VARBINARY,
    BigInteger,
    Column,
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Executable,
    LargeBinary,
    MetaData,
    Row,
    StaticPool,
    Table,
    Text,
    bindparam,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import SingletonThreadPool
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlalchemy.util import await_only, greenlet_spawn

from mfakit.arguments import parse_account_id
from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Page, StoredRecord
from mfakit.storage.causes import DriverError
from mfakit.storage.columns import encode_summary, page_of, stored_row
from mfakit.storage.poolers import OWN_PROCESS, notes, process_told, unprepared

__all__ = ["AsyncSQLAlchemyStore", "SQLAlchemyStore", "Utf8Binary", "account_table"]

# A read that lost a race meets the same rival again until that one has committed: wait, longer each
# time, and half a second in all.
_READ_PAUSES_SECONDS = tuple(0.004 * 2**attempt for attempt in range(7))
_T = TypeVar("_T")


# --------------------------------------------------------------------------------------- the table


class Utf8Binary(TypeDecorator[str]):
    """Text as its UTF-8 bytes, which no collation folds, pads or reorders.

    Public because migrations that Alembic generates name it.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = VARBINARY
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Encode a value on its way to the database."""
        return None if value is None else value.encode()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Decode a value on its way back."""
        return None if value is None else bytes(value).decode()


# MySQL's TEXT takes the table's character set and folds case; its BLOB ends one byte short of 64 KiB.
_ID = (
    Text()
    .with_variant(Text(collation="C"), "postgresql")
    .with_variant(Utf8Binary(255), "mysql", "mariadb")
)
_DOCUMENT = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
_SUMMARY = Text().with_variant(
    mysql.TEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)


def account_table(
    metadata: MetaData, name: str = "mfakit_account", schema: str | None = None
) -> Table:
    """Add the accounts' table to the platform's `MetaData`, for its own migrations.

    `account_id` is compared byte for byte. `summary` is JSON for reports: it may gain members
    without a migration, and nothing is decided by it.

    Args:
        metadata: Where the table is added.
        name: Its name.
        schema: Its schema; None is the connection's own.
    """
    return Table(
        name,
        metadata,
        Column("account_id", _ID, primary_key=True),
        Column("revision", BigInteger, nullable=False, autoincrement=False),
        Column("document", _DOCUMENT, nullable=False),
        Column("summary", _SUMMARY, nullable=False),
        schema=schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )


# ------------------------------------------------------------------------------------ the failures


class _Failures(NamedTuple):
    """How a driver tells what failed, and which of these failures are known not to have written."""

    code_of: Callable[[Any], object]
    lost: frozenset[object]
    duplicate: frozenset[object]


def _sqlstate(error: Any) -> object:
    return getattr(error, "sqlstate", None)


def _errno(error: Any) -> object:
    return error.args[0] if error.args else None


def _sqlite_name(error: Any) -> object:
    return getattr(error, "sqlite_errorname", None)


# 40001 serialization failure, 40P01 deadlock, 23505 unique violation.
_SQLSTATES = _Failures(_sqlstate, frozenset({"40001", "40P01"}), frozenset({"23505"}))
# PostgreSQL's IF NOT EXISTS fails when another process creates table or row type at that moment.
_CREATED_BY_ANOTHER = frozenset({"42710", "42P07"})
# 1020 changed since it was read, 1205 lock wait timeout, 1213 deadlock (and Galera's certification),
# 1062 duplicate key.
_ERRNOS = _Failures(_errno, frozenset({1020, 1205, 1213}), frozenset({1062}))
_NAMES = _Failures(_sqlite_name, frozenset(), frozenset({"SQLITE_CONSTRAINT_PRIMARYKEY"}))
_FAILURES = {
    "cockroachdb": _SQLSTATES,
    "mariadb": _ERRNOS,
    "mysql": _ERRNOS,
    "postgresql": _SQLSTATES,
    "sqlite": _NAMES,
}


# ----------------------------------------------------------------------------- connection poolers

_IS_DIRECT = "mfakit: leads to the server itself"  # a mark on a connection, for as long as it lives
_NOT_THROUGH_A_POOLER = (
    "A connection pooler is between mfakit and PostgreSQL, and asyncpg names its statements: one could "
    "run another client's. Use the driver psycopg, or go to the server directly."
)


@contextmanager
def _not_prepared_through_poolers(connection: Connection) -> Iterator[None]:
    """Let the driver prepare statements only on a connection that leads to the server itself."""
    driver = connection.connection.driver_connection
    is_asyncpg = connection.dialect.driver == "asyncpg"
    may_prepare = is_asyncpg or getattr(driver, "prepare_threshold", None) is not None
    if not may_prepare or connection.info.get(_IS_DIRECT):
        yield
        return
    # SECURITY: clients of a pooler name their statements alike: the row of another table, or "won"
    # for a write to it.
    with unprepared(driver):
        if _IS_DIRECT not in connection.info:
            connection.info[_IS_DIRECT] = _is_direct(connection)
        if is_asyncpg and not connection.info[_IS_DIRECT]:
            raise StoreConfigurationError(_NOT_THROUGH_A_POOLER)
        yield


def _is_direct(connection: Connection) -> bool:
    """Ask the server for its process; CockroachDB has none, so nothing is prepared there."""
    if connection.dialect.name != "postgresql":
        return False
    told = process_told(connection.connection.driver_connection)
    return bool(told == connection.exec_driver_sql(OWN_PROCESS).scalar_one())


# -------------------------------------------------------------------------------------- the stores


class _Rows:
    """What both stores share: statements made once, run on an engine in the synchronous style."""

    def __init__(
        self, engine: Engine, table: Table | None, sleep: Callable[[float], object]
    ) -> None:
        table = account_table(MetaData()) if table is None else table
        _require_own_connections(engine)
        columns, key = table.c, table.c.account_id
        expected = (key == bindparam("key"), columns.revision == bindparam("expected"))
        after = (key >= bindparam("prefix"), key > bindparam("after"))
        self._table = table
        self._engine = engine
        self._pid = os.getpid()
        self._sleep = sleep
        self._failures = _FAILURES[engine.dialect.name]
        self._load = table.select().where(key == bindparam("key"))
        self._create = table.insert().execution_options(preserve_rowcount=True)
        self._replace = (
            table.update()
            .where(*expected)
            .values({name: bindparam(name) for name in ("revision", "document", "summary")})
        )
        self._delete = table.delete().where(*expected)
        self._scan = table.select().where(*after).order_by(key).limit(bindparam("rows"))

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        rows = self._read(self._load, {"key": parse_account_id(account_id)})
        return stored_row(rows[0]) if rows else None

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        values = {"account_id": parse_account_id(new.account_id), **_values(new)}
        return self._write(self._create, values, known=self._failures.duplicate)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        place = {"key": parse_account_id(new.account_id), "expected": expected}
        return self._write(self._replace, {**place, **_values(new)})

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        place = {"key": parse_account_id(account_id), "expected": expected}
        return self._write(self._delete, place)

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        place = {"prefix": prefix, "after": cursor or "", "rows": limit + 1}
        rows = self._read(self._scan, place)
        return page_of(rows, limit, prefix)

    def create_table(self) -> None:
        """Create the table if it is missing; several processes may do so at once.

        For tests and platforms without migrations. Raises `StoreUnavailableError`.
        """
        statement = CreateTable(self._table, if_not_exists=True)
        known = self._failures.duplicate | _CREATED_BY_ANOTHER
        self._send(statement, {}, bool, known=known)

    def check(self) -> tuple[str, ...]:
        """Check that the server answers and has the table: at start, rather than at a sign-in.

        Returns:
            What an operator should know and need not mend: that a connection pooler is between.

        Raises:
            StoreConfigurationError: The driver may not be used through a pooler.
            StoreUnavailableError: The server does not answer, or has no such table.
        """
        parameters = {"prefix": "", "after": "", "rows": 0}
        return notes(is_pooled=self._read(self._scan, parameters, _is_pooled))

    @overload
    def _read(self, statement: Executable, parameters: dict[str, Any]) -> Sequence[Row[Any]]: ...

    @overload
    def _read(
        self, statement: Executable, parameters: dict[str, Any], take: Callable[[Any], _T]
    ) -> _T: ...

    def _read(
        self,
        statement: Executable,
        parameters: dict[str, Any],
        take: Callable[[Any], Any] = CursorResult.all,
    ) -> Any:
        """Read, and again if the connection was dead or a race was lost: it changes nothing."""
        pauses = iter(_READ_PAUSES_SECONDS)
        while True:
            try:
                return self._run(statement, parameters, take)
            except StoreConfigurationError:
                raise
            except Exception as caught:
                cause, may_read_again = self._cause(caught), self._may_read_again(caught)
            pause_seconds = next(pauses, None)
            if pause_seconds is None or not may_read_again:
                raise StoreUnavailableError from cause
            self._sleep(pause_seconds)

    def _write(
        self,
        statement: Executable,
        parameters: dict[str, Any],
        known: frozenset[object] = frozenset(),
    ) -> bool:
        """Write, once only; say whether that row was there."""
        return self._send(statement, parameters, _row_count, known | self._failures.lost) == 1

    def _send(
        self,
        statement: Executable,
        parameters: dict[str, Any],
        take: Callable[[Any], _T],
        known: frozenset[object],
    ) -> _T | None:
        """Write: unless the failure is a known one, the row may have been written."""
        try:
            return self._run(statement, parameters, take)
        except StoreConfigurationError:
            raise
        except Exception as caught:
            cause = self._cause(caught)
        if cause.code in known:
            return None
        raise StoreUnavailableError from cause

    def _run(
        self, statement: Executable, parameters: dict[str, Any], take: Callable[[Any], _T]
    ) -> _T:
        """Run one statement in a transaction of its own; an unknown failure costs its connection."""
        if self._pid != os.getpid():
            # SECURITY: on the parent's connections two processes would read each other's answers: the
            # row of another account, or "won" for a write that lost. Its pool is left to it, unclosed.
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        with self._engine.connect() as connection:
            try:
                with _not_prepared_through_poolers(connection):
                    taken = take(connection.execute(statement, parameters))
                    connection.commit()
            except Exception as error:
                if self._code_of(error) not in self._failures.lost | self._failures.duplicate:
                    connection.invalidate()
                raise
        return taken

    def _may_read_again(self, error: Exception) -> bool:
        was_cut = isinstance(error, DBAPIError) and error.connection_invalidated
        return was_cut or self._code_of(error) in self._failures.lost

    def _code_of(self, error: Exception) -> object:
        return self._failures.code_of(error.orig) if isinstance(error, DBAPIError) else None

    def _cause(self, error: Exception) -> DriverError:
        # SQLAlchemy's own text shows the statement's parameters, which include the document.
        return DriverError(getattr(error, "orig", None) or error, self._code_of(error))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._engine!r}, {self._table.fullname!r})"


class SQLAlchemyStore(_Rows):
    """Keep rows in a table of the platform's database, through its engine.

    A dead connection is replaced. Reads try again on a new one, so a server that comes back needs
    no `pool_pre_ping`; a write is sent once, and when it fails its outcome is unknown.

    Args:
        engine: A synchronous `Engine` for PostgreSQL (psycopg), MariaDB or MySQL (PyMySQL), or
            SQLite in a file. One made with `isolation_level="AUTOCOMMIT"` saves round trips.
        table: What `account_table` returned; None is a table named `mfakit_account`.

    Raises:
        StoreConfigurationError: Anything but such an engine (a session or a connection would carry
            the caller's transaction), or a pool that gives one connection to several callers.
    """

    def __init__(self, engine: Engine, table: Table | None = None) -> None:
        if not isinstance(engine, Engine) or engine.dialect.is_async:
            raise StoreConfigurationError(
                "SQLAlchemyStore takes a synchronous Engine, never a session or a connection."
            )
        super().__init__(engine, table, time.sleep)


class AsyncSQLAlchemyStore:
    """`SQLAlchemyStore` for an event loop.

    A cancelled call drops its connection; from a write the outcome is then unknown.

    Args:
        engine: An `AsyncEngine` for PostgreSQL (psycopg), MariaDB or MySQL (asyncmy), or SQLite in
            a file (aiosqlite). It belongs to one event loop.
        table: What `account_table` returned; None is a table named `mfakit_account`.

    Raises:
        StoreConfigurationError: As `SQLAlchemyStore`.
    """

    def __init__(self, engine: AsyncEngine, table: Table | None = None) -> None:
        if not isinstance(engine, AsyncEngine):
            raise StoreConfigurationError(
                "AsyncSQLAlchemyStore takes an AsyncEngine, never a session or a connection."
            )
        self._rows = _Rows(engine.sync_engine, table, _sleep_in_loop)

    async def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        return await greenlet_spawn(self._rows.load, account_id)

    async def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        return await greenlet_spawn(self._rows.create, new)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return await greenlet_spawn(self._rows.replace, new, expected=expected)

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return await greenlet_spawn(self._rows.delete, account_id, expected=expected)

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        return await greenlet_spawn(self._rows.scan, cursor=cursor, limit=limit, prefix=prefix)

    async def create_table(self) -> None:
        """Create the table if it is missing. Raises `StoreUnavailableError`."""
        await greenlet_spawn(self._rows.create_table)

    async def check(self) -> tuple[str, ...]:
        """As `SQLAlchemyStore.check`."""
        return await greenlet_spawn(self._rows.check)

    def __repr__(self) -> str:
        return repr(self._rows).replace("_Rows", type(self).__name__, 1)


def _sleep_in_loop(seconds: float) -> None:
    await_only(asyncio.sleep(seconds))


def _require_own_connections(engine: Engine) -> None:
    if engine.dialect.name not in _FAILURES:
        raise StoreConfigurationError(
            "The SQLAlchemy stores know PostgreSQL, CockroachDB, MariaDB, MySQL and SQLite."
        )
    # SECURITY: on a shared connection a write would join the caller's transaction.
    if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        raise StoreConfigurationError(
            "The engine's pool gives one connection to several callers. Use SQLite in a file."
        )


def _values(new: StoredRecord) -> dict[str, Any]:
    summary = encode_summary(new.summary).decode()
    return {"revision": new.revision, "document": new.document, "summary": summary}


def _is_pooled(result: CursorResult[Any]) -> bool:
    """Say whether a pooler is between; of other databases than PostgreSQL nothing is known."""
    connection = result.connection
    return connection.dialect.name == "postgresql" and not _is_direct(connection)


def _row_count(result: CursorResult[Any]) -> int:
    return result.rowcount
