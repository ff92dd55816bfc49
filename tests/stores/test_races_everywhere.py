"""One code, one recovery code, one challenge: 8 threads and 4 processes race, and one gets in.

All twelve make their call at one moment, through an `MFA` of their own process; 200 times.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from openers import IN_ONE_PROCESS, STORES, Opener, leave_thread

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, MFAKitError, Policy
from mfakit.storage import Store
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator
from mfakit.testing.contract.base import close
from mfakit.testing.contract.processes import Member, Worker

THREADS, PROCESSES, TRIALS = 8, 4, 200
NOW, LATER = 1_800_000_000, 1_800_000_060
POLICY = Policy(issuer="Example", throttle_free_failures=10, code_failures_max=100)
# What a loser may be told. A thirteenth would be an error that nobody handles.
LOST = {"WrongCodeError", "ChallengeError", "ThrottledError", "ContentionError"}

Attempt = tuple[str, str, str]  # challenge, code, method


class Account:
    """Somebody whose second factor is about to be raced for, as all the racers know it."""

    def __init__(self, store: Store, account_id: str) -> None:
        self.id = account_id
        mfa = make_mfa(store, NOW)
        proof = mfa.password_proof(account_id, password_verified=True)
        offer = mfa.begin_enrollment(account_id, account_name="ann", proof=proof)
        app = VirtualAuthenticator(offer.uri)
        done = mfa.confirm_enrollment(offer.token, app.code(NOW))
        assert isinstance(done, Enrolled)
        self.recovery_codes = done.recovery_codes
        self.code = app.code(LATER)
        self._mfa = make_mfa(store, LATER)

    def challenge(self) -> str:
        step = self._mfa.begin_login(self.id, password_verified=True)
        assert isinstance(step, CodeRequired)
        return step.challenge


def one_code(account: Account, racers: int) -> list[Attempt]:
    """Everybody has a sign-in of their own, and the same code."""
    return [(account.challenge(), account.code, "totp") for _ in range(racers)]


def one_recovery_code(account: Account, racers: int) -> list[Attempt]:
    """Everybody has a sign-in of their own, and the same recovery code."""
    code = account.recovery_codes[3]
    return [(account.challenge(), code, "recovery") for _ in range(racers)]


def one_challenge(account: Account, racers: int) -> list[Attempt]:
    """Everybody is at the same sign-in; ten have a recovery code each, the rest the app's code."""
    challenge = account.challenge()
    codes = [(code, "recovery") for code in account.recovery_codes]
    codes += [(account.code, "totp")] * racers
    return [(challenge, *codes[place]) for place in range(racers)]


def make_mfa(store: Store, now: int) -> MFA:
    keys = KeyRing({"k": b"k" * 32})
    return MFA(store, keys, policy=POLICY, clock=FixedClock(now), hasher=CheapHasher())


def race(member: Member, attempts: list[Attempt]) -> list[str]:
    """Make one attempt of each trial, at the same moment as the others; say what came of it."""
    mfa = make_mfa(member.store, LATER)
    told = []
    try:
        for challenge, code, method in attempts:
            member.barrier.wait(60)
            try:
                done = mfa.complete_login(challenge, code, method=method)
                told.append(type(done).__name__)
            except MFAKitError as error:
                told.append(type(error).__name__)
    finally:
        leave_thread()
    return told


def race_all(opener: Opener, trials: list[list[Attempt]], processes: int) -> list[Counter[str]]:
    """Give every racer its attempt of each trial; return what they were told, by trial."""
    barrier = multiprocessing.get_context("spawn").Barrier(THREADS + processes)
    by_racer = [list(attempts) for attempts in zip(*trials, strict=True)]
    workers = [Worker(opener, barrier) for _ in range(processes)]
    try:
        for worker, attempts in zip(workers, by_racer[THREADS:], strict=True):
            worker.hear()  # it has opened the store
            worker.give(race, attempts)
        with closed(opener()) as store, ThreadPoolExecutor(THREADS) as threads:
            member = Member(store, barrier, 0)
            told = list(threads.map(lambda one: race(member, one), by_racer[:THREADS]))
        told += [worker.hear() for worker in workers]
    finally:
        for worker in workers:
            worker.close()
    return [Counter(answers) for answers in zip(*told, strict=True)]


@contextmanager
def closed(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        close(store)


@pytest.fixture(params=STORES)
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(store_name: str, tmp_path: Path) -> Iterator[Opener]:
    with STORES[store_name](tmp_path) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("kind", [one_code, one_recovery_code, one_challenge])
def test_exactly_one_gets_in(
    opener: Opener, store_name: str, kind: Callable[[Account, int], list[Attempt]]
) -> None:
    """Of twelve that race, one is signed in, in every trial; the others get a typed refusal."""
    processes = 0 if store_name in IN_ONE_PROCESS else PROCESSES
    with closed(opener()) as store:
        accounts = [Account(store, f"{kind.__name__}-{trial}") for trial in range(TRIALS)]
        trials = [kind(account, THREADS + processes) for account in accounts]
        answers = race_all(opener, trials, processes)
        mfa = make_mfa(store, LATER)
        left = {mfa.status(account.id).recovery_codes_left for account in accounts}
    assert [trial["SignedIn"] for trial in answers] == [1] * TRIALS
    assert set().union(*answers) <= {"SignedIn"} | LOST
    assert left <= {one_code: {10}, one_recovery_code: {9}, one_challenge: {9, 10}}[kind]
