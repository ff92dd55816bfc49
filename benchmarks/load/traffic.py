"""One process of the storm: eight threads that sign in, log mail clients in, race and guess."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock, Thread
from typing import Any

import msgspec
import psutil
from attrs import evolve

from benchmarks.load.ledger import ACCEPTED, Entry
from benchmarks.load.world import (
    BEGIN,
    GUESSED_FOR_SECONDS,
    PERIOD_SECONDS,
    Clock,
    Person,
    Setup,
    policy_of,
)
from mfakit import MFA, Argon2Hasher, KeyRing, MFAKitError, Policy
from mfakit.core.secret import Secret

OWNER_THREADS = 5
RACERS = 2
ARGON2_AT_ONCE = 2
PASSCODES_MAX = 8
_SAMPLE_SECONDS = 0.5
_LATE_STEPS = 1


class CountingHasher:
    """Argon2, and how many runs were in flight at most."""

    def __init__(self) -> None:
        self._argon2, self._lock = Argon2Hasher(), Lock()
        self._now = self.most = self.runs = 0

    def check_cost(self, policy: Policy) -> None:
        self._argon2.check_cost(policy)

    def hash(self, secret: Secret, policy: Policy) -> str:
        with self._counted():
            return self._argon2.hash(secret, policy)

    def verify(self, stored: str, secret: Secret) -> bool:
        with self._counted():
            return self._argon2.verify(stored, secret)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.runs += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


class Journal:
    """The ledger's page of one thread: each call and its answer, in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._encode = msgspec.json.Encoder().encode
        self.calls = 0

    def ask(self, what: str, account: str, call: Callable[[], Any], **noted: Any) -> Any:
        """Make a call, write down what came of it, and return the result; None if it was refused.

        `expected` may be a function that is asked after the answer.
        """
        result, began = None, time.perf_counter()
        try:
            result = call()
            outcome = ACCEPTED
        except MFAKitError as refused:
            outcome = type(refused).__name__
        except Exception as error:
            outcome = f"!{type(error).__name__}: {error}"
        took = time.perf_counter() - began
        expected = noted.pop("expected", ACCEPTED)
        said = expected() if callable(expected) else expected
        entry = Entry(what, account, outcome, took, expected=said, **noted)
        self._file.write(self._encode(entry) + b"\n")
        self.calls += 1
        return result

    def close(self) -> None:
        self._file.close()


class Process:
    """What the threads of one process share."""

    def __init__(self, setup: Setup, place: int, directory: Path) -> None:
        self.setup, self.place, self._directory = setup, place, directory
        self.store, self.clock, self.hasher = setup.open_store(), Clock(setup), CountingHasher()
        self.mfa = MFA(
            self.store,
            KeyRing(setup.keys),
            policy=policy_of,
            clock=self.clock,
            hasher=self.hasher,
            hash_concurrency=ARGON2_AT_ONCE,
        )
        self.journals: list[Journal] = []

    @property
    def is_on(self) -> bool:
        """True until the storm is over."""
        return time.time() < self.setup.begins + self.setup.seconds

    def threads(self) -> list[Thread]:
        """Return the eight threads."""
        meeting = _Meeting()
        jobs = [Owners(self, number).run for number in range(OWNER_THREADS)]
        jobs += [Racer(self, number, meeting).run for number in range(RACERS)]
        jobs.append(Guesser(self).run)
        return [Thread(target=job, daemon=True) for job in jobs]

    def journal(self, name: str) -> Journal:
        """Open a page of the ledger."""
        journal = Journal(self._directory / f"{self.place}-{name}.jsonl")
        self.journals.append(journal)
        return journal


def work(setup: Setup, place: int, directory: Path, told: Connection) -> None:
    """Run one process of the storm; tell calls and resident memory now and then, then the end."""
    told.send(None)  # started; all begin together
    setup = evolve(setup, begins=told.recv())
    process, memory = Process(setup, place, directory), psutil.Process()
    threads = process.threads()
    time.sleep(max(0.0, setup.begins - time.time()))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(_SAMPLE_SECONDS)
        calls = sum(journal.calls for journal in process.journals)
        told.send((time.time() - setup.begins, calls, memory.memory_info().rss))
    for journal in process.journals:
        journal.close()
    process.store.close()
    told.send((process.hasher.most, process.hasher.runs))


class Owners:
    """A thread that does what the owners of some accounts and their mail programs do."""

    def __init__(self, process: Process, number: int) -> None:
        self._process, self._mfa, self._clock = process, process.mfa, process.clock
        self._journal = process.journal(f"owners-{number}")
        place = process.place * OWNER_THREADS + number
        self._random = random.Random(place)
        self._people = [
            _Owner(person) for person in process.setup.owners[place :: 2 * OWNER_THREADS]
        ]

    def run(self) -> None:
        """Go from one account to the next until the storm is over."""
        while self._process.is_on:
            for owner in self._people:
                if self._clock.step > owner.last_step:
                    self._sign_in(owner)
                else:
                    self._random.choices(
                        (self._mail, self._device, self._recover, self._nonsense), (92, 5, 1, 2)
                    )[0](owner)

    def _sign_in(self, owner: _Owner) -> None:
        step = owner.last_step = self._clock.step
        if owner.person.code(step) in (owner.person.code(step - 1), owner.person.code(step + 1)):
            return  # one code in a million is that of two steps
        challenge = self._challenge(owner)
        if challenge is None:
            return
        label = "browser" if self._random.random() < 0.1 else None
        answer = lambda: self._mfa.complete_login(  # noqa: E731
            challenge, owner.person.code(step), trust_device=label
        )
        noted = {"method": "totp", "item": str(step), "challenge": _short(challenge)}
        late = lambda: "either" if self._clock.step > step + _LATE_STEPS else ACCEPTED  # noqa: E731
        done = self._journal.ask("sign-in by code", owner.id, answer, expected=late, **noted)
        owner.device = getattr(done, "trusted_device", None) or owner.device
        if self._random.random() < 0.1:
            # Spent by a success: refused. After a temporary failure it may be good still.
            again = "refused" if done else "either"
            self._journal.ask("replay", owner.id, answer, expected=again, **noted)
        if done and self._random.random() < 0.2:
            self._change_passcodes(owner, done.proof)

    def _change_passcodes(self, owner: _Owner, proof: str) -> None:
        if len(owner.passcodes) < PASSCODES_MAX:
            label = f"made {next(owner.numbers)}"
            create = lambda: self._mfa.create_passcode(owner.id, label=label, proof=proof)  # noqa: E731
            new = self._journal.ask("create passcode", owner.id, create, item=label)
            if new:
                owner.passcodes[label] = new.passcode
                owner.ids[label] = new.passcode_id
            return
        label = self._random.choice(list(owner.ids))
        revoke = lambda: self._mfa.revoke_passcode(owner.id, owner.ids[label]) or True  # noqa: E731
        if self._journal.ask("revoke passcode", owner.id, revoke, item=label):
            owner.revoked = owner.passcodes.pop(label)
            del owner.ids[label]

    def _mail(self, owner: _Owner) -> None:
        label = self._random.choice(list(owner.passcodes))
        login = lambda: _mail_login(self._mfa, owner.id, owner.passcodes[label])  # noqa: E731
        self._journal.ask("mail login", owner.id, login, item=label)

    def _device(self, owner: _Owner) -> None:
        if owner.device is None:
            return
        begin = lambda: _signed_in(  # noqa: E731
            self._mfa.begin_login(owner.id, password_verified=True, trusted_device=owner.device)
        )
        self._journal.ask("sign-in by trusted device", owner.id, begin)

    def _recover(self, owner: _Owner) -> None:
        challenge = self._challenge(owner) if owner.recovery_codes else None
        if challenge is None:
            return
        slot, code = owner.recovery_codes.pop()
        answer = lambda: self._mfa.complete_login(challenge, code, method="recovery")  # noqa: E731
        noted = {"method": "recovery", "item": str(slot), "challenge": _short(challenge)}
        if self._journal.ask("sign-in by recovery code", owner.id, answer, **noted):
            owner.device = None  # a recovery ends every trust
            self._journal.ask("replay", owner.id, answer, expected="refused", **noted)
        else:
            owner.recovery_codes.append((slot, code))

    def _nonsense(self, owner: _Owner) -> None:
        """A revoked passcode, or the plain password, from a mail program."""
        login = lambda: _mail_login(self._mfa, owner.id, owner.revoked)  # noqa: E731
        self._journal.ask("mail login, refused", owner.id, login, expected="refused")

    def _challenge(self, owner: _Owner) -> str | None:
        begin = lambda: self._mfa.begin_login(owner.id, password_verified=True).challenge  # type: ignore[union-attr]  # noqa: E731
        challenge: str | None = self._journal.ask("begin sign-in", owner.id, begin)
        return challenge


class _Owner:
    """What an owner has at the moment."""

    def __init__(self, person: Person) -> None:
        self.person, self.id = person, person.account_id
        self.passcodes = dict(person.passcodes)
        self.ids: dict[str, str] = {}
        self.recovery_codes = list(enumerate(person.recovery_codes))
        self.device: str | None = None
        self.revoked = "the plain password"
        self.last_step = 0
        self.numbers = iter(range(10**9))


class _Meeting:
    """Where the two racers of a process meet, and what they race for."""

    def __init__(self) -> None:
        self.barrier = Barrier(RACERS)
        self.challenge: str | None = None


class Racer:
    """One of two threads that answer one challenge with one code at the same moment.

    The other process does so too, with another challenge: four answers, one code, one winner.
    """

    def __init__(self, process: Process, number: int, meeting: _Meeting) -> None:
        self._process, self._mfa, self._clock = process, process.mfa, process.clock
        self._journal = process.journal(f"racer-{number}")
        self._is_first, self._meeting = number == 0, meeting
        self._first_step = BEGIN // PERIOD_SECONDS

    def run(self) -> None:
        """Race for each account's code in each time step."""
        step = self._clock.step
        try:
            while self._process.is_on:
                for person in self._process.setup.raced:
                    self._race(person, step)
                while self._process.is_on and self._clock.step <= step:
                    time.sleep(0.005)
                step += 1
        finally:
            self._meeting.barrier.abort()

    def _race(self, person: Person, step: int) -> None:
        code, noted = person.code(step), {"method": "totp", "item": str(step)}
        slot = (step - self._first_step) // 10
        if (step - self._first_step) % 10 == 5 and slot < len(person.recovery_codes):
            code, noted = person.recovery_codes[slot], {"method": "recovery", "item": str(slot)}
        elif code in (person.code(step - 1), person.code(step + 1)):
            return
        try:
            if self._is_first:
                self._meeting.challenge = self._begin(person)
            self._meeting.barrier.wait()
            challenge = self._meeting.challenge
            if challenge is not None:
                self._answer(person, challenge, code, noted)
            self._meeting.barrier.wait()
        except BrokenBarrierError:
            return  # the other one has seen the end

    def _begin(self, person: Person) -> str | None:
        begin = lambda: self._mfa.begin_login(person.account_id, password_verified=True).challenge  # type: ignore[union-attr]  # noqa: E731
        challenge: str | None = self._journal.ask("begin sign-in", person.account_id, begin)
        return challenge

    def _answer(self, person: Person, challenge: str, code: str, noted: dict[str, str]) -> None:
        method: Any = noted["method"]
        answer = lambda: self._mfa.complete_login(challenge, code, method=method)  # noqa: E731
        self._journal.ask(
            "race",
            person.account_id,
            answer,
            expected="either",
            challenge=_short(challenge),
            **noted,
        )


class Guesser:
    """Knows the password of one account and a passcode's first group, and tries the rest.

    Meanwhile the owner's mail program logs in with the passcode.
    """

    def __init__(self, process: Process) -> None:
        self._process, self._mfa = process, process.mfa
        self._journal = process.journal("guesser")
        self._victim = process.setup.guessed
        self._wrong = _never_shown(self._victim)

    def run(self) -> None:
        """Guess until the storm is over."""
        self._process.clock.attack()
        victim, passcode = self._victim.account_id, self._victim.passcodes["first 0"]
        flipped = "".join("b" if letter == "a" else "a" for letter in passcode[5:] if letter != " ")
        wrong = lambda: _mail_login(self._mfa, victim, passcode[:4] + flipped)  # noqa: E731
        right = lambda: _mail_login(self._mfa, victim, passcode)  # noqa: E731
        while self._process.is_on:
            self._journal.ask(
                "guessed code", victim, self._guess, expected="refused", method="totp", item="wrong"
            )
            if self._journal.calls % 20 == 1:
                self._journal.ask("guessed passcode", victim, wrong, expected="refused")
                self._journal.ask("owner under attack", victim, right)
            time.sleep(0.002)

    def _guess(self) -> Any:
        step = self._mfa.begin_login(self._victim.account_id, password_verified=True)
        return self._mfa.complete_login(step.challenge, self._wrong)


def _never_shown(person: Person) -> str:
    """Return six digits that the phone never shows while it is guessed at."""
    first, steps = BEGIN // PERIOD_SECONDS, GUESSED_FOR_SECONDS // PERIOD_SECONDS
    shown = {person.code(first + step) for step in range(-3, steps + 1000)}
    return next(code for number in range(10**6) if (code := f"{number:06d}") not in shown)


def _mail_login(mfa: MFA, account_id: str, credential: str) -> Any:
    return mfa.authenticate_client(
        account_id, credential, protocol="imap", check_password=_ask_no_password
    )


def _ask_no_password(_: str) -> Any:
    raise AssertionError("The password must not be asked for while two-step is on.")


def _signed_in(step: Any) -> Any:
    """Insist on a sign-in without a code."""
    assert step.method == "trusted_device"
    return step


def _short(challenge: str) -> str:
    """Return what stands for a challenge in the ledger."""
    return hashlib.sha256(challenge.encode()).hexdigest()[:24]
