"""Every order in which two (and some three) operations can meet, switched at each load and write."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import pytest

from mfakit import KeyRing, Policy, SignedIn
from mfakit.errors import MFAKitError, WrongCodeError
from mfakit.storage.memory import MemoryStore
from mfakit.testing import (
    CheapHasher,
    FixedClock,
    SteppedMFA,
    VirtualAuthenticator,
    every_interleaving,
)

KEYS = KeyRing({"k2": bytes(range(1, 33)), "k1": bytes(range(32))})
OLD_KEYS = KeyRing({"k1": bytes(range(32))})
POLICY = Policy(issuer="X", recovery_codes=4, recovery_codes_low=1, passcodes_max=2)


class Scene:
    """An enrolled account with a passcode, a challenge pair, proofs and an offer, made anew."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.store = MemoryStore()
        settings: dict[str, Any] = {"clock": self.clock, "hasher": CheapHasher()}
        old = SteppedMFA(self.store, OLD_KEYS, policy=POLICY, **settings)
        proof = old.password_proof("a", password_verified=True)
        offer = old.begin_enrollment("a", account_name="a", proof=proof)
        self.app = VirtualAuthenticator(offer.uri)
        done = old.confirm_enrollment(offer.token, self.app.code(self.clock.now))
        self.recovery = done.recovery_codes
        self.proof = done.proof
        self.passcode = old.create_passcode("a", label="one", proof=self.proof)
        self.clock.advance(30)
        self.mfa = SteppedMFA(self.store, KEYS, policy=POLICY, **settings)
        self.challenges = [
            self.mfa.begin_login("a", password_verified=True).challenge for _ in range(2)
        ]
        spare = self.mfa.begin_enrollment("a", account_name="a", proof=self.proof, label="spare")
        self.offer = spare.token
        self.offer_code = VirtualAuthenticator(spare.uri).code(self.clock.now)
        self.code = self.app.code(self.clock.now)
        wrong = {self.app.code(self.clock.now, steps=step) for step in range(-3, 4)}
        self.wrong = next(text for n in range(99) if (text := f"{n:06d}") not in wrong)


Operation = Callable[[Scene, Any], Any]
OPERATIONS: dict[str, Operation] = {
    "login": lambda s, m: m.complete_login(s.challenges[0], s.code),
    "other_login": lambda s, m: m.complete_login(s.challenges[1], s.code),
    "wrong_login": lambda s, m: m.complete_login(s.challenges[0], s.wrong),
    "recovery": lambda s, m: m.complete_login(s.challenges[1], s.recovery[0], method="recovery"),
    "verify": lambda s, m: m.verify_code("a", s.code),
    "client": lambda s, m: m.authenticate_client(
        "a", s.passcode.passcode, protocol="imap", check_password=lambda _: None
    ),
    "revoke": lambda s, m: m.revoke_passcode("a", s.passcode.passcode_id),
    "passcode": lambda s, m: m.create_passcode("a", label="two", proof=s.proof),
    "confirm": lambda s, m: m.confirm_enrollment(s.offer, s.offer_code),
    "cancel": lambda s, m: m.cancel_enrollment(s.offer),
    "regenerate": lambda s, m: m.regenerate_recovery_codes("a", proof=s.proof),
    "disable": lambda s, m: m.disable("a", proof=s.proof),
    "password": lambda s, m: m.password_changed("a"),
    "reset": lambda s, m: m.reset("a", actor="ops", reason="test"),
    "forget": lambda s, m: m.forget("a", actor="ops", reason="test"),
}


def _kind(outcome: Any) -> str:
    return type(outcome).__name__


def _state(mfa: SteppedMFA) -> tuple[Any, ...]:
    status = mfa.status("a")
    shown = (status.state, status.recovery_codes_left, status.passcodes)
    return (*shown, len(status.authenticators), status.trusted_devices)


def _serial(names: tuple[str, ...]) -> set[Any]:
    """Return what the operations come to one after the other, in both orders."""
    found = set()
    for order in (names, tuple(reversed(names))):
        scene = Scene()
        kinds = {}
        for place, name in enumerate(order):
            steps = scene.mfa.begin(lambda m, s=scene, n=name: OPERATIONS[n](s, m))
            while not steps.is_done:
                steps.step()
            kinds[place if order is names else len(names) - 1 - place] = _kind(steps.outcome)
        found.add((tuple(kinds[place] for place in sorted(kinds)), _state(scene.mfa)))
    return found


@pytest.mark.parametrize("names", list(combinations_with_replacement(OPERATIONS, 2)), ids="+".join)
def test_two_at_once_come_to_what_one_after_the_other_would(names: tuple[str, str]) -> None:
    """In each interleaving, outcomes and state are those of a serial order: nothing is won twice."""
    allowed = _serial(names)

    def begin() -> tuple[SteppedMFA, list[Any]]:
        scene = Scene()
        return scene.mfa, [lambda m, n=name: OPERATIONS[n](scene, m) for name in names]

    for mfa, outcomes in every_interleaving(begin):
        assert (tuple(map(_kind, outcomes)), _state(mfa)) in allowed


def test_three_uses_of_one_code_win_once() -> None:
    """One code at two sign-ins and a step-up: exactly one accepts, two guesses are counted."""

    def begin() -> tuple[SteppedMFA, list[Any]]:
        scene = Scene()
        names = ("login", "other_login", "verify")
        return scene.mfa, [lambda m, n=name: OPERATIONS[n](scene, m) for name in names]

    orders = 0
    for _, outcomes in every_interleaving(begin):
        orders += 1
        accepted = [one for one in outcomes if isinstance(one, SignedIn | str)]
        assert len(accepted) == 1
        assert sum(isinstance(one, WrongCodeError) for one in outcomes) == 2
    assert orders > 90


def test_the_last_place_for_a_passcode_is_won_once() -> None:
    """Two new labels and one place left: one passcode, and the limit holds."""

    def begin() -> tuple[SteppedMFA, list[Any]]:
        scene = Scene()
        proof = scene.proof
        return scene.mfa, [
            lambda m: m.create_passcode("a", label="x", proof=proof),
            lambda m: m.create_passcode("a", label="y", proof=proof),
        ]

    for mfa, outcomes in every_interleaving(begin):
        assert sorted(map(_kind, outcomes)) == ["LimitReachedError", "NewPasscode"]
        assert mfa.status("a").passcodes == 2


def test_no_guess_beyond_the_cap() -> None:
    """Wrong codes at once: as many answers as were counted, and then the lock."""
    policy = Policy(issuer="X", code_failures_max=5, throttle_free_failures=4)

    def begin() -> tuple[SteppedMFA, list[Any]]:
        scene = Scene()
        mfa = SteppedMFA(scene.store, KEYS, policy=policy, clock=scene.clock, hasher=CheapHasher())
        for _ in range(4):
            with pytest.raises(WrongCodeError):
                mfa.verify_code("a", scene.wrong)
        return mfa, [lambda m: m.verify_code("a", scene.wrong)] * 2

    for mfa, outcomes in every_interleaving(begin):
        assert sum(isinstance(one, WrongCodeError) for one in outcomes) == 1
        assert all(isinstance(one, MFAKitError) for one in outcomes)
        assert mfa.status("a").state == "locked"
