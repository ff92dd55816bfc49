"""The whole account against a model written by hand: any calls, in any order, at any time.

The model knows the design and nothing of the code: its states are letters, its codes come from pyotp,
its numbers stand below. After each step the account must be where the model is: state, epoch, waits,
counts. Hypothesis looks for a sequence that parts them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from mfakit import (
    MFA,
    AuthenticatorAdded,
    ClientSignedIn,
    CodeRequired,
    Enrolled,
    EnrollmentRequired,
    KeyRing,
    MFAKitError,
    Policy,
    SignedIn,
)
from mfakit.core.sealing import Vault
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

POLICY = Policy(
    issuer="Example",
    code_failures_max=8,
    code_failures_in_30_days_max=14,
    authenticators_max=3,
    offer_wrong_codes_max=3,
    recovery_codes=4,
    recovery_codes_low=1,
    passcodes_max=3,
    passcode_days_max=3,
    trusted_devices_max=2,
)
BY = {"actor": "operator", "reason": "ticket"}
STATES = {
    "N": "not_enrolled",
    "G": "enrolling",
    "E": "enrolled",
    "P": "enrolled_offer",
    "L": "locked",
    "R": "locked_offer",
}
OFFERED = {"N": "G", "G": "G", "E": "P", "P": "P", "L": "R", "R": "R"}
DROPPED = {"N": "N", "G": "N", "E": "E", "P": "E", "L": "L", "R": "L"}
DAY = 86_400


@dataclass
class App:
    """An authenticator as its owner and the design see it."""

    id: str
    phone: VirtualAuthenticator
    last_step: int = -1
    offset: int = 0
    accepted: set[int] = field(default_factory=set)

    def steps_showing(self, code: str, steps: Iterable[int]) -> list[int]:
        return [step for step in steps if step >= 0 and self.phone.code(30 * step) == code]


@dataclass
class Offer:
    token: str
    phone: VirtualAuthenticator
    offered_at: int
    replaces: str | None
    wrong: int = 0


@dataclass
class Token:
    """A challenge or a proof."""

    text: str
    epoch: str
    issued_at: int
    earned_by: str = ""
    is_spent: bool = False


@dataclass
class Passcode:
    id: str
    text: str
    label: str
    protocols: tuple[str, ...] | None
    expires_at: int | None
    created_at: int
    last_used_at: int | None = None

    def ends_at(self, now: int) -> int:
        """Its own day, or three days after it was made."""
        longest = min(self.created_at, now) + 3 * DAY
        return longest if self.expires_at is None else min(self.expires_at, longest)


@dataclass
class Device:
    text: str
    created_at: int


@dataclass
class Failures:
    """A run of wrong codes: 1-4 free, then 30 s, doubling up to an hour."""

    in_a_row: int = 0
    in_sessions: int = 0  # of these
    last_at: int = 0
    days: list[int] = field(default_factory=list)

    def retry_at(self, now: int) -> int | None:
        if self.in_a_row < 5:
            return None
        until = min(self.last_at, now) + min(30 * 2 ** (self.in_a_row - 5), 3600)
        return until if until > now else None

    def add(self, now: int, in_session: bool) -> None:
        today = now // DAY
        self.days = [min(day, today) for day in self.days if day > today - 30] + [today]
        self.in_a_row, self.last_at = self.in_a_row + 1, now
        self.in_sessions += in_session

    def clear_run(self) -> None:
        self.in_a_row, self.in_sessions, self.last_at = 0, 0, 0

    def is_at_cap(self, now: int) -> bool:
        recent = sum(day > now // DAY - 30 for day in self.days)
        return self.in_a_row >= 8 or recent >= 14


@dataclass
class Model:
    """What the design says about one account."""

    state: str = "N"
    exists: bool = False
    epoch: str = "none"
    is_first_epoch: bool = False
    apps: list[App] = field(default_factory=list)
    offer: Offer | None = None
    recovery: list[str] | None = None  # codes left; None: there never was a set
    recovery_set: str = ""
    passcodes: list[Passcode] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    codes: Failures = field(default_factory=Failures)
    session_failures: int = 0
    is_forgotten: bool = False
    failed_since_last: int = 0
    is_suspect: bool = False
    must_reenroll: bool = False
    updated_at: int = 0

    @property
    def is_off(self) -> bool:
        return self.state in "NG"

    def wrote(self, now: int) -> None:
        self.exists = True
        self.updated_at = max(now, self.updated_at)

    def offer_is_over(self, now: int) -> bool:
        return self.offer is not None and now >= min(self.offer.offered_at, now) + 600

    def settle(self, now: int) -> None:
        """Do what comes before every decision: times of a clock that was ahead, an old offer."""
        if self.exists and self.updated_at > now + 60:
            self.updated_at = now
            if self.offer:
                self.offer.offered_at = min(self.offer.offered_at, now)
            for device in self.devices:
                device.created_at = min(device.created_at, now)
            for passcode in self.passcodes:
                if passcode.last_used_at is not None:
                    passcode.last_used_at = min(passcode.last_used_at, now)
            self.codes.last_at = min(self.codes.last_at, now)
        if self.offer_is_over(now):
            self.drop_offer()
            self.wrote(now)

    def drop_offer(self) -> None:
        self.state, self.offer = DROPPED[self.state], None

    def turn_off(self) -> None:
        self.state, self.offer = "N", None
        self.apps, self.passcodes, self.devices = [], [], []
        self.recovery, self.recovery_set = None, ""

    def living_devices(self, now: int) -> list[Device]:
        return [one for one in self.devices if now < min(one.created_at, now) + 30 * DAY]


class Account(RuleBasedStateMachine):
    """One account, its owner, its operator, and whoever tries things."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(7)
        self.clock = FixedClock(1_800_000_000)
        self.store = LoggedStore()
        keys = KeyRing({"k": b"k" * 32})
        self.mfa = MFA(self.store, keys, policy=POLICY, clock=self.clock, hasher=CheapHasher())
        vault = Vault(keys, "mail", self.random.randbytes)
        self.mfa._env = replace(self.mfa._env, vault=vault)  # the same run each time
        self.model = Model()
        self.seen_epochs: set[str] = set()
        self.dead_epochs: list[str] = []
        self.challenges: list[Token] = []
        self.proofs: list[Token] = []
        self.offers: list[Offer] = []
        self.used_codes: list[str] = []
        self.dead_recovery: list[str] = []
        self.dead_passcodes: list[str] = []
        self.dead_devices: list[str] = []
        self.imported = 0

    # -- helpers

    @property
    def now(self) -> int:
        return int(self.clock.now)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Return what a call of `MFA` came to, an error by its name."""
        try:
            return getattr(self.mfa, name)(*args, **kwargs)
        except MFAKitError as error:
            return type(error).__name__

    def new_epoch(self) -> None:
        """The epoch rose: a new one, never seen; what lived under the old one is dead."""
        self.dead_epochs.append(self.model.epoch)
        self.take_epoch()
        self.model.is_first_epoch = False
        self.model.session_failures = 0
        self.dead_devices += [one.text for one in self.model.devices]
        self.model.devices, self.model.offer = [], None

    def take_epoch(self) -> None:
        epoch = self.mfa.status("ann").epoch
        assert epoch not in self.seen_epochs
        assert epoch != "none"
        self.seen_epochs.add(epoch)
        self.model.epoch = epoch

    def first_record(self) -> None:
        """A record is made on the first write; its epoch is new, older sessions go on."""
        if not self.model.exists:
            self.model.is_first_epoch = True
            self.take_epoch()

    def lose_factors(self) -> None:
        self.dead_passcodes += [one.text for one in self.model.passcodes]
        self.dead_recovery += self.model.recovery or []
        self.dead_devices += [one.text for one in self.model.devices]
        self.model.turn_off()

    def pick_proof(self, data: st.DataObject) -> Token:
        """A proof of the last few; mostly one that is good, if there is one."""
        few = [Token("garbage", "", 0), *self.proofs[-3:]]
        good = [one for one in few if self.proof_is_good(one)]
        return data.draw(st.sampled_from(good * 4 + few))

    def proof_is_good(self, proof: Token) -> bool:
        model = self.model
        if model.is_off:
            live = {"password"}
        else:
            live = {model.recovery_set} if model.recovery is not None else set()
            live |= {app.id for app in model.apps} if model.state in "EP" else set()
        is_alive = -60 <= self.now - proof.issued_at < 300
        return proof.epoch == model.epoch and is_alive and proof.earned_by in live

    def keep_proof(self, text: str | None, earned_by: str) -> None:
        assert text is not None
        self.proofs.append(Token(text, self.model.epoch, self.now, earned_by))

    def code_of(self, data: st.DataObject, phones: list[VirtualAuthenticator]) -> str:
        """A code that somebody might type: shown near now, used before, wrong, or none at all."""
        kind = data.draw(
            st.sampled_from(["shown", "shown", "shown", "shown", "near", "used", "wrong", "no"])
        )
        if kind in ("shown", "near") and phones:
            phone = data.draw(st.sampled_from(phones))
            steps = 0 if kind == "shown" else data.draw(st.integers(-3, 3))
            return phone.code(max(self.now, 0), steps=steps)
        if kind == "used" and self.used_codes:
            return data.draw(st.sampled_from(self.used_codes[-4:]))
        if kind == "no":
            return data.draw(st.sampled_from(["", "12345", "1234567", "12345a", "\u0661" * 6]))
        return self.wrong_code(phones)

    def judge_code(self, code: str, in_session: bool) -> tuple[str, str]:
        """Say what the design makes of a code: an error's name, or "" and who earned it."""
        model, now = self.model, self.now
        if model.is_off:
            return "NotEnrolledError", ""
        if model.state in "LR":
            return "SecondFactorLockedError", ""
        if model.codes.retry_at(now) is not None:
            return "ThrottledError", ""
        if not (len(code) == 6 and code.isascii() and code.isdigit()):
            return "WrongCodeError", ""  # is no code: costs nothing
        windows = {
            app.id: range(now // 30 + app.offset - 1, now // 30 + app.offset + 2)
            for app in model.apps
        }
        usable = [app for app in model.apps if app.last_step < windows[app.id].stop]
        if not usable:
            return "ClockError", ""
        matched = []
        for app in usable:
            steps = app.steps_showing(code, windows[app.id])
            fresh = [step for step in steps if step > app.last_step]
            matched += [(app, fresh[0])] if fresh else []
        if not matched:
            return self.count_wrong_code(in_session), ""
        for app, step in matched:
            assert step not in app.accepted
            app.accepted.add(step)
            app.last_step = step
        model.codes.clear_run()
        model.wrote(now)
        self.used_codes.append(code)
        return "", matched[0][0].id

    def count_wrong_code(self, in_session: bool) -> str:
        model, now = self.model, self.now
        model.codes.add(now, in_session)
        if model.codes.is_at_cap(now):
            model.state, model.offer = "L", None
            # Who guessed in sessions alone had no password.
            model.is_suspect |= model.codes.in_a_row > model.codes.in_sessions
        return self.count_failure(in_session)

    def count_failure(self, in_session: bool) -> str:
        """Count what a session counts, whatever the method; the fifth in a row ends all sessions."""
        model = self.model
        model.failed_since_last += 1
        model.wrote(self.now)
        if not in_session:
            return "WrongCodeError"
        model.session_failures += 1
        return "WrongCodeError" if model.session_failures < 5 else "SessionEndedError"

    def end_sessions(self) -> None:
        """After the fifth: a new epoch; factors stay, an offer goes."""
        self.model.state = DROPPED[self.model.state]
        self.new_epoch()

    def judge_recovery(self, code: str, in_session: bool) -> tuple[str, str]:
        """As `judge_code`; there are no waits."""
        model, now = self.model, self.now
        if model.is_off:
            return "NotEnrolledError", ""
        if model.recovery is None or len(code.replace("-", "")) != 16:
            return "WrongCodeError", ""  # nothing to try it against
        if code not in model.recovery:
            return self.count_failure(in_session), ""
        model.recovery.remove(code)
        self.dead_recovery.append(code)
        self.dead_devices += [one.text for one in model.devices]
        model.devices = []
        model.wrote(now)
        return "", model.recovery_set

    def recovery_code_of(self, data: st.DataObject) -> str:
        few = (self.model.recovery or [])[:2] + self.dead_recovery[-3:]
        return data.draw(st.sampled_from([*few, "0BCD-EFGH-JKMN-PQRS", "0BCD"]))

    def typed(self, data: st.DataObject, method: str) -> str:
        if method == "totp":
            return self.code_of(data, [app.phone for app in self.model.apps])
        return self.recovery_code_of(data)

    def judge(self, method: str, code: str, *, in_session: bool) -> tuple[str, str]:
        judge_one = self.judge_code if method == "totp" else self.judge_recovery
        return judge_one(code, in_session)

    def wrong_code(self, phones: list[VirtualAuthenticator]) -> str:
        shown = {phone.code(self.now, steps=step) for phone in phones for step in range(-25, 26)}
        return next(code for n in range(1000) if (code := f"{n:06}") not in shown)

    # -- password, sign-in

    @rule()
    def prove_password(self) -> None:
        model = self.model
        model.settle(self.now)
        proof = self.call("password_proof", "ann", password_verified=True)
        if model.is_off and model.is_suspect:
            assert proof == "PasswordChangeRequiredError"
            return
        self.first_record()
        if not model.exists:
            model.wrote(self.now)
        self.keep_proof(proof, "password")

    @rule(
        data=st.data(),
        has_cookie=st.booleans(),
        password=st.sampled_from([None, None, "pw", "not pw", ""]),
    )
    def begin_login(self, data: st.DataObject, has_cookie: bool, password: str | None) -> None:
        cookies = [one.text for one in self.model.devices] * 2 + self.dead_devices[-2:]
        cookie = data.draw(st.sampled_from([*cookies, "garbage"])) if has_cookie else None
        self.sign_in(cookie, password)

    def begin_by(self, cookie: str | None, password: str | None) -> Any:
        """Begin a sign-in; the platform checks the password before, or when it is asked."""
        if password is None:
            return self.call("begin_login", "ann", password_verified=True, trusted_device=cookie)
        asked: list[str] = []

        def check_password(text: str) -> str | None:
            asked.append(text)
            return "ann" if text == "pw" else None

        how = {"password": password, "check_password": check_password}
        done = self.call("begin_login", "ann", **how, trusted_device=cookie)
        assert asked == ([password] if password else [])  # an empty one is never asked
        return done

    def sign_in(self, cookie: str | None, password: str | None = None) -> None:
        model, now = self.model, self.now
        model.settle(now)
        done = self.begin_by(cookie, password)
        if password not in (None, "pw"):
            assert done == "PasswordRefusedError"
            return
        if model.is_off:
            if model.is_suspect:
                assert done == "PasswordChangeRequiredError"
            elif model.must_reenroll:
                assert isinstance(done, EnrollmentRequired)
                self.first_record()
                self.keep_proof(done.proof, "password")
            else:
                assert isinstance(done, SignedIn)
                assert (done.method, done.amr, done.proof) == ("password", ("pwd",), None)
                assert done.epoch == model.epoch
            return
        if cookie in [one.text for one in model.living_devices(now)]:
            assert isinstance(done, SignedIn)
            assert (done.method, done.amr, done.proof) == ("trusted_device", ("pwd",), None)
            assert done.failed_since_last == model.failed_since_last
            model.failed_since_last = 0
            model.wrote(now)
            return
        methods = ("totp",) * (model.state in "EP") + ("recovery",) * bool(model.recovery)
        if not methods:
            assert done == "SecondFactorLockedError"
            return
        assert isinstance(done, CodeRequired)
        assert done.methods == methods
        assert done.expires_at.timestamp() == now + 300
        self.challenges.append(Token(done.challenge, model.epoch, now))

    @precondition(lambda self: self.challenges)
    @rule(
        data=st.data(),
        method=st.sampled_from(["totp", "totp", "recovery"]),
        label=st.sampled_from([None, "Laptop"]),
    )
    def complete_login(self, data: st.DataObject, method: str, label: str | None) -> None:
        token = data.draw(st.sampled_from([*self.challenges[-3:], *[self.challenges[-1]] * 3]))
        self.finish_login(token, method, self.typed(data, method), label)

    def finish_login(self, token: Token, method: str, code: str, label: str | None) -> None:
        model, now = self.model, self.now
        model.settle(now)
        is_open = token.epoch == model.epoch and -60 <= now - token.issued_at < 300
        before, error, earned_by = model.failed_since_last, "ChallengeError", ""
        if is_open and not token.is_spent:
            error, earned_by = self.judge(method, code, in_session=False)
        done = self.call("complete_login", token.text, code, method=method, trust_device=label)
        if error:
            assert done == error
            return
        assert isinstance(done, SignedIn)
        assert done.method == method
        assert done.amr == (("pwd", "otp", "mfa") if method == "totp" else ("pwd", "mfa"))
        assert (done.account_id, done.epoch) == ("ann", model.epoch)
        assert done.failed_since_last == before
        assert done.recovery_codes_left == len(model.recovery or [])
        token.is_spent = True
        model.failed_since_last = 0
        self.keep_proof(done.proof, earned_by)
        if label and method == "totp":
            assert done.trusted_device
            kept = [*model.living_devices(now), Device(done.trusted_device, now)]
            gone = [one for one in model.devices if one not in kept[-2:]]
            self.dead_devices += [one.text for one in gone]
            model.devices = kept[-2:]
        else:
            assert done.trusted_device is None

    @rule(data=st.data(), method=st.sampled_from(["totp", "totp", "recovery"]))
    def verify_code(self, data: st.DataObject, method: str) -> None:
        self.verify(method, self.typed(data, method))

    def verify(self, method: str, code: str) -> None:
        self.model.settle(self.now)
        error, earned_by = self.judge(method, code, in_session=True)
        proof = self.call("verify_code", "ann", code, method=method)
        if error:
            assert proof == error
        else:
            self.model.session_failures = 0
            self.keep_proof(proof, earned_by)
        if error == "SessionEndedError":
            self.end_sessions()

    @precondition(lambda self: self.model.state in "EP")
    @rule(data=st.data())
    def prove_by_next_code(self, data: st.DataObject) -> None:
        """Wait for the next code and type it: mostly right, and the way to all that needs proof."""
        self.clock.advance(31)
        self.verify("totp", data.draw(st.sampled_from(self.model.apps)).phone.code(self.now))

    @rule(data=st.data(), label=st.sampled_from([None, "Laptop", "Phone"]))
    def go_on(self, data: st.DataObject, label: str | None) -> None:
        """Do what a good owner does next: set up, sign in, recover."""
        self.clock.advance(31)
        self.model.settle(self.now)
        if self.model.is_off and not self.model.is_suspect:
            self.prove_password()
        elif self.model.is_off:
            self.change_password()
            return
        elif self.model.state in "EP":
            self.sign_in(None)
            code = data.draw(st.sampled_from(self.model.apps)).phone.code(self.now)
            self.finish_login(self.challenges[-1], "totp", code, label)
            return
        elif self.model.recovery:
            self.verify("recovery", self.model.recovery[0])
        else:
            return
        if self.proofs and self.proof_is_good(self.proofs[-1]):
            self.ask_for_offer(self.proofs[-1], None)
            offer = self.offers[-1]
            self.confirm(offer, offer.phone.code(self.now))

    @precondition(lambda self: self.model.state in "EP")
    @rule(count=st.integers(1, 9), in_session=st.booleans())
    def guess_on(self, count: int, in_session: bool) -> None:
        """Guess wrong, and wait exactly as long as one must: a second earlier is not evaluated."""
        for _ in range(count):
            if self.model.state not in "EP":
                break
            until = self.model.codes.retry_at(self.now)
            if until is not None:
                self.clock.now = until - 1
                self.model.settle(self.now)
                assert self.call("verify_code", "ann", "000000") == "ThrottledError"
                self.clock.now = until
            code = self.wrong_code([app.phone for app in self.model.apps])
            if in_session:
                self.verify("totp", code)
            else:
                self.sign_in(None)
                self.finish_login(self.challenges[-1], "totp", code, None)

    @precondition(lambda self: self.model.recovery)
    @rule(count=st.integers(1, 6), in_session=st.booleans())
    def guess_recovery_codes(self, count: int, in_session: bool) -> None:
        """No waits, whatever the number."""
        for _ in range(count):
            if in_session:
                self.verify("recovery", "0BCD-EFGH-JKMN-PQRS")
            else:
                self.sign_in(None)
                self.finish_login(self.challenges[-1], "recovery", "0BCD-EFGH-JKMN-PQRS", None)

    # -- enrolment

    @rule(data=st.data())
    def begin_enrollment(self, data: st.DataObject) -> None:
        self.model.settle(self.now)
        proof = self.pick_proof(data)
        app = data.draw(st.sampled_from([None, *self.model.apps]))
        self.ask_for_offer(proof, app and app.id)

    def ask_for_offer(self, proof: Token, replaces: str | None) -> None:
        model, now = self.model, self.now
        model.settle(now)
        offer = self.call(
            "begin_enrollment",
            "ann",
            account_name="ann@example.com",
            proof=proof.text,
            replaces=replaces,
        )
        if model.is_off and model.is_suspect:
            assert offer == "PasswordChangeRequiredError"
        elif not self.proof_is_good(proof):
            assert offer == "ProofError"
        elif model.state in "EP" and replaces is None and len(model.apps) >= 3:
            assert offer == "LimitReachedError"
        else:
            assert offer.expires_at.timestamp() == now + 600
            phone = VirtualAuthenticator(offer.uri)
            is_replacing = model.state in "EP"
            model.offer = Offer(offer.token, phone, now, replaces if is_replacing else None)
            model.state, model.is_forgotten = OFFERED[model.state], False
            model.wrote(now)
            self.offers.append(model.offer)

    @precondition(lambda self: self.offers)
    @rule(data=st.data())
    def confirm_enrollment(self, data: st.DataObject) -> None:
        offer = data.draw(st.sampled_from([*self.offers[-2:], *[self.offers[-1]] * 3]))
        self.confirm(offer, self.code_of(data, [offer.phone]))

    def confirm(self, offer: Offer, code: str) -> None:
        model, now = self.model, self.now
        model.settle(now)
        done = self.call("confirm_enrollment", offer.token, code)
        if offer is not model.offer:
            assert done == "OfferError"
            return
        if not (len(code) == 6 and code.isascii() and code.isdigit()):
            assert done == "WrongCodeError"
            return
        app = App("", offer.phone)
        steps = app.steps_showing(code, range(now // 30 - 1, now // 30 + 2))
        if not steps:
            offer.wrong += 1
            model.wrote(now)
            assert done == ("WrongCodeError" if offer.wrong < 3 else "OfferError")
            if offer.wrong == 3:
                model.drop_offer()
            return
        app.id, app.last_step, app.accepted = done.authenticator_id, steps[0], {steps[0]}
        self.used_codes.append(code)
        if model.state == "P":
            self.add_confirmed(done, app, offer)
        else:
            self.enroll_confirmed(done, app)
        model.wrote(now)

    def add_confirmed(self, done: Any, app: App, offer: Offer) -> None:
        model = self.model
        assert isinstance(done, AuthenticatorAdded)
        model.state, model.offer = "E", None
        model.apps = [one for one in model.apps if one.id != offer.replaces] + [app]
        if offer.replaces is not None:
            self.new_epoch()
        assert done.epoch == model.epoch

    def enroll_confirmed(self, done: Any, app: App) -> None:
        model = self.model
        assert isinstance(done, Enrolled)
        assert done.amr == ("pwd", "otp", "mfa")
        assert done.failed_since_last == model.failed_since_last
        assert len(set(done.recovery_codes)) == 4
        self.dead_recovery += model.recovery or []
        model.state, model.apps = "E", [app]
        self.new_epoch()
        model.recovery, model.recovery_set = list(done.recovery_codes), f"set of {done.epoch}"
        model.codes = Failures()
        model.failed_since_last, model.must_reenroll = 0, False
        assert done.epoch == model.epoch
        self.keep_proof(done.proof, app.id)

    @precondition(lambda self: self.offers)
    @rule(data=st.data())
    def show_or_cancel(self, data: st.DataObject) -> None:
        model = self.model
        model.settle(self.now)
        offer = data.draw(st.sampled_from(self.offers[-2:][::-1]))
        shown = self.call("show_offer", offer.token)
        if offer is not model.offer:
            assert shown == "OfferError"
            assert self.call("cancel_enrollment", offer.token) == "OfferError"
            return
        assert VirtualAuthenticator(shown.uri).code(self.now) == offer.phone.code(self.now)
        if data.draw(st.booleans()):
            assert self.call("cancel_enrollment", offer.token) is None
            model.drop_offer()
            model.wrote(self.now)

    # -- live factors

    def change_is_refused(self, outcome: Any, proof: Token) -> bool:
        """Say whether a change of live factors is refused, and see that it was."""
        if self.model.is_off:
            assert outcome == "NotEnrolledError"
        elif not self.proof_is_good(proof):
            assert outcome == "ProofError"
        return self.model.is_off or not self.proof_is_good(proof)

    @precondition(lambda self: self.model.apps)
    @rule(data=st.data())
    def remove_authenticator(self, data: st.DataObject) -> None:
        model = self.model
        model.settle(self.now)
        proof, app = self.pick_proof(data), data.draw(st.sampled_from(model.apps))
        done = self.call("remove_authenticator", "ann", app.id, proof=proof.text)
        if self.change_is_refused(done, proof):
            return
        if len(model.apps) == 1:
            assert done == "LastAuthenticatorError"
        elif model.state in "LR":
            assert done == "NotAllowedNowError"
        else:
            model.state, model.apps = "E", [one for one in model.apps if one is not app]
            self.new_epoch()
            model.wrote(self.now)
            assert done == model.epoch

    @precondition(lambda self: self.model.apps)
    @rule(data=st.data(), ahead=st.integers(-22, 22), gap=st.sampled_from([1, 1, 1, 1, 2]))
    def resync(self, data: st.DataObject, ahead: int, gap: int) -> None:
        """Two codes in a row of a phone whose clock is off, both unspent: no step comes back."""
        model, now = self.model, self.now
        model.settle(now)
        proof, app = self.pick_proof(data), data.draw(st.sampled_from(model.apps))
        first, second = (app.phone.code(now, steps=step) for step in (ahead - gap, ahead))
        done = self.call("resync", "ann", app.id, first, second, proof=proof.text)
        if self.change_is_refused(done, proof):
            return
        if model.state in "LR":
            assert done == "NotAllowedNowError"
            return
        if model.codes.retry_at(now) is not None:
            assert done == "ThrottledError"
            return
        if app.last_step >= now // 30 + 19:  # the last pair in reach is steps 19 and 20 ahead
            assert done == "ClockError"
            return
        around = range(now // 30 - 20, now // 30 + 21)
        firsts = app.steps_showing(first, around)
        pairs = [step for step in app.steps_showing(second, around) if step - 1 in firsts]
        unspent = [step for step in pairs if step - 1 > app.last_step]
        if not unspent:
            assert done == self.count_wrong_code(in_session=True)
            if done == "SessionEndedError":
                self.end_sessions()
            return
        assert done is None
        learnt = min(unspent, key=lambda step: abs(step - now // 30))
        assert not app.accepted & {learnt - 1, learnt}
        app.accepted |= {learnt - 1, learnt}
        app.last_step, app.offset = learnt, learnt - now // 30
        model.codes.clear_run()
        model.session_failures = 0
        model.wrote(now)

    def disable(self, data: st.DataObject) -> None:
        self.model.settle(self.now)
        proof = self.pick_proof(data)
        done = self.call("disable", "ann", proof=proof.text)
        if not self.change_is_refused(done, proof):
            self.lose_factors()
            self.new_epoch()
            self.model.wrote(self.now)
            assert done == self.model.epoch

    @rule(data=st.data())
    def regenerate(self, data: st.DataObject) -> None:
        model = self.model
        model.settle(self.now)
        proof = self.pick_proof(data)
        codes = self.call("regenerate_recovery_codes", "ann", proof=proof.text)
        if not self.change_is_refused(codes, proof):
            assert len(set(codes)) == 4
            self.dead_recovery += model.recovery or []
            model.recovery, model.recovery_set = list(codes), f"set at {len(self.store.revisions)}"
            model.wrote(self.now)

    # -- passcodes

    @rule(
        data=st.data(),
        label=st.sampled_from("ABCD"),
        protocols=st.sampled_from([None, ("imap", "smtp")]),
        days=st.sampled_from([None, 2, 5]),
    )
    def create_passcode(
        self, data: st.DataObject, label: str, protocols: tuple[str, ...] | None, days: int | None
    ) -> None:
        from datetime import UTC, datetime

        model, now = self.model, self.now
        model.settle(now)
        proof, ends = self.pick_proof(data), days and now + days * DAY
        new = self.call(
            "create_passcode",
            "ann",
            label=label,
            proof=proof.text,
            protocols=protocols,
            expires_at=ends and datetime.fromtimestamp(ends, UTC),
        )
        if self.change_is_refused(new, proof):
            return
        if model.state in "LR":
            assert new == "NotAllowedNowError"
        elif len(model.passcodes) >= 3:
            assert new == "LimitReachedError"
        elif label in [one.label for one in model.passcodes]:
            assert new == "LabelTakenError"
        else:
            made = Passcode(new.passcode_id, new.passcode, label, protocols, ends, now)
            assert new.expires_at.timestamp() == now + min(days or 3, 3) * DAY
            assert new.passcode.startswith(new.hint)
            model.passcodes.append(made)
            model.wrote(now)

    @rule(data=st.data(), protocol=st.sampled_from(["imap", "imap", "smtp", "dav", "web"]))
    def authenticate_client(self, data: st.DataObject, protocol: str) -> None:
        model, now = self.model, self.now
        model.settle(now)
        living = {one.text: one for one in model.passcodes}
        texts = [
            *living,
            *living,
            *living,
            *self.dead_passcodes[-2:],
            "pw",
            "not pw",
            *self.used_codes[-1:],
        ]
        texts += [f"{one[:-1]}{'a' if one[-1] != 'a' else 'b'}" for one in list(living)[:1]]
        text, asked = data.draw(st.sampled_from(texts)), []

        def check_password(password: str) -> str | None:
            asked.append(password)
            return "ann" if password == "pw" else None

        done = self.call(
            "authenticate_client", "ann", text, protocol=protocol, check_password=check_password
        )
        if protocol == "web":
            assert (done, asked) == ("CredentialRefusedError", [])
        elif model.is_off:
            self.check_by_password(done, text, asked)
        else:
            assert asked == []  # no oracle of the password
            self.check_by_passcode(done, living.get(text), protocol)

    def check_by_password(self, done: Any, text: str, asked: list[str]) -> None:
        if self.model.is_suspect:
            assert (done, asked) == ("PasswordChangeRequiredError", [])
        elif self.model.must_reenroll:
            assert (done, asked) == ("CredentialRefusedError", [])
        elif text == "pw":
            assert done == ClientSignedIn(account_id="ann", via="password")
        else:
            assert (done, asked) == ("CredentialRefusedError", [text])

    def check_by_passcode(self, done: Any, passcode: Passcode | None, protocol: str) -> None:
        now = self.now
        if (
            passcode is None
            or (passcode.protocols is not None and protocol not in passcode.protocols)
            or now >= passcode.ends_at(now)
        ):
            assert done == "CredentialRefusedError"
            return
        expected = ClientSignedIn(account_id="ann", via="passcode", passcode_id=passcode.id)
        assert done == expected
        if passcode.last_used_at is None or now - passcode.last_used_at >= 900:
            passcode.last_used_at = now
            self.model.wrote(now)

    @precondition(lambda self: self.model.passcodes)
    @rule(data=st.data(), all_of_them=st.booleans())
    def revoke_passcode(self, data: st.DataObject, all_of_them: bool) -> None:
        model = self.model
        model.settle(self.now)
        gone = model.passcodes if all_of_them else [data.draw(st.sampled_from(model.passcodes))]
        if all_of_them:
            assert self.call("revoke_all_passcodes", "ann") == len(gone)
        else:
            assert self.call("revoke_passcode", "ann", gone[0].id) is None
            assert self.call("revoke_passcode", "ann", gone[0].id) == "NotFoundError"
        self.dead_passcodes += [one.text for one in gone]
        model.passcodes = [one for one in model.passcodes if one not in gone]
        model.wrote(self.now)

    @precondition(lambda self: self.model.devices)
    @rule(data=st.data())
    def revoke_other_devices(self, data: st.DataObject) -> None:
        model, now = self.model, self.now
        model.settle(now)
        keep = data.draw(st.sampled_from([None, *model.living_devices(now)]))
        gone = [one for one in model.devices if one is not keep]
        done = self.call("revoke_other_devices", "ann", keep=keep and keep.text)
        assert done == len(gone)
        if gone:
            self.dead_devices += [one.text for one in gone]
            model.devices = [one for one in model.devices if one is keep]
            model.wrote(now)

    # -- the platform and its operator

    @rule(data=st.data())
    def end_things(self, data: st.DataObject) -> None:
        """One rule for them all, or no account would live long enough to hold anything."""
        acts = ["change_password", "reset", "reset_reenroll", "import", "disable"]
        acts += ["forget", "purge", "open"]
        match data.draw(st.sampled_from(acts)):
            case "change_password":
                self.change_password()
            case "reset":
                self.reset(reenroll=False)
            case "reset_reenroll":
                self.reset(reenroll=True)
            case "forget":
                self.forget()
            case "purge":
                self.purge()
            case "open":
                self.open_account()
            case "import":
                self.import_authenticator()
            case "disable":
                self.disable(data)

    def change_password(self) -> None:
        model = self.model
        model.settle(self.now)
        epoch = self.call("password_changed", "ann")
        self.dead_passcodes += [one.text for one in model.passcodes]
        model.passcodes, model.is_suspect, model.is_forgotten = [], False, False
        model.state = DROPPED[model.state]
        self.new_epoch()
        model.wrote(self.now)
        assert epoch == model.epoch

    def reset(self, reenroll: bool) -> None:
        model = self.model
        model.settle(self.now)
        epoch = self.call("reset", "ann", **BY, reenroll=reenroll)
        self.lose_factors()
        self.new_epoch()
        model.codes, model.must_reenroll, model.is_forgotten = Failures(), reenroll, False
        model.wrote(self.now)
        assert epoch == model.epoch

    def forget(self) -> None:
        """All goes but for an epoch that nobody has seen."""
        model = self.model
        done = self.call("forget", "ann", **BY)
        assert done is (model.exists and not model.is_forgotten)
        self.lose_factors()
        self.model = Model(exists=True, is_forgotten=True, epoch=model.epoch, updated_at=self.now)
        self.new_epoch()

    def purge(self) -> None:
        """The row goes: sessions begun before there was one are current again, no others."""
        model = self.model
        done = self.call("forget", "ann", **BY, purge=True)
        assert done is (model.exists and not model.is_forgotten)
        self.lose_factors()
        if model.exists:
            self.dead_epochs.append(model.epoch)
            self.dead_epochs = [one for one in self.dead_epochs if one != "none"]
        self.model = Model()

    def open_account(self) -> None:
        model = self.model
        model.settle(self.now)
        is_new = not model.exists or model.is_forgotten
        assert self.call("open_account", "ann") is is_new
        if is_new:
            model.is_forgotten = False
            self.new_epoch()
            model.wrote(self.now)

    def import_authenticator(self) -> None:
        model, now = self.model, self.now
        model.settle(now)
        secret = "JBSWY3DPEHPK3PXP" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[self.imported % 26] * 16
        done = self.call("import_authenticator", "ann", secret, **BY)
        if model.is_off and model.is_suspect:
            assert done == "PasswordChangeRequiredError"
        elif model.state in "PLR":
            assert done == "NotAllowedNowError"
        elif model.state == "E" and len(model.apps) >= 3:
            assert done == "LimitReachedError"
        else:
            self.imported += 1
            was_off = model.is_off
            phone = VirtualAuthenticator(f"otpauth://totp/ann?secret={secret}")
            model.state, model.apps = "E", [*model.apps, App(done.authenticator_id, phone)]
            model.is_forgotten = False
            if was_off:
                self.new_epoch()
                model.must_reenroll = False
            model.wrote(now)
            assert done.epoch == model.epoch
            again = self.call("import_authenticator", "ann", secret, **BY)
            assert again == "DuplicateSecretError"

    # -- time

    @rule(
        seconds=st.sampled_from(
            [1, 29, 30, 31, 31, 31, 60, 299, 300, 600, 900, 3600, DAY, 31 * DAY]
        )
    )
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1, 1, 30, 30, 59, 60, 61, 90, 600, 3600, 2 * DAY]))
    def clock_goes_back(self, seconds: int) -> None:
        """Challenges of before are given up: how long they are remembered is not promised here."""
        self.clock.advance(-seconds)
        self.challenges = [one for one in self.challenges if one.is_spent]

    # -- what must hold after every step

    @invariant()
    def account_is_where_the_model_is(self) -> None:
        model, now, status = self.model, self.now, self.mfa.status("ann")
        state = DROPPED[model.state] if model.offer_is_over(now) else model.state
        assert status.state == STATES[state]
        assert status.epoch == model.epoch
        assert status.is_on == (state not in "NG")
        assert status.is_locked == (state in "LR")
        assert [one.authenticator_id for one in status.authenticators] == [a.id for a in model.apps]
        assert status.recovery_codes_left == len(model.recovery or [])
        assert status.passcodes == len(model.passcodes)
        assert status.trusted_devices == len(model.living_devices(now))
        assert status.password_change_required == (model.is_suspect and state in "NG")
        until = model.codes.retry_at(now)
        assert (status.retry_at and status.retry_at.timestamp()) == until
        row = self.store.load("ann")
        assert (row is not None) == model.exists
        assert (row is not None and row.summary.state == "forgotten") == model.is_forgotten

    @invariant()
    def only_the_present_epoch_is_current(self) -> None:
        assert self.mfa.session_is_current("ann", self.model.epoch)
        for epoch in self.dead_epochs[-2:]:
            if not (epoch == "none" and self.model.is_first_epoch):
                assert not self.mfa.session_is_current("ann", epoch)

    @invariant()
    def no_revision_comes_twice(self) -> None:
        assert len(set(self.store.revisions)) == len(self.store.revisions)


class LoggedStore(MemoryStore):
    """Remember the revision of every write."""

    def __init__(self) -> None:
        super().__init__()
        self.revisions: list[int] = []

    def create(self, new: StoredRecord) -> bool:
        self.revisions.append(new.revision)
        return super().create(new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        assert new.revision == expected + 1
        self.revisions.append(new.revision)
        return super().replace(new, expected=expected)


class EnrolledAccount(Account):
    """The same, from an account that has just been enrolled: most of the rules are about it."""

    @initialize()
    def enroll(self) -> None:
        self.prove_password()
        self.ask_for_offer(self.proofs[-1], None)
        self.confirm(self.offers[-1], self.offers[-1].phone.code(self.now))
        assert self.model.state == "E"


TestAccount = Account.TestCase
TestEnrolledAccount = EnrolledAccount.TestCase
TestAccount.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEnrolledAccount.settings = settings(TestAccount.settings, max_examples=120)
