"""A Django project for the tests: settings, URLs, and the platform's own MFA."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from mfakit.storage.django import AsyncDjangoStore, DjangoStore

APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "mfakit.storage.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def sqlite(file: Path) -> dict[str, Any]:
    """Return a database of `DATABASES`: one file, as docs/django.md says."""
    options: dict[str, Any] = {"init_command": "PRAGMA journal_mode=WAL", "timeout": 30}
    if django.VERSION >= (5, 1):
        options["transaction_mode"] = "IMMEDIATE"
    else:
        del options["init_command"]
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": options}


def postgresql(port: int, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": port,
        "USER": "postgres",
        "NAME": name,
    }


def configure(databases: dict[str, dict[str, Any]], apps: list[str] = APPS) -> None:
    """Set Django up, once in a process."""
    if settings.configured:
        return
    settings.configure(
        DATABASES=databases,
        INSTALLED_APPS=apps,
        MIDDLEWARE=MIDDLEWARE,
        TEMPLATES=TEMPLATES,
        ROOT_URLCONF="django_urls",
        SECRET_KEY="a key for the tests, at least fifty characters long, of many letters",
        STATIC_URL="static/",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def mariadb(port: int, name: str) -> dict[str, Any]:
    """Return a database of `DATABASES`; Django reaches it through PyMySQL, which needs no compiler."""
    import pymysql

    pymysql.install_as_MySQLdb()
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": port,
        "USER": "root",
        "NAME": name,
        "OPTIONS": {"charset": "utf8mb4"},
    }


def add_database(alias: str, database: dict[str, Any]) -> None:
    """Add an alias after the settings were made, for a server that was started meanwhile."""
    connections.settings[alias] = connections.configure_settings({"default": database})["default"]
    migrate(alias)


def open_store(alias: str, database: dict[str, Any]) -> DjangoStore:
    """Open the same data, in this process or in another one."""
    _set_up(alias, database)
    return DjangoStore(alias)


def open_async_store(alias: str, database: dict[str, Any]) -> AsyncDjangoStore:
    """The same for an event loop."""
    _set_up(alias, database)
    return AsyncDjangoStore(alias)


def _set_up(alias: str, database: dict[str, Any]) -> None:
    if database["ENGINE"].endswith("mysql"):
        mariadb(0, "")
    configure({"default": {}, alias: database}, ["mfakit.storage.django"])


def new_sqlite() -> dict[str, Any]:
    return sqlite(Path(tempfile.mkdtemp(prefix="django-")) / "db.sqlite3")


def migrate(alias: str) -> None:
    call_command("migrate", database=alias, verbosity=0, skip_checks=True)
