"""The system checks: each has an id, and says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connections

GOOD = "test_django_checks.GoodMFA"


class GoodMFA:
    def status(self, account_id: str) -> None: ...

    def history(self, account_id: str) -> None: ...

    def reset(self, account_id: str) -> None: ...


class AsyncLookalike(GoodMFA):
    async def reset(self, account_id: str) -> None: ...


def refuses() -> None:
    raise RuntimeError("no keys here")


NOT_ONE = object()


@pytest.fixture(autouse=True)
def _good(settings: Any) -> None:
    settings.MFAKIT = GOOD


@pytest.fixture
def database() -> Iterator[dict[str, Any]]:
    connection = connections["default"]
    before = connection.settings_dict
    connection.settings_dict = {**before, "OPTIONS": dict(before["OPTIONS"])}
    yield connection.settings_dict
    connection.settings_dict = before


def found() -> dict[str, int]:
    return {one.id: one.level for one in run_checks(tags=["mfakit"])}


def test_good_settings_have_no_message() -> None:
    assert found() == {}


def test_atomic_requests(database: Any, settings: Any) -> None:
    database["ATOMIC_REQUESTS"] = True
    (message,) = run_checks(tags=["mfakit"])
    assert (message.id, message.level) == ("mfakit.E001", ERROR)
    assert "DATABASE_ROUTERS" in message.hint
    settings.DATABASE_ROUTERS = ["mfakit.storage.django.routers.OwnAliasRouter"]
    assert found() == {}


def test_autocommit_off(database: Any) -> None:
    database["AUTOCOMMIT"] = False
    assert found() == {"mfakit.E002": ERROR}


def test_an_engine_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    assert found() == {"mfakit.E003": ERROR}


def test_a_cache_before_the_database(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    from django.apps import apps

    is_installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda app: app == "cachalot" or is_installed(app))
    assert found() == {"mfakit.E004": ERROR}
    settings.CACHALOT_UNCACHABLE_APPS = frozenset({"mfakit"})
    assert found() == {}
    settings.CACHALOT_UNCACHABLE_APPS = frozenset()
    settings.CACHALOT_UNCACHABLE_TABLES = frozenset({"django_migrations", "mfakit_account"})
    assert found() == {}


def test_a_router_that_leads_nowhere(settings: Any) -> None:
    settings.DATABASE_ROUTERS = ["test_django_routing.NowhereRouter"]
    assert found() == {"mfakit.E005": ERROR}


@pytest.mark.skipif(django.VERSION < (5, 1), reason="the option came with Django 5.1")
@pytest.mark.parametrize(
    ("mode", "is_warned"), [(None, True), ("deferred", True), ("EXCLUSIVE", False)]
)
def test_sqlite_that_begins_as_a_read(database: Any, mode: str | None, is_warned: bool) -> None:
    database["OPTIONS"]["transaction_mode"] = mode
    assert found() == ({"mfakit.W001": WARNING} if is_warned else {})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (None, "is missing"),
        (GoodMFA(), "is missing"),
        ("no.such.module", "cannot be loaded"),
        ("test_django_checks.nothing", "cannot be loaded"),
        ("test_django_checks.refuses", "cannot be loaded"),
        ("test_django_checks.NOT_ONE", "must lead to an MFA"),
        ("test_django_checks.AsyncLookalike", "must lead to an MFA"),
    ],
)
def test_the_admin_does_not_find_the_mfa(settings: Any, path: object, text: str) -> None:
    settings.MFAKIT = path
    (message,) = run_checks(tags=["mfakit"])
    assert (message.id, message.level) == ("mfakit.W002", WARNING)
    assert text in message.msg


def test_without_the_admin_the_mfa_is_not_looked_for(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    from django.apps import apps

    del settings.MFAKIT
    monkeypatch.setattr(apps, "is_installed", lambda app: False)
    assert found() == {}
