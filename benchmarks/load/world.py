"""What the processes of the storm share: people, keys, policies, and two clocks.

Time runs faster than outside, so that minutes hold enough time steps: each step lets an account sign
in by code once. Around the account that is guessed at it runs faster still: the waits between 50 wrong
codes add up to 39 hours, and they all pass within the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any

from attrs import evolve, field, frozen

from benchmarks.world import new_keys
from mfakit import DEFAULT, MFA, Argon2Hasher, Enrolled, KeyRing, Policy
from mfakit.storage import Store
from mfakit.testing import FixedClock, VirtualAuthenticator

BEGIN = 1_800_000_000
PERIOD_SECONDS = 30
TIMES_FASTER = 10
GUESSED_FOR_SECONDS = 300_000
PASSCODES = 2
GUESSED = "guessed"

# Few recovery codes, to set up in less time; passcodes are hashed anew every half minute.
POLICY = evolve(DEFAULT, recovery_codes=4, recovery_codes_low=0, passcode_memory_seconds=30)
# A code that four hold at once is refused to three, far more often than people mistype.
RACED = evolve(POLICY, recovery_codes=10, code_failures_in_30_days_max=1000)


@frozen
class Person:
    """An account that has enrolled, and what its owner holds."""

    account_id: str
    phone: VirtualAuthenticator = field(repr=False)
    recovery_codes: tuple[str, ...] = field(repr=False)
    passcodes: dict[str, str] = field(repr=False)

    def code(self, step: int) -> str:
        """Return the code of a time step."""
        return self.phone.code(step * PERIOD_SECONDS)


@frozen
class Setup:
    """Everything that a process is given.

    Attributes:
        open_store: Opens the store, which has a `close`.
        seconds: How long the storm lasts.
        begins: `time.time()` at which it begins; known when all processes have started.
    """

    open_store: Callable[[], Any]
    keys: dict[str, bytes] = field(repr=False)
    owners: tuple[Person, ...]
    raced: tuple[Person, ...]
    guessed: Person
    seconds: float
    begins: float = 0.0


class Clock:
    """Unix seconds, for each thread as fast as it says."""

    def __init__(self, setup: Setup) -> None:
        self._begins = setup.begins
        self._guessed_speed = GUESSED_FOR_SECONDS / setup.seconds
        self._thread = local()

    def attack(self) -> None:
        """Let time run for this thread as it does around the account that is guessed at."""
        self._thread.speed = self._guessed_speed

    def __call__(self) -> float:
        speed = getattr(self._thread, "speed", TIMES_FASTER)
        return BEGIN + max(0.0, time.time() - self._begins) * speed

    @property
    def step(self) -> int:
        """The time step now."""
        return int(self()) // PERIOD_SECONDS


def policy_of(account_id: str) -> Policy:
    """Return the policy of an account."""
    return RACED if account_id.startswith("raced") else POLICY


def new_key() -> dict[str, bytes]:
    """Return one key by its id."""
    ring = new_keys()
    return {ring.newest: ring.key(ring.newest).reveal()}


def enroll(store: Store, keys: dict[str, bytes], names: Iterable[str]) -> list[Person]:
    """Set accounts up, each with passcodes, before the storm begins."""
    clock = FixedClock(BEGIN - 10 * PERIOD_SECONDS)
    mfa = MFA(store, KeyRing(keys), policy=policy_of, clock=clock, hasher=Argon2Hasher())
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda name: _enroll(mfa, name, clock), names))


def _enroll(mfa: MFA, name: str, clock: FixedClock) -> Person:
    proof = mfa.password_proof(name, password_verified=True)
    offer = mfa.begin_enrollment(name, account_name=name, proof=proof)
    phone = VirtualAuthenticator(offer.uri)
    done = mfa.confirm_enrollment(offer.token, phone.code(clock.now))
    assert isinstance(done, Enrolled)
    assert done.proof is not None
    passcodes = {
        label: mfa.create_passcode(name, label=label, proof=done.proof).passcode
        for label in (f"first {number}" for number in range(PASSCODES))
    }
    return Person(name, phone, done.recovery_codes, passcodes)
