"""Other processes of the kit: what goes wrong in them is told, not lost."""

from __future__ import annotations

import multiprocessing
import os
import threading
from copy import copy
from functools import partial
from pathlib import Path

import pytest

from mfakit.storage import Store, StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing.contract import processes
from mfakit.testing.contract.failures import write_for_ever
from mfakit.testing.contract.processes import Member, Worker


def broken_opener() -> Store:
    raise OSError("no such server")


def fail(member: Member) -> None:
    raise ValueError(f"member {member.place}")


def die(member: Member) -> None:
    os._exit(3)


def wait(member: Member, seconds: float) -> str:
    threading.Event().wait(seconds)
    return "done"


@pytest.fixture
def opener(tmp_path: Path) -> partial[SQLiteStore]:
    return partial(SQLiteStore, tmp_path / "mfa.db")


def test_a_store_that_cannot_be_opened_is_told() -> None:
    worker = Worker.alone(broken_opener)
    with pytest.raises(AssertionError, match=r"builtins\.OSError: no such server"):
        worker.hear()
    worker.close()


def test_a_job_that_raises_or_dies_is_told(
    opener: partial[SQLiteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker.alone(opener)
    worker.hear()
    worker.give(fail)
    with pytest.raises(AssertionError, match=r"builtins\.ValueError: member 0"):
        worker.hear()
    worker.give(wait, 0.3)
    with monkeypatch.context() as changed, pytest.raises(AssertionError, match="did not answer"):
        changed.setattr(processes, "ANSWER_SECONDS", 0.01)
        worker.hear()
    assert worker.hear() == "done"
    worker.give(die)
    with pytest.raises(AssertionError, match="died"):
        worker.hear()
    worker.close()


class LosingStore(MemoryStore):
    """Loses its third write, for no reason."""

    written = 0

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        self.written += 1
        return self.written < 3 and super().replace(new, expected=expected)


def test_a_writer_tells_each_write_and_the_one_that_was_lost() -> None:
    """What the killed process runs, in a thread: it tells what was answered, in order."""
    ours, theirs = multiprocessing.Pipe()
    work = threading.Thread(
        target=processes._work, args=(LosingStore, threading.Barrier(1), 0, theirs)
    )
    work.start()
    ours.send((write_for_ever, (("ann", "bob"), 100)))
    told = [ours.recv() for _ in range(6)]
    ours.close()
    work.join(10)
    assert not work.is_alive()
    assert told[:5] == [
        (None, None),
        (None, ("ann", 1)),
        (None, ("bob", 1)),
        (None, ("ann", 2)),
        (None, ("bob", 2)),
    ]
    assert "a write lost, though nobody else wrote the row" in told[5][0]


class LateStore(MemoryStore):
    """What somebody who was killed had begun counts when the next write begins, not before."""

    begun = True

    def create(self, new: StoredRecord) -> bool:
        if self.begun and new.account_id == "bob":
            self.begun = False
            super().create(copy(new))
        return super().create(new)


class Enough(Exception):
    """The writer told enough."""


def test_a_writer_goes_on_after_what_the_killed_one_had_begun() -> None:
    told: list[tuple[str, int]] = []

    def tell(one: tuple[str, int]) -> None:
        told.append(one)
        if len(told) == 4:
            raise Enough

    member = Member(LateStore(), threading.Barrier(1), 0, tell)
    with pytest.raises(Enough):
        write_for_ever(member, ("ann", "bob"), 100)
    assert told == [("ann", 1), ("bob", 2), ("ann", 2), ("bob", 3)]


def meet(member: Member, seconds: float) -> None:
    if member.place == 2:
        raise OSError("no such file")
    member.barrier.wait(seconds)


def hang(member: Member, seconds: float) -> None:
    if member.place != 2:
        member.barrier.wait(seconds)


def test_an_error_in_one_thread_is_told_and_not_what_it_did_to_the_others() -> None:
    with pytest.raises(OSError, match="no such file"):
        processes.in_threads(MemoryStore(), 3, meet, 60)


def test_a_thread_that_hangs_is_told_in_words() -> None:
    with pytest.raises(AssertionError, match="did not return in a minute"):
        processes.in_threads(MemoryStore(), 3, hang, 0.1)
