"""System checks: what would break a promise of the store, said before it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from mfakit.errors import ConfigurationError
from mfakit.storage.django.conf import configured_mfa

__all__ = ["check_mfakit"]

_ATOMIC_REQUESTS = Error(
    "The database of the two-step records has ATOMIC_REQUESTS.",
    hint="A request that fails would undo the count of a wrong code. Give the records an alias of "
    'their own: DATABASES["mfakit"] = {**DATABASES["default"], "ATOMIC_REQUESTS": False} and '
    'DATABASE_ROUTERS = ["mfakit.storage.django.routers.OwnAliasRouter"]. On SQLite, which has one '
    "writer at a time, name another file there.",
    id="mfakit.E001",
)
_NO_AUTOCOMMIT = Error(
    "The database of the two-step records has AUTOCOMMIT switched off.",
    hint="The store writes in autocommit. Give the records an alias of their own.",
    id="mfakit.E002",
)
_UNKNOWN_ENGINE = Error(
    "The two-step records are in a database that mfakit does not know.",
    hint="Known are PostgreSQL, MySQL, MariaDB and SQLite: an id must be compared byte for byte, "
    "and a lost race recognised by its error code.",
    id="mfakit.E003",
)
_CACHED = Error(
    "django-cachalot would answer for the two-step records.",
    hint='A cached row may show a spent code unspent. Add "mfakit" to CACHALOT_UNCACHABLE_APPS.',
    id="mfakit.E004",
)
_UNKNOWN_ALIAS = Error(
    "A router sends the two-step records to an alias that is not in DATABASES.", id="mfakit.E005"
)
_DEFERRED = CheckWarning(
    "SQLite begins this database's transactions as reads.",
    hint="Each sign-in writes; a transaction of yours that reads first and writes then fails "
    '"database is locked". Set OPTIONS["transaction_mode"] to "IMMEDIATE".',
    id="mfakit.W001",
)
_NO_MFA = "mfakit.W002"


def check_mfakit(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings."""
    return [*_check_database(), *_check_cache(), *_check_admin()]


def _check_database() -> Iterator[CheckMessage]:
    try:
        connection = connections[router.db_for_write(apps.get_model("mfakit", "Account"))]
    except ConnectionDoesNotExist:
        yield _UNKNOWN_ALIAS
        return
    yield from [message for is_wrong, message in _RULES if is_wrong(connection)]


def _begins_as_read(connection: BaseDatabaseWrapper) -> bool:
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    return connection.vendor == "sqlite" and django.VERSION >= (5, 1) and mode.upper() == "DEFERRED"


_RULES: tuple[tuple[Callable[[BaseDatabaseWrapper], bool], CheckMessage], ...] = (
    (lambda one: one.settings_dict["ATOMIC_REQUESTS"], _ATOMIC_REQUESTS),
    (lambda one: not one.settings_dict["AUTOCOMMIT"], _NO_AUTOCOMMIT),
    (lambda one: one.vendor not in {"mysql", "postgresql", "sqlite"}, _UNKNOWN_ENGINE),
    (_begins_as_read, _DEFERRED),
)


def _check_cache() -> Iterator[CheckMessage]:
    is_spared = "mfakit" in getattr(settings, "CACHALOT_UNCACHABLE_APPS", ()) or (
        "mfakit_account" in getattr(settings, "CACHALOT_UNCACHABLE_TABLES", ())
    )
    if apps.is_installed("cachalot") and not is_spared:
        yield _CACHED


def _check_admin() -> Iterator[CheckMessage]:
    if not apps.is_installed("django.contrib.admin"):
        return
    try:
        configured_mfa()
    except ConfigurationError as error:
        hint = "The admin lists the accounts; it can neither show nor reset one."
        yield CheckWarning(str(error), hint=hint, id=_NO_MFA)
