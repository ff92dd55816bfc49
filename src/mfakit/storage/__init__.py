"""What mfakit asks of a store: one row for each account, written on condition.

A store never decides, hashes, compares or counts. Write one in an hour: implement `Store` (four
methods, one statement each) and prove it with `mfakit.testing.StoreContract`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mfakit.core.secret import Value
from mfakit.rows import StoredRecord, Summary

__all__ = [
    "AsyncScanStore",
    "AsyncStore",
    "CheckedStore",
    "Page",
    "ScanStore",
    "Store",
    "StoredRecord",
    "Summary",
]


class Store(Protocol):
    """Rows by account id. Every method may raise `StoreUnavailableError`.

    Ids are compared byte for byte. `MFA` passes only well-formed ones: 1-255 bytes of UTF-8, no NUL,
    no lone surrogate. Given another, a store keeps it exactly or raises `InvalidInputError`; it never
    takes it for an id that it resembles.

    A store never joins a transaction of its caller: a refusal that is rolled back would be a guess
    that was not counted. Where it cannot stay out, it raises `StoreConfigurationError`. Nothing else
    is raised.
    """

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none.

        Linearizable with the writes: never from a replica, a cache, or a snapshot opened before
        the call.
        """

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. True once it is durable; False is a lost race."""

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. True once durable; False if not there.

        Serialization failures and deadlocks are lost races. Any other failure raises
        `StoreUnavailableError`: the outcome is unknown, and the next load shows it.
        """

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`; as `replace` otherwise."""


class Page(Value, frozen=True):
    """Some rows, and where to go on; `cursor` is None after the last."""

    records: tuple[StoredRecord, ...]
    cursor: str | None


class ScanStore(Protocol):
    """A store that can also be walked, for reports, key rotation and group resets."""

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows after an opaque cursor, of ids that begin with `prefix`.

        In any order; every account that lasts is met at least once, writes going on or not.
        """


@runtime_checkable
class CheckedStore(Protocol):
    """A store that looks at its server when it is asked; `mfakit doctor` asks."""

    def check(self) -> tuple[str, ...] | None:
        """Return what an operator should know and need not mend, in sentences; raise what is wrong.

        Raises `StoreConfigurationError` when the server cannot keep a store's promises, and
        `StoreUnavailableError` when it does not answer.
        """


class AsyncStore(Protocol):
    """`Store` for an event loop: the same four methods and the same promises, awaited.

    A cancelled call leaves the outcome unknown, as `StoreUnavailableError` does: it must not leave
    a connection half used.
    """

    async def load(self, account_id: str) -> StoredRecord | None:
        """As `Store.load`."""

    async def create(self, new: StoredRecord) -> bool:
        """As `Store.create`."""

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """As `Store.replace`."""

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """As `Store.delete`."""


class AsyncScanStore(Protocol):
    """`ScanStore` for an event loop."""

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """As `ScanStore.scan`."""
