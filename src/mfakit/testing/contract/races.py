"""Threads and processes at one row: exactly one winner, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
Write = Callable[[Store, str, int], bool]


def create(store: Store, account_id: str, place: int) -> bool:
    """Create the row as writer number `place`."""
    return store.create(_written(account_id, place))


def replace(store: Store, account_id: str, place: int) -> bool:
    """Replace revision 1 as writer number `place`."""
    return store.replace(_written(account_id, place), expected=1)


def delete(store: Store, account_id: str, place: int) -> bool:
    """Delete revision 1."""
    return store.delete(account_id, expected=1)


def race(member: Member, write: Write, ids: Sequence[str]) -> list[bool]:
    """Write to one row after another, each at the same moment as the others."""
    won = []
    for account_id in ids:
        member.barrier.wait(60)
        won.append(write(member.store, account_id, member.place))
    return won


def count_up(member: Member, account_id: str, times: int) -> None:
    """Add to the number in a row, by load and replace until each addition has won."""
    member.barrier.wait(60)
    for _ in range(times):
        while not _add_one(member.store, account_id):
            continue


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
        store, row = self._store(), self._row(document=b"0")
        store.create(row)
        in_threads(store, self.THREADS, count_up, row.account_id, self.ROUNDS)
        self._is_counted(store, row, self.THREADS * self.ROUNDS, "threads")

    @check(
        harm="A code that was just spent would be seen as fresh on the next request.",
        look="load(): a replica, a cache, or a snapshot that an earlier statement opened"
        " (autocommit off, REPEATABLE READ on a kept connection).",
    )
    def test_load_shows_every_answered_write(self) -> None:
        """What was answered True is seen by the next load, on every thread."""
        store, row = self._store(), self._row()
        store.create(row)
        with ThreadPoolExecutor(self.THREADS) as threads:
            for revision in range(2, 2 + self.ROUNDS):
                new = self._row(revision=revision, document=b"%d" % revision)
                store.replace(new, expected=revision - 1)
                readers = [threads.submit(expect, store, new) for _ in range(self.THREADS)]
                for reader in readers:
                    reader.result()

    @check(harm=_TWICE, look=_ONE_STATEMENT + " A lock of one process stops no other.")
    def test_one_winner_among_processes(self) -> None:
        """Of processes that create, replace or delete one row, exactly one wins."""
        store = self._store()
        with workers(self._opener(store), self.PROCESSES) as in_processes:
            for write in (create, replace, delete):
                ids = self._make_rows(store, write)
                self._one_won(store, write, ids, in_processes(race, write, ids))

    @check(
        harm="Guesses would go uncounted, so a stolen password would allow more of them.",
        look=_ONE_STATEMENT + " A lock of one process stops no other.",
    )
    def test_counter_counts_exactly_among_processes(self) -> None:
        """Processes that load and replace in a loop lose no increment."""
        store, row = self._store(), self._row(document=b"0")
        store.create(row)
        with workers(self._opener(store), self.PROCESSES) as in_processes:
            in_processes(count_up, row.account_id, self.ROUNDS)
        self._is_counted(store, row, self.PROCESSES * self.ROUNDS, "processes")

    # -- helpers

    def _race_threads(self, write: Write) -> None:
        store = self._store()
        ids = self._make_rows(store, write)
        self._one_won(store, write, ids, in_threads(store, self.THREADS, race, write, ids))

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
        require(int(counted.document) == total, f"increments were lost between {between}.")
        require(counted.revision == row.revision + total, f"revisions were lost between {between}.")
