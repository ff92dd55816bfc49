"""Code checks of many at once: processes with threads on one SQLite file, each with its own account.

Each contender gets its turns of some seconds on a file of its own. A check is timed from the call to
the answer, so that waiting for the others' writes counts; what raises is an error.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any

from benchmarks import peers
from benchmarks.timing import Claim, Contender, Curves, Section
from benchmarks.world import World
from mfakit.storage.sqlite import SQLiteStore

PROCESSES, THREADS = 2, 4
TIMES_PEERS = 8.0
P99_MILLISECONDS = 20.0
OURS = "SQLiteStore: verify_code"
_CURVE = (1, 2, 4, 8)  # threads of each process
_CODES_A_SECOND = 15_000  # more than one thread can use, ours or a peer's


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What the clients of one turn had: nanoseconds of each check, and how many raised."""

    seconds: float
    taken: list[int] = field(default_factory=list)
    errors: int = 0

    @property
    def rate(self) -> float:
        """Checks a second, of all clients together."""
        return len(self.taken) / self.seconds

    @property
    def p99_milliseconds(self) -> float:
        """The time that one check in a hundred exceeds."""
        return quantiles(self.taken, n=100)[98] / 1e6


def run(*, is_quick: bool) -> Section:
    """Measure two processes of four threads against django-otp and allauth, in turns."""
    rounds, seconds = (1, 0.5) if is_quick else (7, 2.0)
    with tempfile.TemporaryDirectory() as directory:
        makers = _prepare(Path(directory))
        turns: dict[str, list[Turn]] = {name: [] for name in makers}
        for _ in range(rounds):
            for name, make in makers.items():
                turns[name].append(_turn(make, THREADS, seconds))
        by_threads = {
            PROCESSES * threads: _turn(makers[OURS], threads, seconds) for threads in _CURVE
        }
    medians = {name: median(taken) / 1e3 for name, taken in _taken(turns)}
    rates = {clients: turn.rate for clients, turn in by_threads.items()}
    return Section(
        title=f"{PROCESSES} processes of {THREADS} threads on one file, synchronous=NORMAL",
        microseconds=medians,
        claims=tuple(_claims(turns)),
        curves=Curves(across="clients at once", up="checks a second", lines={OURS: rates}),
    )


def _taken(turns: dict[str, list[Turn]]) -> Iterator[tuple[str, list[int]]]:
    for name, of_one in turns.items():
        yield name, [taken for turn in of_one for taken in turn.taken]


def _claims(turns: dict[str, list[Turn]]) -> Iterator[Claim]:
    ours = turns[OURS]
    for peer, theirs in turns.items():
        if peer != OURS:
            pairs = zip(ours, theirs, strict=True)
            yield Claim(
                name=f"{OURS}: times the checks a second of {peer.split()[0]}",
                value=median([one.rate / other.rate for one, other in pairs]),
                at_least=TIMES_PEERS,
            )
    for name, of_one in turns.items():
        is_ours = name == OURS
        yield Claim(
            name=f"{name}: 99th percentile, ms",
            value=median([turn.p99_milliseconds for turn in of_one]),
            at_most=P99_MILLISECONDS if is_ours else None,
        )
        errors = sum(turn.errors for turn in of_one)
        yield Claim(name=f"{name}: errors", value=errors, at_most=0 if is_ours else None)


# ------------------------------------------------------------------------------------ the clients


Make = tuple[Callable[[Any, int], Contender], Path]


def _prepare(directory: Path) -> dict[str, Make]:
    """Make a file for each contender; return how a client of each is made."""
    SQLiteStore(directory / "mfakit.db", synchronous="NORMAL").close()
    peers.use_database(peers.sqlite(directory / "django.db", "NORMAL"))
    peers.leave_database()
    return {
        OURS: (_mfakit, directory / "mfakit.db"),
        "django-otp verify_token": (_django_otp, directory / "django.db"),
        "allauth validate_code": (_allauth, directory / "django.db"),
    }


def _mfakit(store: Any, checks: int) -> Contender:
    account = f"account-{threading.get_ident()}-{perf_counter_ns()}"
    world = World(store, account_id=account)
    codes = iter(world.codes(checks))
    return lambda: world.verify_next(next(codes))


def _django_otp(_: Any, checks: int) -> Contender:
    return peers.DjangoOTP(checks).check


def _allauth(_: Any, checks: int) -> Contender:
    return peers.Allauth(checks).check


def _turn(make: Make, threads: int, seconds: float) -> Turn:
    """Let the clients of all processes run for some seconds, all at once."""
    context = get_context("spawn")
    begin = context.Barrier(PROCESSES * threads)
    answers = context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(make, threads, seconds, begin, answers), daemon=True)
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    taken = [one for checks, _ in found for one in checks]
    return Turn(seconds=seconds, taken=taken, errors=sum(errors for _, errors in found))


def _work(make: Make, threads: int, seconds: float, begin: Any, answers: Any) -> None:
    """Be one of the processes."""
    of_what, file = make
    store: Any = None
    if of_what is _mfakit:
        store = SQLiteStore(file, synchronous="NORMAL")
    else:
        peers.use_database(peers.sqlite(file, "NORMAL"), is_ready=True)
    taken: list[int] = []
    errors: list[Exception] = []
    clients = [
        threading.Thread(target=_client, args=(of_what, store, seconds, begin, taken, errors))
        for _ in range(threads)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    answers.put((taken, len(errors)))


def _client(
    of_what: Callable[[Any, int], Contender],
    store: Any,
    seconds: float,
    begin: Any,
    taken: list[int],
    errors: list[Exception],
) -> None:
    """Check one account's codes until the time is over."""
    check = of_what(store, int(_CODES_A_SECOND * seconds))
    begin.wait()
    end = perf_counter_ns() + int(seconds * 1e9)
    own: list[int] = []
    while (begun := perf_counter_ns()) < end:
        try:
            check()
        except Exception as error:
            errors.append(error)
        else:
            own.append(perf_counter_ns() - begun)
    taken += own
