"""What is made and used before a fork is safe in the child, as servers that preload do it.

Also where another thread was in the middle of something at that moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mfakit.aio.gate import AsyncHashGate
from mfakit.aio.threads import Threads
from mfakit.gate import HashGate, Memory
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher
from world import World

PATIENCE_SECONDS = 20

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    # Python 3.12 and later warn of a fork beside threads, which is what is tested.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


class Child:
    """A forked process that makes one call; `answer` is what it returned."""

    def __init__(self, call: Callable[[], object]) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            signal.alarm(
                PATIENCE_SECONDS
            )  # who waits for a lost thread is ended, and answers nothing
            try:
                os.write(writing, str(call()).encode())
            except BaseException as error:
                os.write(writing, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        self._answer = os.fdopen(reading)

    def answer(self) -> str:
        with self._answer as answer:
            text = answer.read()
        os.waitpid(self._pid, 0)
        return text


def in_child(call: Callable[[], object]) -> str:
    return Child(call).answer()


def row(revision: int, account_id: str = "ann") -> StoredRecord:
    document, summary = b"x" * 1500, Summary(state="enrolled")
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=summary
    )


# ------------------------------------------------------------------------------------------- hashing


class HeldHasher(CheapHasher):
    """Hashes that do not end in this process until they may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.parent, self.is_held = os.getpid(), False

    def verify(self, stored: str, secret: object) -> bool:
        if self.is_held and os.getpid() == self.parent:
            self.begun.set()
            assert self.may_end.wait(PATIENCE_SECONDS)
        return super().verify(stored, secret)  # type: ignore[arg-type]


def test_a_run_of_the_parent_is_not_waited_for() -> None:
    """The child neither waits for a run that has no thread there, nor counts its place and slot."""
    world, hasher = World(MemoryStore()), HeldHasher()
    world.mfa = world.make_mfa(hasher=hasher, hash_concurrency=1, hash_queue=0)
    ann = world.enroll()
    passcode = world.passcode(ann).passcode
    hasher.is_held = True
    phone = threading.Thread(target=world.client, args=(ann, passcode))
    phone.start()
    try:
        assert hasher.begun.wait(PATIENCE_SECONDS)
        assert in_child(lambda: world.client(ann, passcode).via) == "passcode"
    finally:
        hasher.may_end.set()
        phone.join()


def held_by_another_thread(lock: threading.Lock) -> Callable[[], None]:
    """Have another thread take a lock, and return what lets it go."""
    is_taken, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_taken.set()
            may_go.wait(PATIENCE_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_taken.wait(PATIENCE_SECONDS)

    def let_go() -> None:
        may_go.set()
        thread.join()

    return let_go


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (Memory, lambda memory: memory.knows(b"tag")),
        (lambda: Threads(1, "test"), lambda threads: threads.submit(lambda: False).result()),
        (lambda: HashGate(CheapHasher()), lambda gate: gate._lock.acquire() and False),
        (lambda: AsyncHashGate(CheapHasher()), lambda gate: gate._lock.acquire() and False),
    ],
    ids=["memory", "threads", "gate", "asynchronous gate"],
)
def test_no_lock_stays_locked(make: Callable[[], object], use: Callable[[object], object]) -> None:
    made = make()
    let_go = held_by_another_thread(made._lock)  # type: ignore[attr-defined]
    try:
        assert in_child(lambda: use(made)) == "False"
    finally:
        let_go()


def test_threads_of_the_parent_are_not_given_anything() -> None:
    threads = Threads(1, "test")
    assert threads.submit(os.getpid).result() == os.getpid()
    assert in_child(lambda: threads.submit(lambda: "ran").result()) == "ran"
    asyncio.run(threads.aclose())


# -------------------------------------------------------------------------------------------- SQLite


def test_what_a_child_wrote_outlives_its_parents_connections(tmp_path: Path) -> None:
    """The parent, alone as it believes, removes the log when it closes; the child must not use it."""
    path = tmp_path / "mfa.db"
    store = SQLiteStore(path)
    assert store.create(row(1))
    turn_reading, turn_writing = os.pipe()

    def write_before_and_after() -> bool:
        first = store.replace(row(2), expected=1)
        os.read(turn_reading, 1)
        return first and store.replace(row(3), expected=2)

    child = Child(write_before_and_after)
    while SQLiteStore(path).load("ann") != row(2):  # it has a connection now
        continue
    store.close()
    os.write(turn_writing, b"1")
    assert child.answer() == "True"
    assert SQLiteStore(path).load("ann") == row(3)


def test_a_fork_waits_for_the_statements_of_other_threads(tmp_path: Path) -> None:
    """No connection is open at a fork, however busy the store is; both sides go on."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    assert store.create(row(1))
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            assert store.load("ann") is not None

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(10):
            own = row(1, f"child-{number}")
            assert (
                in_child(lambda own=own: (open_files(tmp_path), store.create(own))) == "(0, True)"
            )
            assert store.load(own.account_id) == own
    finally:
        is_over.set()
        for reader in readers:
            reader.join()


def open_files(directory: Path) -> int:
    """Count the open files of a directory, where the system tells."""
    places = Path("/proc/self/fd")
    if sys.platform != "linux":
        return 0
    targets = [str(one.resolve()) for one in places.iterdir()]
    return sum(one.startswith(str(directory)) for one in targets)


def test_a_fork_beside_a_statement_that_does_not_end(tmp_path: Path) -> None:
    """It is waited for as long as a write is, and not longer; the child then writes nothing."""
    store = SQLiteStore(tmp_path / "mfa.db", busy_seconds=0.1)
    store._running = 1
    answer = in_child(lambda: store.create(row(1)))
    assert answer.startswith("StoreConfigurationError")
    store._running = 0
    assert store.create(row(1))
