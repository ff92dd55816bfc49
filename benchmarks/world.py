"""An account as the benchmarks use it: one authenticator, ten recovery codes, some passcodes."""

from __future__ import annotations

from typing import Any

from mfakit import MFA, Enrolled, KeyRing
from mfakit.hashing import Hasher
from mfakit.storage import Store
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

ACCOUNT = "account-17"


class World:
    """One enrolled account, a clock that only the benchmark moves, and the phone."""

    def __init__(self, store: Store, *, passcodes: int = 3, hasher: Hasher | None = None) -> None:
        self.clock = FixedClock()
        keys = KeyRing.from_text(KeyRing.generate_entry("2026"))
        self.mfa = MFA(store, keys, clock=self.clock, hasher=hasher or CheapHasher())
        self.phone = self._enroll()
        self.passcodes = [self._create_passcode(number) for number in range(passcodes)]

    def next_code(self) -> str:
        """Move the clock to the next time step and return its code."""
        self.clock.advance(30)
        return self.phone.code(self.clock.now)

    def verify_code(self, code: str) -> object:
        """Check a code of the authenticator."""
        return self.mfa.verify_code(ACCOUNT, code)

    def mail_login(self, credential: str) -> object:
        """Sign a mail client in."""
        return self.mfa.authenticate_client(
            ACCOUNT, credential, protocol="imap", check_password=_no_password
        )

    def _enroll(self) -> VirtualAuthenticator:
        proof = self.mfa.password_proof(ACCOUNT, password_verified=True)
        offer = self.mfa.begin_enrollment(ACCOUNT, account_name="ann@example.com", proof=proof)
        phone = VirtualAuthenticator(offer.uri)
        done = self.mfa.confirm_enrollment(offer.token, phone.code(self.clock.now))
        assert isinstance(done, Enrolled)
        return phone

    def _create_passcode(self, number: int) -> str:
        proof = self.mfa.verify_code(ACCOUNT, self.next_code())
        return self.mfa.create_passcode(ACCOUNT, label=f"Phone {number}", proof=proof).passcode


def _no_password(_: str) -> Any:
    raise AssertionError("The password must not be asked for while two-step is on.")
