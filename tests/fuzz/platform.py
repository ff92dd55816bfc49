"""A platform whose every random byte is known, so that an input means the same in each process."""

from __future__ import annotations

from hashlib import sha256
from itertools import count

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, Policy
from mfakit.core.secret import Secret
from mfakit.hashing import Hasher
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

ANN = "ann"
KEYS = KeyRing({"k1": bytes(range(32))})
POLICY = Policy(issuer="Example Mail")


class KnownRandom:
    """Give SHA-256 of 0, 1, 2 …: no bytes twice."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self, length: int) -> bytes:
        blocks = [self._block() for _ in range(-(-length // 32))]
        return b"".join(blocks)[:length]

    def _block(self) -> bytes:
        return sha256(str(next(self._numbers)).encode()).digest()


class UnsaltedHasher(CheapHasher):
    """Hash without salt."""

    def hash(self, secret: Secret, policy: Policy) -> str:
        """Return `$cheap$salt$hash`, always with the same salt."""
        return f"$cheap$00${sha256(b'00' + secret.reveal()).hexdigest()}"


class Platform:
    """`MFA` in memory, and Ann with a phone, recovery codes, a passcode and a trusted device."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self.clock = FixedClock()
        self.store = MemoryStore()
        self.mfa = MFA(
            self.store, KEYS, policy=POLICY, clock=self.clock, hasher=hasher or UnsaltedHasher()
        )
        self.vault = self.mfa._env.vault
        self.vault.random = KnownRandom()
        self.rows: list[StoredRecord] = []
        self._enroll()
        self.clock.advance(60)
        self._log_in()
        self.passcode = self.mfa.create_passcode(ANN, label="Phone", proof=self.proof).passcode
        self.keep()
        self.clock.advance(60)

    def _enroll(self) -> None:
        proof = self.mfa.password_proof(ANN, password_verified=True)
        self.offer = self.mfa.begin_enrollment(ANN, account_name="ann@example.com", proof=proof)
        self.phone = VirtualAuthenticator(self.offer.uri)
        self.keep()
        enrolled = self.mfa.confirm_enrollment(self.offer.token, self.code())
        assert isinstance(enrolled, Enrolled)
        self.recovery_codes = enrolled.recovery_codes
        self.keep()

    def _log_in(self) -> None:
        done = self.mfa.complete_login(self.challenge(), self.code(), trust_device="Firefox")
        assert done.proof is not None
        assert done.trusted_device is not None
        self.proof, self.device_token = done.proof, done.trusted_device

    def code(self, steps: int = 0) -> str:
        """Return the code that the phone shows now, or `steps` later."""
        return self.phone.code(self.clock.now, steps=steps)

    def challenge(self, bound_to: str | None = None) -> str:
        """Give the password."""
        step = self.mfa.begin_login(ANN, password_verified=True, bound_to=bound_to)
        assert isinstance(step, CodeRequired)
        return step.challenge

    @property
    def row(self) -> StoredRecord:
        """Ann's row as it stands."""
        row = self.store.load(ANN)
        assert row is not None
        return row

    def keep(self) -> None:
        """Remember Ann's row, to be put back."""
        self.rows.append(self.row)

    def put_back(self, row: StoredRecord | None = None) -> None:
        """Make a row Ann's, or the last one that was kept."""
        self.store._rows[ANN] = row or self.rows[-1]
