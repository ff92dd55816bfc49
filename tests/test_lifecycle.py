"""The lifecycle against a table written by hand: as data, and driven through the public calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, evolve

from mfakit import AuthenticatorAdded, CodeRequired, Enrolled, Policy, SignedIn
from mfakit.core.lifecycle import (
    ALLOWED,
    OFF,
    OFFERING,
    ON,
    TRANSITIONS,
    Ability,
    Event,
    State,
    next_state,
)
from mfakit.errors import (
    CredentialRefusedError,
    MFAKitError,
    NotAllowedNowError,
    NotEnrolledError,
    OfferError,
    RefusedError,
    SecondFactorLockedError,
    SessionEndedError,
    WrongCodeError,
)
from mfakit.testing import VirtualAuthenticator
from world import Person, World

STATES = {
    "N": State.NOT_ENROLLED,
    "G": State.ENROLLING,
    "E": State.ENROLLED,
    "P": State.ENROLLED_OFFER,
    "L": State.LOCKED,
    "R": State.LOCKED_OFFER,
}
STORED = {
    "N": "not_enrolled",
    "G": "enrolling",
    "E": "enrolled",
    "P": "enrolled_offer",
    "L": "locked",
    "R": "locked_offer",
}

# The next state, and "+" where the epoch rises, "=" where it stays; "--" cannot happen.
# fmt: off
MATRIX = {
    #                     N   G   E   P   L   R
    "offered":          "G=  G=  P=  P=  R=  R=",
    "offer_dropped":    "--  N=  --  E=  --  L=",
    "confirmed":        "--  E+  --  E=  --  E+",
    "imported":         "E+  E+  E=  --  --  --",
    "removed":          "--  --  E+  E+  --  --",
    "exhausted":        "--  --  L=  L=  --  --",
    "turned_off":       "--  --  N+  N+  N+  N+",
    "reset":            "N+  N+  N+  N+  N+  N+",
    "password_changed": "N+  N+  E+  E+  L+  L+",
    "sessions_ended":   "N+  N+  E+  E+  L+  L+",
}
ABILITIES = {
    "use_code":                  "EP",
    "resync":                    "EP",
    "trust_device":              "EP",
    "create_passcode":           "EP",
    "use_recovery_code":         "EPLR",
    "regenerate_recovery_codes": "EPLR",
    "use_trusted_device":        "EPLR",
    "use_passcode":              "EPLR",
}
# What an event that cannot happen is answered with.
REFUSALS: dict[str, dict[str, type[RefusedError]]] = {
    "offer_dropped": dict.fromkeys("NEL", OfferError),
    "confirmed":     dict.fromkeys("NEL", OfferError),
    "imported":      dict.fromkeys("PLR", NotAllowedNowError),
    "removed":       dict.fromkeys("NG", NotEnrolledError) | dict.fromkeys("LR", NotAllowedNowError),
    "exhausted":     dict.fromkeys("NG", NotEnrolledError)
                     | dict.fromkeys("LR", SecondFactorLockedError),
    "turned_off":    dict.fromkeys("NG", NotEnrolledError),
}
# fmt: on

CELLS = [
    (state, event, cell)
    for event, row in MATRIX.items()
    for state, cell in zip("NGEPLR", row.split(), strict=True)
]
POSSIBLE = [cell for cell in CELLS if cell[2] != "--"]
IMPOSSIBLE = [cell[:2] for cell in CELLS if cell[2] == "--"]
# Wrong codes end the sessions only where codes are asked for; nothing else public ends them yet.
DRIVEN = [cell for cell in POSSIBLE if cell[1] != "sessions_ended" or cell[0] in "EPLR"]


# ----------------------------------------------------------------------------------------- as data


def test_the_tables_name_every_state_event_and_ability() -> None:
    assert [state.value for state in State] == list(STORED.values())
    assert {event.value for event in Event} == set(MATRIX)
    assert {ability.value for ability in Ability} == set(ABILITIES)
    assert set(TRANSITIONS) == set(State)
    assert {frozenset("NG"), frozenset("EPLR"), frozenset("GPR")} == {
        frozenset(letter for letter, state in STATES.items() if state in group)
        for group in (OFF, ON, OFFERING)
    }


@pytest.mark.parametrize(("state", "event", "cell"), CELLS)
def test_the_matrix_is_the_one_designed(state: str, event: str, cell: str) -> None:
    expected = None if cell == "--" else (STATES[cell[0]], cell[1] == "+")
    assert next_state(STATES[state], Event(event)) == expected


@pytest.mark.parametrize("ability", ABILITIES)
def test_the_abilities_are_those_designed(ability: str) -> None:
    assert ALLOWED[Ability(ability)] == {STATES[letter] for letter in ABILITIES[ability]}


# ---------------------------------------------------------------------------- through public calls


@define
class Subject:
    """An account in a known state, with all that its owner may hold there."""

    world: World
    person: Person
    state: str
    proof: Any
    offer_token: str
    offer_app: VirtualAuthenticator
    spare_id: str = "A" * 22
    spare: VirtualAuthenticator | None = None
    device: str | None = None
    passcode: str = "abcd efgh jkmn pqrs tuvw"

    @property
    def epoch(self) -> str:
        return self.world.mfa.status("ann").epoch


def offer_to(world: World, proof: Any) -> tuple[str, VirtualAuthenticator]:
    offer = world.mfa.begin_enrollment("ann", account_name="ann@example.com", proof=proof)
    return offer.token, VirtualAuthenticator(offer.uri)


def build_off(world: World, state: str) -> Subject:
    proof = world.mfa.password_proof("ann", password_verified=True)
    token, app = offer_to(world, proof)
    if state == "N":
        world.mfa.cancel_enrollment(token)
    nobody: Any = None
    person = Person("ann", app, ["0BCD-EFGH-JKMN-PQRS"], nobody)
    return Subject(world, person, state, proof, token, app)


def build_on(world: World, state: str) -> Subject:
    """Two authenticators, a passcode, a trusted device, and a living proof by a recovery code.

    The proof comes first: a recovery code's use ends trusted devices.
    """
    person = world.enroll()
    proof = world.recovery_proof(person)
    token, spare = offer_to(world, proof)
    added = world.mfa.confirm_enrollment(token, world.code(spare))
    passcode = world.mfa.create_passcode("ann", label="Mail", proof=proof).passcode
    device = world.trust(person)
    subject = Subject(world, person, state, proof, token, spare)
    subject = evolve(
        subject, spare=spare, spare_id=added.authenticator_id, device=device, passcode=passcode
    )
    if state in "LR":
        world.fail(person, 5)
    if state in "PR":
        subject.offer_token, subject.offer_app = offer_to(world, proof)
    return subject


def build(world: World, state: str) -> Subject:
    """Bring an account into a state by public calls only."""
    world.policy = Policy(code_failures_max=5)  # the fifth wrong code locks, so no wait is due
    subject = (build_off if state in "NG" else build_on)(world, state)
    assert world.mfa.status("ann").state == STORED[state]
    return subject


def confirm(subject: Subject) -> Any:
    code = subject.world.fresh_code(subject.offer_app)
    return subject.world.mfa.confirm_enrollment(subject.offer_token, code)


def type_wrong_code(subject: Subject) -> None:
    apps = [app for app in (subject.person.app, subject.spare) if app]
    subject.world.mfa.verify_code("ann", subject.world.wrong_code(*apps))


def exhaust(subject: Subject) -> None:
    try:
        type_wrong_code(subject)
    except WrongCodeError:
        return


def end_sessions(subject: Subject) -> None:
    """Five wrong answers in a session; by recovery codes, which every state that is on asks for."""
    for _ in range(4):
        with pytest.raises(WrongCodeError) as refused:
            type_wrong_recovery_code(subject)
        assert type(refused.value) is WrongCodeError
    with pytest.raises(SessionEndedError):
        type_wrong_recovery_code(subject)


def type_wrong_recovery_code(subject: Subject) -> None:
    subject.world.mfa.verify_code("ann", "0ZZZ-ZZZZ-ZZZZ-ZZZZ", method="recovery")


CALLS: dict[str, Callable[[Subject], Any]] = {
    "offered": lambda one: offer_to(one.world, one.proof),
    "offer_dropped": lambda one: one.world.mfa.cancel_enrollment(one.offer_token),
    "confirmed": confirm,
    "imported": lambda one: one.world.mfa.import_authenticator(
        "ann", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", actor="root", reason="migration"
    ),
    "removed": lambda one: one.world.mfa.remove_authenticator("ann", one.spare_id, proof=one.proof),
    "exhausted": exhaust,
    "turned_off": lambda one: one.world.mfa.disable("ann", proof=one.proof),
    "reset": lambda one: one.world.mfa.reset("ann", actor="root", reason="asked in person"),
    "password_changed": lambda one: one.world.mfa.password_changed("ann"),
    "sessions_ended": end_sessions,
}


@pytest.mark.parametrize(("state", "event", "cell"), DRIVEN)
def test_each_event_leads_where_the_table_says(
    world: World, state: str, event: str, cell: str
) -> None:
    subject = build(world, state)
    if event == "exhausted":
        world.fail(subject.person, 4)
    before = subject.epoch
    answer = CALLS[event](subject)
    assert world.mfa.status("ann").state == STORED[cell[0]]
    assert (subject.epoch != before) is (cell[1] == "+")
    assert world.mfa.session_is_current("ann", before) is (cell[1] == "=")
    if event in {"removed", "turned_off", "reset", "password_changed"}:
        assert answer == subject.epoch  # calls that raise the epoch return it
    if event in {"confirmed", "imported"}:
        assert answer.epoch == subject.epoch


@pytest.mark.parametrize(("state", "event"), IMPOSSIBLE)
def test_an_event_that_cannot_happen_is_refused_and_changes_nothing(
    world: World, state: str, event: str
) -> None:
    subject = build(world, state)
    before = world.row("ann")
    with pytest.raises(REFUSALS[event][state]):
        CALLS[event](subject)
    assert world.row("ann") == before


@pytest.mark.parametrize(("state", "left"), [("G", "N"), ("P", "E"), ("R", "L")])
def test_an_offer_is_dropped_by_expiry(world: World, state: str, left: str) -> None:
    subject = build(world, state)
    epoch = subject.epoch
    world.pass_time(minutes=10)
    with pytest.raises(OfferError):
        world.mfa.show_offer(subject.offer_token)
    assert (world.mfa.status("ann").state, subject.epoch) == (STORED[left], epoch)


@pytest.mark.parametrize(("state", "left"), [("G", "N"), ("P", "E"), ("R", "L")])
def test_an_offer_is_dropped_by_ten_wrong_codes(world: World, state: str, left: str) -> None:
    subject = build(world, state)
    epoch = subject.epoch
    wrong = world.wrong_code(subject.offer_app)
    for _ in range(9):
        with pytest.raises(WrongCodeError):
            world.mfa.confirm_enrollment(subject.offer_token, wrong)
    assert world.mfa.status("ann").state == STORED[state]
    with pytest.raises(OfferError):
        world.mfa.confirm_enrollment(subject.offer_token, wrong)
    assert (world.mfa.status("ann").state, subject.epoch) == (STORED[left], epoch)


@pytest.mark.parametrize("state", "NEL")
def test_time_alone_changes_nothing_without_an_offer(world: World, state: str) -> None:
    build(world, state)
    before = world.row("ann")
    world.pass_time(days=3)
    assert world.mfa.status("ann").state == STORED[state]
    assert world.row("ann") == before


@pytest.mark.parametrize("state", "EPLR")
def test_the_group_watermark_is_a_reset(world: World, state: str) -> None:
    subject = build(world, state)
    before = subject.epoch
    world.pass_time(seconds=1)
    world.set_policy(reset_enrolled_before=world.now)
    assert world.mfa.status("ann").state == "not_enrolled"
    assert not world.mfa.session_is_current("ann", before)


RISING = [(state, event) for state, event, cell in DRIVEN if state in "GPR" and cell[1] == "+"]


@pytest.mark.parametrize(("state", "event"), RISING)
def test_every_rise_of_the_epoch_drops_the_offer(world: World, state: str, event: str) -> None:
    subject = build(world, state)
    CALLS[event](subject)
    for use in (
        lambda: world.mfa.show_offer(subject.offer_token),
        lambda: confirm(subject),
        lambda: world.mfa.cancel_enrollment(subject.offer_token),
    ):
        with pytest.raises(OfferError):
            use()


def test_replacing_an_authenticator_raises_the_epoch(world: World) -> None:
    subject = build(world, "E")
    before = subject.epoch
    offer = world.mfa.begin_enrollment(
        "ann", account_name="a@example.com", proof=subject.proof, replaces=subject.spare_id
    )
    assert world.mfa.status("ann").state == "enrolled_offer"
    app = VirtualAuthenticator(offer.uri)
    done = world.mfa.confirm_enrollment(offer.token, world.code(app))
    assert done.epoch == subject.epoch != before
    ids = [one.authenticator_id for one in world.mfa.status("ann").authenticators]
    assert ids == [subject.person.authenticator_id, done.authenticator_id]


def test_confirming_when_locked_replaces_every_authenticator(world: World) -> None:
    subject = build(world, "R")
    done = confirm(subject)
    assert isinstance(done, Enrolled)
    (only,) = world.mfa.status("ann").authenticators
    assert only.authenticator_id == done.authenticator_id
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.fresh_code(subject.person.app))


@pytest.mark.parametrize("state", "GR")
def test_confirming_from_off_or_locked_gives_recovery_codes(world: World, state: str) -> None:
    subject = build(world, state)
    done = confirm(subject)
    assert isinstance(done, SignedIn)
    assert len(done.recovery_codes) == world.mfa.status("ann").recovery_codes_left == 10
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", subject.person.recovery_codes[0], method="recovery")
    assert world.mfa.verify_code("ann", done.recovery_codes[0], method="recovery")


def test_confirming_when_enrolled_is_no_sign_in(world: World) -> None:
    done = confirm(build(world, "P"))
    assert isinstance(done, AuthenticatorAdded)
    assert not isinstance(done, SignedIn)


@pytest.mark.parametrize("state", "EPLR")
@pytest.mark.parametrize("event", ["turned_off", "reset"])
def test_off_holds_nothing(world: World, state: str, event: str) -> None:
    CALLS[event](build(world, state))
    status = world.mfa.status("ann")
    held = (status.authenticators, status.passcodes, status.trusted_devices)
    assert (*held, status.recovery_codes_left, status.enrolled_at) == ((), 0, 0, 0, None)


def test_locked_without_recovery_codes_waits_for_the_operator(world: World) -> None:
    world.policy = Policy(code_failures_max=5)
    ann = world.enroll()
    for code in ann.recovery_codes:
        world.recover(ann, code)
    world.fail(ann, 5)
    with pytest.raises(SecondFactorLockedError):
        world.mfa.begin_login("ann", password_verified=True)
    world.mfa.reset("ann", actor="root", reason="asked in person")
    world.mfa.password_changed("ann")
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


@pytest.mark.parametrize("state", "EPLR")
def test_when_sessions_end_the_devices_die_and_the_factors_stay(world: World, state: str) -> None:
    subject = build(world, state)
    end_sessions(subject)
    status = world.mfa.status("ann")
    assert (status.trusted_devices, len(status.authenticators), status.passcodes) == (0, 2, 1)
    assert status.recovery_codes_left == 9
    assert world.client("ann", subject.passcode).via == "passcode"


FORGET: dict[str, Any] = {"actor": "root", "reason": "mailbox deleted"}


@pytest.mark.parametrize("state", STORED)
def test_forget_leaves_a_new_epoch_alone(world: World, state: str) -> None:
    """So no session, proof or offer of the earlier owner is ever good for the id's next owner."""
    subject = build(world, state)
    epoch = subject.epoch
    assert world.mfa.forget("ann", **FORGET) is True
    row = world.row("ann")
    assert row is not None
    assert row.summary.state == "forgotten"
    status = world.mfa.status("ann")
    assert (status.state, status.authenticators, status.passcodes) == ("not_enrolled", (), 0)
    assert (status.trusted_devices, status.recovery_codes_left, status.enrolled_at) == (0, 0, None)
    assert world.mfa.history("ann") == ()
    assert status.epoch not in {epoch, "none"}
    assert world.mfa.session_is_current("ann", status.epoch)
    assert not world.mfa.session_is_current("ann", epoch)
    assert not world.mfa.session_is_current("ann", "none")
    with pytest.raises(OfferError):
        confirm(subject)
    epoch = world.mfa.status("ann").epoch
    assert world.mfa.forget("ann", **FORGET) is False
    assert not world.mfa.session_is_current("ann", epoch)
    again = world.row("ann")
    assert again is not None
    assert (again.revision, again.summary) == (row.revision + 1, row.summary)


@pytest.mark.parametrize("state", STORED)
def test_purge_alone_deletes_the_row(world: World, state: str) -> None:
    build(world, state)
    assert world.mfa.forget("ann", **FORGET, purge=True) is True
    assert world.row("ann") is None
    assert world.mfa.forget("ann", **FORGET, purge=True) is False
    assert world.row("ann") is None


def test_purge_deletes_what_forget_left(world: World) -> None:
    build(world, "E")
    world.mfa.forget("ann", **FORGET)
    assert world.mfa.forget("ann", **FORGET, purge=True) is False  # the account was gone already
    assert world.row("ann") is None


def test_forgetting_an_account_that_has_no_row_ends_its_sessions(world: World) -> None:
    assert world.mfa.session_is_current("ann", "none")
    assert world.mfa.forget("ann", **FORGET) is False
    assert world.row("ann") is not None
    assert not world.mfa.session_is_current("ann", "none")


@pytest.mark.parametrize("event", ["offered", "imported", "reset", "password_changed"])
def test_any_event_of_the_lifecycle_ends_being_forgotten(world: World, event: str) -> None:
    """The id's next owner is an account like any other, and may be forgotten again."""
    subject = build(world, "E")
    world.mfa.forget("ann", **FORGET)
    subject.proof = world.mfa.password_proof("ann", password_verified=True)
    CALLS[event](subject)
    row = world.row("ann")
    assert row is not None
    assert row.summary.state == STORED[MATRIX[event][0]]
    assert world.mfa.forget("ann", **FORGET) is True


# --------------------------------------------------------------------- abilities, by public calls


def use_code(one: Subject) -> bool:
    return bool(one.world.mfa.verify_code("ann", one.world.fresh_code(one.person.app)))


def resync(one: Subject) -> bool:
    ids = one.world.mfa.status("ann").authenticators
    used = ids[0].authenticator_id if ids else "A" * 22
    codes = [one.world.code(one.person.app, steps) for steps in (3, 4)]
    one.world.mfa.resync("ann", used, *codes, proof=one.proof)
    return True


def trust_device(one: Subject) -> bool:
    """By the strongest sign-in that the state has; off, there is none to complete."""
    step = one.world.mfa.begin_login("ann", password_verified=True)
    if not isinstance(step, CodeRequired):
        return False
    by_code = "totp" in step.methods
    code = one.world.fresh_code(one.person.app) if by_code else one.person.recovery_codes[0]
    method: Any = "totp" if by_code else "recovery"
    done = one.world.mfa.complete_login(step.challenge, code, method=method, trust_device="new")
    return done.trusted_device is not None


def create_passcode(one: Subject) -> bool:
    return bool(one.world.mfa.create_passcode("ann", label="new", proof=one.proof).passcode)


def use_recovery_code(one: Subject) -> bool:
    code = one.person.recovery_codes[0]
    return bool(one.world.mfa.verify_code("ann", code, method="recovery"))


def regenerate(one: Subject) -> bool:
    return len(one.world.mfa.regenerate_recovery_codes("ann", proof=one.proof)) == 10


def use_trusted_device(one: Subject) -> bool:
    step = one.world.mfa.begin_login("ann", password_verified=True, trusted_device=one.device)
    return isinstance(step, SignedIn) and step.method == "trusted_device"


def use_passcode(one: Subject) -> bool:
    return one.world.client("ann", one.passcode).via == "passcode"


USES: dict[str, Callable[[Subject], bool]] = {
    "use_code": use_code,
    "resync": resync,
    "trust_device": trust_device,
    "create_passcode": create_passcode,
    "use_recovery_code": use_recovery_code,
    "regenerate_recovery_codes": regenerate,
    "use_trusted_device": use_trusted_device,
    "use_passcode": use_passcode,
}


@pytest.mark.parametrize("state", STORED)
@pytest.mark.parametrize("ability", ABILITIES)
def test_each_ability_is_there_in_exactly_its_states(
    world: World, state: str, ability: str
) -> None:
    subject = build(world, state)
    before = subject.epoch
    error: MFAKitError | None = None
    try:
        is_able = USES[ability](subject)
    except (
        NotEnrolledError,
        NotAllowedNowError,
        SecondFactorLockedError,
        CredentialRefusedError,
    ) as refusal:
        error, is_able = refusal, False
    assert is_able is (state in ABILITIES[ability])
    assert world.mfa.status("ann").state == STORED[state]
    assert subject.epoch == before
    if error is not None and ability not in {"use_passcode", "use_code"}:
        expected = NotEnrolledError if state in "NG" else NotAllowedNowError
        assert type(error) is expected
