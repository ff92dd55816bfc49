"""The store: one statement a call, on the writer, in no transaction of the caller's.

A refusal that the caller rolls back would be a guess that was not counted, so inside `atomic()` on
the store's alias every method raises `StoreConfigurationError` before it does anything. The one
exception is the transaction that Django's `TestCase` puts around a test.

The statements are SQL, run by Django's own cursor. The ORM would build those of every sign-in anew
at each call, for ten times the cost on SQLite and one and a half times on PostgreSQL; and as soon as
some app listens to its signals, it deletes by key alone what it read before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import Error, close_old_connections, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from mfakit.arguments import parse_account_id
from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Page, StoredRecord, Summary
from mfakit.storage.causes import DriverError
from mfakit.storage.django.times import from_seconds, to_seconds
from mfakit.storage.poolers import OWN_PROCESS, notes, process_told, unprepared

if TYPE_CHECKING:
    from mfakit.storage.django.models import Account

__all__ = ["AsyncDjangoStore", "DjangoStore"]

P = ParamSpec("P")
T = TypeVar("T")

_COLUMNS = (
    "account_id",
    "revision",
    "state",
    "enrolled_at",
    "last_login_at",
    "authenticators",
    "recovery_codes_left",
    "passcodes",
    "trusted_devices",
    "key_ids",
    "document",
)
_LOAD = f"SELECT {', '.join(_COLUMNS)} FROM mfakit_account WHERE account_id = %s"
_CREATE = (
    f"INSERT INTO mfakit_account ({', '.join(_COLUMNS)})"
    f" VALUES ({', '.join('%s' for _ in _COLUMNS)})"
)
_REPLACE = (
    f"UPDATE mfakit_account SET {', '.join(f'{one} = %s' for one in _COLUMNS[1:])}"
    " WHERE account_id = %s AND revision = %s"
)
_DELETE = "DELETE FROM mfakit_account WHERE account_id = %s AND revision = %s"
# What the drivers call a lost race, or a row that is there already.
_LOST_RACES = (
    *("40001", "40P01", "23505"),  # PostgreSQL: serialization failure, deadlock, duplicate key
    *(1020, 1062, 1205, 1213),  # MySQL, MariaDB: row changed, duplicate key, lock wait, deadlock
    *("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"),
)
_IN_TRANSACTION = (
    "The store was called inside atomic(). What is rolled back would be a guess that was not "
    "counted: call it outside, or give it an alias of its own in DATABASES."
)
_NO_AUTOCOMMIT = "The store's database connection is not in autocommit mode."
# psycopg's TransactionStatus: INTRANS, INERROR. UNKNOWN is a lost connection, and not the caller's.
_PSYCOPG_IN_TRANSACTION = (2, 3)
_BEGUN_BY_HAND = (
    "The store was called inside a transaction that was begun with a statement of its own, not "
    "with atomic(). End it first, or give the store an alias of its own in DATABASES."
)


class DjangoStore:
    """Keep rows in the table `mfakit_account` of one of Django's databases.

    Safe across threads; each thread has its own connection, as everywhere in Django. Outside of
    requests, call `django.db.close_old_connections()` between units of work, as for any query.

    Args:
        using: An alias of `DATABASES`. None asks the routers for the model's writer at each call.

    Every method raises `StoreUnavailableError` when the database fails, and
    `StoreConfigurationError` inside `atomic()`, without autocommit, or for an unknown alias; those
    that take an id, `InvalidInputError` for what is none.
    """

    def __init__(self, using: str | None = None) -> None:
        self._using = using

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none."""
        account_id = parse_account_id(account_id)
        with self._alone() as connection, connection.cursor() as cursor:
            cursor.execute(_LOAD, _prepared(connection, {"account_id": account_id}))
            row = cursor.fetchone()
            return None if row is None else _stored(_converted(connection, row))

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none."""
        account_id = parse_account_id(new.account_id)
        return self._write(_CREATE, {"account_id": account_id, **_values(new)})

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`."""
        account_id = parse_account_id(new.account_id)
        return self._write(_REPLACE, {**_values(new), "account_id": account_id}, expected)

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`."""
        return self._write(_DELETE, {"account_id": parse_account_id(account_id)}, expected)

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids."""
        with self._alone() as connection:
            wanted = _rows(connection).filter(account_id__gte=prefix, account_id__gt=cursor or "")
            rows = list(wanted.order_by("account_id").values_list(*_COLUMNS)[: limit + 1])
        found = [_stored(row) for row in rows if row[0].startswith(prefix)]
        page = tuple(found[:limit])
        return Page(page, page[-1].account_id if len(found) > limit else None)

    def check(self) -> tuple[str, ...]:
        """Check that the database answers and has the table: at start, rather than at a sign-in.

        Returns what an operator should know and need not mend: that a connection pooler is between.
        """
        self.scan(cursor=None, limit=1)
        with self._alone() as connection:
            return notes(is_pooled=_is_pooled(connection))

    def _write(self, statement: str, values: dict[str, Any], *expected: int) -> bool:
        try:
            with self._alone() as connection, connection.cursor() as cursor:
                cursor.execute(statement, [*_prepared(connection, values), *expected])
                return bool(cursor.rowcount == 1)
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, DriverError) and error.__cause__.code in _LOST_RACES:
                return False
            raise

    @contextmanager
    def _alone(self) -> Iterator[BaseDatabaseWrapper]:
        """Give the connection for one statement; after a failure, make the next call recover."""
        connection = self._connection()
        try:
            connection.ensure_connection()
            # SECURITY: through a pooler a statement that another client prepared under the same name
            # would be run: the row of another table.
            with _own_transaction(connection), unprepared(connection.connection):
                yield connection
        except Error as error:
            cause = DriverError(error, _code_of(error.__cause__))
            if not connection.in_atomic_block and cause.code not in _LOST_RACES:
                connection.close_if_unusable_or_obsolete()
            raise StoreUnavailableError from cause

    def _connection(self) -> BaseDatabaseWrapper:
        # SECURITY: the writer for reads too: a replica that lags shows a code unspent that is spent.
        try:
            return connections[self._using or router.db_for_write(_model())]
        except ConnectionDoesNotExist as error:
            raise StoreConfigurationError("The store's alias is not in DATABASES.") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._using!r})"


class AsyncDjangoStore:
    """`DjangoStore` for an event loop: Django's databases block, so each call runs in a thread.

    By default in the thread that Django keeps for the request's own queries (asgiref's
    thread-sensitive one): the connection is then the request's, ends with it, and a transaction
    that the caller has open is seen and refused. Outside of requests that is one thread for the
    whole process; a service that is not a Django site gives `threads`.

    Args:
        using: As for `DjangoStore`.
        threads: None, or how many threads of the store's own, each with one connection that lives
            as long as `CONN_MAX_AGE` says.

    A cancelled call ends in its thread, its outcome unknown; the connection stays whole.
    """

    def __init__(self, using: str | None = None, *, threads: int | None = None) -> None:
        self._store = DjangoStore(using)
        self._threads = threads or 0
        self._pool = ThreadPoolExecutor(threads, "mfakit") if threads else None

    async def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none."""
        return await self._in_thread(self._store.load, account_id)

    async def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none."""
        return await self._in_thread(self._store.create, new)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`."""
        return await self._in_thread(self._store.replace, new, expected=expected)

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`."""
        return await self._in_thread(self._store.delete, account_id, expected=expected)

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids."""
        return await self._in_thread(self._store.scan, cursor=cursor, limit=limit, prefix=prefix)

    async def check(self) -> tuple[str, ...]:
        """As `DjangoStore.check`."""
        return await self._in_thread(self._store.check)

    def close(self) -> None:
        """End the store's own threads and their connections; it is not used afterwards."""
        threads, self._threads = self._threads, 0  # closed once, however often it is asked
        if self._pool is not None and threads:
            all_of_them = Barrier(threads)
            for _ in range(threads):
                self._pool.submit(_close_own_connections, all_of_them)
            self._pool.shutdown()

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pool is None:
            return await sync_to_async(call)(*args, **kwargs)
        own = partial(_as_a_request, call)
        run = sync_to_async(own, thread_sensitive=False, executor=self._pool)
        return await run(*args, **kwargs)


@contextmanager
def _own_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Refuse to be part of another: autocommit, or a savepoint under a test of `TestCase`."""
    with ExitStack() as stack:
        if connection.in_atomic_block:
            savepoint = transaction.atomic(using=connection.alias, durable=True)
            try:
                stack.enter_context(savepoint)
            except RuntimeError as nested:
                raise StoreConfigurationError(_IN_TRANSACTION) from nested
        elif not connection.get_autocommit():
            raise StoreConfigurationError(_NO_AUTOCOMMIT)
        elif _is_begun_by_hand(connection.connection):
            raise StoreConfigurationError(_BEGUN_BY_HAND)
        yield


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(OWN_PROCESS)
        return bool(cursor.fetchone() != (process_told(connection.connection),))


def _is_begun_by_hand(driver: Any) -> bool:
    """Ask sqlite3 or psycopg: Django does not see a `BEGIN` that a cursor executed."""
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    return getattr(driver, "in_transaction", False) or status in _PSYCOPG_IN_TRANSACTION


def _as_a_request(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do in a thread of our own what Django does around a request: drop what is stale or too old."""
    close_old_connections()
    try:
        return call(*args, **kwargs)
    finally:
        close_old_connections()


def _close_own_connections(all_of_them: Barrier) -> None:
    all_of_them.wait()  # so that no thread does it twice
    connections.close_all()


def _code_of(error: BaseException | None) -> object:
    """Return what the engine gave: MySQL's number, an SQLSTATE, SQLite's name; None if nothing."""
    numbers = [one for one in getattr(error, "args", ())[:1] if isinstance(one, int)]
    names = ("sqlstate", "pgcode", "sqlite_errorname")
    codes = [getattr(error, name, None) for name in names]
    return next((code for code in (*numbers, *codes) if code is not None), None)


def _model() -> type[Account]:
    # Not imported above: a model can be imported only when Django is set up.
    return apps.get_model("mfakit", "Account")


def _rows(connection: BaseDatabaseWrapper) -> Any:
    return _model()._base_manager.using(connection.alias)


def _prepared(connection: BaseDatabaseWrapper, values: dict[str, Any]) -> list[Any]:
    """Return the values of columns as the database's driver wants them."""
    fields: Any = _model()._meta
    return [
        fields.get_field(name).get_db_prep_save(value, connection=connection)
        for name, value in values.items()
    ]


def _converted(connection: BaseDatabaseWrapper, row: tuple[Any, ...]) -> Iterator[Any]:
    """Give the values of `_COLUMNS` as the ORM does, whatever form the driver has for them."""
    fields: Any = _model()._meta
    for name, given in zip(_COLUMNS, row, strict=True):
        column, value = fields.get_field(name).cached_col, given
        converters = connection.ops.get_db_converters(column)
        for convert in (*converters, *column.get_db_converters(connection)):
            value = convert(value, column, connection)
        yield value


def _values(new: StoredRecord) -> dict[str, Any]:
    summary = new.summary
    return {
        "revision": new.revision,
        "state": summary.state,
        "enrolled_at": from_seconds(summary.enrolled_at),
        "last_login_at": from_seconds(summary.last_login_at),
        "authenticators": summary.authenticators,
        "recovery_codes_left": summary.recovery_codes_left,
        "passcodes": summary.passcodes,
        "trusted_devices": summary.trusted_devices,
        "key_ids": " ".join(summary.key_ids),
        "document": new.document,
    }


def _stored(row: Iterable[Any]) -> StoredRecord:
    account_id, revision, state, enrolled_at, last_login_at, *counts, key_ids, document = row
    authenticators, recovery_codes_left, passcodes, trusted_devices = counts
    summary = Summary(
        state=state,
        enrolled_at=to_seconds(enrolled_at),
        last_login_at=to_seconds(last_login_at),
        authenticators=authenticators,
        recovery_codes_left=recovery_codes_left,
        passcodes=passcodes,
        trusted_devices=trusted_devices,
        key_ids=tuple(key_ids.split()),
    )
    return StoredRecord(
        account_id=account_id, revision=revision, document=bytes(document), summary=summary
    )
