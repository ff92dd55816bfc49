"""One row: created, loaded, replaced and deleted on condition."""

from __future__ import annotations

from mfakit.storage import Summary
from mfakit.testing.contract.base import Checks, check, expect, require


class RowChecks(Checks):
    """What the four methods do when nothing else is going on."""

    @check(
        harm="Accounts without two-step could not sign in, or would be taken for others.",
        look="load(): no row is None, not an error and not an empty row.",
    )
    def test_missing_row_is_none(self) -> None:
        """An account that was never written has no row."""
        found = self._store_under_test().load(self._id_prefix + "nobody")
        require(found is None, "load of a missing row must be None.")

    @check(
        harm="A damaged record locks its owner out: its tag no longer matches.",
        look="The types of the columns, and how a row becomes a StoredRecord.",
    )
    def test_created_row_is_loaded_whole(self) -> None:
        """What was created is loaded: id, revision, document and summary."""
        store, row = self._store_under_test(), self._row()
        require(store.create(row) is True, "create of a new row must return True.")
        expect(store, row)

    @check(
        harm="Of two requests that make a record, the second would erase what the first set up:"
        " the account's second factor is gone.",
        look="create(): INSERT only; no upsert, no REPLACE INTO, no plain SET.",
    )
    def test_create_never_overwrites(self) -> None:
        """A second create loses and changes nothing."""
        store, first = self._store_under_test(), self._row()
        store.create(first)
        second = store.create(self._row(revision=2, document=b"[]"))
        require(second is False, "create of an existing row must return False.")
        expect(store, first)

    @check(
        harm="Two requests with one code would both be accepted: a stolen code works twice, and"
        " guesses are not counted.",
        look="replace(): the revision belongs into the WHERE of the one UPDATE, compared with =.",
    )
    def test_replace_needs_the_expected_revision(self) -> None:
        """A replace with another revision than the row's loses and changes nothing."""
        store, row = self._store_under_test(), self._row(revision=7)
        store.create(row)
        for wrong in (6, 8, 1, 2**62):
            lost = store.replace(self._row(revision=9, document=b"[]"), expected=wrong)
            require(lost is False, "replace with another revision must return False.")
        expect(store, row)

    @check(
        harm="A record without its new revision never verifies again; its owner is locked out.",
        look="replace(): revision, document and summary are all in the SET.",
    )
    def test_replace_writes_everything(self) -> None:
        """A replace with the right revision changes revision, document and summary."""
        store = self._store_under_test()
        store.create(self._row(revision=7))
        new = self._row(revision=8, document=b'{"a":1}', summary=Summary(state="locked"))
        require(store.replace(new, expected=7) is True, "replace must return True.")
        expect(store, new)

    @check(
        harm="Right codes would be refused again and again, as lost races.",
        look="replace(): count rows that were found, not rows that changed (MySQL's client flag"
        " FOUND_ROWS).",
    )
    def test_replace_with_equal_content_wins(self) -> None:
        """A write that changes nothing but the revision counts as a write."""
        store = self._store_under_test()
        store.create(self._row(revision=7))
        won = store.replace(self._row(revision=8), expected=7)
        require(won is True, "replace must return True.")

    @check(
        harm="The record of a deleted mailbox would come back by a late request.",
        look="replace(): no upsert.",
    )
    def test_replace_does_not_create(self) -> None:
        """A replace of a missing row loses and makes none."""
        store, row = self._store_under_test(), self._row()
        require(store.replace(row, expected=1) is False, "replace must not create a row.")
        require(store.load(row.account_id) is None, "replace must not create a row.")

    @check(
        harm="A late delete would erase a second factor that was set up meanwhile.",
        look="delete(): the revision belongs into the WHERE, as in replace().",
    )
    def test_delete_needs_the_expected_revision(self) -> None:
        """Only the expected revision is deleted, and once."""
        store, row = self._store_under_test(), self._row(revision=7)
        store.create(row)
        lost = store.delete(row.account_id, expected=6)
        require(lost is False, "delete of another revision must lose.")
        expect(store, row)
        require(store.delete(row.account_id, expected=7) is True, "delete must return True.")
        require(store.load(row.account_id) is None, "a deleted row must be gone.")
        second = store.delete(row.account_id, expected=7)
        require(second is False, "a second delete must return False.")

    @check(
        harm="A request that began before an account was deleted would write over the new one.",
        look="Conditions on anything but the stored revision: a counter, a row id, a cache.",
    )
    def test_stale_writer_loses_after_delete_and_create(self) -> None:
        """A row made again under the same id does not accept the old row's writer."""
        store, again = self._store_under_test(), self._row(revision=2**61)
        store.create(self._row(revision=7))
        store.delete(again.account_id, expected=7)
        require(store.create(again) is True, "a deleted row must be creatable again.")
        lost = store.replace(self._row(revision=8), expected=7)
        require(lost is False, "a writer of the deleted row must lose.")
        lost = store.delete(again.account_id, expected=7)
        require(lost is False, "a deleter of the deleted row must lose.")
        expect(store, again)

    @check(
        harm="One owner's write would change or delete another owner's second factor.",
        look="The WHERE of replace() and delete(): it names the account as well as the revision.",
    )
    def test_other_rows_are_left_alone(self) -> None:
        """Writes to one account touch no other, whatever their revisions."""
        store, neighbour = self._store_under_test(), self._row("bob", revision=7)
        store.create(self._row(revision=7))
        store.create(neighbour)
        store.replace(self._row(revision=8, document=b"[]"), expected=7)
        expect(store, neighbour)
        store.delete(self._row().account_id, expected=8)
        expect(store, neighbour)
