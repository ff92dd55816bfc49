"""The gate before the hasher for an event loop: Argon2 runs in threads, tasks wait without blocking.

The promises are those of `mfakit.gate`. A waiter that is cancelled takes nothing from the others:
a run that somebody waits for goes on, one that nobody waits for any more is dropped if it has not
begun, and a place is given back when its run is over or dropped, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mfakit.aio.threads import Threads
from mfakit.core.decision import CheckHash, NewHashes
from mfakit.core.secret import Secret
from mfakit.errors import BusyError, HashingError
from mfakit.gate import Gate, Memory, Ticket
from mfakit.hashing import Hasher
from mfakit.operations import Verdict

__all__ = ["AsyncHashGate"]

T = TypeVar("T")


class _Flight:
    """One run, and how many wait for it."""

    def __init__(self, future: Future[Any]) -> None:
        self.future = future
        self.waiting = 0


class AsyncHashGate(Gate):
    """Run hashes for tasks, in threads; arguments as `Gate`. Event loops may share one."""

    def __init__(
        self,
        hasher: Hasher,
        *,
        concurrency: int | None = None,
        queue: int = 64,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(hasher, concurrency=concurrency, queue=queue, memory=memory)
        self._threads = Threads(self._running, "mfakit-hash")

    def _begin(self) -> None:
        super()._begin()
        self._flights: dict[object, _Flight] = {}

    async def check(self, check: CheckHash) -> Verdict:
        """Say whether the secret is right, and whether finding out took time.

        Raises:
            BusyError: No place is left; nothing was found out.
            HashingError: Argon2 could not run; nothing was found out.
        """
        tag = self._memory.tag(check)
        if self._is_remembered(tag, check):
            return Verdict(value=True, waited=False)
        ticket = Ticket(check.account_id, check.is_mail)
        is_right = await self._fly(tag, ticket, lambda: self._verify(check))
        return self._found_out(tag, check, is_right=is_right)

    async def hash(self, new: NewHashes) -> list[tuple[Secret, Secret]]:
        """Return each secret with its hash. Raises as `check` does."""
        ticket = Ticket(new.account_id, is_mail=False)
        return await self._fly(object(), ticket, lambda: self._hash(new))

    async def aclose(self) -> None:
        """Wait for the runs and let the threads go; used again, it begins new ones."""
        await self._threads.aclose()

    async def _fly(self, key: object, ticket: Ticket, run: Callable[[], T]) -> T:
        with self._lock:
            is_pilot = key not in self._flights
            flight = self._take_off(key, ticket, run) if is_pilot else self._flights[key]
            flight.waiting += 1
        try:
            await _landing(flight.future)
        finally:
            with self._lock:
                flight.waiting -= 1
                if not flight.waiting:
                    flight.future.cancel()  # does nothing to a run that has begun
        if not is_pilot and flight.future.exception() is not None:
            raise BusyError  # the run failed: nothing is known
        result: T = flight.future.result()
        return result

    def _take_off(self, key: object, ticket: Ticket, run: Callable[[], Any]) -> _Flight:
        self._places.take(ticket)
        try:
            flight = self._flights[key] = _Flight(self._threads.submit(run))
        except Exception as error:  # no thread can be begun
            self._places.leave(ticket)
            raise HashingError from error
        flight.future.add_done_callback(lambda _: self._land(key, ticket))
        return flight

    def _land(self, key: object, ticket: Ticket) -> None:
        with self._lock:
            del self._flights[key]
            self._places.leave(ticket)


async def _landing(future: Future[Any]) -> None:
    """Wait for a run. Who is cancelled meanwhile does not cancel it for the others."""
    landed = asyncio.wrap_future(future)
    landed.add_done_callback(_retrieve)
    await asyncio.wait((landed,))


def _retrieve(landed: asyncio.Future[Any]) -> None:
    """Look at an error, or it is reported as never retrieved when nobody waits any more."""
    if not landed.cancelled():
        landed.exception()
