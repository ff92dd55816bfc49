"""The gate before the hasher: how many Argon2 runs at once, who waits, who is remembered.

A run takes tens of milliseconds and megabytes, so runs are bounded, identical attempts in flight
share one, one account cannot fill the queue, and a passcode verified a moment ago is not hashed
again. Remembered are successes only, under a key of this process, never the secrets.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from hmac import digest
from threading import BoundedSemaphore, Event, Lock, RLock
from typing import NamedTuple, TypeVar

from mfakit.core.decision import CheckHash, NewHashes
from mfakit.core.encoding import frame
from mfakit.core.secret import Secret
from mfakit.errors import BusyError
from mfakit.forks import Forkable, watch_forks
from mfakit.hashing import Hasher
from mfakit.operations import Verdict

__all__ = ["Gate", "HashGate", "Memory", "Places", "Ticket"]

T = TypeVar("T")


class Memory(Forkable):
    """Remember which checks succeeded, for a while, in a bounded number.

    Args:
        entries: How many are remembered; the one used longest ago is forgotten first.
        clock: Monotonic seconds.
    """

    def __init__(self, entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._key = Secret(os.urandom(32))
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = Lock()
        watch_forks(self)

    def after_fork(self, *, is_child: bool) -> None:
        """In the child, do not wait for a thread that it does not have."""
        if is_child:
            self._lock = Lock()

    def tag(self, check: CheckHash) -> bytes:
        """Return what stands for a check: a MAC over account, item, hash and secret."""
        named = (check.account_id.encode(), check.item_id.encode(), check.sealed.encode())
        return digest(self._key.reveal(), frame(*named, check.secret.reveal()), "sha256")

    def knows(self, tag: bytes) -> bool:
        """Say whether this very check succeeded a moment ago."""
        with self._lock:
            until = self._until.get(tag, 0.0)
            if until > self._clock():
                self._until.move_to_end(tag)
                return True
            self._until.pop(tag, None)
            return False

    def learn(self, tag: bytes, seconds: int) -> None:
        """Remember a success."""
        if seconds <= 0:
            return
        with self._lock:
            self._until[tag] = self._clock() + seconds
            self._until.move_to_end(tag)
            while len(self._until) > self._entries:
                self._until.popitem(last=False)


class Ticket(NamedTuple):
    """One place of one account: an account has one for mail clients and one for the web."""

    account_id: str
    is_mail: bool


class Places:
    """Count who is running or waiting.

    SECURITY: mail clients ask without a password: whoever knows the first letters of a passcode may
    hold its account's place for mail, and a storm of clients may hold all of them. Neither takes the
    account's own place for the web, nor those that are kept for the web.

    Args:
        total: Places for everybody.
        kept_for_web: Places on top that mail clients cannot take.
    """

    def __init__(self, total: int, *, kept_for_web: int) -> None:
        self._total = total
        self._kept_for_web = kept_for_web
        self._taken: set[Ticket] = set()

    def take(self, ticket: Ticket) -> None:
        """Take a place. Raises `BusyError` if there is none."""
        total = self._total if ticket.is_mail else self._total + self._kept_for_web
        if ticket in self._taken or len(self._taken) >= total:
            raise BusyError
        self._taken.add(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give a place back."""
        self._taken.remove(ticket)


class Gate(Forkable):
    """What a gate keeps, whether its callers block or await.

    Args:
        hasher: Does the hashing.
        concurrency: Runs at once; the processors, by default.
        queue: How many more may wait.
        memory: Where successes are remembered.
    """

    def __init__(
        self,
        hasher: Hasher,
        *,
        concurrency: int | None = None,
        queue: int = 64,
        memory: Memory | None = None,
    ) -> None:
        self._running = concurrency or os.cpu_count() or 1
        self._hasher = hasher
        self._memory = memory or Memory()
        self._queue = queue
        self._begin()
        watch_forks(self)

    def after_fork(self, *, is_child: bool) -> None:
        """In the child, nobody runs or waits: the runs of the parent's threads end there alone."""
        if is_child:
            self._begin()

    def _begin(self) -> None:
        self._places = Places(self._running + self._queue, kept_for_web=self._running)
        # One thread may come back to it: a run that is over at once lands while it takes off.
        self._lock = RLock()

    def _is_remembered(self, tag: bytes, check: CheckHash) -> bool:
        return bool(check.remember_seconds) and self._memory.knows(tag)

    def _found_out(self, tag: bytes, check: CheckHash, *, is_right: bool) -> Verdict:
        if is_right:
            self._memory.learn(tag, check.remember_seconds)
        return Verdict(value=is_right)

    def _verify(self, check: CheckHash) -> bool:
        return self._hasher.verify(check.unseal().reveal().decode(), check.secret)

    def _hash(self, new: NewHashes) -> list[tuple[Secret, Secret]]:
        return [
            (secret, Secret(self._hasher.hash(secret, new.policy).encode()))
            for secret in new.secrets
        ]


class _Flight:
    """One run that identical attempts wait for."""

    def __init__(self) -> None:
        self.landed = Event()
        self.result: bool | None = None


class HashGate(Gate):
    """Run hashes for threads, each in its own; arguments as `Gate`."""

    def _begin(self) -> None:
        super()._begin()
        self._slots = BoundedSemaphore(self._running)
        self._flights: dict[bytes, _Flight] = {}

    def check(self, check: CheckHash) -> Verdict:
        """Say whether the secret is right, and whether finding out took time.

        Raises:
            BusyError: No place is left; nothing was found out.
            HashingError: Argon2 could not run; nothing was found out.
        """
        tag = self._memory.tag(check)
        if self._is_remembered(tag, check):
            return Verdict(value=True, waited=False)
        return self._found_out(tag, check, is_right=self._fly(tag, check))

    def hash(self, new: NewHashes) -> list[tuple[Secret, Secret]]:
        """Return each secret with its hash. Raises as `check` does."""
        ticket = Ticket(new.account_id, is_mail=False)
        with self._lock:
            self._places.take(ticket)
        return self._run(ticket, lambda: self._hash(new))

    def _fly(self, tag: bytes, check: CheckHash) -> bool:
        ticket = Ticket(check.account_id, check.is_mail)
        with self._lock:
            flight = self._flights.get(tag)
            is_pilot = flight is None
            if flight is None:
                self._places.take(ticket)
                flight = self._flights[tag] = _Flight()
        if is_pilot:
            try:
                flight.result = self._run(ticket, lambda: self._verify(check))
            finally:
                with self._lock:
                    del self._flights[tag]
                flight.landed.set()
        flight.landed.wait()
        if flight.result is None:  # the one that ran failed: nothing is known
            raise BusyError
        return flight.result

    def _run(self, ticket: Ticket, run: Callable[[], T]) -> T:
        try:
            with self._slots:
                return run()
        finally:
            with self._lock:
                self._places.leave(ticket)
