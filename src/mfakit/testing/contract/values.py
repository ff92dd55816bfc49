"""What may stand in a row: ids, revisions, documents and summaries come back as they went in."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mfakit.errors import InvalidInputError, StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Store, Summary
from mfakit.testing.contract.base import SUMMARY, Checks, check, expect, require

_TWO_PEOPLE = (
    "Two people would share one record: each signs in with the other's phone, and one reset or"
    " deletion hits both."
)
_ID_COLUMN = (
    'The id\'s column compares bytes: VARBINARY on MySQL and MariaDB, COLLATE "C" on PostgreSQL;'
    " no strip(), lower() or normalize() on the way."
)
_CASES = (
    "ann",
    "Ann",
    "ANN",
    "änn",
    "Änn",
    "straße",
    "strasse",
    "STRASSE",
    "\u0131",
    "i",
    "I",
    "\u0130",
)
_SPACES = ("ann", "ann ", "ann  ", "ann\t", "ann\n", "ann\u00a0", "an n")
# fmt: off
_FORMS = (
    "ann", "änn", "a\u0308nn", "\ufb01", "fi", "日本", "🙂", "é", "e", "ann%", "a_n", "a*", "'; --",
    'q"q', "\\", "a/b", "a:b", "{a}", "a,b", "ann\u200b", "\ufeffann", "\x01", "\x7f", "\U0010fffd",
)
# fmt: on
_SUMMARIES = (
    SUMMARY,
    Summary(state="not_enrolled"),
    Summary(state="enrolled", enrolled_at=0, last_login_at=0),
    Summary(state="locked_offer", enrolled_at=253_402_300_799, last_login_at=2**33),
    Summary(state="enrolled", authenticators=5, recovery_codes_left=10, key_ids=("a-b_C9",)),
    Summary(state="enrolled", key_ids=tuple("k" * 23 + letter for letter in "abcdefgh")),
)
_REFUSALS = (InvalidInputError, StoreUnavailableError, StoreConfigurationError)


class ValueChecks(Checks):
    """What goes in comes out."""

    @check(
        harm="A record whose revision came back rounded never verifies, or accepts a stale write.",
        look="The revision's column is a 64-bit integer; a script or JSON may make it a double.",
    )
    def test_revisions_of_63_bits(self) -> None:
        """Revisions up to 2**63 - 1 survive exactly and are compared exactly."""
        store, highest = self._store_under_test(), self._row(revision=2**63 - 1)
        store.create(self._row(revision=2**63 - 2))
        for near in (2**63 - 3, 2**63 - 1):
            lost = store.replace(highest, expected=near)
            require(lost is False, "a revision near 2**63 must be compared exactly.")
        won = store.replace(highest, expected=2**63 - 2)
        require(won is True, "a revision near 2**63 must be compared exactly.")
        expect(store, highest)
        lost = store.delete(highest.account_id, expected=2**63 - 2)
        require(lost is False, "a revision near 2**63 must be compared exactly.")

    @check(
        harm="A changed document no longer verifies: its owner is locked out.",
        look="The document's column holds bytes (BLOB, BYTEA); no text codec, no memoryview back.",
    )
    def test_documents_are_bytes(self) -> None:
        """Any bytes come back unchanged, as bytes, up to the store's limit."""
        store = self._store_under_test()
        documents = [b"", b"\0", bytes(range(256)), b"\0" * 100, b"\r\n\x1a'\\%s:x\xff\xfe"]
        documents += [b"x" * self.document_bytes_max, os.urandom(self.document_bytes_max)]
        for place, document in enumerate(documents):
            row = self._row(f"account-{place}", document=document)
            require(store.create(row) is True, "create of a new row must return True.")
            expect(store, row)
            new = self._row(f"account-{place}", revision=2, document=document[::-1])
            require(store.replace(new, expected=1) is True, "replace must return True.")
            expect(store, new)

    @check(harm=_TWO_PEOPLE, look=_ID_COLUMN)
    def test_ids_are_compared_byte_for_byte(self) -> None:
        """Ids that differ in accents, normal form, wildcards or quotes are different accounts."""
        self._differ(self._store_under_test(), ("Ann", "ann ", " ann", *_FORMS))

    @check(harm=_TWO_PEOPLE, look=_ID_COLUMN)
    def test_ids_that_differ_in_case_are_different(self) -> None:
        """Ids that differ in case only are different accounts."""
        self._differ(self._store_under_test(), _CASES)

    @check(harm=_TWO_PEOPLE, look=_ID_COLUMN + " PAD SPACE collations drop trailing spaces.")
    def test_ids_that_differ_in_trailing_space_are_different(self) -> None:
        """Ids that differ in trailing white space only are different accounts."""
        self._differ(self._store_under_test(), _SPACES)

    @check(harm=_TWO_PEOPLE, look="The id's column and its index hold 255 bytes; nothing is cut.")
    def test_ids_of_255_bytes(self) -> None:
        """Ids of 255 bytes that differ in the last one are different accounts."""
        room = 255 - len(self._id_prefix)
        two_bytes = "é" * (room // 2) + "x" * (room % 2)
        endings = ["x" * room, "x" * (room - 1) + "y", "x" * (room - 1), two_bytes]
        self._differ(self._store_under_test(), [*endings, "x" * (room - 1) + " "])

    @check(
        harm="Somebody who may choose a mailbox name could choose one that opens another's record.",
        look="The driver: text after a NUL cut off, a lone surrogate made a '?'; refuse such ids"
        " with InvalidInputError, or keep them exactly.",
    )
    def test_ill_formed_ids_are_refused_or_kept(self) -> None:
        """An id with a NUL or a lone surrogate is kept exactly or refused by a typed error."""
        store, neighbours = self._store_under_test(), ("ann", "ann?", "ann\ufffd")
        for name in neighbours:
            store.create(self._row(name, revision=5))
        for name in ("ann\0", "ann\0bob", "\0ann", "ann\ud800", "ann\udcff", "\udfffann"):
            self._refused_or_kept(store, name)
        for name in neighbours:
            expect(store, self._row(name, revision=5))

    @check(
        harm="Reports would be wrong: who is locked, who has not enrolled, which keys are in use.",
        look="The summary's columns or its encoding: None, 0 and an empty tuple are three things.",
    )
    def test_summary_comes_back_whole(self) -> None:
        """Every summary comes back equal, after create and after replace."""
        store = self._store_under_test()
        for place, summary in enumerate(_SUMMARIES):
            row = self._row(f"account-{place}", summary=summary)
            store.create(row)
            expect(store, row)
        for place, summary in enumerate(reversed(_SUMMARIES)):
            row = self._row(f"account-{place}", revision=2, summary=summary)
            store.replace(row, expected=1)
            expect(store, row)

    def _differ(self, store: Store, endings: Sequence[str]) -> None:
        for place, ending in enumerate(endings):
            created = store.create(self._row(ending, revision=place + 1))
            require(created is True, f"two ids were taken for one: {ending!r}.")
        for place, ending in enumerate(endings):
            expect(store, self._row(ending, revision=place + 1))

    def _refused_or_kept(self, store: Store, name: str) -> None:
        row = self._row(name)
        try:
            created = store.create(row)
        except _REFUSALS:
            self._is_not_found(store, name)
            return
        require(created is True, f"the id {name!r} was taken for another one.")
        expect(store, row)
        store.delete(row.account_id, expected=1)

    def _is_not_found(self, store: Store, name: str) -> None:
        try:
            found = store.load(self._id_prefix + name)
        except _REFUSALS:
            return
        require(found is None, f"the id {name!r} was refused, and then found.")
