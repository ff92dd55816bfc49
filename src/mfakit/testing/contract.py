"""The promises of a store, as tests: inherit, give a store, run pytest.

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(a_new_empty_database())

Each failure says in words which promise is broken and what would go wrong because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from mfakit.storage import Store, StoredRecord, Summary

__all__ = ["StoreContract"]

_SUMMARY = Summary(
    state="enrolled",
    enrolled_at=1_800_000_000,
    authenticators=2,
    recovery_codes_left=9,
    passcodes=3,
    trusted_devices=1,
    last_login_at=1_800_000_100,
    key_ids=("2026", "2027"),
)


# fmt: off
_DIFFERENT_IDS = (
    "ann", "Ann", "ANN", "ann ", " ann", "ann\t", "änn", "a\u0308nn", "ann%", "a_n", "a*", "straße",
    "strasse", "\ufb01", "fi", "日本", "🙂", "é" * 127, "x" * 255, "'; --", 'q"q', "\\",
)
# fmt: on


def _row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=_SUMMARY
    )


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise AssertionError(broken)


class StoreContract:
    """Tests that every store must pass.

    Override `make_store`; override `document_bytes_max` if the store holds less than 64 KiB (the
    adapter's documentation must then say so), and `THREADS` to press harder.
    """

    THREADS = 8
    ROUNDS = 20
    document_bytes_max = 65_536

    def make_store(self) -> Store:
        """Return a store that holds nothing, used by one test."""
        raise TypeError("Override make_store() and return an empty store.")

    # -- one row

    def test_missing_row_is_none(self) -> None:
        """An account that was never written has no row."""
        _require(self.make_store().load("nobody") is None, "load of a missing row must be None.")

    def test_created_row_is_loaded_whole(self) -> None:
        """What was created is loaded: id, revision, document and summary."""
        store, row = self.make_store(), _row()
        _require(store.create(row) is True, "create of a new row must return True.")
        self._expect(store, row)

    def test_create_never_overwrites(self) -> None:
        """A second create loses: otherwise a race could erase an account's second factor."""
        store, first = self.make_store(), _row()
        store.create(first)
        second = store.create(_row(revision=2, document=b"[]"))
        _require(second is False, "create of an existing row must return False.")
        self._expect(store, first)

    def test_replace_needs_the_expected_revision(self) -> None:
        """A replace with another revision loses: otherwise a code could be used twice."""
        store, row = self.make_store(), _row(revision=7)
        store.create(row)
        for wrong in (6, 8, 1, 2**62):
            lost = store.replace(_row(revision=9, document=b"[]"), expected=wrong)
            _require(lost is False, "replace with another revision must return False.")
        self._expect(store, row)

    def test_replace_writes_everything(self) -> None:
        """A replace with the right revision changes revision, document and summary."""
        store = self.make_store()
        store.create(_row(revision=7))
        new = StoredRecord(
            account_id="ann", revision=8, document=b'{"a":1}', summary=Summary(state="locked")
        )
        _require(store.replace(new, expected=7) is True, "replace must return True.")
        self._expect(store, new)

    def test_replace_with_equal_content_wins(self) -> None:
        """A write that changes nothing but the revision counts as a write."""
        store = self.make_store()
        store.create(_row(revision=7))
        _require(store.replace(_row(revision=8), expected=7) is True, "replace must return True.")

    def test_replace_does_not_create(self) -> None:
        """A replace of a missing row loses and makes none."""
        store = self.make_store()
        _require(store.replace(_row(), expected=1) is False, "replace must not create a row.")
        _require(store.load("ann") is None, "replace must not create a row.")

    def test_delete_needs_the_expected_revision(self) -> None:
        """Only the expected revision is deleted."""
        store = self.make_store()
        store.create(_row(revision=7))
        _require(store.delete("ann", expected=6) is False, "delete of another revision must lose.")
        _require(store.delete("ann", expected=7) is True, "delete must return True.")
        _require(store.load("ann") is None, "a deleted row must be gone.")
        _require(store.delete("ann", expected=7) is False, "a second delete must return False.")

    def test_stale_writer_loses_after_delete_and_create(self) -> None:
        """A row made again under the same id does not accept the old row's writer."""
        store = self.make_store()
        store.create(_row(revision=7))
        store.delete("ann", expected=7)
        store.create(_row(revision=2**61))
        lost = store.replace(_row(revision=8), expected=7)
        _require(lost is False, "a writer of the deleted row must lose.")

    # -- values

    def test_revisions_of_63_bits(self) -> None:
        """Revisions up to 2**63 - 1 survive exactly."""
        store, highest = self.make_store(), _row(revision=2**63 - 1)
        store.create(_row(revision=2**63 - 2))
        lost = store.replace(highest, expected=2**63 - 3)
        _require(lost is False, "a revision near 2**63 must be compared exactly.")
        won = store.replace(highest, expected=2**63 - 2)
        _require(won is True, "a revision near 2**63 must be compared exactly.")
        self._expect(store, highest)

    def test_documents_are_bytes(self) -> None:
        """Any bytes come back unchanged, up to the stated limit."""
        store = self.make_store()
        documents = [b"", bytes(range(256)), b"\0" * 100, b"x" * self.document_bytes_max]
        for place, document in enumerate(documents):
            row = _row(f"account-{place}", document=document)
            store.create(row)
            self._expect(store, row)

    def test_ids_are_compared_byte_for_byte(self) -> None:
        """Ids that differ only in case, accents, form or trailing space are different accounts."""
        store = self.make_store()
        for place, account_id in enumerate(_DIFFERENT_IDS):
            created = store.create(_row(account_id, revision=place + 1))
            _require(created is True, f"two ids were taken for one: {account_id!r}.")
        for place, account_id in enumerate(_DIFFERENT_IDS):
            self._expect(store, _row(account_id, revision=place + 1))

    # -- races

    def test_one_creator_wins(self) -> None:
        """Of threads that create one row, exactly one wins."""
        self._race(lambda store, place: store.create(_row(revision=place + 1)), prepare=False)

    def test_one_replacer_wins(self) -> None:
        """Of threads that replace one revision, exactly one wins: a code is accepted once."""
        self._race(lambda store, place: store.replace(_row(revision=place + 9), expected=1))

    def test_one_deleter_wins(self) -> None:
        """Of threads that delete one revision, exactly one wins."""
        self._race(lambda store, place: store.delete("ann", expected=1))

    def test_counter_counts_exactly(self) -> None:
        """Threads that load and replace in a loop lose no increment: guesses are counted."""
        store = self.make_store()
        store.create(_row(revision=1, document=b"0"))

        def add(_: int) -> None:
            for _turn in range(self.ROUNDS):
                while not self._increment(store):
                    continue

        with ThreadPoolExecutor(self.THREADS) as threads:
            list(threads.map(add, range(self.THREADS)))
        counted = self._loaded(store, "ann")
        expected = self.THREADS * self.ROUNDS
        _require(int(counted.document) == expected, "increments were lost between threads.")
        _require(counted.revision == expected + 1, "revisions were lost between threads.")

    # -- scanning

    def test_scan_meets_every_account_once(self) -> None:
        """A walk in small pages meets all accounts, and only those of the prefix."""
        store = self.make_store()
        scan = getattr(store, "scan", None)
        if scan is None:
            return
        ids = {f"{tenant}/{number}" for tenant in ("a", "b", "B", "ä") for number in range(7)}
        for account_id in ids | {"a", "b%", "b_0"}:
            store.create(_row(account_id))
        for limit in (1, 3, 1000):
            met = self._walk(scan, limit, "b/")
            expected = sorted(one for one in ids if one.startswith("b/"))
            _require(sorted(met) == expected, "scan must meet each id of the prefix, and no other.")
        everyone = ids | {"a", "b%", "b_0"}
        _require(set(self._walk(scan, 4, "")) == everyone, "scan must meet every account.")

    def test_scan_survives_writes(self) -> None:
        """Accounts that last through a walk are met, whatever is written meanwhile."""
        store = self.make_store()
        scan = getattr(store, "scan", None)
        if scan is None:
            return
        for number in range(20):
            store.create(_row(f"user-{number:02}"))
        met: set[str] = set()
        cursor: str | None = None
        turn = 0
        while True:
            page = scan(cursor=cursor, limit=3, prefix="")
            met |= {row.account_id for row in page.records}
            store.create(_row(f"zoe-{turn}"))  # behind the rest, or it would hide a missed one
            store.delete(f"user-{turn:02}", expected=1) if turn < 2 else None
            store.replace(_row(f"user-{turn + 5:02}", revision=2), expected=1)
            cursor, turn = page.cursor, turn + 1
            if cursor is None:
                break
        lasting = {f"user-{number:02}" for number in range(2, 20)}
        _require(lasting <= met, "scan missed an account that was there all the time.")

    # -- helpers

    def _walk(self, scan: Callable[..., Any], limit: int, prefix: str) -> list[str]:
        met: list[str] = []
        cursor: str | None = None
        while True:
            page = scan(cursor=cursor, limit=limit, prefix=prefix)
            _require(len(page.records) <= limit, "scan must not return more than `limit` rows.")
            met += [row.account_id for row in page.records]
            cursor = page.cursor
            if cursor is None:
                return met

    def _increment(self, store: Store) -> bool:
        row = self._loaded(store, "ann")
        new = _row(revision=row.revision + 1, document=b"%d" % (int(row.document) + 1))
        return store.replace(new, expected=row.revision)

    def _race(self, write: Callable[[Store, int], bool], *, prepare: bool = True) -> None:
        for _ in range(self.ROUNDS):
            store = self.make_store()
            if prepare:
                store.create(_row(revision=1))
            barrier = Barrier(self.THREADS)

            def run(place: int, store: Store = store, barrier: Barrier = barrier) -> bool:
                barrier.wait()
                return write(store, place)

            with ThreadPoolExecutor(self.THREADS) as threads:
                won = list(threads.map(run, range(self.THREADS)))
            _require(won.count(True) == 1, f"{won.count(True)} writers won; exactly one must.")

    def _loaded(self, store: Store, account_id: str) -> StoredRecord:
        row = store.load(account_id)
        if row is None:
            raise AssertionError("a row that was written is not loaded.")
        return row

    def _expect(self, store: Store, row: StoredRecord) -> None:
        loaded = self._loaded(store, row.account_id)
        _require(loaded.account_id == row.account_id, "the id came back changed.")
        _require(loaded.revision == row.revision, "the revision came back changed.")
        _require(loaded.document == row.document, "the document came back changed.")
        _require(isinstance(loaded.document, bytes), "the document must come back as bytes.")
        _require(loaded.summary == row.summary, "the summary came back changed.")
