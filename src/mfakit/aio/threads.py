"""Threads for what blocks: a bounded pool, and the asynchronous face of a store that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from mfakit.driver import scan_of
from mfakit.forks import Forkable, watch_forks
from mfakit.storage import Page, Store, StoredRecord

__all__ = ["InThreads", "Threads"]

T = TypeVar("T")


class Threads(Forkable):
    """A bounded number of threads, begun on first use, and anew in a forked process.

    Args:
        number: Threads at most.
        name: How their names begin.
    """

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        watch_forks(self)

    def after_fork(self, *, is_child: bool) -> None:
        """In the child, begin anew: what is given to the parent's threads would never run."""
        if is_child:
            self._pool, self._lock = None, Lock()

    def submit(self, run: Callable[[], T]) -> Future[T]:
        """Have a thread run something as soon as one is free; until then it can be cancelled."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._number, self._name)
            return self._pool.submit(run)

    async def aclose(self) -> None:
        """Wait for what runs and let the threads go; used again, it begins new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)


class InThreads:
    """Make an `AsyncStore` of a store that blocks: each call runs in a thread.

    A call that is cancelled before a thread took it is not made. One that a thread has begun is
    finished there, whatever became of its caller: the next load shows what it did.

    Args:
        store: Any `Store`, with `scan` or without. It is closed with this one, if it has a `close`.
        threads: Calls at once; the others wait for their turn.
    """

    def __init__(self, store: Store, *, threads: int = 8) -> None:
        self._store = store
        self._threads = Threads(threads, "mfakit-store")

    async def load(self, account_id: str) -> StoredRecord | None:
        """As `Store.load`."""
        return await self._call(lambda: self._store.load(account_id))

    async def create(self, new: StoredRecord) -> bool:
        """As `Store.create`."""
        return await self._call(lambda: self._store.create(new))

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """As `Store.replace`."""
        return await self._call(lambda: self._store.replace(new, expected=expected))

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """As `Store.delete`."""
        return await self._call(lambda: self._store.delete(account_id, expected=expected))

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """As `ScanStore.scan`. Raises `StoreConfigurationError` if the store has none."""
        scan = scan_of(self._store)
        page: Page = await self._call(lambda: scan(cursor=cursor, limit=limit, prefix=prefix))
        return page

    async def aclose(self) -> None:
        """Let the threads go and close the store. Begin no call meanwhile."""
        await self._threads.aclose()
        close: Callable[[], Any] | None = getattr(self._store, "close", None)
        if close is not None:
            await asyncio.to_thread(close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _call(self, call: Callable[[], T]) -> T:
        context = copy_context()
        return await asyncio.wrap_future(self._threads.submit(lambda: context.run(call)))

    def __repr__(self) -> str:
        return f"InThreads({self._store!r})"
