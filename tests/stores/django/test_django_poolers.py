"""Behind a connection pooler: nothing is prepared, whatever the settings say, and it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import django_project
import pytest
from django.db import connections
from django_rows import CALLS, row

from mfakit.storage.django import AsyncDjangoStore, DjangoStore
from servers.pgbouncer import PgBouncer

pytestmark = pytest.mark.server
ALIAS = "preparing"


@pytest.fixture(scope="module")
def _preparing(postgres: Any) -> Iterator[None]:
    """An alias whose connections prepare every statement at its first use."""
    database = django_project.postgresql(postgres.port, postgres.new_database())
    database["OPTIONS"] = {"prepare_threshold": 0, "server_side_binding": True}
    django_project.add_database(ALIAS, database)
    yield
    connections[ALIAS].close()


@pytest.mark.usefixtures("_preparing")
@pytest.mark.parametrize("name", CALLS)
def test_no_statement_of_the_store_is_prepared(name: str) -> None:
    """Another client of a pooler may have prepared its own under the same name."""
    store = DjangoStore(ALIAS)
    store.create(row())
    connections[ALIAS].close()
    CALLS[name](store)
    driver = connections[ALIAS].connection
    assert driver.prepare_threshold == 0
    query = "SELECT count(*) FROM pg_prepared_statements WHERE position('mfakit' in statement) > 0"
    assert driver.execute(query, prepare=False).fetchone() == (0,)


def test_check_says_that_a_pooler_is_between(postgres: Any) -> None:
    """And nothing where there is none, or no PostgreSQL."""
    pooler = PgBouncer(postgres, pool_mode="transaction")
    database = connections.settings["postgres"]
    connections.settings["pooled"] = database | {"PORT": pooler.port}
    try:
        (said,) = DjangoStore("pooled").check()
        assert said.startswith("A connection pooler (PgBouncer, say) is between")
        own = AsyncDjangoStore("pooled", threads=1)
        assert asyncio.run(own.check()) == (said,)
        own.close()
        assert DjangoStore("postgres").check() == ()
        assert DjangoStore("default").check() == ()
    finally:
        connections["pooled"].close()
        pooler.close()
