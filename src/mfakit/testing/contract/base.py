"""What a check is, what it stands on, and the words in which it fails."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast
from unittest import SkipTest

from mfakit.errors import StoreUnavailableError
from mfakit.storage import ScanStore, Store, StoredRecord, Summary

__all__ = ["BrokenPromiseError", "Checks", "NotTestedError"]

AnyChecks = TypeVar("AnyChecks", bound="Checks")
AnyStore = TypeVar("AnyStore", bound=Store)
Opener = Callable[[], Store]

ROW_PREFIX = "mfakit-check/"
SUMMARY = Summary(
    state="enrolled",
    enrolled_at=1_800_000_000,
    authenticators=2,
    recovery_codes_left=9,
    passcodes=3,
    trusted_devices=1,
    last_login_at=1_800_000_100,
    key_ids=("2026", "2027"),
)


class BrokenPromiseError(AssertionError):
    """A store broke a promise. The text says which, what follows for mailboxes, where to look."""


class NotTestedError(SkipTest):
    """A check needs a hook that is not overridden, or a method that the store does not have.

    A `unittest.SkipTest`, so pytest reports the check as skipped.

    Args:
        needed: Name of the hook or method.
    """

    def __init__(self, needed: str) -> None:
        super().__init__(f"Not tested: this check needs {needed}().")
        self.needed: str = needed


def check(
    *, harm: str, look: str
) -> Callable[[Callable[[AnyChecks], None]], Callable[[AnyChecks], None]]:
    """Make a method a check: its docstring is the promise.

    Args:
        harm: What goes wrong for owners of mailboxes when the promise is broken.
        look: Where in an adapter the reason usually is.
    """

    def decorate(test: Callable[[AnyChecks], None]) -> Callable[[AnyChecks], None]:
        @wraps(test)
        def run(self: AnyChecks) -> None:
            __tracebackhide__ = True
            try:
                with self._session():
                    test(self)
            except (BrokenPromiseError, SkipTest):
                raise
            except Exception as error:
                seen = str(error) if isinstance(error, AssertionError) else _describe(error)
                text = (
                    f"Promise {test.__name__.removeprefix('test_')} is broken: {test.__doc__}\n"
                    f"Seen: {seen}\nHarm: {harm}\nLook: {look}"
                )
                raise BrokenPromiseError(text) from error

        return run

    return decorate


def require(holds: bool, broken: str) -> None:
    """Raise in words what is broken unless it holds."""
    if not holds:
        raise AssertionError(broken)


def _describe(error: Exception) -> str:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"the store raised {kind}: {error}"


class Checks(ABC):
    """The ground of all checks: one empty place in a store for each, and helpers.

    Every id that a check writes begins with `mfakit-check/` and a random part, so a check meets
    no row of another one.
    """

    THREADS = 8
    PROCESSES = 4
    ROUNDS = 50
    SECONDS = 0.3
    document_bytes_max = 65_536

    _owned: ExitStack
    _id_prefix: str

    # -- what `StoreContract` and `AsyncStoreContract` give

    @abstractmethod
    def _open_store(self) -> Store:
        """Return the empty store of one check."""

    @abstractmethod
    def _opener_of(self, store: Store) -> Opener:
        """Return what opens the same data in another process."""

    @abstractmethod
    def _cut(self, store: Store) -> None:
        """Cut every connection of a store."""

    @abstractmethod
    def _in_caller_transaction(self, store: Store) -> AbstractContextManager[object]:
        """Enter a transaction of the platform that is rolled back at exit."""

    # -- one check

    @contextmanager
    def _session(self) -> Iterator[None]:
        self._id_prefix = f"{ROW_PREFIX}{os.urandom(4).hex()}/"
        with ExitStack() as self._owned:
            yield

    def _own(self, store: AnyStore) -> AnyStore:
        """Close a store, if it can be closed, when the check is over."""
        self._owned.callback(close, store)
        return store

    def _store_under_test(self) -> Store:
        """Return the store under test; called once in a check."""
        return self._own(self._open_store())

    def holds_only_rows_of_checks(self) -> bool:
        """Say whether the store is fit for tests; one that cannot be walked is taken to be."""
        with self._session():
            store = self._store_under_test()
            if not hasattr(store, "scan"):
                return True
            cursor: str | None = None
            while True:
                page = self._scan_of(store).scan(cursor=cursor, limit=100)
                if not all(ROW_PREFIX in row.account_id for row in page.records):
                    return False
                cursor = page.cursor
                if cursor is None:
                    return True

    def _scan_of(self, store: Store) -> ScanStore:
        if not hasattr(store, "scan"):
            raise NotTestedError("scan")
        walkable: ScanStore = cast("Any", store)
        return walkable

    # -- rows

    def _row(
        self,
        account: str = "ann",
        revision: int = 1,
        document: bytes = b"{}",
        summary: Summary = SUMMARY,
    ) -> StoredRecord:
        return StoredRecord(
            account_id=self._id_prefix + account,
            revision=revision,
            document=document,
            summary=summary,
        )

    def _loaded(self, store: Store, account: str = "ann") -> StoredRecord:
        return loaded(store, self._id_prefix + account)


def loaded(store: Store, account_id: str) -> StoredRecord:
    """Load a row that must be there."""
    row = store.load(account_id)
    if row is None:
        raise AssertionError("a row that was written is not loaded.")
    return row


def expect(store: Store, row: StoredRecord) -> None:
    """Load a row and compare everything."""
    found = loaded(store, row.account_id)
    require(found.account_id == row.account_id, "the id came back changed.")
    require(
        type(found.revision) is int and found.revision == row.revision,
        f"the revision came back changed: {found.revision!r} for {row.revision!r}.",
    )
    require(isinstance(found.document, bytes), "the document must come back as bytes.")
    require(found.document == row.document, "the document came back changed.")
    require(
        found.summary == row.summary,
        f"the summary came back changed: {found.summary!r} for {row.summary!r}.",
    )


def load_patiently(store: Store, account_id: str, *, seconds: float = 10.0) -> StoredRecord | None:
    """Load, trying again while the store is unavailable."""
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            return store.load(account_id)
        except StoreUnavailableError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def close(store: Store) -> None:
    """Close a store if it can be closed."""
    closes: Callable[[], object] | None = getattr(store, "close", None)
    if closes is not None:
        closes()
