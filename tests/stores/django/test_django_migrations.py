"""The migrations make what the models say, and columns that compare bytes."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from mfakit.core.lifecycle import State
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.django import DjangoStore
from mfakit.storage.django.models import STATES


def test_no_migration_is_missing() -> None:
    """`makemigrations --check` exits with 1 when the models are ahead of the migrations."""
    call_command("makemigrations", "mfakit", check=True, dry_run=True, verbosity=0)


def test_migrations_go_back_and_forth() -> None:
    def tables() -> list[str]:
        return connections["replica"].introspection.table_names()

    call_command("migrate", "mfakit", "zero", database="replica", verbosity=0)
    assert "mfakit_account" not in tables()
    call_command("migrate", "mfakit", database="replica", verbosity=0)
    assert "mfakit_account" in tables()
    executor = MigrationExecutor(connections["replica"])
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []


def test_every_state_has_words() -> None:
    """And what `forget` leaves of an account is called so."""
    assert [name for name, _ in STATES] == [*[str(state) for state in State], "forgotten"]


def _ask(alias: str, statement: str) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


@pytest.mark.server
def test_on_postgresql_ids_are_compared_as_bytes(postgres: Any) -> None:
    columns = "SELECT collation_name, character_maximum_length FROM information_schema.columns"
    where = " WHERE table_name = 'mfakit_account' AND column_name = 'account_id'"
    assert _ask("postgres", columns + where) == [("C", 255)]
    indexes = "SELECT indexname FROM pg_indexes WHERE tablename = 'mfakit_account'"
    names = {name for (name,) in _ask("postgres", indexes)}
    assert names == {"mfakit_account_pkey", "mfakit_account_state"}


@pytest.mark.server
def test_on_mariadb_ids_are_bytes(mariadb: Any) -> None:
    """Every collation of MariaDB that a server may have as its default pads with spaces."""
    columns = "SELECT column_name, column_type FROM information_schema.columns"
    rows = _ask("mariadb", columns + " WHERE table_name = 'mfakit_account'")
    types = dict(rows)
    assert types["account_id"] == "varbinary(255)"
    assert types["document"] == "longblob"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_times_without_time_zones(settings: Any, zone: str) -> None:
    """With `USE_TZ` off Django keeps naive local times; the summary comes back as it was."""
    settings.USE_TZ = False
    settings.TIME_ZONE = zone
    summary = Summary(state="enrolled", enrolled_at=1_800_000_000, last_login_at=1_815_000_000)
    new = StoredRecord(account_id="ann", revision=1, document=b"{}", summary=summary)
    DjangoStore().create(new)
    assert DjangoStore().load("ann") == new
    (stored,) = _ask("default", "SELECT enrolled_at FROM mfakit_account")[0]
    # 1,800,000,000 is 15 January 2027, 08:00:00 UTC; New York is five hours behind in winter.
    assert str(stored) == {"UTC": "2027-01-15 08:00:00"}.get(zone, "2027-01-15 03:00:00")
