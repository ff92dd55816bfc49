"""The one procedure of every operation: what it does when the row changes, or goes, under its hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from unit_world import KEY, World, vault_of

from mfakit import MFA, KeyRing, Policy, operations
from mfakit.core.decision import CheckHash
from mfakit.core.encoding import generate_id
from mfakit.core.record import decode_record
from mfakit.core.secret import Secret
from mfakit.errors import ContentionError, UnknownAccountError
from mfakit.operations import GetPolicy, Load, Verdict, Write
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.views import row_of

BY = {"actor": "ops", "reason": "asked in person"}
QUESTIONS_MAX = 16  # eight that the answers may need, and eight more after others' writes


class Watched(MemoryStore):
    """A store that counts reads, and where somebody else may write first, once."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.first: Callable[[], object] | None = None

    def load(self, account_id: str) -> StoredRecord | None:
        self.reads += 1
        return super().load(account_id)

    def create(self, new: StoredRecord) -> bool:
        return not self._was_first() and super().create(new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return not self._was_first() and super().replace(new, expected=expected)

    def remove(self, account_id: str) -> None:
        row = super().load(account_id)
        if row is not None:
            assert super().delete(account_id, expected=row.revision)

    def put(self, row: StoredRecord) -> None:
        """Put a row in place of whatever stands there."""
        self.remove(row.account_id)
        assert super().create(row)

    def _was_first(self) -> bool:
        first, self.first = self.first, None
        if first is not None:
            first()
        return first is not None


def test_a_row_that_goes_between_read_and_write_is_an_unknown_account() -> None:
    """Where every account was opened, what is missing must not mean that two-step is off."""
    store = Watched()
    world = World(Policy(unknown_account="refuse"), store=store)
    world.mfa.open_account("ann")
    _, phone, _ = world.enroll()
    world.clock.advance(30)
    store.first = lambda: store.remove("ann")
    with pytest.raises(UnknownAccountError):
        world.mfa.verify_code("ann", phone.code(world.clock.now))
    assert store.load("ann") is None


def test_an_account_is_opened_though_another_was_made_and_removed_meanwhile() -> None:
    store = Watched()
    world = World(Policy(unknown_account="refuse"), store=store)
    store.first = lambda: None  # the write is lost, and the row is gone again
    world.mfa.open_account("ann")
    assert world.mfa.status("ann").state == "not_enrolled"


def test_a_torn_row_is_reset_though_it_was_torn_again_meanwhile() -> None:
    store = Watched()
    world = World(store=store)
    row = row_of(world_record(world), vault_of(world.mfa))
    store.put(replace(row, document=b"torn"))
    store.first = lambda: store.put(replace(row, document=b"torn again", revision=row.revision + 7))
    world.mfa.reset("ann", force=True, **BY)
    assert world.mfa.status("ann").state == "not_enrolled"


def world_record(world: World) -> Any:
    world.enroll()
    return world.record()


# ------------------------------------------------------------------------------------ reads and questions


def test_a_remembered_passcode_is_one_read() -> None:
    """Finding out took no time, so that nothing can have changed meanwhile."""
    store = Watched()
    world = World(store=store)
    owner = world.owner()

    def login() -> int:
        before = store.reads
        world.mfa.authenticate_client(
            "ann", owner.passcode, protocol="imap", check_password=lambda _: None
        )
        return store.reads - before

    assert login() == 2  # a hash is run: the row is read again after it
    assert login() == 1


def test_what_an_operation_wrote_itself_it_does_not_read_again() -> None:
    """A clock that went back is written down first, and decided on that very row."""
    store = Watched()
    world = World(store=store)
    _, phone, _ = world.enroll()
    world.clock.advance(86_400)
    world.mfa.verify_code("ann", phone.code(world.clock.now))
    world.clock.advance(-43_200)
    before, revision = store.reads, world.record().revision
    world.mfa.rename_authenticator(
        "ann", world.record().authenticators[0].id, label="Phone of the day"
    )
    assert store.reads - before == 3  # two are this test's own
    assert world.record().revision == revision + 2


def test_questions_end_however_often_others_write() -> None:
    """Each answer is about a set of codes that somebody has replaced when it comes back."""
    world = World()
    enrolled, _, _ = world.enroll()
    vault = vault_of(world.mfa)
    stored = world.store.load("ann")
    assert stored is not None
    record = decode_record(stored, vault)
    operation = operations.verify_code(
        world.mfa._env, "ann", "recovery", Secret(enrolled.recovery_codes[0].encode()), None, None
    )
    questions, reply = 0, None
    with pytest.raises(ContentionError):
        for _ in range(10 * QUESTIONS_MAX):
            effect = operation.send(reply)
            match effect:
                case GetPolicy():
                    reply = Policy()
                case Load():
                    assert record.recovery is not None
                    others = replace(record.recovery, id=generate_id(vault.random))
                    record = replace(record, recovery=others, revision=record.revision + 1)
                    reply = row_of(record, vault)
                case CheckHash():
                    questions += 1
                    reply = Verdict(value=False)
                case _:
                    raise AssertionError(effect)
    assert 8 <= questions <= QUESTIONS_MAX


def test_a_write_names_its_account_and_what_it_expects() -> None:
    world = World()
    stored = None
    operation = operations.open_account(world.mfa._env, "ann")
    reply: Any = None
    while not isinstance(effect := operation.send(reply), Write):
        reply = Policy() if isinstance(effect, GetPolicy) else stored
    assert (effect.account_id, effect.expected, effect.lost) == ("ann", None, 0)
    assert effect.row is not None
    assert effect.row.account_id == "ann"
    again = operation.send(False)
    assert isinstance(again, Load)
    retried = operation.send(stored)
    assert isinstance(retried, Write)
    assert retried.lost == 1


def test_each_write_names_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver finds the row by it: for a rotation and a removal as for all else."""
    written: list[str] = []

    def write_noted(self: MFA, write: Write) -> bool:
        written.append(write.account_id)
        return write_first(self, write)

    write_first = MFA._write
    monkeypatch.setattr(MFA, "_write", write_noted)
    world = World()
    world.enroll()
    world = World(store=world.store, keys=KeyRing({"2028": bytes(32), "2027": KEY}))
    before = len(written)
    assert world.mfa.rotate_keys().done == 1
    world.mfa.forget("ann", **BY)
    assert before > 0
    assert written == ["ann"] * (before + 2)
