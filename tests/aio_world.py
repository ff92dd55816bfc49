"""What the asynchronous tests share: a strict event loop, and an `AsyncMFA` that looks blocking."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from mfakit import AuditEvent, KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from world import World

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; fail on a task that is left, or an exception that nobody retrieved."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        result = await main
        gc.collect()  # what is "never retrieved" says so when it is collected
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(watched(), debug=True)
    assert complaints == []
    return result


class Blocked:
    """An `AsyncMFA` for tests that were written for `MFA`: each call runs a loop to its end."""

    def __init__(self, mfa: AsyncMFA, loop: asyncio.AbstractEventLoop) -> None:
        self._mfa = mfa
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._mfa, name)
        if not iscoroutinefunction(found):
            return found
        return lambda *given, **named: self._run(found(*given, **named))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if not self._loop.is_running():
            return self._loop.run_until_complete(call)
        # From within a call (a password check that changes the account): a loop in another thread.
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(asyncio.run, call).result()


class AsyncWorld(World):
    """A `World` whose `MFA` is an `AsyncMFA`, with a policy and an event sink that are awaited."""

    def __init__(self, store: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.opened: list[AsyncMFA | InThreads] = []
        super().__init__(store)

    def make_mfa(self, **changes: Any) -> Any:
        async def policy(account_id: str) -> Policy:
            await asyncio.sleep(0)
            return self.policy

        async def sink(event: AuditEvent) -> None:
            await asyncio.sleep(0)
            self.events.append(event)

        settings: dict[str, Any] = {
            "policy": policy,
            "events": sink,
            "clock": self.clock,
            "hasher": self.hasher,
            "hash_concurrency": 2,  # a test hashes from within a hash
        }
        threads = InThreads(self.store, threads=2)
        mfa = AsyncMFA(threads, KeyRing(self.keys), **settings | changes)
        self.opened += [mfa, threads]
        return Blocked(mfa, self.loop)

    async def aclose(self) -> None:
        for one in self.opened:
            await one.aclose()


async def until(holds: Callable[[], Any]) -> None:
    """Let the loop go on until something holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.001)
