"""`SteppedAsyncMFA`: `every_interleaving` through the driver that awaits.

Each call is a task of an event loop; the store lets it go on one load or write at a time. So what is
tried is the real driver, with its tasks, its shields and its context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from mfakit.aio import AsyncMFA
from mfakit.aio.threads import Threads
from mfakit.errors import MFAKitError
from mfakit.keyring import KeyRing
from mfakit.storage import Store, StoredRecord
from mfakit.testing.interleaving import Call

__all__ = ["AsyncSteps", "SteppedAsyncMFA"]

T = TypeVar("T")

_current: ContextVar[AsyncSteps | None] = ContextVar("mfakit_steps", default=None)


class SteppedAsyncMFA(AsyncMFA):
    """An `AsyncMFA` whose calls can also be run a step at a time. Hashes run at once.

    Args:
        store: A store that does not wait, like `MemoryStore`.
        keys: As `AsyncMFA`.
        loop: An event loop that does not run; each step runs it.
        options: As `AsyncMFA`.
    """

    def __init__(
        self, store: Store, keys: KeyRing, *, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        super().__init__(_HaltingStore(store), keys, **options)
        self._gate._threads = _NoThreads()
        self.loop: asyncio.AbstractEventLoop = loop

    def begin(self, call: Call) -> AsyncSteps:
        """Return the steps of one call, none of them done."""
        return AsyncSteps(self, call)

    async def _pause(self, lost: int) -> None:
        """The order of the steps decides who comes first; no time passes."""


class AsyncSteps:
    """One call, stopped before its next load or write."""

    def __init__(self, mfa: SteppedAsyncMFA, call: Call) -> None:
        self._loop = mfa.loop
        self._halted = self._loop.create_future()
        self._turn = self._loop.create_future()
        self.is_done: bool = False
        self.outcome: Any = None
        context = copy_context()
        context.run(_current.set, self)
        self._task = self._loop.create_task(self._go(mfa, call), context=context)
        self._until_halt()

    def step(self) -> None:
        """Do the load or write that is due, and go on to the next."""
        turn, self._turn = self._turn, self._loop.create_future()
        self._halted = self._loop.create_future()
        turn.set_result(None)
        self._until_halt()

    async def halt(self) -> None:
        """Wait for the next step."""
        self._halted.set_result(None)
        await self._turn

    async def _go(self, mfa: SteppedAsyncMFA, call: Call) -> None:
        try:
            self.outcome = await call(mfa)
        except MFAKitError as error:
            self.outcome = error

    def _until_halt(self) -> None:
        waiting = {self._halted, self._task}
        self._loop.run_until_complete(asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))
        if self._task.done():
            self.is_done = True
            self._task.result()


class _HaltingStore:
    """Let a call go on one load or write at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, account_id: str) -> StoredRecord | None:
        await _halt()
        return self._store.load(account_id)

    async def create(self, new: StoredRecord) -> bool:
        await _halt()
        return self._store.create(new)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        await _halt()
        return self._store.replace(new, expected=expected)

    async def delete(self, account_id: str, *, expected: int) -> bool:
        await _halt()
        return self._store.delete(account_id, expected=expected)


class _NoThreads(Threads):
    """Run at once: a hash meets no store, so its moment cannot matter."""

    def __init__(self) -> None:
        super().__init__(1, "none")

    def submit(self, run: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(run())
        except Exception as error:
            done.set_exception(error)
        return done


async def _halt() -> None:
    steps = _current.get()
    if steps is not None:
        await steps.halt()
