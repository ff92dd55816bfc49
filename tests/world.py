"""One platform in a box: an `MFA` on a store, a clock that stands still, phones, and its events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, evolve

from mfakit import (
    DEFAULT,
    MFA,
    AuditEvent,
    AuthenticatorAdded,
    ClientSignedIn,
    CodeRequired,
    Enrolled,
    KeyRing,
    Policy,
    SignedIn,
)
from mfakit.errors import ThrottledError, WrongCodeError
from mfakit.storage import Store, StoredRecord
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

# 2027-01-15 08:00:00 UTC: the first second of a time step of 15, 30, 60 and 120 seconds.
START = 1_800_000_000
PERIOD = 30
PASSWORD = "correct horse battery staple"
Proof = Any


@define
class Person:
    """An enrolled account: its phone and its recovery codes."""

    id: str
    app: VirtualAuthenticator
    recovery_codes: list[str]
    enrolled: Enrolled

    @property
    def authenticator_id(self) -> str:
        return self.enrolled.authenticator_id


class PasswordBook:
    """The platform's password check: one password, and how often it was asked."""

    def __init__(self, answer: Callable[[], Any] | None = None) -> None:
        self.asked: list[str] = []
        self._answer = answer

    def checker(self, account_id: str) -> Callable[[str], Any]:
        def check(password: str) -> Any:
            self.asked.append(password)
            if self._answer is not None:
                return self._answer()
            return account_id if password == PASSWORD else None

        return check


class World:
    """Everything that a test at the level of `MFA` needs.

    `policy` may be exchanged at any moment; `mfa` reads it on each call.
    """

    def __init__(self, store: Store, policy: Policy = DEFAULT) -> None:
        self.store = store
        self.policy = policy
        self.clock = FixedClock(START)
        self.hasher = CheapHasher()
        self.events: list[AuditEvent] = []
        self.keys: dict[str, bytes] = {"k1": bytes(range(32))}
        self.mfa = self.make_mfa()

    # -- the platform

    def make_mfa(self, **changes: Any) -> MFA:
        """Return another process of the same platform."""
        settings: dict[str, Any] = {
            "policy": lambda _: self.policy,
            "events": self.events.append,
            "clock": self.clock,
            "hasher": self.hasher,
        }
        return MFA(self.store, KeyRing(self.keys), **settings | changes)

    def set_policy(self, **changes: Any) -> None:
        self.policy = evolve(self.policy, **changes)

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now, UTC)

    def later(self, **units: float) -> datetime:
        """Return a moment from now, as `timedelta` counts."""
        return self.now + timedelta(**units)

    def pass_time(self, **units: float) -> None:
        self.clock.advance(timedelta(**units).total_seconds())

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events]

    def row(self, account_id: str) -> StoredRecord | None:
        return self.store.load(account_id)

    # -- codes

    def code(self, app: VirtualAuthenticator, steps: int = 0) -> str:
        """Return the code that the app shows now, or `steps` later."""
        return app.code(self.clock.now, steps=steps)

    def fresh_code(self, app: VirtualAuthenticator) -> str:
        """Wait for the next code and return it."""
        self.clock.advance(app.period_seconds)
        return self.code(app)

    def wrong_code(self, *apps: VirtualAuthenticator) -> str:
        """Return six digits that none of the apps shows within 25 steps."""
        shown = {self.code(app, steps) for app in apps for steps in range(-25, 26)}
        return next(text for n in range(2000) if (text := f"{n:06d}") not in shown)

    # -- what people do

    def enroll(self, account_id: str = "ann") -> Person:
        """Set two-step up with the password, as the wizard does."""
        token = self.mfa.password_proof(account_id, password_verified=True)
        offer = self.mfa.begin_enrollment(
            account_id, account_name=f"{account_id}@example.com", proof=token, label="Phone"
        )
        app = VirtualAuthenticator(offer.uri)
        done = self.mfa.confirm_enrollment(offer.token, self.code(app))
        assert isinstance(done, Enrolled)
        return Person(account_id, app, list(done.recovery_codes), done)

    def add_app(
        self, person: Person, label: str = "Spare", replaces: str | None = None
    ) -> tuple[VirtualAuthenticator, AuthenticatorAdded]:
        """Add another authenticator to an enrolled account."""
        offer = self.mfa.begin_enrollment(
            person.id,
            account_name="ann@example.com",
            proof=self.proof(person),
            label=label,
            replaces=replaces,
        )
        app = VirtualAuthenticator(offer.uri)
        added = self.mfa.confirm_enrollment(offer.token, self.code(app))
        assert isinstance(added, AuthenticatorAdded)
        return app, added

    def challenge(self, person: Person, **request: Any) -> str:
        """Give the password; return the challenge."""
        step = self.mfa.begin_login(person.id, password_verified=True, **request)
        assert isinstance(step, CodeRequired)
        return step.challenge

    def sign_in(self, person: Person, **request: Any) -> SignedIn:
        """Sign in with the password and the phone's next code."""
        challenge = self.challenge(person)
        return self.mfa.complete_login(challenge, self.fresh_code(person.app), **request)

    def recover(self, person: Person, code: str, **request: Any) -> SignedIn:
        """Sign in with the password and a recovery code."""
        challenge = self.challenge(person)
        return self.mfa.complete_login(challenge, code, method="recovery", **request)

    def proof(self, person: Person) -> Proof:
        """Return an MFA proof by the phone's next code."""
        return self.mfa.verify_code(person.id, self.fresh_code(person.app))

    def recovery_proof(self, person: Person) -> Proof:
        """Return an MFA proof by a recovery code, which is then gone."""
        code = person.recovery_codes.pop(0)
        return self.mfa.verify_code(person.id, code, method="recovery")

    def passcode(self, person: Person, label: str = "Mail", **request: Any) -> Any:
        """Make an application passcode."""
        proof = self.proof(person)
        return self.mfa.create_passcode(person.id, label=label, proof=proof, **request)

    def trust(self, person: Person, label: str = "Firefox", **request: Any) -> str:
        """Sign in and trust the device; return its token."""
        done = self.sign_in(person, trust_device=label, **request)
        assert done.trusted_device is not None
        return done.trusted_device

    def is_trusted(self, person: Person, token: str | None, **request: Any) -> bool:
        """Say whether a sign-in with the token needs no code."""
        step = self.mfa.begin_login(
            person.id, password_verified=True, trusted_device=token, **request
        )
        return isinstance(step, SignedIn)

    def client(
        self,
        person_or_id: Person | str,
        credential: str,
        protocol: str = "imap",
        book: PasswordBook | None = None,
        **request: Any,
    ) -> ClientSignedIn:
        """Sign in as a mail client does."""
        account_id = person_or_id if isinstance(person_or_id, str) else person_or_id.id
        check = (book or PasswordBook()).checker(account_id)
        return self.mfa.authenticate_client(
            account_id, credential, protocol=protocol, check_password=check, **request
        )

    def fail(self, person: Person, times: int, *, method: Any = "totp") -> None:
        """Type wrong codes after the password, waiting as long as each wait says."""
        counted = 0
        while counted < times:
            code = self.wrong_code(person.app) if method == "totp" else "0" + "Z" * 15
            try:
                self.mfa.complete_login(self.challenge(person), code, method=method)
            except ThrottledError as wait:
                self.clock.now = wait.retry_at.timestamp()
            except WrongCodeError:
                counted += 1

    def lock(self, person: Person, cap: int = 50) -> None:
        """Reach the cap: 50 wrong codes in a row after the password."""
        self.fail(person, cap)
        assert self.mfa.status(person.id).is_locked
