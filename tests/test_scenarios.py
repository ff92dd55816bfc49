"""The acceptance scenarios of a mail suite's two-factor service, by number, on every store."""

from __future__ import annotations

import re
from base64 import b32decode

import pytest

from mfakit import CodeRequired, Enrolled, EnrollmentRequired, Policy, SignedIn
from mfakit.errors import (
    AvailabilityError,
    ChallengeError,
    CredentialRefusedError,
    LabelTakenError,
    LimitReachedError,
    PasscodesOffError,
    PasswordNotVerifiedError,
    ProofError,
    TwoStepRequiredError,
    WrongCodeError,
)
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, START, Person, World

# ------------------------------------------------------------------------------------- web sign-in


def test_s01_right_password_alone_needs_a_code(world: World) -> None:
    ann = world.enroll()
    step = world.mfa.begin_login(ann.id, password_verified=True)
    assert isinstance(step, CodeRequired)
    assert step.methods == ("totp", "recovery")
    assert not hasattr(step, "account_id")
    with pytest.raises(TypeError):
        bool(step)


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_s02_previous_current_and_next_code_are_accepted(world: World, steps: int) -> None:
    ann = world.enroll()
    world.pass_time(minutes=10)
    done = world.mfa.complete_login(world.challenge(ann), world.code(ann.app, steps))
    assert (done.account_id, done.method, done.amr) == ("ann", "totp", ("pwd", "otp", "mfa"))


@pytest.mark.parametrize("steps", [-3, -2, 2, 3])
def test_s03_codes_two_steps_away_are_refused(world: World, steps: int) -> None:
    ann = world.enroll()
    world.pass_time(minutes=10)
    near = {world.code(ann.app, one) for one in (-1, 0, 1)}
    assert world.code(ann.app, steps) not in near  # pure chance, one in 300,000
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(world.challenge(ann), world.code(ann.app, steps))


def test_s04_each_recovery_code_works_once(world: World) -> None:
    ann = world.enroll()
    for left, code in zip(range(9, -1, -1), ann.recovery_codes, strict=True):
        done = world.recover(ann, code)
        assert (done.method, done.recovery_codes_left) == ("recovery", left)
        challenge = world.mfa.begin_login(ann.id, password_verified=True).challenge
        with pytest.raises(WrongCodeError):
            world.mfa.complete_login(challenge, code, method="recovery")
        world.pass_time(hours=1)


def test_s05_wrong_password_never_evaluates_a_right_code(world: World) -> None:
    ann = world.enroll()
    code = world.fresh_code(ann.app)
    before = world.row(ann.id)
    with pytest.raises(PasswordNotVerifiedError):
        world.mfa.begin_login(ann.id, password_verified=False)
    assert world.row(ann.id) == before
    assert world.mfa.complete_login(world.challenge(ann), code).account_id == "ann"


def test_s06_right_password_with_a_bad_code_is_a_second_factor_error(world: World) -> None:
    ann = world.enroll()
    with pytest.raises(WrongCodeError) as refused:
        world.mfa.complete_login(world.challenge(ann), world.wrong_code(ann.app))
    assert refused.value.code == "wrong_code"


def test_s07_enrolling_again_needs_mfa_proof_and_makes_a_separate_offer(world: World) -> None:
    ann = world.enroll()
    password_only = world.mfa.password_proof(ann.id, password_verified=True)
    with pytest.raises(ProofError):
        world.mfa.begin_enrollment(ann.id, account_name="a@example.com", proof=password_only)
    offer = world.mfa.begin_enrollment(ann.id, account_name="a@example.com", proof=world.proof(ann))
    assert VirtualAuthenticator(offer.uri).code(START) != ann.app.code(START)
    assert world.sign_in(ann).method == "totp"  # the live one goes on


def test_s08_regenerated_recovery_codes_replace_the_earlier_set(world: World) -> None:
    ann = world.enroll()
    new = world.mfa.regenerate_recovery_codes(ann.id, proof=world.proof(ann))
    assert not set(new) & set(ann.recovery_codes)
    with pytest.raises(WrongCodeError):
        world.recover(ann, ann.recovery_codes[0])
    assert world.recover(ann, new[0]).recovery_codes_left == 9


def test_s09_status_counts_recovery_codes_and_shows_none(world: World) -> None:
    ann = world.enroll()
    assert world.mfa.status(ann.id).recovery_codes_left == 10
    world.recover(ann, ann.recovery_codes[3])
    status = world.mfa.status(ann.id)
    assert status.recovery_codes_left == 9
    assert not any(code in repr(status) for code in ann.recovery_codes)


def test_s10_wrong_password_gives_no_hint_of_two_step(world: World) -> None:
    world.enroll()
    answers = []
    for account_id in ("ann", "bob"):
        with pytest.raises(PasswordNotVerifiedError) as refused:
            world.mfa.begin_login(account_id, password_verified=False)
        answers.append((type(refused.value), refused.value.args))
    assert answers[0] == answers[1]


def test_s11_challenge_survives_a_bad_code_and_is_spent_by_a_good_one(world: World) -> None:
    ann = world.enroll()
    challenge = world.challenge(ann)
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(challenge, world.wrong_code(ann.app))
    assert world.mfa.complete_login(challenge, world.fresh_code(ann.app)).failed_since_last == 1
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, world.fresh_code(ann.app))


# -------------------------------------------------------------------------- policy, administration


def test_s12_required_and_not_set_up_must_enrol(world: World) -> None:
    world.set_policy(required=True)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, EnrollmentRequired)
    assert step.deadline is None


def enroll_when_required(world: World) -> Person:
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, EnrollmentRequired)
    offer = world.mfa.begin_enrollment("ann", account_name="a@example.com", proof=step.proof)
    app = VirtualAuthenticator(offer.uri)
    done = world.mfa.confirm_enrollment(offer.token, world.code(app))
    assert isinstance(done, Enrolled)
    return Person("ann", app, list(done.recovery_codes), done)


def test_s13_required_account_enrols_with_the_password_alone(world: World) -> None:
    world.set_policy(required=True)
    ann = enroll_when_required(world)
    assert world.sign_in(ann).account_id == "ann"


def test_s14_required_account_cannot_disable(world: World) -> None:
    world.set_policy(required=True)
    ann = enroll_when_required(world)
    with pytest.raises(TwoStepRequiredError):
        world.mfa.disable(ann.id, proof=world.proof(ann))
    assert world.mfa.status(ann.id).is_on


def test_s15_account_enrolled_before_the_requirement_cannot_disable(world: World) -> None:
    ann = world.enroll()
    world.set_policy(required=True)
    with pytest.raises(TwoStepRequiredError):
        world.mfa.disable(ann.id, proof=world.proof(ann))


def test_s16_not_available_refuses_enrolling(world: World) -> None:
    world.set_policy(available=False)
    proof = world.mfa.password_proof("ann", password_verified=True)
    with pytest.raises(AvailabilityError):
        world.mfa.begin_enrollment("ann", account_name="a@example.com", proof=proof)
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


def test_s17_after_a_reset_the_next_sign_in_must_enrol(world: World) -> None:
    world.set_policy(required=True)
    ann = enroll_when_required(world)
    world.mfa.reset(ann.id, actor="root", reason="phone lost")
    assert isinstance(world.mfa.begin_login(ann.id, password_verified=True), EnrollmentRequired)


def test_s17_a_watermark_resets_a_group_at_each_next_sign_in(world: World) -> None:
    before = [world.enroll(name) for name in ("ann", "bob")]
    world.pass_time(days=1)
    watermark = world.now
    after = world.enroll("cy")
    world.set_policy(required=True, reset_enrolled_before=watermark)
    for person in before:
        step = world.mfa.begin_login(person.id, password_verified=True)
        assert isinstance(step, EnrollmentRequired)
    assert isinstance(world.mfa.begin_login(after.id, password_verified=True), CodeRequired)


def test_s19_a_code_before_set_up_still_says_enrolment_is_required(world: World) -> None:
    """A code needs a challenge, and there is none before set-up."""
    world.set_policy(required=True)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login("", "123456")
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), EnrollmentRequired)


# -------------------------------------------------------------------------------------- passcodes


def test_s21_passcode_is_refused_at_web_sign_in(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    for method in ("totp", "recovery"):
        with pytest.raises(WrongCodeError):
            world.mfa.complete_login(world.challenge(ann), new.passcode, method=method)
    with pytest.raises(PasswordNotVerifiedError):
        world.mfa.begin_login(ann.id, password_verified=new.passcode)


def test_s22_second_passcode_of_one_label_is_refused(world: World) -> None:
    ann = world.enroll()
    world.passcode(ann, "iPhone Mail")
    with pytest.raises(LabelTakenError):
        world.passcode(ann, "iPhone Mail")
    assert len(world.mfa.passcodes(ann.id)) == 1


def test_s23_first_use_sets_last_used(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    (listed,) = world.mfa.passcodes(ann.id)
    assert (listed.last_used_at, listed.created_at) == (None, world.now)
    world.pass_time(minutes=1)
    world.client(ann, new.passcode)
    (listed,) = world.mfa.passcodes(ann.id)
    assert listed.last_used_at == world.now > listed.created_at


def test_s24_later_use_moves_last_used_in_one_entry(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.client(ann, new.passcode)
    world.pass_time(minutes=20)
    world.client(ann, new.passcode, "smtp")
    (listed,) = world.mfa.passcodes(ann.id)
    assert (listed.last_used_at, listed.last_used_protocol) == (world.now, "smtp")


def test_s25_revoked_passcode_is_refused(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.client(ann, new.passcode)
    world.mfa.revoke_passcode(ann.id, new.passcode_id)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)


def test_s26_26th_passcode_is_refused(world: World) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    for number in range(25):
        world.mfa.create_passcode(ann.id, label=f"client {number}", proof=proof)
    with pytest.raises(LimitReachedError):
        world.mfa.create_passcode(ann.id, label="one more", proof=proof)
    assert len(world.mfa.passcodes(ann.id)) == 25


@pytest.mark.parametrize("ends", [True, False])
def test_s27_password_change_revokes_passcodes_if_policy_says_so(world: World, ends: bool) -> None:
    world.set_policy(passcodes_end_with_password=ends)
    ann = world.enroll()
    new = world.passcode(ann)
    world.mfa.password_changed(ann.id)
    assert len(world.mfa.passcodes(ann.id)) == (0 if ends else 1)
    if ends:
        with pytest.raises(CredentialRefusedError):
            world.client(ann, new.passcode)
    else:
        assert world.client(ann, new.passcode).via == "passcode"


def test_s28_expired_passcode_is_refused(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann, expires_at=world.later(hours=1))
    assert world.client(ann, new.passcode).passcode_id == new.passcode_id
    world.pass_time(minutes=59)
    world.client(ann, new.passcode)
    world.pass_time(minutes=1)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)


def test_s29_passcodes_off_opens_nothing(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.set_policy(passcodes=False)
    assert isinstance(world.mfa.begin_login(ann.id, password_verified=True), CodeRequired)
    for protocol in ("imap", "pop3", "smtp"):
        for credential in (PASSWORD, new.passcode):
            with pytest.raises(CredentialRefusedError):
                world.client(ann, credential, protocol)
    with pytest.raises(PasscodesOffError):
        world.passcode(ann, "another")


def test_s30_label_is_found_from_a_passcode(world: World) -> None:
    ann = world.enroll()
    world.passcode(ann, "Tablet")
    new = world.passcode(ann, "iPhone Mail")
    found = world.mfa.describe_passcode(ann.id, new.passcode.upper().replace(" ", "-"))
    assert found is not None
    assert (found.label, found.passcode_id, found.hint) == (
        "iPhone Mail",
        new.passcode_id,
        new.passcode[:4],
    )
    assert world.mfa.describe_passcode(ann.id, "hello") is None


# -------------------------------------------------------------------------------- trusted devices


def test_s31_trusted_device_signs_in_by_password_only(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    world.pass_time(days=3)
    step = world.mfa.begin_login(ann.id, password_verified=True, trusted_device=token)
    assert isinstance(step, SignedIn)
    assert (step.method, step.amr, step.proof) == ("trusted_device", ("pwd",), None)


GARBAGE = [
    "",
    "x",
    "=",
    "é" * 64,
    "A" * 63,
    "A" * 64,
    "A" * 65,
    "\0",
    "\ud800",
    "../..",
    "A" * 9999,
]


@pytest.mark.parametrize("token", GARBAGE, ids=range(len(GARBAGE)))
def test_s32_garbage_trust_token_asks_for_the_code(world: World, token: str) -> None:
    ann = world.enroll()
    world.trust(ann)
    assert not world.is_trusted(ann, token)


def test_s33_two_devices_each_see_this_one_and_one_other(world: World) -> None:
    ann = world.enroll()
    tokens = {label: world.trust(ann, label) for label in ("home", "work")}
    for label, token in tokens.items():
        listed = world.mfa.trusted_devices(ann.id, token=token)
        assert [one.label for one in listed if one.is_this] == [label]
        assert len(listed) == 2


def test_s34_revoking_this_device_leaves_the_other(world: World) -> None:
    ann = world.enroll()
    home, work = world.trust(ann, "home"), world.trust(ann, "work")
    (this,) = [one for one in world.mfa.trusted_devices(ann.id, token=home) if one.is_this]
    world.mfa.revoke_trusted_device(ann.id, this.device_id)
    assert not world.is_trusted(ann, home)
    assert world.is_trusted(ann, work)
    assert world.mfa.status(ann.id).trusted_devices == 1


def test_s35_revoking_the_others_leaves_only_this(world: World) -> None:
    ann = world.enroll()
    home, *others = [world.trust(ann, label) for label in ("home", "work", "café")]
    assert world.mfa.revoke_other_devices(ann.id, keep=home) == 2
    listed = world.mfa.trusted_devices(ann.id, token=home)
    assert [(one.label, one.is_this) for one in listed] == [("home", True)]
    assert not any(world.is_trusted(ann, token) for token in others)


def test_s36_bound_token_fails_without_its_device_id(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann, device_id="device-1")
    assert not world.is_trusted(ann, token)


def test_s37_bound_token_fails_with_a_wrong_id_and_works_with_the_right_one(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann, device_id="device-1")
    assert not world.is_trusted(ann, token, device_id="device-2")
    assert world.is_trusted(ann, token, device_id="device-1")
    unbound = world.trust(ann)
    assert not world.is_trusted(ann, unbound, device_id="device-1")


def test_s38_expired_trust_token_asks_for_the_code(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    world.pass_time(days=30, seconds=-1)
    assert world.is_trusted(ann, token)
    world.pass_time(seconds=1)
    assert not world.is_trusted(ann, token)
    assert world.mfa.trusted_devices(ann.id) == ()


# ------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("algorithm", "octets", "characters"),
    [("SHA1", 20, 32), ("SHA256", 32, 52), ("SHA512", 64, 103)],
)
def test_s42_secrets_are_standard_base32_as_long_as_the_hash(
    world: World, algorithm: str, octets: int, characters: int
) -> None:
    world.policy = Policy(algorithm=algorithm, digits=8, period_seconds=60)
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment("ann", account_name="a@example.com", proof=proof)
    assert re.fullmatch(r"[A-Z2-7]+", offer.secret_text)
    assert len(offer.secret_text) == characters
    assert len(b32decode(offer.secret_text + "=" * (-characters % 8))) == octets
    assert (offer.algorithm, offer.digits, offer.period_seconds) == (algorithm, 8, 60)


@pytest.mark.parametrize("count", [4, 10, 32])
def test_s43_recovery_codes_have_the_configured_count_and_form(world: World, count: int) -> None:
    world.set_policy(recovery_codes=count)
    codes = world.enroll().recovery_codes
    assert len(set(codes)) == count
    symbol = "[0-9A-HJKMNP-TV-Z]"
    assert all(re.fullmatch(rf"{symbol}{{4}}(-{symbol}{{4}}){{3}}", code) for code in codes)
    assert [code[0] for code in codes] == list("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[:count])
