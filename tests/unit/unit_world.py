"""A small platform for the unit tests: one `MFA` in memory, and an account with everything on."""

from __future__ import annotations

from typing import Any

from attrs import define

from mfakit import MFA, AuditEvent, CodeRequired, Enrolled, KeyRing, Policy
from mfakit.core.record import Record, decode_record
from mfakit.core.sealing import Vault
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

KEY = bytes(range(100, 132))
PASSWORD = "correct horse battery staple"


def vault_of(mfa: MFA) -> Vault:
    """Return the vault that an `MFA` seals with."""
    return mfa._env.vault


@define(kw_only=True)
class Owner:
    """An account with two-step on, and every secret that its owner was shown."""

    account_id: str
    phone: VirtualAuthenticator
    secret_text: str
    authenticator_id: str
    recovery_codes: tuple[str, ...]
    passcode: str
    passcode_id: str
    device_token: str
    proof: str
    epoch: str


class World:
    """`MFA` over a memory store, with a clock that stands still and a list of events."""

    def __init__(self, policy: Policy | None = None, **options: Any) -> None:
        self.clock = FixedClock()
        self.store = options.pop("store", None) or MemoryStore()
        self.events: list[AuditEvent] = []
        self.hasher = CheapHasher()
        self.keys = options.pop("keys", None) or KeyRing({"2027": KEY})
        defaults: dict[str, Any] = {"events": self.events.append, "hasher": self.hasher}
        self.mfa = MFA(
            self.store, self.keys, policy=policy or Policy(), clock=self.clock, **defaults | options
        )

    def enroll(self, account_id: str = "ann") -> tuple[Enrolled, VirtualAuthenticator, str]:
        """Turn two-step on; return the result, the phone and the key's text."""
        proof = self.mfa.password_proof(account_id, password_verified=True)
        offer = self.mfa.begin_enrollment(account_id, account_name="ann@example.com", proof=proof)
        phone = VirtualAuthenticator(offer.uri)
        done = self.mfa.confirm_enrollment(offer.token, phone.code(self.clock.now))
        assert isinstance(done, Enrolled)
        return done, phone, offer.secret_text

    def challenge(self, account_id: str = "ann", **options: Any) -> str:
        """Begin a sign-in and return its challenge."""
        step = self.mfa.begin_login(account_id, password_verified=True, **options)
        assert isinstance(step, CodeRequired)
        return step.challenge

    def owner(self, account_id: str = "ann") -> Owner:
        """Return an account with an authenticator, a passcode and a trusted device."""
        enrolled, phone, secret_text = self.enroll(account_id)
        self.clock.advance(60)
        done = self.mfa.complete_login(
            self.challenge(account_id), phone.code(self.clock.now), trust_device="Firefox"
        )
        assert done.proof is not None
        assert done.trusted_device is not None
        new = self.mfa.create_passcode(account_id, label="Phone", proof=done.proof)
        return Owner(
            account_id=account_id,
            phone=phone,
            secret_text=secret_text,
            authenticator_id=enrolled.authenticator_id,
            recovery_codes=enrolled.recovery_codes,
            passcode=new.passcode,
            passcode_id=new.passcode_id,
            device_token=done.trusted_device,
            proof=done.proof,
            epoch=done.epoch,
        )

    def record(self, account_id: str = "ann") -> Record:
        """Return the account's record as it is stored."""
        stored = self.store.load(account_id)
        assert stored is not None
        return decode_record(stored, vault_of(self.mfa))
