"""What the database's errors become, and that the next call recovers."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import django.db.utils
import pytest
from django.db import connections
from django_rows import CALLS, row

from mfakit.errors import InvalidInputError, StoreUnavailableError
from mfakit.storage.django import DjangoStore

WRITES = ("create", "replace", "delete")


class DriverError(Exception):
    """An error as a driver gives it: psycopg has `sqlstate`, psycopg2 `pgcode`, MySQL a number."""

    def __init__(self, *args: object, **names: str) -> None:
        super().__init__(*args)
        vars(self).update(names)


def failing(kind: str, cause: DriverError) -> Any:
    def fail(execute: Any, sql: str, params: Any, many: Any, context: Any) -> None:
        raise getattr(django.db.utils, kind)(*cause.args) from cause

    return connections["default"].execute_wrapper(fail)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("OperationalError", DriverError("could not serialize access", sqlstate="40001")),
        ("OperationalError", DriverError("deadlock detected", sqlstate="40P01")),
        ("OperationalError", DriverError("could not serialize access", pgcode="40001")),
        ("IntegrityError", DriverError("duplicate key value", sqlstate="23505")),
        ("OperationalError", DriverError(1213, "Deadlock found when trying to get lock")),
        ("OperationalError", DriverError(1205, "Lock wait timeout exceeded")),
        ("OperationalError", DriverError(1020, "Record has changed since last read")),
        ("IntegrityError", DriverError(1062, "Duplicate entry")),
    ],
)
def test_a_lost_race_is_false(kind: str, cause: DriverError, write: str) -> None:
    with failing(kind, cause):
        assert CALLS[write](DjangoStore()) is False


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("OperationalError", DriverError("server closed the connection", sqlstate="57P01")),
        ("OperationalError", DriverError("connection failed")),
        ("OperationalError", DriverError(1047, "WSREP has not yet prepared node")),
        ("OperationalError", DriverError(2013, "Lost connection to MySQL server during query")),
        ("OperationalError", DriverError("database is locked", sqlite_errorname="SQLITE_BUSY")),
        ("IntegrityError", DriverError("null value", sqlstate="23502")),
        ("IntegrityError", DriverError("NOT NULL", sqlite_errorname="SQLITE_CONSTRAINT_NOTNULL")),
        ("ProgrammingError", DriverError("relation does not exist", sqlstate="42P01")),
        ("InterfaceError", DriverError("connection already closed")),
        ("DataError", DriverError("value too long", sqlstate="22001")),
    ],
)
def test_any_other_failure_is_unavailable(kind: str, cause: DriverError, name: str) -> None:
    with failing(kind, cause), pytest.raises(StoreUnavailableError) as raised:
        CALLS[name](DjangoStore())
    told = str(raised.value.__cause__)  # in the operator's log
    assert kind in told
    assert any(str(code) in told for code in (*vars(cause).values(), *cause.args))


@pytest.mark.parametrize(
    "cause",
    [
        DriverError("Failing row contains (ann@example.org, 1)", sqlstate="23502"),
        DriverError(1366, "Incorrect string value: 'ann@example.org'"),
    ],
)
def test_what_a_database_quotes_is_not_told(cause: DriverError) -> None:
    with failing("IntegrityError", cause), pytest.raises(StoreUnavailableError) as raised:
        CALLS["create"](DjangoStore())
    shown = "".join(traceback.format_exception(raised.value))
    assert "django.db.utils.IntegrityError (" in shown
    assert "ann@" not in shown


def test_a_load_that_lost_a_race_is_unavailable() -> None:
    """There is no False for a read: the caller tries again later."""
    lost = DriverError("could not serialize access", sqlstate="40001")
    with failing("OperationalError", lost), pytest.raises(StoreUnavailableError):
        DjangoStore().load("ann")


@pytest.mark.parametrize("account_id", ["", "x" * 256, "é" * 128, "ann\0", "ann\ud800"])
def test_what_is_no_id_is_refused_on_every_engine(account_id: str) -> None:
    store = DjangoStore()
    for call in (
        lambda: store.load(account_id),
        lambda: store.create(row(account_id)),
        lambda: store.replace(row(account_id, revision=2), expected=1),
        lambda: store.delete(account_id, expected=1),
    ):
        with pytest.raises(InvalidInputError):
            call()


@pytest.mark.server
def test_a_killed_server_is_unavailable_and_then_forgotten(postgres: Any) -> None:
    """Nobody ends a request here, so it is the store that drops the dead connection."""
    store = DjangoStore("postgres")
    assert store.create(row("killed")) is True
    postgres.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            store.replace(row("killed", revision=2), expected=1)
    postgres.start()
    assert store.load("killed") == row("killed")
    assert store.delete("killed", expected=1) is True


@pytest.mark.server
def test_a_connection_that_was_cut_fails_one_call(postgres: Any) -> None:
    store = DjangoStore("postgres")
    assert store.load("ann") is None
    postgres.cut_connections()
    with pytest.raises(StoreUnavailableError):
        store.load("ann")
    assert store.load("ann") is None


def test_a_lost_race_keeps_the_connection() -> None:
    store = DjangoStore()
    store.create(row())
    before = connections["default"].connection
    assert store.create(row()) is False
    assert connections["default"].connection is before


def test_without_django_the_import_says_what_to_install() -> None:
    script = "import sys; sys.modules['django'] = None; import mfakit.storage.django"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: mfakit.storage.django needs Django" in done.stderr
    assert "pip install 'mfakit[django]'" in done.stderr
