"""What a mail client's login costs: one Argon2 run at most, none while it is remembered."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from benchmarks.timing import Claim, Section, interleave
from benchmarks.world import World
from mfakit import Argon2Hasher, Policy
from mfakit.core.secret import Secret
from mfakit.errors import CredentialRefusedError
from mfakit.storage.sqlite import SQLiteStore

TIMES_FASTER_THAN_ARGON2 = 500.0
_LETTERS = "abcdefghjkmnpqrstuvwxyz"


class CountingHasher(Argon2Hasher):
    """Argon2 that counts its checks."""

    def __init__(self) -> None:
        self.verified = 0

    def verify(self, stored: str, secret: Secret) -> bool:
        """Count, then check."""
        self.verified += 1
        return super().verify(stored, secret)


def run(*, is_quick: bool) -> Section:
    """Count Argon2 runs, and measure a remembered passcode against one run."""
    with tempfile.TemporaryDirectory() as directory:
        one = _Account(Path(directory) / "1.db", passcodes=1)
        many = _Account(Path(directory) / "25.db", passcodes=25)
        counted = (
            _exactly("Argon2 runs, wrong one, 1 passcode", one.runs(one.wrong()), 1),
            _exactly("Argon2 runs, wrong one, 25 passcodes", many.runs(many.wrong()), 1),
            _exactly("Argon2 runs, right one, 25 passcodes", many.runs(many.right), 1),
            _exactly("Argon2 runs, remembered", many.runs(many.right), 0),
            _exactly("Argon2 runs, unknown selector", many.runs(many.unknown()), 0),
        )
        return _measure(one, counted, 15 if is_quick else 61)


def _measure(account: _Account, counted: tuple[Claim, ...], rounds_count: int) -> Section:
    account.runs(account.right)
    secret = Secret(b"abcdefghjkmnpqrs")
    hasher = Argon2Hasher()
    stored = hasher.hash(secret, Policy())
    contenders = {
        "mfakit authenticate_client, remembered": lambda: account.world.mail_login(account.right),
        "one Argon2id run, t2 m19MiB p1": lambda: hasher.verify(stored, secret),
    }
    mfakit, argon2 = contenders
    # Turns of similar length: one run of Argon2 sweeps the processor's caches.
    rounds = interleave(contenders, rounds=rounds_count, calls={mfakit: 50, argon2: 1})
    faster = Claim(
        name="faster than one Argon2 run",
        value=rounds.ratio(argon2, mfakit),
        at_least=TIMES_FASTER_THAN_ARGON2,
    )
    return Section(
        title="Passcodes of mail clients",
        microseconds=rounds.microseconds(),
        claims=(*counted, faster),
    )


class _Account:
    def __init__(self, path: Path, *, passcodes: int) -> None:
        self.hasher = CountingHasher()
        store = SQLiteStore(path, synchronous="NORMAL")
        self.world = World(store, passcodes=passcodes, hasher=self.hasher)
        self.right = self.world.passcodes[-1]
        self._number = count()

    def wrong(self) -> str:
        """Return a passcode of the account with another verifier."""
        return self.right[:4] + _LETTERS[next(self._number) % 23] * 16

    def unknown(self) -> str:
        """Return a passcode that begins as none of the account does."""
        taken = {one[:4] for one in self.world.passcodes}
        return next(4 * one for one in _LETTERS if 4 * one not in taken) + "a" * 16

    def runs(self, credential: str) -> int:
        """Return how many Argon2 runs one login takes."""
        before = self.hasher.verified
        with suppress(CredentialRefusedError):
            self.world.mail_login(credential)
        return self.hasher.verified - before


def _exactly(name: str, value: int, target: int) -> Claim:
    return Claim(name=name, value=value, at_least=target, at_most=target)
