"""An account as the benchmarks use it: one authenticator, ten recovery codes, some passcodes."""

from __future__ import annotations

from typing import Any

from mfakit import MFA, Enrolled, KeyRing
from mfakit.hashing import Hasher
from mfakit.storage import Store, StoredRecord
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

ACCOUNT = "account-17"


def new_keys() -> KeyRing:
    """Return a key ring of one new key."""
    return KeyRing.from_text(KeyRing.generate_entry("2026"))


class World:
    """One enrolled account, a clock that only the benchmark moves, and the phone."""

    def __init__(
        self,
        store: Store,
        *,
        account_id: str = ACCOUNT,
        passcodes: int = 3,
        hasher: Hasher | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self.account_id = account_id
        self.clock = FixedClock()
        self._store = store
        self.mfa = MFA(store, keys or new_keys(), clock=self.clock, hasher=hasher or CheapHasher())
        self.phone = self._enroll()
        self.passcodes = [self._create_passcode(number) for number in range(passcodes)]

    def row(self) -> StoredRecord:
        """Return the account's row as it is stored."""
        row = self._store.load(self.account_id)
        assert row is not None
        return row

    def next_code(self) -> str:
        """Move the clock to the next time step and return its code."""
        self.clock.advance(30)
        return self.phone.code(self.clock.now)

    def add_phone(self, label: str) -> None:
        """Add another authenticator app, whose codes nobody types."""
        proof = self.mfa.verify_code(self.account_id, self.next_code())
        offer = self.mfa.begin_enrollment(
            self.account_id, account_name="ann@example.com", label=label, proof=proof
        )
        self.mfa.confirm_enrollment(
            offer.token, VirtualAuthenticator(offer.uri).code(self.clock.now)
        )

    def codes(self, number: int) -> list[str]:
        """Return the codes of the next time steps; `verify_next` expects each in its turn."""
        return [self.phone.code(self.clock.now, steps=step) for step in range(1, number + 1)]

    def verify_next(self, code: str) -> object:
        """Move the clock to the next time step and check its code."""
        self.clock.advance(30)
        return self.mfa.verify_code(self.account_id, code)

    def mail_login(self, credential: str) -> object:
        """Sign a mail client in."""
        return mail_login(self.mfa, self.account_id, credential)

    def _enroll(self) -> VirtualAuthenticator:
        proof = self.mfa.password_proof(self.account_id, password_verified=True)
        offer = self.mfa.begin_enrollment(
            self.account_id, account_name="ann@example.com", proof=proof
        )
        phone = VirtualAuthenticator(offer.uri)
        done = self.mfa.confirm_enrollment(offer.token, phone.code(self.clock.now))
        assert isinstance(done, Enrolled)
        return phone

    def _create_passcode(self, number: int) -> str:
        proof = self.mfa.verify_code(self.account_id, self.next_code())
        return self.mfa.create_passcode(
            self.account_id, label=f"Phone {number}", proof=proof
        ).passcode


def mail_login(mfa: MFA, account_id: str, credential: str) -> object:
    """Sign a mail client in."""
    return mfa.authenticate_client(
        account_id, credential, protocol="imap", check_password=_no_password
    )


def _no_password(_: str) -> Any:
    raise AssertionError("The password must not be asked for while two-step is on.")
