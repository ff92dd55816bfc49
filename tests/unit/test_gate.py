"""The gate before Argon2: shared runs, bounded runs, a short memory for successes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from unit_world import Owner, World

from mfakit import Policy
from mfakit.core.decision import CheckHash, NewHashes
from mfakit.core.secret import Secret
from mfakit.errors import BusyError, CredentialRefusedError, HashingError
from mfakit.gate import HashGate, Memory, Places, Ticket
from mfakit.testing import CheapHasher
from slow_hasher import SlowHasher, check


def _ask(gate: HashGate, check: CheckHash) -> tuple[bool, bool]:
    """Is it right, and did finding out take so long that the row must be read again?"""
    verdict = gate.check(check)
    return verdict.value, verdict.waited


def _until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)


def _waiting(gate: HashGate) -> int:
    return len(gate._places._taken)


def _joined(gate: HashGate) -> int:
    """Return how many threads wait for runs that others began."""
    return sum(len(flight.landed._cond._waiters) for flight in gate._flights.values())


def test_identical_attempts_share_one_run() -> None:
    """A phone opens several connections at once: eight attempts, one Argon2 run, one answer."""
    for secret, right in ((b"right", True), (b"wrong", False)):
        hasher = SlowHasher()
        gate = HashGate(hasher, concurrency=4)
        with ThreadPoolExecutor(8) as threads:
            results = [threads.submit(_ask, gate, check(secret)) for _ in range(8)]
            _until(lambda: hasher.runs == 1 and _joined(gate) == 7)  # noqa: B023
            hasher.go.set()
            assert [one.result() for one in results] == [(right, True)] * 8
        assert hasher.runs == 1
        assert _waiting(gate) == 0
        assert gate._flights == {}


def test_attempts_that_differ_in_anything_do_not_share() -> None:
    """Account, stored hash and secret: the verdict about one is none about another."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=8)
    checks = [
        check(),
        check(b"wrong", is_mail=False),
        check(account="bob"),
        check(account="cy", stored="t"),
    ]
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(_ask, gate, one) for one in checks]
        _until(lambda: hasher.runs == 4)
        hasher.go.set()
        assert [one.result()[0] for one in results] == [True, False, True, True]


def test_runs_at_once_are_bounded() -> None:
    """Two processors, two runs; the others wait their turn and all are answered."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=2, queue=20)
    with ThreadPoolExecutor(10) as threads:
        results = [threads.submit(_ask, gate, check(account=f"user-{n}")) for n in range(10)]
        _until(lambda: _waiting(gate) == 10 and hasher.running == 2)
        hasher.go.set()
        assert all(one.result() == (True, True) for one in results)
    assert hasher.most == 2
    assert hasher.runs == 10


def test_one_account_holds_one_place_for_mail_and_one_for_the_web() -> None:
    """A second different attempt of a kind is told to come back; others are not disturbed."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=1, queue=10)
    new = NewHashes(account_id="ann", purpose="p", secrets=(Secret(b"x"),), policy=Policy())
    with ThreadPoolExecutor(4) as threads:
        mail = threads.submit(_ask, gate, check(b"guess 1"))
        _until(lambda: _waiting(gate) == 1)
        with pytest.raises(BusyError):
            _ask(gate, check(b"guess 2"))
        web = threads.submit(_ask, gate, check(b"a recovery code", is_mail=False))
        _until(lambda: _waiting(gate) == 2)
        with pytest.raises(BusyError):
            _ask(gate, check(b"another", is_mail=False))
        with pytest.raises(BusyError):
            gate.hash(new)
        other = threads.submit(_ask, gate, check(account="bob"))
        _until(lambda: _waiting(gate) == 3)
        hasher.go.set()
        assert [one.result()[0] for one in (mail, web, other)] == [False, False, True]
    assert _ask(gate, check(b"guess 2")) == (False, True)
    assert len(gate.hash(new)) == 1


def test_a_storm_of_mail_clients_leaves_places_for_the_web() -> None:
    """Whoever types a recovery code is let in while every place for mail is taken."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=2, queue=1)
    with ThreadPoolExecutor(8) as threads:
        storm = [threads.submit(_ask, gate, check(account=f"user-{n}")) for n in range(3)]
        _until(lambda: _waiting(gate) == 3)
        with pytest.raises(BusyError):
            _ask(gate, check(account="late"))
        web = [
            threads.submit(_ask, gate, check(account=f"web-{n}", is_mail=False)) for n in range(2)
        ]
        _until(lambda: _waiting(gate) == 5)
        with pytest.raises(BusyError):
            _ask(gate, check(account="web-late", is_mail=False))
        hasher.go.set()
        assert all(one.result()[0] for one in (*storm, *web))
    assert _waiting(gate) == 0


class Held(CheapHasher):
    """Runs that check an application passcode wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()

    def verify(self, stored: str, secret: Secret) -> bool:
        is_passcode = secret.reveal().islower()
        assert not is_passcode or self.go.wait(60)
        return super().verify(stored, secret)


def test_a_recovery_code_is_checked_while_mail_clients_take_every_place() -> None:
    """A stranger who knows the letters that a passcode begins with keeps nobody out of the web."""
    hasher = Held()
    world = World(hasher=hasher, hash_concurrency=2, hash_queue=1)
    owners = [world.owner(name) for name in ("ann", "bob", "cy", "dee")]
    gate: Any = world.mfa._gate

    def mail(owner: Owner, verifier: str) -> object:
        return world.mfa.authenticate_client(
            owner.account_id,
            owner.passcode[:4] + verifier * 16,
            protocol="imap",
            check_password=lambda _: None,
        )

    with ThreadPoolExecutor(8) as threads:
        storm = [threads.submit(mail, owner, "x") for owner in owners[:3]]
        _until(lambda: _waiting(gate) == 3)
        with pytest.raises(BusyError):
            mail(owners[3], "x")
        web = [
            threads.submit(
                world.mfa.verify_code, one.account_id, one.recovery_codes[0], method="recovery"
            )
            for one in (owners[0], owners[3])
        ]
        _until(lambda: _waiting(gate) == 5)
        hasher.go.set()
        assert all(isinstance(one.exception(), CredentialRefusedError) for one in storm)
        assert all(one.result() for one in web)
    assert _waiting(gate) == 0


def test_whoever_holds_the_place_for_mail_of_an_account_does_not_hold_its_place_for_the_web() -> (
    None
):
    """Nor the other way round; with room for many, the account's own places decide."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=8, queue=64)
    for is_mail in (True, False):
        hasher.go.clear()
        with ThreadPoolExecutor(2) as threads:
            held = threads.submit(_ask, gate, check(b"held", is_mail=is_mail))
            _until(lambda: _waiting(gate) == 1)
            with pytest.raises(BusyError):
                _ask(gate, check(b"another", is_mail=is_mail))
            other = threads.submit(_ask, gate, check(is_mail=not is_mail, remember=0))
            _until(lambda: _waiting(gate) == 2)
            hasher.go.set()
            assert (held.result()[0], other.result()[0]) == (False, True)


def test_the_queue_is_bounded() -> None:
    """Beyond runs and queue together: `BusyError`, at once, and the places come back."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=1, queue=2)
    with ThreadPoolExecutor(4) as threads:
        held = [threads.submit(_ask, gate, check(account=f"user-{n}")) for n in range(3)]
        _until(lambda: _waiting(gate) == 3)
        with pytest.raises(BusyError):
            _ask(gate, check(account="late"))
        hasher.go.set()
        assert all(one.result()[0] for one in held)
    assert _ask(gate, check(account="late"))[0] is True


def test_a_run_that_fails_says_nothing_about_the_secret() -> None:
    """The one that ran gets the error, those that waited are busy, nobody is told "wrong"."""
    hasher = SlowHasher()
    gate = HashGate(hasher, concurrency=2)
    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(_ask, gate, check(stored="broken")) for _ in range(4)]
        _until(lambda: hasher.runs == 1 and _joined(gate) == 3)
        hasher.go.set()
        errors = [type(one.exception()) for one in results]
    assert sorted(errors, key=str) == [BusyError] * 3 + [HashingError]
    assert _waiting(gate) == 0
    assert gate._flights == {}


def test_new_hashes_keep_their_order() -> None:
    """Each secret with its own hash; the place is given back, also after an error."""
    hasher = SlowHasher()
    hasher.go.set()
    gate = HashGate(hasher, concurrency=1, queue=0)
    secrets = Secret(b"one"), Secret(b"two")
    hashed = gate.hash(NewHashes(account_id="ann", purpose="p", secrets=secrets, policy=Policy()))
    assert [(one.reveal(), text.reveal().decode()) for one, text in hashed] == [
        (b"one", "hash-one"),
        (b"two", "hash-two"),
    ]
    assert _waiting(gate) == 0


def test_a_success_is_remembered_and_a_failure_is_not() -> None:
    """So a wrong passcode costs a run each time, and a right one skips it for a while."""
    hasher = SlowHasher()
    hasher.go.set()
    gate = HashGate(hasher)
    assert [_ask(gate, check()) for _ in range(3)] == [(True, True), (True, False), (True, False)]
    assert hasher.runs == 1
    assert [_ask(gate, check(b"wrong")) for _ in range(3)] == [(False, True)] * 3
    assert hasher.runs == 4


def test_nothing_is_remembered_where_the_question_says_so() -> None:
    """Recovery codes are never remembered, and a memory of 0 seconds is none."""
    hasher = SlowHasher()
    hasher.go.set()
    gate = HashGate(hasher)
    _ask(gate, check())  # remembered
    assert _ask(gate, check(remember=0)) == (True, True)
    assert _ask(gate, check(stored="other", remember=0)) == (True, True)
    assert _ask(gate, check(stored="other")) == (True, True)
    assert hasher.runs == 4


def test_memory_is_for_this_verycheck() -> None:
    """Account, item, stored hash and secret all count: a replaced passcode is not remembered."""
    memory = Memory()
    base = {
        "account_id": "a",
        "item_id": "i",
        "sealed": "s",
        "unseal": lambda: Secret(b"s"),
        "secret": Secret(b"x"),
    }
    memory.learn(memory.tag(CheckHash(**base)), 60)
    assert memory.knows(memory.tag(CheckHash(**base)))
    for changed in ({"account_id": "b"}, {"item_id": "j"}, {"sealed": "t"}, {"secret": Secret(b"y")},
                    {"account_id": "ai", "item_id": ""}):  # fmt: skip
        assert not memory.knows(memory.tag(CheckHash(**base | changed)))
    assert memory.tag(CheckHash(**base)) != Memory().tag(CheckHash(**base))  # a key of its own


def test_memory_ends_on_time() -> None:
    """Until the second, not beyond, and use does not make it longer."""
    now = [100.0]
    memory = Memory(clock=lambda: now[0])
    memory.learn(b"tag", 10)
    now[0] = 109.9
    assert memory.knows(b"tag")
    now[0] = 110.0
    assert not memory.knows(b"tag")
    assert not memory._until
    memory.learn(b"tag", 0)
    memory.learn(b"tag", -1)
    assert not memory.knows(b"tag")


def test_memory_is_bounded() -> None:
    """The one used longest ago goes first."""
    memory = Memory(entries=3)
    for tag in (b"1", b"2", b"3"):
        memory.learn(tag, 60)
    assert memory.knows(b"1")  # used: now the newest
    memory.learn(b"4", 60)
    assert [memory.knows(tag) for tag in (b"1", b"2", b"3", b"4")] == [True, False, True, True]
    memory.learn(b"3", 60)  # learned again: no second entry
    assert len(memory._until) == 3


def test_places_are_counted_exactly() -> None:
    """One of a kind for one account, the total for mail, more for the web; each comes back."""
    places = Places(2, kept_for_web=1)
    ann, bob, cy = (Ticket(one, is_mail=True) for one in ("ann", "bob", "cy"))
    ann_on_the_web, bob_on_the_web = (Ticket(one, is_mail=False) for one in ("ann", "bob"))
    places.take(ann)
    with pytest.raises(BusyError):
        places.take(ann)
    places.take(ann_on_the_web)
    with pytest.raises(BusyError):
        places.take(bob)
    places.take(bob_on_the_web)
    with pytest.raises(BusyError):
        places.take(Ticket("cy", is_mail=False))
    places.leave(ann_on_the_web)
    places.leave(bob_on_the_web)
    places.take(cy)
    for ticket in (ann, cy):
        places.leave(ticket)
    assert not places._taken
