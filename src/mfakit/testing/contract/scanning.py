"""Walking a store in pages, alone and beside writers."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from mfakit.storage import ScanStore, Store, StoredRecord
from mfakit.testing.contract.base import Checks, check, require

_SKIPPED = (
    "Accounts would be left out of reports and group resets, and a key that still seals their"
    " records would be dropped: their owners are locked out."
)
_CURSOR = (
    "scan(): go on after the last id (WHERE account_id > cursor ORDER BY account_id), never by"
    " OFFSET."
)
_BESIDE = ("a", "b%", "b_0", "b0", "c")


class ScanChecks(Checks):
    """Reports, key rotation and group resets walk the whole store."""

    @check(
        harm=_SKIPPED,
        look=_CURSOR + " The prefix is compared byte for byte; escape the wildcards of LIKE.",
    )
    def test_scan_meets_every_account_once(self) -> None:
        """A walk in small pages meets all accounts, whole, and only those of the prefix."""
        store = self._store_under_test()
        scan = self._scan_of(store)
        ids = {f"{tenant}/{number}" for tenant in ("a", "b", "B", "ä") for number in range(7)}
        everyone = {one: self._row(one, document=one.encode()) for one in ids | set(_BESIDE)}
        for row in everyone.values():
            store.create(row)
        for limit in (1, 3, 1000):
            met = self._names(self._walk(scan, limit, "b/"))
            expected = sorted(one for one in ids if one.startswith("b/"))
            require(met == expected, "scan must meet each id of the prefix, and no other.")
        rows = self._walk(scan, 4, "")
        require(self._names(rows) == sorted(everyone), "scan must meet every account once.")
        whole = all(row == everyone[row.account_id.removeprefix(self._id_prefix)] for row in rows)
        require(whole, "a row of scan came back changed.")
        require(self._walk(scan, 4, "nobody/") == [], "scan of nobody must be empty.")

    @check(harm=_SKIPPED, look=_CURSOR)
    def test_scan_survives_writes(self) -> None:
        """Accounts that last through a walk are met, whatever is written meanwhile."""
        store = self._store_under_test()
        scan = self._scan_of(store)
        for number in range(20):
            store.create(self._row(f"user-{number:02}"))
        met: set[str] = set()
        cursor: str | None = None
        for turn in range(1000):
            page = scan.scan(cursor=cursor, limit=3, prefix=self._id_prefix)
            met |= set(self._names(page.records))
            self._disturb(store, turn)
            cursor = page.cursor
            if cursor is None:
                break
        lasting = {f"user-{number:02}" for number in range(20)} - {"user-00", "user-02"}
        require(lasting <= met, "scan missed an account that was there all the time.")

    @check(harm=_SKIPPED, look=_CURSOR)
    def test_scan_beside_writers(self) -> None:
        """Walks while threads write meet every lasting account, each row whole."""
        store = self._store_under_test()
        scan = self._scan_of(store)
        lasting = {f"user-{number:03}" for number in range(40)}
        for account in lasting:
            store.create(self._row(account, document=b"1"))
        done = Event()
        with ThreadPoolExecutor(2) as threads:
            writers = [threads.submit(self._write_beside, store, one, done) for one in (0, 1)]
            try:
                for _ in range(5):
                    rows = self._walk(scan, 7, "user")
                    missed = lasting - set(self._names(rows))
                    require(not missed, "scan missed an account that was there all the time.")
                    whole = all(row.document == b"%d" % row.revision for row in rows)
                    require(whole, "scan showed a row of two writes: half old, half new.")
            finally:
                done.set()
        for writer in writers:
            writer.result()

    # -- helpers

    def _disturb(self, store: Store, turn: int) -> None:
        """Write in every way, also at the cursor: user-02 ends the first page."""
        store.create(self._row(f"zoe-{min(turn, 20)}"))  # a few only, or the walk has no end
        store.replace(self._row(f"user-{(turn + 5) % 20:02}", revision=2), expected=1)
        if turn < 2:
            store.delete(self._id_prefix + f"user-{turn * 2:02}", expected=1)

    def _write_beside(self, store: Store, place: int, done: Event) -> None:
        turn = lost = 0
        while not done.is_set():
            turn += 1
            name = f"user-{turn * 2 % 40 + place:03}"
            row = self._loaded(store, name)
            revision = row.revision + 1
            new = self._row(name, revision=revision, document=b"%d" % revision)
            # A serialization failure is a lost race too; eight in a row an operation gives up.
            lost = 0 if store.replace(new, expected=row.revision) is True else lost + 1
            require(lost < 8, "writes beside a walk kept losing, though nobody else wrote the row.")
            passing = self._row(f"user-{turn % 40:03}-{place}", document=b"1")
            store.create(passing)
            store.delete(passing.account_id, expected=1)

    def _walk(self, scan: ScanStore, limit: int, prefix: str) -> list[StoredRecord]:
        met: list[StoredRecord] = []
        cursor: str | None = None
        while True:
            page = scan.scan(cursor=cursor, limit=limit, prefix=self._id_prefix + prefix)
            require(len(page.records) <= limit, "scan must not return more than `limit` rows.")
            met += page.records
            cursor = page.cursor
            if cursor is None:
                return met

    def _names(self, rows: Iterable[StoredRecord]) -> list[str]:
        return sorted(row.account_id.removeprefix(self._id_prefix) for row in rows)
