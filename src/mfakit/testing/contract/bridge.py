"""An asynchronous store seen as a `Store`, through an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, TypeVar

from attrs import field, frozen

from mfakit.storage import AsyncStore, Page, Store, StoredRecord

__all__ = ["Bridge", "LoopThread", "WalkableBridge"]

T = TypeVar("T")
CALL_SECONDS = 120.0


class LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._local = threading.local()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live()), name="mfakit-check-loop", daemon=True
        )
        self._thread.start()
        self._loop, self._closing = self._ready.result()

    def call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call in the loop's thread, await what is awaitable, and return the result.

        What a call sets in context variables is there in the next call from the same thread, as it
        is for a task that makes one call after another.
        """
        future: Future[Any] = Future()
        if not hasattr(self._local, "context"):
            self._local.context = contextvars.copy_context()

        async def run() -> None:
            try:
                result = call(*args, **kwargs)
                future.set_result(await result if inspect.isawaitable(result) else result)
            except BaseException as error:
                future.set_exception(error)

        tasks: list[asyncio.Task[None]] = []  # held here: the loop holds tasks weakly
        context = self._local.context
        self._loop.call_soon_threadsafe(
            lambda: tasks.append(self._loop.create_task(run(), context=context))
        )
        return future.result(CALL_SECONDS)

    @contextmanager
    def entered(
        self, manager: AbstractContextManager[T] | AbstractAsyncContextManager[T]
    ) -> Iterator[T]:
        """Enter and leave a context manager, of either kind, in the loop's thread."""
        is_async = hasattr(manager, "__aenter__")
        enter, leave = ("__aenter__", "__aexit__") if is_async else ("__enter__", "__exit__")
        entered = self.call(getattr(manager, enter))
        try:
            yield entered
        finally:
            self.call(getattr(manager, leave), None, None, None)

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(CALL_SECONDS)

    async def _live(self) -> None:
        closing = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), closing))
        await closing.wait()


class Bridge:
    """A `Store` whose calls are awaited in a loop's thread.

    Args:
        store: What is called there.
        loop: The thread; closed with the store if `owns_loop`.
    """

    def __init__(self, store: AsyncStore, loop: LoopThread, *, owns_loop: bool = False) -> None:
        self.store = store
        self.loop = loop
        self._owns_loop = owns_loop

    def load(self, account_id: str) -> StoredRecord | None:
        """As `Store.load`."""
        row: StoredRecord | None = self.loop.call(self.store.load, account_id)
        return row

    def create(self, new: StoredRecord) -> bool:
        """As `Store.create`."""
        won: bool = self.loop.call(self.store.create, new)
        return won

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """As `Store.replace`."""
        won: bool = self.loop.call(self.store.replace, new, expected=expected)
        return won

    def delete(self, account_id: str, *, expected: int) -> bool:
        """As `Store.delete`."""
        won: bool = self.loop.call(self.store.delete, account_id, expected=expected)
        return won

    def check(self) -> tuple[str, ...] | None:
        """As `CheckedStore.check`, if the store has it."""
        found: tuple[str, ...] | None = self.loop.call(getattr(self.store, "check", tuple))
        return found

    def close(self) -> None:
        """Close the store by its `aclose` or `close`, if it has one, and then the loop."""
        for name in ("aclose", "close"):
            if hasattr(self.store, name):
                self.loop.call(getattr(self.store, name))
                break
        if self._owns_loop:
            self.loop.close()


class WalkableBridge(Bridge):
    """A `Bridge` to a store that has `scan`."""

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """As `ScanStore.scan`."""
        scan = getattr(self.store, "scan")  # noqa: B009 - AsyncStore has none
        page: Page = self.loop.call(scan, cursor=cursor, limit=limit, prefix=prefix)
        return page


def bridge(open_store: Callable[[], Any], loop: LoopThread | None = None) -> Bridge:
    """Open an asynchronous store inside a loop, and return it as a `Store`."""
    thread = loop or LoopThread()
    store = thread.call(open_store)
    kind = WalkableBridge if hasattr(store, "scan") else Bridge
    return kind(store, thread, owns_loop=loop is None)


@frozen
class BridgeOpener:
    """Open an asynchronous store as a `Store`, in this process or another one."""

    opener: Callable[[], AsyncStore | Awaitable[AsyncStore]] = field()

    def __call__(self) -> Store:
        """Open it, on a loop of its own."""
        return bridge(self.opener)
