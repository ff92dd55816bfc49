"""Rows, and what the tests of the store ask of it."""

from __future__ import annotations

from collections.abc import Callable

from mfakit.storage import StoredRecord, Summary
from mfakit.storage.django import DjangoStore


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    summary = Summary(state="enrolled", enrolled_at=1_800_000_000, key_ids=("2026", "2027"))
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=summary
    )


# Every method, called so that it would change or show something of "ann" at revision 1.
CALLS: dict[str, Callable[[DjangoStore], object]] = {
    "load": lambda store: store.load("ann"),
    "create": lambda store: store.create(row("bob")),
    "replace": lambda store: store.replace(row(revision=2), expected=1),
    "delete": lambda store: store.delete("ann", expected=1),
    "scan": lambda store: store.scan(cursor=None, limit=1),
}
