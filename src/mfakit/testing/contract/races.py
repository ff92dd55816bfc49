"""Threads and processes at one row: exactly one winner, and nothing lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mfakit.storage import Store, StoredRecord
from mfakit.testing.contract.base import SUMMARY, Checks, check, expect, loaded, require
from mfakit.testing.contract.processes import Member, in_threads, workers

_TWICE = (
    "One code would let two sign-ins through, one recovery code would work twice, and wrong codes"
    " would go uncounted."
)
_ONE_STATEMENT = (
    "Read and write apart from each other: make the condition part of the one statement that"
    " writes (UPDATE ... WHERE account_id = ? AND revision = ?), and read its count of rows."
)
_ROWS_IN_STEP = 10
_WRITES_EACH = 2  # at least, so that a slow store has a race too
_SLOW_SECONDS = 20.0
Write = Callable[[Store, str, int], bool]


def create(store: Store, account_id: str, place: int) -> bool:
    """Create the row as writer number `place`."""
    return store.create(_written(account_id, place))


def replace(store: Store, account_id: str, place: int) -> bool:
    """Replace revision 1 as writer number `place`."""
    return store.replace(_written(account_id, place), expected=1)


def delete(store: Store, account_id: str, _: int) -> bool:
    """Delete revision 1."""
    return store.delete(account_id, expected=1)


def race(member: Member, write: Write, ids: Sequence[str]) -> list[bool]:
    """Write to one row after another, in step with the others.

    Who wins has the longer way, so the others catch up: they stay together without meeting at a
    barrier before each row, which would let them go one by one.
    """
    won = []
    for turn, account_id in enumerate(ids):
        if turn % _ROWS_IN_STEP == 0:
            member.barrier.wait(60)
        won.append(write(member.store, account_id, member.place))
    return won


def count_up(member: Member, account_id: str, seconds: float) -> int:
    """Add to the number in a row, by load and replace, for a while; return how often it won."""
    counted = 0
    member.barrier.wait(60)
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        counted += _add_one(member.store, account_id)
    return counted


def take_turns(member: Member, account_id: str, seconds: float) -> tuple[list[int], list[int]]:
    """Create, replace and delete a row for a while, and until it has written twice.

    Returns:
        The revisions that its won writes made, and those that they took the place of.
    """
    made: list[int] = []
    taken: list[int] = []
    member.barrier.wait(60)
    for _ in _time(seconds, made):
        row = member.store.load(account_id)
        new = _written(account_id, int.from_bytes(os.urandom(7), "big"))
        is_deleted = row is not None and new.revision % 4 == 0
        if row is None:
            won = member.store.create(new)
        elif is_deleted:
            won = member.store.delete(account_id, expected=row.revision)
        else:
            won = member.store.replace(new, expected=row.revision)
        made += [new.revision] * (won and not is_deleted)
        taken += [row.revision] * won if row else []
    return made, taken


def _time(seconds: float, made: Sequence[int]) -> Iterator[None]:
    """Give turns for so long, and longer while a slow store has hardly made a write."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds or (
        len(made) < _WRITES_EACH and passed < _SLOW_SECONDS
    ):
        yield


def _written(account_id: str, place: int) -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=place + 9, document=b"%d" % place, summary=SUMMARY
    )


def _add_one(store: Store, account_id: str) -> bool:
    row = loaded(store, account_id)
    new = StoredRecord(
        account_id=account_id,
        revision=row.revision + 1,
        document=b"%d" % (int(row.document) + 1),
        summary=SUMMARY,
    )
    return store.replace(new, expected=row.revision)


class RaceChecks(Checks):
    """What holds when many write at once."""

    @check(harm=_TWICE, look=_ONE_STATEMENT)
    def test_one_creator_wins(self) -> None:
        """Of threads that create one row, exactly one wins."""
        self._race_threads(create)

    @check(harm=_TWICE, look=_ONE_STATEMENT)
    def test_one_replacer_wins(self) -> None:
        """Of threads that replace one revision, exactly one wins: a code is accepted once."""
        self._race_threads(replace)

    @check(harm=_TWICE, look=_ONE_STATEMENT)
    def test_one_deleter_wins(self) -> None:
        """Of threads that delete one revision, exactly one wins."""
        self._race_threads(delete)

    @check(
        harm="Guesses would go uncounted, so a stolen password would allow more of them.",
        look=_ONE_STATEMENT,
    )
    def test_counter_counts_exactly(self) -> None:
        """Threads that load and replace in a loop lose no increment: guesses are counted."""
        store, row = self._store_under_test(), self._row(document=b"0")
        store.create(row)
        counted = in_threads(store, self.THREADS, count_up, row.account_id, self.SECONDS)
        self._is_counted(store, row, sum(counted), "threads")

    @check(
        harm="A code that was just spent would be seen as fresh on the next request.",
        look="load(): a replica, a cache, or a snapshot that an earlier statement opened"
        " (autocommit off, REPEATABLE READ on a kept connection).",
    )
    def test_load_shows_every_answered_write(self) -> None:
        """What was answered True is seen by the next load, on every thread."""
        store, row = self._store_under_test(), self._row()
        store.create(row)
        with ThreadPoolExecutor(self.THREADS) as threads:
            for revision in range(2, 22):
                new = self._row(revision=revision, document=b"%d" % revision)
                store.replace(new, expected=revision - 1)
                readers = [threads.submit(expect, store, new) for _ in range(self.THREADS)]
                for reader in readers:
                    reader.result()

    @check(harm=_TWICE, look=_ONE_STATEMENT)
    def test_one_winner_among_threads(self) -> None:
        """While threads create, replace and delete one row, each revision is followed once."""
        store, account_id = self._store_under_test(), self._row().account_id
        turns = in_threads(store, self.THREADS, take_turns, account_id, self.SECONDS)
        self._is_one_chain(store, account_id, turns)

    @check(harm=_TWICE, look=_ONE_STATEMENT + " A lock of one process stops no other.")
    def test_one_winner_among_processes(self) -> None:
        """While processes create, replace and delete one row, each revision is followed once."""
        store, account_id = self._store_under_test(), self._row().account_id
        with workers(self._opener_of(store), self.PROCESSES) as in_processes:
            turns = in_processes(take_turns, account_id, self.SECONDS)
        self._is_one_chain(store, account_id, turns)

    # -- helpers

    def _race_threads(self, write: Write) -> None:
        store = self._store_under_test()
        ids = self._make_rows(store, write)
        won = in_threads(store, self.THREADS, race, write, ids)
        self._one_won(store, write, ids, won)

    def _make_rows(self, store: Store, write: Write) -> list[str]:
        rows = [self._row(f"{write.__name__}-{turn}") for turn in range(self.ROUNDS)]
        if write is not create:
            for row in rows:
                store.create(row)
        return [row.account_id for row in rows]

    def _one_won(self, store: Store, write: Write, ids: list[str], won: list[list[bool]]) -> None:
        for account_id, answers in zip(ids, zip(*won, strict=True), strict=True):
            winners = answers.count(True)
            require(winners == 1, f"{winners} writers won; exactly one must.")
            if write is delete:
                require(store.load(account_id) is None, "a deleted row must be gone.")
            else:
                expect(store, _written(account_id, answers.index(True)))

    def _is_counted(self, store: Store, row: StoredRecord, total: int, between: str) -> None:
        counted = loaded(store, row.account_id)
        require(total > 0, "no increment won at all.")
        require(int(counted.document) == total, f"increments were lost between {between}.")
        require(counted.revision == row.revision + total, f"revisions were lost between {between}.")

    def _is_one_chain(
        self, store: Store, account_id: str, turns: list[tuple[list[int], list[int]]]
    ) -> None:
        made = [revision for one, _ in turns for revision in one]
        taken = [revision for _, one in turns for revision in one]
        require(len(made) > len(turns), "hardly a write won.")
        twice = len(taken) - len(set(taken))
        require(twice == 0, f"{twice} times two writers won over one revision; exactly one must.")
        last = store.load(account_id)
        present = {last.revision} if last else set()
        lost = set(made) - set(taken) - present
        require(not lost, f"{len(lost)} writes that were answered True are lost.")
        require(present <= set(made), "a row is there that nobody was told to have written.")
