"""Other threads and processes that work at the same data.

Processes are spawned, so a job is sent by its name: a function of a module, no closure.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

from attrs import frozen

from mfakit.storage import Store
from mfakit.testing.contract.base import Opener, close

__all__ = ["Member", "Worker", "in_threads", "workers"]

ANSWER_SECONDS = 120.0
_SPAWN = multiprocessing.get_context("spawn")


class _Barrier(Protocol):
    def wait(self, timeout: float | None = None) -> int: ...


@frozen
class Member:
    """One of several that work at a store together: what its job is given.

    Attributes:
        store: The store, of the process's own.
        barrier: All members meet there.
        place: Its number, from 0.
        tell: Sends something to the process that gave the job.
    """

    store: Store
    barrier: _Barrier
    place: int
    tell: Callable[[Any], None] = print


Job = Callable[..., Any]


def in_threads(store: Store, number: int, job: Job, *args: Any) -> list[Any]:
    """Run `job(member, *args)` in so many threads at once and return the answers."""
    barrier = threading.Barrier(number)
    members = [Member(store, barrier, place) for place in range(number)]

    def work(member: Member) -> Any:
        try:
            return job(member, *args)
        except BaseException:
            barrier.abort()  # the others need not wait for one that does not come
            raise

    with _hasty_threads(), ThreadPoolExecutor(number) as threads:
        return _answers([threads.submit(work, member) for member in members])


def _answers(running: list[Future[Any]]) -> list[Any]:
    """Wait for all, and raise what the store did rather than what that did to the others."""
    errors = [error for one in running if (error := one.exception()) is not None]
    for error in sorted(errors, key=lambda one: isinstance(one, threading.BrokenBarrierError)):
        if isinstance(error, threading.BrokenBarrierError):
            raise AssertionError("a call of the store did not return in a minute.") from error
        raise error
    return [one.result() for one in running]


@contextmanager
def _hasty_threads() -> Iterator[None]:
    """Let Python change threads so often that they meet between a read and its write."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class Worker:
    """One process with a store of its own; `barrier` and `place` as `Member` has them."""

    def __init__(self, opener: Opener, barrier: Any, place: int = 0) -> None:
        self._barrier = barrier  # held: it goes when its last holder here goes
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(opener, barrier, place, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    @classmethod
    def alone(cls, opener: Opener) -> Worker:
        """Start one that meets nobody."""
        return cls(opener, _SPAWN.Barrier(1))

    def give(self, job: Job, *args: Any) -> None:
        """Begin `job(member, *args)`."""
        self._connection.send((job, args))

    def hear(self) -> Any:
        """Return the next thing that its job told, or what it returned; raise what it raised."""
        if not self._connection.poll(ANSWER_SECONDS):
            raise AssertionError("a process that uses the store did not answer in two minutes.")
        try:
            error, value = self._connection.recv()
        except (EOFError, OSError):
            raise AssertionError("a process that uses the store died.") from None
        if error is not None:
            raise AssertionError(f"in another process, {error}")
        return value

    def hear_out(self) -> Iterator[Any]:
        """Give what a killed one had told; what the kill cut off in the middle does not count."""
        with suppress(EOFError, OSError):
            while True:
                error, value = self._connection.recv()
                if error is None:
                    yield value

    def kill(self) -> None:
        """End it at once, whatever it is doing (SIGKILL)."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Let it end; a killed one is just forgotten."""
        self._connection.close()
        self._process.join(ANSWER_SECONDS)
        self.kill()
        self._process.close()


@contextmanager
def workers(opener: Opener, number: int) -> Iterator[Callable[..., list[Any]]]:
    """Start processes; give a function that runs `job(member, *args)` in all of them at once."""
    barrier = _SPAWN.Barrier(number)
    team = [Worker(opener, barrier, place) for place in range(number)]

    def run(job: Job, *args: Any) -> list[Any]:
        for worker in team:
            worker.give(job, *args)
        return [worker.hear() for worker in team]

    try:
        for worker in team:
            worker.hear()  # it has opened the store
        yield run
    finally:
        for worker in team:
            worker.close()


def _work(opener: Opener, barrier: Any, place: int, connection: Connection) -> None:
    """Do jobs until the other end is closed."""
    error, store = _try(opener)
    connection.send((error, None))
    member = Member(store, barrier, place, lambda told: connection.send((None, told)))
    while True:
        try:
            job, args = connection.recv()
        except EOFError:
            break
        connection.send(_try(job, member, *args))
    close(store)


def _try(job: Job, *args: Any) -> tuple[str | None, Any]:
    try:
        return None, job(*args)
    except AssertionError as error:
        return str(error), None
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__qualname__}: {error}", None
