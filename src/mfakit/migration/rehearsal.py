"""A rehearsal: every decision as it would fall, and nothing written."""

from __future__ import annotations

from copy import copy

from mfakit.operations import Load, Write
from mfakit.service import MFA
from mfakit.storage import Store, StoredRecord
from mfakit.storage.memory import MemoryStore

__all__ = ["rehearsal_of"]


def rehearsal_of(mfa: MFA) -> MFA:
    """Return an `MFA` with the same keys, policy and clock that keeps its writes in memory.

    It reads the real store, tells nobody of events, and so answers what the real one would answer. It
    needs some two kilobytes for each account that it changes.
    """
    twin = copy(mfa)
    store = _Overlay(mfa._store)
    twin._store, twin._events = store, None
    twin._performers = dict(mfa._performers)
    twin._performers[Load] = lambda load: store.load(load.account_id)
    twin._performers[Write] = twin._write
    return twin


class _Overlay:
    """Rows of another store, and in memory those that were written here; nothing is deleted."""

    def __init__(self, below: Store) -> None:
        self._below = below
        self._above = MemoryStore()

    def load(self, account_id: str) -> StoredRecord | None:
        return self._above.load(account_id) or self._below.load(account_id)

    def create(self, new: StoredRecord) -> bool:
        return self.load(new.account_id) is None and self._above.create(new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        if self._above.load(new.account_id) is not None:
            return self._above.replace(new, expected=expected)
        below = self._below.load(new.account_id)
        return below is not None and below.revision == expected and self._above.create(new)

    def delete(self, account_id: str, *, expected: int) -> bool:
        return False
