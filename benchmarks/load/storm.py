"""Run the storm on one engine, and audit it."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from typing import Any

from attrs import evolve, field, frozen

from benchmarks.engines import postgres_server
from benchmarks.load import ledger, traffic, world
from benchmarks.timing import Claim
from mfakit.storage.sqlite import SQLiteStore

PROCESSES = 2
OWNERS, RACED = 60, 6
GUESSES_MAX = world.POLICY.code_failures_max
_SPAWN = multiprocessing.get_context("spawn")
_MIB = 2**20

Opener = Callable[[], Any]
Progress = Callable[[float, int], None]


@frozen
class Outcome:
    """What a storm was, and what its audit found."""

    title: str
    seconds: float
    calls: int
    percentiles: dict[str, tuple[int, float, float]]
    refusals: Counter[tuple[str, str]]
    claims: tuple[Claim, ...]
    findings: tuple[str, ...] = field(factory=tuple)
    notes: dict[str, str] = field(factory=dict)


# ------------------------------------------------------------------------------------- the engines


@contextmanager
def sqlite() -> Iterator[Opener]:
    """Give a SQLite file, `synchronous=FULL`."""
    with tempfile.TemporaryDirectory() as directory:
        yield partial(SQLiteStore, Path(directory) / "mfa.db")


@contextmanager
def postgres() -> Iterator[Opener]:
    """Give a table in a PostgreSQL server of its own, each commit flushed."""
    with postgres_server() as server:
        opener = partial(open_postgres, server.url(server.new_database(), "postgresql+psycopg"))
        with closing(opener()) as store:
            store.create_table()
        yield opener


def open_postgres(url: str) -> Any:
    """Open the table with an engine of its own, as docs/sqlalchemy.md has it."""
    from sqlalchemy import create_engine

    from mfakit.storage.sqlalchemy import SQLAlchemyStore

    class OwnEngine(SQLAlchemyStore):
        def close(self) -> None:
            engine.dispose()

    engine = create_engine(url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    return OwnEngine(engine)


STORES: dict[str, tuple[str, Callable[[], AbstractContextManager[Opener]]]] = {
    "sqlite": ("SQLite, `synchronous=FULL`", sqlite),
    "postgres": ("PostgreSQL", postgres),
}


# --------------------------------------------------------------------------------------- the storm


def run(
    name: str,
    seconds: float,
    *,
    owners: int = OWNERS,
    raced: int = RACED,
    progress: Progress = lambda elapsed, calls: None,
) -> Outcome:
    """Let it storm on one engine for so many seconds, and audit what was answered.

    Raises:
        UnavailableError: The engine is not here.
    """
    title, engine = STORES[name]
    with engine() as open_store, tempfile.TemporaryDirectory() as directory:
        setup = _set_up(open_store, seconds, owners, raced)
        before = os.getloadavg()[0]
        samples, argon2 = _let_loose(setup, Path(directory), progress)
        documents = _documents(setup)
        entries = ledger.read(Path(directory))
        outcome = _audit(title, setup, entries, documents, samples, argon2)
    load = f"{before:.1f} and {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors"
    return evolve(outcome, notes=outcome.notes | {"load of the machine before and after": load})


def _set_up(open_store: Opener, seconds: float, owners: int, raced: int) -> world.Setup:
    keys = world.new_key()
    names = [f"owner-{number}" for number in range(owners)]
    races = [f"raced-{number}" for number in range(raced)]
    with closing(open_store()) as store:
        people = world.enroll(store, keys, [*names, *races, world.GUESSED])
    return world.Setup(
        open_store=open_store,
        keys=keys,
        owners=tuple(people[:owners]),
        raced=tuple(people[owners:-1]),
        guessed=people[-1],
        seconds=seconds,
    )


Samples = dict[int, list[tuple[float, int, int]]]


def _let_loose(
    setup: world.Setup, directory: Path, progress: Progress
) -> tuple[Samples, list[tuple[int, int]]]:
    """Run the processes; return what they told on their way and at their end."""
    pipes: dict[Connection, int] = {}
    processes = []
    for place in range(PROCESSES):
        ours, theirs = _SPAWN.Pipe()
        processes.append(
            _SPAWN.Process(target=traffic.work, args=(setup, place, directory, theirs), daemon=True)
        )
        processes[-1].start()
        theirs.close()
        pipes[ours] = place
    for ours in pipes:
        ours.recv()  # it has started
    begins = time.time() + 0.5
    for ours in pipes:
        ours.send(begins)
    told = list(_hear(pipes, progress))
    for process in processes:
        process.join(60)
        if process.exitcode != 0:
            raise RuntimeError("A process of the storm died.")
    samples: Samples = {place: [] for place in range(PROCESSES)}
    for place, said in told:
        if len(said) == 3:
            samples[place].append(said)
    return samples, [said for _, said in told if len(said) == 2]


def _hear(pipes: dict[Connection, int], progress: Progress) -> Iterator[tuple[int, Any]]:
    """Give what the processes tell until they have all ended."""
    calls = [0] * PROCESSES
    left = dict(pipes)
    while left:
        for pipe in wait(list(left)):
            try:
                said = pipe.recv()
            except EOFError:
                del left[pipe]
                continue
            yield left[pipe], said
            if len(said) == 3:
                calls[left[pipe]] = said[1]
                progress(said[0], sum(calls))


def _documents(setup: world.Setup) -> dict[str, bytes]:
    people = (*setup.owners, *setup.raced, setup.guessed)
    with closing(setup.open_store()) as store:
        rows = [store.load(person.account_id) for person in people]
    return {row.account_id: row.document for row in rows if row is not None}


# --------------------------------------------------------------------------------------- the audit


def _audit(
    title: str,
    setup: world.Setup,
    entries: list[ledger.Entry],
    documents: dict[str, bytes],
    samples: Samples,
    argon2: list[tuple[int, int]],
) -> Outcome:
    twice = ledger.accepted_twice(entries)
    lost = list(ledger.lost(entries, documents, world.PASSCODES))
    odd = [entry for entry in entries if not entry.is_as_expected]
    won = ledger.races(entries)
    guesses = sum(one.what == "guessed code" and one.outcome == ledger.WRONG for one in entries)
    memory = {place: _memory(found, setup.seconds) for place, found in samples.items()}
    claims = (
        Claim(name="acknowledged and not as stored", value=len(lost), at_most=0),
        Claim(name="codes and challenges accepted twice", value=len(twice), at_most=0),
        Claim(
            name="answers that the call may not get, store failures, crashes",
            value=len(odd),
            at_most=0,
        ),
        Claim(name="codes raced for, one winner", value=won[1], at_least=1),
        Claim(
            name="wrong codes evaluated on the attacked account", value=guesses, at_most=GUESSES_MAX
        ),
        Claim(
            name="Argon2 runs in flight in one process, at most",
            value=max(most for most, _ in argon2),
            at_most=traffic.ARGON2_AT_ONCE,
        ),
        Claim(
            name="resident memory, end by beginning",
            value=max(end / begin for begin, end in memory.values()),
            at_most=1.15,
        ),
    )
    notes = {
        "Argon2 runs": f"{sum(runs for _, runs in argon2):,}",
        "resident memory, MiB": "; ".join(
            f"{begin / _MIB:.1f} to {end / _MIB:.1f}" for begin, end in memory.values()
        ),
        "codes raced for, no winner": f"{won[0]:,}",
    }
    findings = [*map(str, twice), *lost, *map(str, odd)]
    return Outcome(
        title=title,
        seconds=setup.seconds,
        calls=len(entries),
        percentiles=ledger.percentiles(entries),
        refusals=ledger.refusals(entries),
        claims=claims,
        findings=tuple(findings),
        notes=notes,
    )


def _memory(samples: list[tuple[float, int, int]], seconds: float) -> tuple[float, float]:
    """Return resident bytes around a fifth of the run (minute 1 of 5) and at its end: medians."""
    early = [rss for at, _, rss in samples if 0.15 * seconds <= at <= 0.25 * seconds]
    late = [rss for at, _, rss in samples if 0.9 * seconds <= at <= seconds]
    return median(early or [samples[0][2]]), median(late or [samples[-1][2]])
