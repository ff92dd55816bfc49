"""Connection poolers before PostgreSQL, and why statements are not prepared through them.

PgBouncer and its like give one connection of the server to many clients in turn. Every client names
its prepared statements alike (`_pg3_0`), so one may run what another prepared: the same account in
another table. So stores let the driver prepare only on a connection that leads to the server itself.
A pooler gives each client a cancel key of its own making, and in it the id of no server process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["NOTE", "OWN_PROCESS", "notes", "process_told", "unprepared"]

OWN_PROCESS = "SELECT pg_backend_pid()"
NOTE = (
    "A connection pooler (PgBouncer, say) is between mfakit and PostgreSQL. Through it mfakit prepares"
    " no statement and sets nothing for the session. Name the schema of the table, and set the pooler"
    " as in the documentation under PostgreSQL, Behind a connection pooler."
)


def notes(*, is_pooled: bool) -> tuple[str, ...]:
    """Return what `check()` tells an operator about the way to the server."""
    return (NOTE,) if is_pooled else ()


def process_told(driver: Any) -> object:
    """Return the id of the server's process that a connection was told when it was opened.

    Args:
        driver: A connection of psycopg, psycopg2 or asyncpg.
    """
    if hasattr(driver, "get_server_pid"):
        return driver.get_server_pid()
    return getattr(getattr(driver, "info", None), "backend_pid", None)


@contextmanager
def unprepared(driver: Any) -> Iterator[None]:
    """Let psycopg prepare nothing meanwhile, whatever the platform has set; others are left alone.

    Args:
        driver: The driver's connection, which nobody else uses at the time.
    """
    threshold = getattr(driver, "prepare_threshold", None)
    if threshold is None:
        yield
        return
    driver.prepare_threshold = None
    try:
        yield
    finally:
        driver.prepare_threshold = threshold
