"""What must hold when something breaks: a process, a connection, the caller's transaction."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Store, StoredRecord
from mfakit.testing.contract.base import (
    SUMMARY,
    Checks,
    Opener,
    check,
    close,
    expect,
    load_patiently,
    loaded,
    require,
)
from mfakit.testing.contract.processes import Member, Worker

_LOST_WRITE = (
    "A spent code would be fresh again, a counted guess forgotten, and a recovery code that was"
    " used would work once more."
)
_DURABLE = (
    "When True is answered the write must be committed and flushed: no write-behind, no commit"
    " left to a timer, no answer before the commit (fsync, synchronous_commit, appendfsync always)."
)
_ROLLED_BACK = (
    "A page that ends in an error would roll the refusal back: wrong codes go uncounted, and a"
    " code that was accepted works again."
)
_OWN_CONNECTION = (
    "The store writes through the caller's session or connection: give it an engine, so that it"
    " takes a connection of its own, or raise StoreConfigurationError inside a transaction."
)
_OUTCOME = (
    "Errors at commit: not knowing the outcome is StoreUnavailableError, never True or False, and"
    " a write is never tried again inside the store (the first try may have won)."
)


class FailureChecks(Checks):
    """What an adapter promises when things fail around it. Each check needs a hook."""

    KILLS = 4
    CUTS = 20
    SECONDS_BETWEEN_CUTS = 0.05

    # -- the process ends

    @check(harm=_LOST_WRITE, look=_DURABLE)
    def test_reopened_store_holds_everything(self) -> None:
        """A store that is closed and opened again holds every row as it was written last."""
        store = self._store_under_test()
        opener = self._opener_of(store)
        rows = [self._row(f"user-{number}", document=b"%d" % number) for number in range(10)]
        for row in rows:
            store.create(row)
        gone, rows = rows[0], rows[1:]
        store.delete(gone.account_id, expected=1)
        rows[0] = self._row("user-1", revision=2, document=b"new")
        store.replace(rows[0], expected=1)
        close(store)
        again = self._own(opener())
        for row in rows:
            expect(again, row)
        require(again.load(gone.account_id) is None, "a deleted row came back.")

    @check(harm=_LOST_WRITE, look=_DURABLE)
    def test_answered_writes_survive_kill(self) -> None:
        """When a process is killed in mid-write, what it answered is there, whole."""
        store = self._store_under_test()
        opener = self._opener_of(store)
        ids = [self._row(f"user-{number}").account_id for number in range(4)]
        size = min(20_000, self.document_bytes_max)
        answered = dict.fromkeys(ids, 0)
        for _ in range(self.KILLS):
            self._write_until_killed(opener, answered, size)
            again = opener()
            try:
                self._nothing_is_lost(again, answered, size)
            finally:
                close(again)

    def _write_until_killed(self, opener: Opener, answered: dict[str, int], size: int) -> None:
        """Let a process write and answer each write, kill it at any moment, hear it out."""
        writer = Worker.alone(opener)
        try:
            writer.hear()  # it has opened the store
            writer.give(write_for_ever, tuple(answered), size)
            answered.update([writer.hear() for _ in range(2 * len(answered))])
            time.sleep(random.random() / 20)  # noqa: S311 - any moment will do
            writer.kill()
            answered.update(writer.hear_out())
        finally:
            writer.close()

    def _nothing_is_lost(self, store: Store, answered: dict[str, int], size: int) -> None:
        ahead = 0
        for account_id, revision in answered.items():
            row = loaded(store, account_id)
            require(row.revision >= revision, "a write that was answered True is lost.")
            whole = row == _numbered(account_id, row.revision, size)
            require(whole, "a row is half of one write and half of another.")
            ahead += row.revision - revision
            answered[account_id] = row.revision
        require(ahead <= 1, "more writes are there than were begun.")

    # -- the connection is lost

    @check(
        harm="After a restart of the database nobody could sign in until mfakit is restarted.",
        look="Connections that failed go back to the pool: drop them, and open another.",
    )
    def test_store_recovers_after_a_cut(self) -> None:
        """After a cut at most one call fails, by StoreUnavailableError; the next ones work."""
        store, revision = self._store_under_test(), 1
        store.create(self._row())
        for _ in range(3):
            self._cut(store)
            try:
                store.load(self._row().account_id)
            except StoreUnavailableError:
                expect(store, self._row(revision=revision))
            revision += 1
            won = store.replace(self._row(revision=revision), expected=revision - 1)
            require(won is True, "replace must return True.")
            expect(store, self._row(revision=revision))

    @check(harm=_LOST_WRITE, look=_OUTCOME)
    def test_cut_connections_never_make_an_answer_false(self) -> None:
        """While connections are cut, True is there, False is not, and the rest is unavailable."""
        store = self._store_under_test()
        self._cut(store)
        done = threading.Event()
        with ThreadPoolExecutor(self.THREADS) as threads:
            writers = [
                threads.submit(_write_until, done, store, self._row(f"user-{place}").account_id)
                for place in range(self.THREADS)
            ]
            try:
                for _ in range(self.CUTS):
                    time.sleep(self.SECONDS_BETWEEN_CUTS)
                    self._cut(store)
            finally:
                done.set()
        written = sum(writer.result() for writer in writers)
        require(written > 0, "no write came through between the cuts.")

    # -- the caller rolls back

    @check(harm=_ROLLED_BACK, look=_OWN_CONNECTION)
    def test_caller_rollback_loses_nothing(self) -> None:
        """What was answered inside a transaction of the caller is there after its rollback."""
        store = self._store_under_test()
        created, replaced, deleted = map(self._row, ("new", "old", "gone"))
        for row in (replaced, deleted):
            store.create(row)
        newer = self._row("old", revision=2, document=b"[]")
        writes: dict[str, tuple[Callable[[], bool], str]] = {
            "create": (lambda: store.create(created), created.account_id),
            "replace": (lambda: store.replace(newer, expected=1), newer.account_id),
            "delete": (lambda: store.delete(deleted.account_id, expected=1), deleted.account_id),
        }
        before = {"create": None, "replace": replaced, "delete": deleted}
        after = {"create": created, "replace": newer, "delete": None}
        for name, (write, account_id) in writes.items():
            with self._in_caller_transaction(store):
                is_sure, won = _ask(write)
            require(is_sure, f"{name} did not work beside a transaction that holds no lock.")
            found = store.load(account_id)
            wanted = (after if won else before)[name]
            require(found == wanted, f"{name} answered {won}, and the rollback changed that.")

    @check(harm="A code that was spent meanwhile would be seen as fresh.", look=_OWN_CONNECTION)
    def test_load_is_not_of_the_callers_snapshot(self) -> None:
        """Inside a transaction of the caller, load shows what others wrote since it began."""
        store, new = self._store_under_test(), self._row(revision=2, document=b"[]")
        store.create(self._row())
        with self._in_caller_transaction(store):
            try:
                store.load(new.account_id)
            except StoreConfigurationError:
                return
            with ThreadPoolExecutor(1) as other:
                is_sure, won = other.submit(_ask, lambda: store.replace(new, expected=1)).result()
            if is_sure and won:
                expect(store, new)


def write_for_ever(member: Member, ids: Sequence[str], size: int) -> None:
    """Write row after row and tell of each write once it is answered.

    One write may lose: what the process that was killed before had begun may count as late as that.
    """
    may_lose = True
    while True:
        for account_id in ids:
            revision = _revision(member.store, account_id) + 1
            while _write_over(member.store, _numbered(account_id, revision, size)) is not True:
                if not may_lose or _revision(member.store, account_id) != revision:
                    raise AssertionError("a write lost, though nobody else wrote the row.")
                may_lose, revision = False, revision + 1
            member.tell((account_id, revision))


def _revision(store: Store, account_id: str) -> int:
    row = store.load(account_id)
    return row.revision if row else 0


def _write_over(store: Store, row: StoredRecord) -> bool:
    """Write the row that follows revision `row.revision - 1`; 0 is no row."""
    expected = row.revision - 1
    return store.replace(row, expected=expected) if expected else store.create(row)


def _numbered(account_id: str, revision: int, size: int) -> StoredRecord:
    """Return a row whose document is another for each revision, over its whole length."""
    document = (b"%d " % revision * size)[:size]
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=SUMMARY
    )


def _ask(write: Callable[[], bool]) -> tuple[bool, bool]:
    """Return whether the outcome is known, and whether the write won."""
    try:
        return True, write()
    except StoreConfigurationError:
        return True, False
    except StoreUnavailableError:
        return False, False


def _write_until(done: threading.Event, store: Store, account_id: str) -> int:
    """Write one row that nobody else writes; hold each answer against what is loaded next."""
    revision = won_in_all = 0
    while not done.is_set():
        # Random: a late write of an earlier try is not taken for this one.
        new = StoredRecord(
            account_id=account_id, revision=revision + 1, document=os.urandom(16), summary=SUMMARY
        )
        is_sure, won = _ask(partial(_write_over, store, new))
        found = load_patiently(store, account_id)
        is_there = found == new
        require(is_there or not (is_sure and won), "True was answered for a write that is lost.")
        require(not is_there or won or not is_sure, "False was answered for a write that won.")
        revision, won_in_all = found.revision if found else 0, won_in_all + is_there
    return won_in_all
