"""Race whole sign-ins on one store, from eight threads in four processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, MFAKitError, Policy
from mfakit.storage import Store
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

PROCESSES, THREADS = 4, 2
RACERS = PROCESSES * THREADS
NOW = 1_800_000_000
REFUSALS = {"WrongCodeError", "ChallengeError", "ContentionError", "BusyError"}

Submission = tuple[str, str, str]  # challenge, code, method


def require_one_winner(opener: Callable[[], Store], trials: int = 200) -> None:
    """Submit one code, one recovery code and one challenge at once, `trials` times each.

    Args:
        opener: Opens the same empty rows in any process; picklable.
        trials: How many accounts are raced for.
    """
    store, accounts = opener(), [f"ann-{number}" for number in range(trials)]
    with ThreadPoolExecutor(RACERS) as threads:
        prepared = list(threads.map(partial(_prepare, store), accounts))
    races = [race for one in prepared for race in one]
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(RACERS), context.Queue()
    workers = [
        context.Process(
            target=_run,
            args=(
                opener,
                [race[THREADS * place : THREADS * (place + 1)] for race in races],
                barrier,
                told,
            ),
        )
        for place in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    by_thread = [thread for _ in workers for thread in told.get(timeout=200)]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert len(by_thread) == RACERS
    came_of_it = [Counter(kinds) for kinds in zip(*by_thread, strict=True)]
    assert len(came_of_it) == 3 * trials
    for kinds in came_of_it:
        assert kinds["SignedIn"] == 1, kinds
        assert set(kinds) <= REFUSALS | {"SignedIn"}, kinds
    for account_id in accounts:  # one recovery code for the second race, one for the third
        assert _mfa(store, NOW + 60).status(account_id).recovery_codes_left == 8


def _prepare(store: Store, account_id: str) -> list[list[Submission]]:
    """Enrol an account; return what its racers submit in each of three races."""
    mfa, later = _mfa(store, NOW), _mfa(store, NOW + 60)
    proof = mfa.password_proof(account_id, password_verified=True)
    offer = mfa.begin_enrollment(account_id, account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    done = mfa.confirm_enrollment(offer.token, app.code(NOW))
    assert isinstance(done, Enrolled)

    def challenge() -> str:
        begun = later.begin_login(account_id, password_verified=True)
        assert isinstance(begun, CodeRequired)
        return begun.challenge

    first, *others = done.recovery_codes
    one_challenge = challenge()
    return [
        [(challenge(), app.code(NOW + 60), "totp") for _ in range(RACERS)],
        [(challenge(), first, "recovery") for _ in range(RACERS)],
        [(one_challenge, code, "recovery") for code in others[:RACERS]],
    ]


def _run(
    opener: Callable[[], Store], races: list[list[Submission]], barrier: Any, told: Any
) -> None:
    """Run in a process: each thread makes its submission of each race when all are ready."""
    mfa = _mfa(opener(), NOW + 60)

    def submit_all(submissions: list[Submission]) -> list[str]:
        kinds = []
        for challenge, code, method in submissions:
            barrier.wait(60)
            try:
                kinds.append(type(mfa.complete_login(challenge, code, method=method)).__name__)
            except MFAKitError as error:
                kinds.append(type(error).__name__)
        return kinds

    with ThreadPoolExecutor(THREADS) as threads:
        told.put(list(threads.map(submit_all, zip(*races, strict=True))))


def _mfa(store: Store, now: float) -> MFA:
    return MFA(
        store,
        KeyRing({"k": b"k" * 32}),
        policy=Policy(issuer="Example", throttle_free_failures=10),
        clock=FixedClock(now),
        hasher=CheapHasher(),
    )
