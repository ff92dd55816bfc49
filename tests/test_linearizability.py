"""Every order in which two requests (and chosen three) of one account can meet, in four states.

Each order must end as one of the serial orders ends that it does not contradict: an operation that
was done before another began comes first. That is linearizability, and stronger than "as some serial
order": after a revocation is done, nothing is accepted. Single use is counted on its own beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import permutations
from typing import Any

import pytest

from mfakit import (
    AuditEvent,
    ClientSignedIn,
    CodeRequired,
    Enrolled,
    KeyRing,
    MFAKitError,
    Policy,
    SignedIn,
    Status,
    operations,
)
from mfakit.core.record import Record, decode_record
from mfakit.errors import (
    LimitReachedError,
    SecondFactorLockedError,
    SessionEndedError,
    ThrottledError,
    WrongCodeError,
)
from mfakit.events import EventKind
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.testing import (
    CheapHasher,
    FixedClock,
    SteppedMFA,
    VirtualAuthenticator,
    every_interleaving,
)
from mfakit.testing.interleaving_aio import SteppedAsyncMFA

BY = {"actor": "operator", "reason": "ticket"}
POLICY = Policy(issuer="Example")
OLD_KEYS = KeyRing({"old": b"o" * 32})
KEYS = KeyRing({"new": b"n" * 32, "old": b"o" * 32})

Call = Callable[[Any], Any]
STATUS: Call = lambda m: m.status("ann")  # noqa: E731
PASSCODES: Call = lambda m: m.passcodes("ann")  # noqa: E731


class LoggedStore(MemoryStore):
    """Remember the revision of every write, and see that none comes twice."""

    def __init__(self, rows: dict[str, StoredRecord]) -> None:
        super().__init__()
        self._rows = dict(rows)
        self.revisions = [row.revision for row in rows.values()]

    def create(self, new: StoredRecord) -> bool:
        return self._logged(super().create(new), new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return self._logged(super().replace(new, expected=expected), new)

    def _logged(self, won: bool, new: StoredRecord) -> bool:
        if won:
            assert new.revision not in self.revisions
            self.revisions.append(new.revision)
        return won


class World:
    """An account as it stands before the race, and the operations that race on it."""

    driver: Callable[[World], Any]

    def __init__(self, store: MemoryStore, clock: FixedClock, policy: Policy) -> None:
        self.rows = dict(store._rows)
        self.now = clock.now
        self.policy = policy
        self.operations: dict[str, Call] = {}

    def begin(self, *names: str) -> Callable[[], tuple[Logged, list[Call]]]:
        return lambda: (self.driver(self), [self.operations[name] for name in names])


class Logged:
    """Remember the events, and which operation made each step."""

    def __init__(self, world: World, **options: Any) -> None:
        self.told: list[AuditEvent] = []
        self.log: list[int] = []
        self.store = LoggedStore(world.rows)
        super().__init__(
            self.store,
            KEYS,
            policy=world.policy,
            events=self.told.append,
            clock=FixedClock(world.now),
            hasher=CheapHasher(),
            hash_concurrency=1,
            **options,
        )
        self._begun = 0

    def begin(self, call: Call) -> Any:
        steps: Any = super().begin(call)
        place, self._begun, step = self._begun, self._begun + 1, steps.step

        def logged() -> None:
            self.log.append(place)
            step()

        steps.step = logged
        return steps

    def precedences(self) -> set[tuple[int, int]]:
        """Pairs (a, b) where a was done before b began."""
        first = {place: self.log.index(place) for place in self.log}
        last = {place: turn for turn, place in enumerate(self.log)}
        return {(a, b) for a in last for b in first if last[a] < first[b]}

    @property
    def record(self) -> Record | None:
        row = self.store.load("ann")
        return None if row is None else decode_record(row, self._env.vault)


class LoggedMFA(Logged, SteppedMFA):
    def ask(self, call: Call) -> Any:
        """Return the value of a call that meets nobody."""
        return call(self)


class LoggedAsyncMFA(Logged, SteppedAsyncMFA):
    def ask(self, call: Call) -> Any:
        """Return the value of a call that meets nobody."""
        return self.loop.run_until_complete(call(self))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One for all worlds; no step of one is left when the next is made."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(autouse=True, params=["MFA", "AsyncMFA"])
def _driver(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each race is run through both drivers."""
    drivers = {"MFA": LoggedMFA, "AsyncMFA": lambda world: LoggedAsyncMFA(world, loop=loop)}
    monkeypatch.setattr(World, "driver", staticmethod(drivers[request.param]), raising=False)


def run(mfa: Logged, call: Call) -> Any:
    """Return the outcome of a call that meets nobody."""
    steps = mfa.begin(call)
    while not steps.is_done:
        steps.step()
    return steps.outcome


# ----------------------------------------------------------------------------------- the four worlds


def _start(policy: Policy = POLICY) -> tuple[SteppedMFA, MemoryStore, FixedClock]:
    store, clock = MemoryStore(), FixedClock()
    return (
        SteppedMFA(store, OLD_KEYS, policy=policy, clock=clock, hasher=CheapHasher()),
        store,
        clock,
    )


def _enroll(mfa: SteppedMFA, clock: FixedClock) -> tuple[VirtualAuthenticator, Any]:
    proof = mfa.password_proof("ann", password_verified=True)
    offer = mfa.begin_enrollment("ann", account_name="ann@example.com", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    done = mfa.confirm_enrollment(offer.token, app.code(clock.now))
    assert isinstance(done, Enrolled)
    return app, done


def _challenge(mfa: SteppedMFA) -> str:
    begun = mfa.begin_login("ann", password_verified=True)
    assert isinstance(begun, CodeRequired)
    return begun.challenge


def _wrong(now: float, *apps: VirtualAuthenticator) -> str:
    """A well-formed code that no app shows within twenty-five steps of now."""
    shown = {app.code(now, steps=step) for app in apps for step in range(-25, 26)}
    return next(code for code in (f"{number:06}" for number in range(1000)) if code not in shown)


def _other_end(text: str, letters: str) -> str:
    return text[:-1] + (letters[0] if text[-1] != letters[0] else letters[1])


def _client(text: str) -> Call:
    def check_password(typed: str) -> str | None:
        return "ann" if typed == "pw" else None

    return lambda m: m.authenticate_client(
        "ann", text, protocol="imap", check_password=check_password
    )


def _on_anything() -> dict[str, Call]:
    """What can be asked of an account in any state, without a token."""
    return {
        "password_changed": lambda m: m.password_changed("ann"),
        "reset": lambda m: m.reset("ann", **BY),
        "reset_reenroll": lambda m: m.reset("ann", **BY, reenroll=True),
        "forget": lambda m: m.forget("ann", **BY),
        "purge": lambda m: m.forget("ann", **BY, purge=True),
        "rotate_keys": lambda m: m._run(operations.rotate_keys(m._env, "ann")),
        "import": lambda m: m.import_authenticator("ann", "JBSWY3DPEHPK3PXP" * 2, **BY),
        "begin_login": lambda m: m.begin_login("ann", password_verified=True),
        "client_password": _client("pw"),
        "status": STATUS,
    }


@cache
def enrolled_world() -> World:
    """Two authenticators, an offer of a third, a passcode, a trusted device, two open challenges."""
    mfa, store, clock = _start()
    app, done = _enroll(mfa, clock)
    clock.advance(30)
    offer = mfa.begin_enrollment("ann", account_name="a", label="Spare", proof=done.proof)
    spare = VirtualAuthenticator(offer.uri)
    mfa.confirm_enrollment(offer.token, spare.code(clock.now))
    signed = mfa.complete_login(_challenge(mfa), app.code(clock.now), trust_device="Laptop")
    cookie, signed_proof = signed.trusted_device, signed.proof or ""
    passcode = mfa.create_passcode("ann", label="Phone", proof=signed_proof)
    clock.advance(30)
    proof = mfa.verify_code("ann", app.code(clock.now))
    offer = mfa.begin_enrollment("ann", account_name="a", label="Third", proof=proof)
    third = VirtualAuthenticator(offer.uri)
    c1, c2 = _challenge(mfa), _challenge(mfa)
    clock.advance(30)
    world, now = World(store, clock, POLICY), clock.now
    ids = [one.authenticator_id for one in mfa.status("ann").authenticators]
    device_id = mfa.trusted_devices("ann")[0].device_id
    code, later = app.code(now), app.code(now, steps=1)
    recovery, other_recovery = done.recovery_codes[:2]
    wrong, epoch = _wrong(now, app, spare, third), mfa.status("ann").epoch
    world.operations = _on_anything() | {
        "login": lambda m: m.complete_login(c1, code),
        "login_other_challenge": lambda m: m.complete_login(c2, code),
        "login_later_code": lambda m: m.complete_login(c1, later),
        "login_spare": lambda m: m.complete_login(c2, spare.code(now)),
        "login_trusting": lambda m: m.complete_login(c2, later, trust_device="Tablet"),
        "login_wrong": lambda m: m.complete_login(c1, wrong),
        "login_recovery": lambda m: m.complete_login(c1, recovery, method="recovery"),
        "login_recovery_again": lambda m: m.complete_login(c2, recovery, method="recovery"),
        "login_other_recovery": lambda m: m.complete_login(c2, other_recovery, method="recovery"),
        "verify": lambda m: m.verify_code("ann", code),
        "verify_recovery": lambda m: m.verify_code("ann", recovery, method="recovery"),
        "verify_wrong": lambda m: m.verify_code("ann", wrong),
        "verify_wrong_recovery": lambda m: m.verify_code(
            "ann", _other_end(recovery, "01"), method="recovery"
        ),
        "offer": lambda m: m.begin_enrollment("ann", account_name="a", proof=proof),
        "offer_replacing": lambda m: m.begin_enrollment(
            "ann", account_name="a", proof=proof, replaces=ids[1]
        ),
        "confirm": lambda m: m.confirm_enrollment(offer.token, third.code(now)),
        "confirm_wrong": lambda m: m.confirm_enrollment(offer.token, wrong),
        "cancel": lambda m: m.cancel_enrollment(offer.token),
        "create_passcode": lambda m: m.create_passcode("ann", label="New", proof=proof),
        "revoke_passcode": lambda m: m.revoke_passcode("ann", passcode.passcode_id),
        "revoke_all_passcodes": lambda m: m.revoke_all_passcodes("ann"),
        "use_passcode": _client(passcode.passcode),
        "use_wrong_passcode": _client(_other_end(passcode.passcode, "ab")),
        "use_device": lambda m: m.begin_login("ann", password_verified=True, trusted_device=cookie),
        "revoke_device": lambda m: m.revoke_trusted_device("ann", device_id),
        "disable": lambda m: m.disable("ann", proof=proof),
        "regenerate": lambda m: m.regenerate_recovery_codes("ann", proof=proof),
        "resync": lambda m: m.resync(
            "ann", ids[0], app.code(now, steps=6), app.code(now, steps=7), proof=proof
        ),
        "remove_app": lambda m: m.remove_authenticator("ann", ids[0], proof=proof),
        "remove_spare": lambda m: m.remove_authenticator("ann", ids[1], proof=proof),
        "session": lambda m: m.session_is_current("ann", epoch),
    }
    return world


@cache
def enrolling_world() -> World:
    """Off, the first authenticator is offered."""
    mfa, store, clock = _start()
    proof = mfa.password_proof("ann", password_verified=True)
    offer = mfa.begin_enrollment("ann", account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    world, now = World(store, clock, POLICY), clock.now
    world.operations = _on_anything() | {
        "proof": lambda m: m.password_proof("ann", password_verified=True),
        "offer": lambda m: m.begin_enrollment("ann", account_name="a", proof=proof),
        "confirm": lambda m: m.confirm_enrollment(offer.token, app.code(now)),
        "confirm_later": lambda m: m.confirm_enrollment(offer.token, app.code(now, steps=1)),
        "confirm_wrong": lambda m: m.confirm_enrollment(offer.token, _wrong(now, app)),
        "cancel": lambda m: m.cancel_enrollment(offer.token),
        "show": lambda m: m.show_offer(offer.token),
        "verify": lambda m: m.verify_code("ann", app.code(now)),
    }
    return world


@cache
def locked_world() -> World:
    """Every authenticator disabled by the cap, and an offer that will replace them."""
    policy = Policy(issuer="Example", code_failures_max=5)
    mfa, store, clock = _start(policy)
    app, done = _enroll(mfa, clock)
    passcode = mfa.create_passcode("ann", label="Phone", proof=done.proof)
    clock.advance(30)
    challenge = _challenge(mfa)
    for _ in range(5):
        with pytest.raises(WrongCodeError):
            mfa.complete_login(challenge, _wrong(clock.now, app))
    assert mfa.status("ann").state == "locked"
    codes = done.recovery_codes
    proof = mfa.verify_code("ann", codes[0], method="recovery")
    offer = mfa.begin_enrollment("ann", account_name="a", proof=proof)
    fresh = VirtualAuthenticator(offer.uri)
    c1, c2 = _challenge(mfa), _challenge(mfa)
    world, now = World(store, clock, policy), clock.now
    world.operations = _on_anything() | {
        "confirm": lambda m: m.confirm_enrollment(offer.token, fresh.code(now)),
        "cancel": lambda m: m.cancel_enrollment(offer.token),
        "offer": lambda m: m.begin_enrollment("ann", account_name="a", proof=proof),
        "login": lambda m: m.complete_login(c1, app.code(now)),
        "login_fresh": lambda m: m.complete_login(c1, fresh.code(now)),
        "login_recovery": lambda m: m.complete_login(c1, codes[1], method="recovery"),
        "login_recovery_again": lambda m: m.complete_login(c2, codes[1], method="recovery"),
        "regenerate": lambda m: m.regenerate_recovery_codes("ann", proof=proof),
        "disable": lambda m: m.disable("ann", proof=proof),
        "use_passcode": _client(passcode.passcode),
    }
    return world


@cache
def missing_world() -> World:
    """No record at all."""
    _, store, clock = _start()
    world = World(store, clock, POLICY)
    world.operations = _on_anything() | {
        "proof": lambda m: m.password_proof("ann", password_verified=True),
        "open": lambda m: m.open_account("ann"),
        "verify": lambda m: m.verify_code("ann", "123456"),
        "session": lambda m: m.session_is_current("ann", "none"),
    }
    return world


WORLDS = {
    "enrolled": enrolled_world,
    "enrolling": enrolling_world,
    "locked": locked_world,
    "missing": missing_world,
}


# ---------------------------------------------------------------------------------- what is compared


def kind_of(outcome: Any) -> Any:
    """An outcome without what is random in it."""
    match outcome:
        case SignedIn():
            return type(outcome).__name__, outcome.method, outcome.recovery_codes_left
        case ClientSignedIn():
            return "ClientSignedIn", outcome.via
        case CodeRequired():
            return "CodeRequired", outcome.methods
        case Status():
            return outcome.state
        case int():
            return outcome
        case tuple():
            return "tuple", len(outcome)
        case str():
            return outcome if len(outcome) < 20 else "token"
    return type(outcome).__name__


def result_of(world: World, mfa: Any, outcomes: Sequence[Any]) -> Any:
    """Outcomes and account without what is random. Opening the record checks its invariants."""
    kinds, record, status = tuple(map(kind_of, outcomes)), mfa.record, mfa.ask(STATUS)
    if record is None:
        return kinds, ("missing", status.state, status.epoch)
    row = world.rows.get("ann")
    epoch_before = "none" if row is None else decode_record(row, mfa._env.vault).epoch
    assert status.state == record.state
    return kinds, (
        record.state.value,
        record.epoch == epoch_before,
        tuple((one.label, one.last_step, one.offset_steps) for one in record.authenticators),
        record.offer and (record.offer.authenticator.label, record.offer.wrong_codes),
        record.recovery and tuple(one is not None for one in record.recovery.sealed_hashes),
        tuple((one.label, one.last_used_at) for one in record.passcodes),
        tuple((one.label, one.last_used_at) for one in record.devices),
        (record.code_throttle.failures, record.code_throttle.days),
        (record.recovery_throttle.failures, record.failed_since_last, record.session_failures),
        (record.forgotten, record.combined_steps, sorted(one.kind for one in record.history)),
        (record.password_suspect, record.reenroll, record.last_login_at),
        len(record.spent_challenges),
        status.key_ids,
    )


def serial_result(world: World, names: Sequence[str], order: Sequence[int]) -> Any:
    mfa = world.driver(world)
    outcomes = {place: run(mfa, world.operations[names[place]]) for place in order}
    return result_of(world, mfa, [outcomes[place] for place in range(len(names))])


def check_every_order(world: World, names: Sequence[str]) -> None:
    """Fail with the names and both results if some order ends as no serial order may."""
    orders = list(permutations(range(len(names))))
    serial = {order: serial_result(world, names, order) for order in orders}
    for mfa, outcomes in every_interleaving(world.begin(*names)):
        before = mfa.precedences()
        allowed = [
            serial[order]
            for order in orders
            if all(order.index(a) < order.index(b) for a, b in before)
        ]
        result = result_of(world, mfa, outcomes)
        if "ContentionError" in result[0]:
            check_asked_in_vain(world, names, result)
            continue
        assert result in allowed, (names, mfa.log, result, allowed)
        check_single_use(mfa, names, outcomes)


def check_asked_in_vain(world: World, names: Sequence[str], result: Any) -> None:
    """A password is asked once: a verdict that a new epoch made void is no verdict, and no trace."""
    kinds, summary = result
    others = [name for name, kind in zip(names, kinds, strict=True) if kind != "ContentionError"]
    assert set(names) - set(others) <= {"client_password"}
    new_epoch = {"password_changed", "reset", "reset_reenroll", "forget", "purge", "open"}
    assert set(others) & new_epoch
    assert summary == serial_result(world, others, range(len(others)))[1]


# Operations that use up the same thing: of each group one succeeds at most.
ONCE = [
    {"login", "login_other_challenge", "verify"},  # one code
    {"login", "login_later_code", "login_recovery"},  # one challenge
    {"login_recovery", "login_recovery_again", "verify_recovery"},  # one recovery code
    {"confirm", "confirm_later"},  # one offer
]


def check_single_use(mfa: Any, names: Sequence[str], outcomes: Sequence[Any]) -> None:
    """Count who won, and that the events tell of exactly those sign-ins that were answered."""
    is_won = [not isinstance(outcome, Exception) for outcome in outcomes]
    won = Counter(name for name, is_right in zip(names, is_won, strict=True) if is_right)
    for group in ONCE:
        assert sum(won[name] for name in group) <= 1, (names, outcomes)
    told = Counter(event.kind for event in mfa.told)
    signed_in = sum(isinstance(one, SignedIn) for one in outcomes)
    by_client = sum(isinstance(one, ClientSignedIn) for one in outcomes)
    assert told[EventKind.SIGNED_IN] + told[EventKind.ENROLLED] == signed_in
    assert told[EventKind.CLIENT_SIGNED_IN] == by_client


PAIRS = [
    pytest.param(world_name, first, id=f"{world_name}-{first}")
    for world_name, make in WORLDS.items()
    for first in make().operations
]


@pytest.mark.parametrize(("world_name", "first"), PAIRS)
def test_two_at_once_end_as_one_after_the_other(world_name: str, first: str) -> None:
    """Each operation against itself and each that follows in the table: all unordered pairs."""
    world = WORLDS[world_name]()
    names = list(world.operations)
    for second in names[names.index(first) :]:
        check_every_order(world, (first, second))


TRIPLES = [
    ("login", "login_other_challenge", "verify"),
    ("login", "login_later_code", "login_recovery"),
    ("login", "disable", "password_changed"),
    ("use_passcode", "revoke_passcode", "password_changed"),
    ("regenerate", "login_recovery", "verify"),
    ("confirm", "offer", "cancel"),
    ("confirm", "password_changed", "login"),
    ("rotate_keys", "login", "use_device"),
    ("verify_wrong", "login_wrong", "login"),
    ("create_passcode", "create_passcode", "revoke_all_passcodes"),
    ("remove_app", "verify", "confirm"),
    ("forget", "login", "password_changed"),
    ("resync", "login", "verify_wrong"),
    ("login_trusting", "use_device", "verify_recovery"),
]


@pytest.mark.parametrize("names", TRIPLES, ids="-".join)
def test_three_at_once_end_as_one_after_the_other(names: tuple[str, ...]) -> None:
    check_every_order(enrolled_world(), names)


def test_the_table_holds_no_dud() -> None:
    """Alone, each operation does what its name says: a race of refusals would show nothing."""
    refused = {
        "login_wrong": "WrongCodeError",
        "verify_wrong": "WrongCodeError",
        "verify_wrong_recovery": "WrongCodeError",
        "confirm_wrong": "WrongCodeError",
        "use_wrong_passcode": "CredentialRefusedError",
        "client_password": "CredentialRefusedError",
        "import": "NotAllowedNowError",  # while another is offered
    }
    world = enrolled_world()
    for name in world.operations:
        (kind,), _ = serial_result(world, (name,), (0,))
        assert kind == refused[name] if name in refused else "Error" not in str(kind), name


# -------------------------------------------------------------------------------------- exact counts


@pytest.mark.parametrize(
    ("names", "loser"),
    [
        # "At most once" would let nobody in; and what the loser hears is a promise, too.
        (("login", "login_other_challenge"), "WrongCodeError"),
        (("login_recovery", "login_recovery_again"), "WrongCodeError"),
        (("login", "login_later_code"), "ChallengeError"),
        (("login", "login_recovery"), "ChallengeError"),
    ],
)
def test_one_of_two_wins(names: tuple[str, str], loser: str) -> None:
    orders = 0
    for _, outcomes in every_interleaving(enrolled_world().begin(*names)):
        orders += 1
        assert sorted(type(one).__name__ for one in outcomes) == sorted(["SignedIn", loser])
    assert orders >= 6  # two loads and two writes, at least


def _world_of_failures(failures: int, policy: Policy) -> World:
    """Guesses after the password."""
    mfa, store, clock = _start(policy)
    app, _ = _enroll(mfa, clock)
    clock.advance(60)
    wrong, challenge = _wrong(clock.now, app), _challenge(mfa)
    for _ in range(failures):
        with pytest.raises(WrongCodeError):
            mfa.complete_login(challenge, wrong)
    world = World(store, clock, policy)
    world.operations = {"guess": lambda m: m.complete_login(challenge, wrong)}
    return world


@pytest.mark.parametrize(
    ("before", "at_once", "wrong_codes", "state"),
    [
        # The fifth wrong code locks; who comes after it is not evaluated.
        (2, 2, 2, "enrolled"),
        (3, 2, 2, "locked"),
        (4, 2, 1, "locked"),
        (2, 3, 3, "locked"),
        (3, 3, 2, "locked"),
        (4, 3, 1, "locked"),
    ],
)
def test_no_guess_is_evaluated_beyond_the_cap(
    before: int, at_once: int, wrong_codes: int, state: str
) -> None:
    policy = Policy(issuer="Example", throttle_free_failures=4, code_failures_max=5)
    world = _world_of_failures(before, policy)
    for mfa, outcomes in every_interleaving(world.begin(*["guess"] * at_once)):
        told = Counter(type(one) for one in outcomes)
        assert told[WrongCodeError] == wrong_codes
        assert told[SecondFactorLockedError] == at_once - wrong_codes
        record: Any = mfa.record
        assert record.state == state
        assert record.code_throttle.failures == before + wrong_codes
        assert record.failed_since_last == before + wrong_codes
        assert record.password_suspect == (state == "locked")


@pytest.mark.parametrize("at_once", [2, 3])
def test_no_guess_is_evaluated_during_a_wait(at_once: int) -> None:
    """The fifth wrong code begins a wait: the guesses that came with it are not evaluated."""
    world = _world_of_failures(4, POLICY)
    for mfa, outcomes in every_interleaving(world.begin(*["guess"] * at_once)):
        told = Counter(type(one) for one in outcomes)
        assert told == {WrongCodeError: 1, ThrottledError: at_once - 1}
        assert mfa.record.code_throttle.failures == 5


def _world_of_session_failures(failures: int) -> World:
    """Guesses in a session, by recovery codes: these have no waits."""
    mfa, store, clock = _start()
    _enroll(mfa, clock)
    guess: Call = lambda m: m.verify_code("ann", "0ZZZ-ZZZZ-ZZZZ-ZZZZ", method="recovery")  # noqa: E731
    for _ in range(failures):
        with pytest.raises(WrongCodeError):
            guess(mfa)
    world, epoch = World(store, clock, POLICY), mfa.status("ann").epoch
    world.operations = {
        "guess": guess,
        "session": lambda m: m.session_is_current("ann", epoch),
        "password_changed": lambda m: m.password_changed("ann"),
    }
    return world


@pytest.mark.parametrize(
    ("before", "at_once", "ended", "left"),
    [
        # Who comes after the fifth is the first of a new run.
        (2, 2, 0, 4),
        (3, 2, 1, 0),
        (4, 2, 1, 1),
        (2, 3, 1, 0),
        (4, 3, 1, 2),
    ],
)
def test_the_fifth_wrong_code_in_a_session_ends_it_once(
    before: int, at_once: int, ended: int, left: int
) -> None:
    world = _world_of_session_failures(before)
    for mfa, outcomes in every_interleaving(world.begin(*["guess"] * at_once)):
        told = Counter(type(one) for one in outcomes)
        assert told[SessionEndedError] == ended
        assert told[WrongCodeError] == at_once - ended
        record: Any = mfa.record
        assert record.session_failures == left
        assert record.recovery_throttle.failures == before + at_once
        assert [event.kind for event in mfa.told].count(EventKind.SESSIONS_ENDED) == ended
        assert mfa.ask(world.operations["session"]) is (ended == 0)


def test_a_new_epoch_beside_the_fifth_wrong_code_begins_a_new_run() -> None:
    """Whichever comes first: one new epoch and a run of one, or two new epochs and none."""
    world = _world_of_session_failures(4)
    check_every_order(world, ("guess", "password_changed"))
    for mfa, outcomes in every_interleaving(world.begin("guess", "password_changed")):
        ended = isinstance(outcomes[0], SessionEndedError)
        assert mfa.record.session_failures == (0 if ended else 1)
        assert not mfa.ask(world.operations["session"])


@cache
def _world_of_passcodes(count: int) -> World:
    mfa, store, clock = _start()
    _, done = _enroll(mfa, clock)
    for number in range(count):
        mfa.create_passcode("ann", label=f"Phone {number}", proof=done.proof)
    world = World(store, clock, POLICY)
    for label in ("A", "B"):
        world.operations[label] = lambda m, label=label: m.create_passcode(
            "ann", label=label, proof=done.proof
        )
    return world


@pytest.mark.parametrize("names", [("A", "B"), ("A", "A")], ids="".join)
def test_the_25th_passcode_is_made_once(names: tuple[str, ...]) -> None:
    for mfa, outcomes in every_interleaving(_world_of_passcodes(24).begin(*names)):
        refused = [one for one in outcomes if isinstance(one, MFAKitError)]
        assert len(refused) == len(names) - 1
        assert all(isinstance(one, LimitReachedError) for one in refused)
        assert len(mfa.ask(PASSCODES)) == 25


def test_one_label_is_given_once() -> None:
    for mfa, outcomes in every_interleaving(_world_of_passcodes(0).begin("A", "A")):
        assert sorted(map(str, map(kind_of, outcomes))) == ["LabelTakenError", "NewPasscode"]
        assert [one.label for one in mfa.ask(PASSCODES)] == ["A"]


@pytest.mark.parametrize("is_first_use", [True, False])
@pytest.mark.parametrize("steps_before", range(4))
def test_after_a_revocation_no_use_is_accepted(is_first_use: bool, steps_before: int) -> None:
    """However far a use had come: what it reads or writes after the revocation is refused."""
    world = enrolled_world()
    use, mfa = world.operations["use_passcode"], world.driver(world)
    if not is_first_use:
        mfa.ask(use)
    using = mfa.begin(use)
    for _ in range(steps_before):
        if not using.is_done:
            using.step()
    was_done = using.is_done
    mfa.ask(world.operations["revoke_passcode"])
    while not using.is_done:
        using.step()
    assert isinstance(using.outcome, ClientSignedIn) == was_done
    assert kind_of(run(mfa, use)) == "CredentialRefusedError"


def test_a_passcode_is_first_used_once() -> None:
    """Two connections at once: both are let in, the owner is told of one first use."""
    for mfa, outcomes in every_interleaving(enrolled_world().begin("use_passcode", "use_passcode")):
        assert [kind_of(one) for one in outcomes] == [("ClientSignedIn", "passcode")] * 2
        told = [event.kind for event in mfa.told]
        assert told.count(EventKind.PASSCODE_FIRST_USED) == 1


# ------------------------------------------------------------------------------------ the tool itself


def test_every_order_is_tried_once() -> None:
    """Two operations of two steps that never meet make the six orders of four steps."""
    _, store, clock = _start()
    world = World(store, clock, POLICY)
    world.operations = {
        "ann": lambda m: m.open_account("ann"),
        "bob": lambda m: m.open_account("bob"),
    }
    logs = []
    for mfa, outcomes in every_interleaving(world.begin("ann", "bob")):
        assert outcomes == [True, True]
        logs.append("".join(map(str, mfa.log)))
    assert sorted(logs) == ["0011", "0101", "0110", "1001", "1010", "1100"]


def test_a_refusal_without_a_step_is_an_outcome() -> None:
    world = enrolled_world()
    steps = world.driver(world).begin(lambda m: m.complete_login("garbage", "123456"))
    assert steps.is_done
    assert kind_of(steps.outcome) == "ChallengeError"


def test_a_call_that_runs_no_operation_is_a_mistake() -> None:
    world = enrolled_world()
    with pytest.raises(TypeError):
        world.driver(world).begin(lambda m: None)
