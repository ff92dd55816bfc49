"""The store never joins a transaction of its caller; Django's own `TestCase` still works."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import Any

import django_project
import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.test import Client, TestCase
from django.test.utils import CaptureQueriesContext
from django_rows import CALLS, row

from mfakit.errors import StoreConfigurationError
from mfakit.storage.django import AsyncDjangoStore, DjangoStore

_STATEMENTS = {"create": "INSERT", "replace": "UPDATE", "delete": "DELETE"}


@pytest.mark.parametrize("name", CALLS)
def test_inside_atomic_every_method_is_refused_and_does_nothing(name: str) -> None:
    store = DjangoStore()
    store.create(row())
    refused = pytest.raises(StoreConfigurationError, match="inside atomic")
    with transaction.atomic(), CaptureQueriesContext(connections["default"]) as queries, refused:
        CALLS[name](store)
    assert [one["sql"] for one in queries if "mfakit" in one["sql"]] == []
    assert store.load("ann") == row()
    assert store.load("bob") is None


@pytest.mark.parametrize("name", CALLS)
def test_without_autocommit_every_method_is_refused(name: str) -> None:
    store = DjangoStore()
    store.create(row())
    transaction.set_autocommit(False)
    try:
        with pytest.raises(StoreConfigurationError, match="autocommit"):
            CALLS[name](store)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert store.load("ann") == row()


def _refuse_all_in_a_transaction_begun_by_hand(alias: str) -> None:
    store = DjangoStore(alias)
    assert store.create(row()) is True
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN")
        for call in CALLS.values():
            with pytest.raises(StoreConfigurationError, match="a statement of its own"):
                call(store)
        cursor.execute("ROLLBACK")
    assert store.load("ann") == row()
    assert store.delete("ann", expected=1) is True


def test_a_transaction_begun_by_hand_is_seen_and_refused() -> None:
    """Django knows only its own `atomic()`; what a cursor began, it would roll back with us in it."""
    _refuse_all_in_a_transaction_begun_by_hand("default")


@pytest.mark.server
def test_a_transaction_begun_by_hand_on_postgresql(postgres: Any) -> None:
    _refuse_all_in_a_transaction_begun_by_hand("postgres")


def test_a_transaction_on_another_alias_does_not_matter() -> None:
    """What the caller rolls back there, stays written here."""
    store = DjangoStore()
    with transaction.atomic(using="replica"):
        assert store.create(row()) is True
        transaction.set_rollback(True, using="replica")
    assert store.load("ann") == row()


def test_an_asynchronous_call_sees_the_callers_transaction() -> None:
    """Synchronous code that calls asynchronous code: the query runs in the caller's own thread."""
    with transaction.atomic(), pytest.raises(StoreConfigurationError, match="inside atomic"):
        async_to_sync(AsyncDjangoStore().load)("ann")


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = False


def test_atomic_requests_are_refused_at_the_first_call(atomic_requests: None) -> None:
    with pytest.raises(StoreConfigurationError, match="an alias of its own"):
        Client().get("/page/")


def test_atomic_requests_and_an_alias_of_its_own(atomic_requests: None, settings: Any) -> None:
    """The recipe of the documentation: the request is a transaction, the store is not in it."""
    assert connections["mfakit"].settings_dict["ATOMIC_REQUESTS"] is False
    settings.DATABASE_ROUTERS = ["mfakit.storage.django.routers.OwnAliasRouter"]
    assert Client().get("/page/").content == b"ok"


# ------------------------------------------------------------------------ the tests of a platform


class PlatformTests(TestCase):
    """As a platform's developers write them; rolled back after each. Run by hand below."""

    __test__ = False
    store = DjangoStore()

    def test_the_store_works(self) -> None:
        self.assertIs(self.store.create(row()), True)
        self.assertIs(self.store.create(row()), False)  # refused by the database …
        self.assertEqual(self.store.load("ann"), row())  # … and the test goes on
        self.assertIs(self.store.replace(row(revision=2), expected=1), True)
        self.assertIs(self.store.replace(row(revision=3), expected=1), False)
        self.assertIs(self.store.delete("ann", expected=2), True)
        self.assertIs(self.store.create(row("bob")), True)

    def test_a_block_of_the_platforms_is_refused(self) -> None:
        with transaction.atomic(using=next(iter(self.databases))):
            self.assertRaises(StoreConfigurationError, self.store.create, row())


class PlatformTestsOnPostgreSQL(PlatformTests):
    databases = frozenset({"postgres"})
    store = DjangoStore("postgres")


def _run(tests: type[unittest.TestCase]) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(tests).run(result)
    assert result.testsRun == 2
    assert [text for _, text in result.errors + result.failures] == []


def test_testcase_works_and_is_rolled_back() -> None:
    _run(PlatformTests)
    assert DjangoStore().load("bob") is None


@pytest.mark.server
def test_testcase_works_on_postgresql(postgres: Any) -> None:
    """A duplicate key breaks a transaction of PostgreSQL off, so there must be a savepoint."""
    _run(PlatformTestsOnPostgreSQL)
    assert DjangoStore("postgres").load("bob") is None


@pytest.mark.server
def test_an_alias_of_its_own_to_the_same_database(postgres: Any) -> None:
    """The platform's transaction is rolled back; what the store answered stays."""
    django_project.add_database("postgres_own", connections.settings["postgres"])
    store = DjangoStore("postgres_own")
    store.create(row("rolled-back"))
    with transaction.atomic(using="postgres"):
        assert store.replace(row("rolled-back", revision=2), expected=1) is True
        transaction.set_rollback(True, using="postgres")
    assert store.load("rolled-back") == row("rolled-back", revision=2)
    assert store.delete("rolled-back", expected=2) is True
    connections["postgres_own"].close()


@pytest.mark.parametrize("name", ["create", "replace", "delete"])
def test_a_write_is_one_statement_also_when_signals_are_listened_to(name: str) -> None:
    """The ORM would read first, tell the listeners, and then delete whatever has the key."""
    store, told = DjangoStore(), list[Any]()
    store.create(row())
    signals = pre_save, post_save, pre_delete, post_delete
    for signal in signals:
        signal.connect(told.append)
    try:
        with CaptureQueriesContext(connections["default"]) as queries:
            assert CALLS[name](store) is True
    finally:
        for signal in signals:
            signal.disconnect(told.append)
    assert [one["sql"].split()[0] for one in queries] == [_STATEMENTS[name]]
    assert told == []
