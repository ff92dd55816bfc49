"""What a decision asks its driver: whose hash, of which item, at what cost; and first revisions."""

from __future__ import annotations

from typing import Any

import pytest
from unit_world import World, vault_of

from mfakit import KeyRing, Policy
from mfakit.core import administration, factors
from mfakit.core.decision import Case, CheckHash, NewHashes, note
from mfakit.core.passcode import question_of
from mfakit.core.record import blank_record
from mfakit.core.recovery import question_of as recovery_question
from mfakit.core.sealing import Proof, Vault, is_alive
from mfakit.core.secret import Secret
from mfakit.events import EventKind

POLICY = Policy(argon2_time_cost=3, passcode_memory_seconds=60)


def test_new_hashes_cost_what_the_policy_says_and_wait_for_their_account() -> None:
    """The account is whose place in the queue is taken; the policy is the cost."""
    world = World()
    case = Case(record=blank_record("ann", "salt"), now=0, policy=POLICY, vault=vault_of(world.mfa))
    secret = Secret(b"x")
    asked = case.new_hashes("passcode", lambda: (secret,))
    assert isinstance(asked, NewHashes)
    assert (asked.account_id, asked.purpose) == ("ann", "passcode")
    assert (asked.secrets, asked.policy) == ((secret,), POLICY)


def test_a_check_names_account_item_and_hash() -> None:
    """A passcode's may be remembered as long as policy says, a recovery code's never."""
    world = World()
    world.owner()
    record = world.record()
    case = Case(record=record, now=0, policy=POLICY, vault=vault_of(world.mfa))
    passcode, codes, typed = record.passcodes[0], record.recovery, Secret(b"typed")
    asked = question_of(case, passcode, typed)
    assert (asked.account_id, asked.item_id) == ("ann", passcode.id)
    assert (asked.sealed, asked.secret) == (passcode.sealed_hash, typed)
    assert asked.remember_seconds == 60
    assert asked.key == (passcode.id, passcode.sealed_hash)
    assert codes is not None
    of_code = recovery_question(case, codes, 3, typed)
    assert isinstance(of_code, CheckHash)
    assert (of_code.account_id, of_code.item_id) == ("ann", f"{codes.id}/3")
    assert (of_code.sealed, of_code.secret) == (codes.sealed_hashes[3], typed)
    assert of_code.remember_seconds == 0


def test_a_first_revision_is_62_random_bits_and_one() -> None:
    """At least 1, so that 0 is no stored revision; the next write adds one."""
    for byte, revision in ((b"\x00", 1), (b"\xff", 2**62)):
        vault = Vault(KeyRing({"k": bytes(32)}), "mail", lambda count, byte=byte: byte * count)
        case = Case(record=blank_record("ann", "salt"), now=7, policy=POLICY, vault=vault)
        first = case.write(lambda new: new.revision, note(EventKind.ACCOUNT_OPENED))
        assert first.record is not None
        assert first.outcome == revision
        assert (first.record.created_at, first.record.updated_at) == (7, 7)
        second = case.of(first.record).write(lambda new: new.revision)
        assert second.outcome == revision + 1


@pytest.mark.parametrize(
    ("firsts", "seconds", "steps"),
    [([2, 12], [3, 13], [3, 13]), ([2, 12], [3, 20], [3]), ([4], [4], [])],
)
def test_a_pair_is_two_codes_in_a_row(
    firsts: list[int], seconds: list[int], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes repeat by chance, so several pairs may fit. Now is step 12."""
    found = iter((firsts, seconds))
    monkeypatch.setattr(factors, "match_steps", lambda *_: next(found))
    unread: Any = None
    assert administration._seconds_of_pairs(unread, unread, unread, unread, 12) == steps


@pytest.mark.parametrize(
    ("age", "alive"), [(-61, False), (-60, True), (0, True), (299, True), (300, False)]
)
def test_a_token_lives_from_a_minute_ahead_to_its_end(age: int, alive: bool) -> None:
    """Another process's clock may be a minute ahead; of both lives the shorter one counts."""
    for own, policys in ((300, 600), (600, 300)):
        proof = Proof(
            account_id="ann", epoch="e", issued_at=1000, lifetime_seconds=own, earned_by="password"
        )
        assert is_alive(proof, lifetime_seconds=policys, now=1000 + age) is alive
