"""A store in this process's memory: for tests and for trying things out. Nothing outlives it."""

from __future__ import annotations

from threading import Lock

from mfakit.storage import Page, StoredRecord

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keep rows in a dictionary behind a lock."""

    def __init__(self) -> None:
        self._rows: dict[str, StoredRecord] = {}
        self._lock = Lock()

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none."""
        return self._rows.get(account_id)

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none."""
        with self._lock:
            return self._rows.setdefault(new.account_id, new) is new

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`."""
        with self._lock:
            found = self._has(new.account_id, expected)
            if found:
                self._rows[new.account_id] = new
            return found

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`."""
        with self._lock:
            found = self._has(account_id, expected)
            if found:
                del self._rows[account_id]
            return found

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids."""
        with self._lock:
            ids = sorted(
                one for one in self._rows if one.startswith(prefix) and one > (cursor or "")
            )
            rows = tuple(self._rows[one] for one in ids[:limit])
        return Page(rows, rows[-1].account_id if len(ids) > limit else None)

    def _has(self, account_id: str, revision: int) -> bool:
        row = self._rows.get(account_id)
        return row is not None and row.revision == revision
