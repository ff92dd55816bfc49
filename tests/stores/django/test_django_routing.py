"""The routers decide; a read asks the writer, never a replica."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django_rows import CALLS, row

from mfakit.errors import StoreConfigurationError
from mfakit.storage.django import DjangoStore
from mfakit.storage.django.models import Account
from mfakit.storage.django.routers import OwnAliasRouter


class ReplicaRouter:
    """What a platform with a replica has: reads go there."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


class NowhereRouter:
    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "nowhere"


def _never(execute: Any, sql: str, params: Any, many: Any, context: Any) -> None:
    raise AssertionError(f"This alias was asked: {sql}")


@pytest.fixture
def _replica(settings: Any) -> Iterator[None]:
    settings.DATABASE_ROUTERS = ["test_django_routing.ReplicaRouter"]
    with connections["replica"].execute_wrapper(_never):
        yield


@pytest.mark.usefixtures("_replica")
@pytest.mark.parametrize("name", CALLS)
def test_a_replica_is_never_asked(name: str) -> None:
    DjangoStore("default").create(row())
    assert CALLS[name](DjangoStore())


@pytest.mark.usefixtures("_replica")
def test_the_platforms_own_reads_would_ask_the_replica() -> None:
    """The test above can fail: the same router sends a plain query there."""
    with pytest.raises(AssertionError, match="This alias was asked"):
        Account.objects.count()


@pytest.mark.parametrize("name", CALLS)
def test_using_overrides_the_routers(settings: Any, name: str) -> None:
    settings.DATABASE_ROUTERS = ["test_django_routing.ReplicaRouter"]
    DjangoStore("replica").create(row())
    store = DjangoStore(using="replica")
    assert repr(store) == "DjangoStore('replica')"
    with connections["default"].execute_wrapper(_never):
        assert CALLS[name](store)


def test_the_router_that_ships_moves_our_table_only() -> None:
    from django.contrib.auth.models import User

    router = OwnAliasRouter()
    assert (router.db_for_read(Account), router.db_for_write(Account)) == ("mfakit", "mfakit")
    assert (router.db_for_read(User), router.db_for_write(User)) == (None, None)


def test_an_alias_that_is_not_there_is_a_mistake_in_the_settings(settings: Any) -> None:
    with pytest.raises(StoreConfigurationError, match="DATABASES"):
        DjangoStore("nowhere").load("ann")
    settings.DATABASE_ROUTERS = ["test_django_routing.NowhereRouter"]
    with pytest.raises(StoreConfigurationError, match="DATABASES"):
        DjangoStore().load("ann")
