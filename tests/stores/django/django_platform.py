"""What a platform has: its MFA, which the setting MFAKIT names, and accounts."""

from __future__ import annotations

from mfakit import MFA, Enrolled, KeyRing, Policy
from mfakit.storage.django import DjangoStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

clock = FixedClock(1_800_000_000)
mfa = MFA(
    DjangoStore(),
    KeyRing({"2027": b"k" * 32}),
    policy=Policy(issuer="Example", code_failures_max=10),
    clock=clock,
    hasher=CheapHasher(),
)


def get_mfa() -> MFA:
    return mfa


def enroll(account_id: str) -> Enrolled:
    proof = mfa.password_proof(account_id, password_verified=True)
    offer = mfa.begin_enrollment(account_id, account_name="a", label="Ann's phone", proof=proof)
    done = mfa.confirm_enrollment(offer.token, VirtualAuthenticator(offer.uri).code(clock.now))
    assert isinstance(done, Enrolled)
    return done
