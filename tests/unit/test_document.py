"""The stored document at its edges, and what stands beside it in the row."""

from __future__ import annotations

import pytest
from msgspec import json
from msgspec.structs import replace
from unit_world import World

from mfakit import KeyRing
from mfakit.core.lifecycle import State
from mfakit.core.record import (
    Authenticator,
    HistoryEntry,
    Offer,
    Passcode,
    Record,
    RecoverySet,
    blank_record,
    decode_record,
    with_entries,
)
from mfakit.core.sealing import Vault
from mfakit.errors import RecordIntegrityError
from mfakit.storage import StoredRecord, Summary
from mfakit.views import key_ids_of, row_of

DOCUMENT_BYTES = 65_536  # the design's limit
BODY_BYTES = 65_280  # of which 256 are for the head
ID = "A" * 22
VAULT = Vault(KeyRing({"k1": bytes(range(32))}), "mail", bytes)


def _authenticator(sealed: str = "k1.AAAA") -> Authenticator:
    return Authenticator(id=ID, label="Phone", sealed_secret=sealed, created_at=5)


def _record(**changes: object) -> Record:
    blank = blank_record("ann", "salt", revision=7)
    return replace(
        blank, **{"state": State.ENROLLED, "authenticators": (_authenticator(),)} | changes
    )


def _row(body: bytes, revision: int = 7) -> StoredRecord:
    tag = VAULT.tag("k1", account_id="ann", revision=revision, body=body)
    document = b'{"v":1,"key_id":"k1","tag":"%b","body":%b}' % (tag.encode(), body)
    summary = Summary(state="enrolled")
    return StoredRecord(account_id="ann", revision=revision, document=document, summary=summary)


def _of_length(length: int, **changes: object) -> Record:
    """Return a record whose body has just so many bytes, most of them names of passcodes."""
    passcodes = tuple([_passcode("x" * 400) for _ in range(115)])
    missing = length - len(json.encode(_record(passcodes=passcodes, **changes)))
    more, rest = divmod(missing, len(passcodes))
    sizes = [400 + more + (place < rest) for place in range(len(passcodes))]
    filled = _record(passcodes=tuple([_passcode("x" * size) for size in sizes]), **changes)
    assert len(json.encode(filled)) == length
    return filled


def _passcode(label: str, sealed: str = "k1.AAAA") -> Passcode:
    return Passcode(id=ID, selector="abcd", label=label, sealed_hash=sealed, created_at=5)


# ------------------------------------------------------------------------------------- its length


def _history(number: int) -> tuple[HistoryEntry, ...]:
    return tuple([HistoryEntry(kind="reset", at=at, revision=1) for at in range(number)])


def test_a_body_of_the_limit_keeps_its_history() -> None:
    record = _of_length(BODY_BYTES, history=_history(3))
    assert decode_record(row_of(record, VAULT), VAULT) == record


def test_a_body_beyond_the_limit_loses_its_oldest_entry_and_no_other() -> None:
    record = _of_length(BODY_BYTES + 1, history=_history(3))
    kept = decode_record(row_of(record, VAULT), VAULT)
    assert [entry.at for entry in kept.history] == [1, 2]
    assert kept == replace(record, history=record.history[1:])


def test_a_document_that_is_too_long_loses_what_is_not_about_factors_first() -> None:
    """The enrolment stays though it is the oldest; it goes when nothing else is left."""
    kinds = ["enrolled", "passcode_created", "reset", "locked"]
    history = tuple([HistoryEntry(kind=kind, at=at, revision=1) for at, kind in enumerate(kinds)])
    entry_bytes = len(json.encode(_record(history=history))) - len(
        json.encode(_record(history=(history[0], *history[2:])))
    )
    for beyond, kept in (
        (1, ["enrolled", "reset", "locked"]),
        (entry_bytes, ["enrolled", "reset", "locked"]),
        (entry_bytes + 1, ["enrolled", "reset"]),
        (2 * entry_bytes - 10, ["enrolled", "reset"]),  # "locked" is ten letters shorter
        (2 * entry_bytes - 9, ["reset"]),
    ):
        record = _of_length(BODY_BYTES + beyond, history=history)
        opened = decode_record(row_of(record, VAULT), VAULT)
        assert [entry.kind for entry in opened.history] == kept, beyond


def _kinds(*runs: tuple[str, int]) -> list[HistoryEntry]:
    kinds = [kind for kind, times in runs for _ in range(times)]
    return [HistoryEntry(kind=kind, at=at, revision=1) for at, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        # 32 of them fit, one more pushes the oldest out.
        ([("password_changed", 32)], range(32)),
        ([("password_changed", 33)], range(1, 33)),
        # The enrolment stays, however many passcodes come and go after it.
        ([("enrolled", 1), ("passcode_created", 16), ("passcode_revoked", 16)],
         [0, *range(2, 33)]),
        ([("enrolled", 1), ("passcode_created", 500)], [0, *range(470, 501)]),
        # Of entries about factors the newest 16 are kept, and then the oldest goes first.
        ([("reset", 16), ("locked", 100)], [*range(16), *range(100, 116)]),
        ([("reset", 17), ("locked", 100)], [*range(1, 17), *range(101, 117)]),
        ([("reset", 33)], range(1, 33)),
        # What the history keeps is each of the seven kinds, and no other.
        ([("enrolled", 1), ("authenticator_added", 1), ("authenticator_imported", 1),
          ("authenticator_removed", 1), ("disabled", 1), ("recovery_codes_regenerated", 1),
          ("reset", 1), ("device_trusted", 32)], [*range(7), *range(14, 39)]),
        ([("authenticator_resynced", 1), ("recovery_code_used", 1), ("sessions_ended", 1),
          ("password_changed", 1), ("device_trusted", 32)], range(4, 36)),
    ],
)  # fmt: skip
def test_the_history_keeps_longest_what_is_about_factors(
    runs: list[tuple[str, int]], kept: list[int]
) -> None:
    """At once or one by one: whoever has a session cannot hide how two-step was set up."""
    entries = _kinds(*runs)
    one_by_one: tuple[HistoryEntry, ...] = ()
    for entry in entries:
        one_by_one = with_entries(one_by_one, [entry])
    assert [entry.at for entry in one_by_one] == list(kept)
    assert [entry.at for entry in with_entries((), entries)] == list(kept)


def test_sixteen_passcodes_made_and_revoked_do_not_push_the_enrolment_out() -> None:
    world = World()
    owner = world.owner()
    for _ in range(16):
        world.clock.advance(30)
        proof = world.mfa.verify_code("ann", owner.phone.code(world.clock.now))
        new = world.mfa.create_passcode("ann", label="Tablet", proof=proof)
        world.mfa.revoke_passcode("ann", new.passcode_id)
    kinds = [entry.kind for entry in world.mfa.history("ann")]
    of_tablets = ["passcode_created", "passcode_revoked"] * 16
    assert sorted(kinds) == sorted(["enrolled", *of_tablets[1:]])


@pytest.mark.parametrize(("length", "opens"), [(DOCUMENT_BYTES, True), (DOCUMENT_BYTES + 1, False)])
def test_a_document_of_64_kib_opens_and_no_longer_one(length: int, opens: bool) -> None:
    record = _record()
    body = json.encode(record)
    padded = body + b" " * (length - len(_row(body).document))
    row = _row(padded)
    assert len(row.document) == length
    if opens:
        assert decode_record(row, VAULT) == record
    else:
        with pytest.raises(RecordIntegrityError):
            decode_record(row, VAULT)


# ------------------------------------------------------------------------------------ its revision


def test_the_first_revision_opens() -> None:
    record = _record(revision=1)
    assert decode_record(row_of(record, VAULT), VAULT) == record


@pytest.mark.parametrize("revision", [-(2**63), -1, 0, 2**63, 2**64, 2**70])
def test_a_revision_that_no_record_has_is_an_altered_row(revision: int) -> None:
    """An error of ours: a database may hold any number there."""
    row = replace(row_of(_record(), VAULT), revision=revision)
    with pytest.raises(RecordIntegrityError):
        decode_record(row, VAULT)


# ----------------------------------------------------------------------------- keys, and the summary


@pytest.mark.parametrize(
    "changes",
    [
        {"authenticators": (_authenticator("old.AAAA"),)},
        {"passcodes": (_passcode("Phone", "old.AAAA"),)},
        {
            "offer": Offer(
                authenticator=_authenticator("old.AAAA"),
                account_name="ann",
                offered_at=5,
                lifetime_seconds=600,
            )
        },
        {"recovery": RecoverySet(id=ID, created_at=5, sealed_hashes=(None, "old.AAAA"))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_sealed_part_names_its_key(changes: dict[str, object]) -> None:
    """Or an operator would drop a key that something still needs."""
    assert key_ids_of(_record(**changes), _row(b"{}").document) == ("k1", "old")


def test_every_key_of_every_part_is_named() -> None:
    offer = Offer(
        authenticator=_authenticator("d.AAAA"), account_name="a", offered_at=5, lifetime_seconds=9
    )
    record = _record(
        authenticators=(_authenticator("a.AAAA"), _authenticator("b.AAAA")),
        passcodes=(_passcode("Phone", "c.AAAA"),),
        offer=offer,
        recovery=RecoverySet(id=ID, created_at=5, sealed_hashes=("e.AAAA", None)),
    )
    assert key_ids_of(record, _row(b"{}").document) == ("a", "b", "c", "d", "e", "k1")


def test_the_summary_says_what_the_record_holds() -> None:
    world = World()
    owner = world.owner()
    proof = world.mfa.verify_code("ann", owner.phone.code(world.clock.now + 30))
    world.mfa.create_passcode("ann", label="Tablet", proof=proof)
    world.mfa.verify_code("ann", owner.recovery_codes[0], method="recovery")
    row = world.store.load("ann")
    assert row is not None
    assert row.summary == Summary(
        state="enrolled",
        enrolled_at=int(world.clock.now) - 60,
        authenticators=1,
        recovery_codes_left=9,
        passcodes=2,
        trusted_devices=0,  # a recovery code ends their trust
        last_login_at=int(world.clock.now),
        key_ids=("2027",),
    )


def test_the_summary_counts_devices_and_says_nothing_of_an_account_that_is_off() -> None:
    world = World()
    world.owner()
    row = world.store.load("ann")
    assert row is not None
    assert row.summary.trusted_devices == 1
    world.mfa.open_account("bob")
    bob = world.store.load("bob")
    assert bob is not None
    assert bob.summary == Summary(state="not_enrolled", key_ids=("2027",))


def test_a_blank_record_has_no_past() -> None:
    blank = blank_record("ann", "salt")
    assert (blank.created_at, blank.updated_at, blank.revision) == (0, 0, 0)
    assert (blank.state.value, blank.epoch, blank.is_off) == ("not_enrolled", "none", True)
