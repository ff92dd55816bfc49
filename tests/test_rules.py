"""The rules of the design, by number: 1-8. The others are in `test_rules_upkeep.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mfakit import NIST_800_63B, AuthenticatorAdded, CodeRequired, SignedIn
from mfakit.errors import (
    ChallengeError,
    ClockError,
    DuplicateSecretError,
    LimitReachedError,
    NotFoundError,
    OfferError,
    PasswordChangeRequiredError,
    ProofError,
    SecondFactorLockedError,
    SessionEndedError,
    ThrottledError,
    WrongCodeError,
)
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, Person, World

NAME = "ann@example.com"
BY = {"actor": "root", "reason": "asked in person"}


def offer_with(world: World, proof: Any, **how: Any) -> Any:
    return world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof, **how)


def password_proof(world: World, account_id: str = "ann") -> Any:
    return world.mfa.password_proof(account_id, password_verified=True)


def app_of(offer: Any) -> VirtualAuthenticator:
    return VirtualAuthenticator(offer.uri)


def is_right(world: World, code: str) -> bool:
    try:
        world.mfa.verify_code("ann", code)
    except WrongCodeError:
        return False
    return True


def failures(world: World) -> int:
    """Return the number of counted failures that the last event tells."""
    return world.events[-1].count or 0


# ---------------------------------------------------------------------------------------- 1, 2


def test_r01_a_newer_offer_replaces_an_older_one(world: World) -> None:
    old, new = (offer_with(world, password_proof(world)) for _ in range(2))
    for use in (
        lambda: world.mfa.show_offer(old.token),
        lambda: world.mfa.confirm_enrollment(old.token, world.code(app_of(old))),
        lambda: world.mfa.cancel_enrollment(old.token),
    ):
        with pytest.raises(OfferError):
            use()
    assert world.mfa.confirm_enrollment(new.token, world.code(app_of(new)))


def test_r01_an_offer_lives_ten_minutes(world: World) -> None:
    offer = offer_with(world, password_proof(world))
    assert offer.expires_at == world.later(minutes=10)
    world.pass_time(seconds=599)
    again = world.mfa.show_offer(offer.token)
    assert (again.secret_text, again.expires_at) == (offer.secret_text, offer.expires_at)
    world.pass_time(seconds=1)
    with pytest.raises(OfferError):
        world.mfa.confirm_enrollment(offer.token, world.code(app_of(offer)))


def test_r01_an_offer_changes_nothing_about_sign_in(world: World) -> None:
    offer_with(world, password_proof(world))
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, SignedIn)
    assert world.client("ann", PASSWORD).via == "password"
    ann = world.enroll()
    offer = offer_with(world, world.proof(ann))
    assert not is_right(world, world.code(app_of(offer)))
    assert world.sign_in(ann).method == "totp"


def test_r01_an_offer_is_bound_to_its_session(world: World) -> None:
    proof = world.mfa.password_proof("ann", password_verified=True, bound_to="session-1")
    offer = offer_with(world, proof, bound_to="session-1")
    code = world.code(app_of(offer))
    for session in (None, "session-2"):
        for use in (
            lambda to: world.mfa.show_offer(offer.token, bound_to=to),
            lambda to: world.mfa.confirm_enrollment(offer.token, code, bound_to=to),
            lambda to: world.mfa.cancel_enrollment(offer.token, bound_to=to),
        ):
            with pytest.raises(OfferError):
                use(session)
    assert world.mfa.confirm_enrollment(offer.token, code, bound_to="session-1")


def test_r01_a_mistyped_code_may_be_retried(world: World) -> None:
    offer = offer_with(world, password_proof(world))
    app = app_of(offer)
    for code in (world.wrong_code(app), "12345", ""):
        with pytest.raises(WrongCodeError):
            world.mfa.confirm_enrollment(offer.token, code)
    assert world.mfa.confirm_enrollment(offer.token, world.code(app))


def test_r02_confirming_from_off_is_a_sign_in_and_spends_its_step(world: World) -> None:
    ann = world.enroll()
    assert isinstance(ann.enrolled, SignedIn)
    assert (ann.enrolled.method, ann.enrolled.amr) == ("totp", ("pwd", "otp", "mfa"))
    assert world.mfa.session_is_current("ann", ann.enrolled.epoch)
    assert offer_with(world, ann.enrolled.proof).token
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(world.challenge(ann), world.code(ann.app))
    assert world.events[-1].kind == "code_replayed"


def test_r02_confirming_another_authenticator_spends_its_step(world: World) -> None:
    ann = world.enroll()
    spare, added = world.add_app(ann)
    assert isinstance(added, AuthenticatorAdded)
    assert not is_right(world, world.code(spare))
    assert is_right(world, world.fresh_code(spare))


# ------------------------------------------------------------------------------------------- 3, 4


CHANGES: dict[str, Callable[[World, Person, Any], Any]] = {
    "begin_enrollment": lambda w, _, proof: offer_with(w, proof),
    "remove": lambda w, _, proof: w.mfa.remove_authenticator(
        "ann", w.mfa.status("ann").authenticators[1].authenticator_id, proof=proof
    ),
    "resync": lambda w, ann, proof: w.mfa.resync(
        "ann", ann.authenticator_id, w.code(ann.app, 5), w.code(ann.app, 6), proof=proof
    ),
    "disable": lambda w, _, proof: w.mfa.disable("ann", proof=proof),
    "regenerate": lambda w, _, proof: w.mfa.regenerate_recovery_codes("ann", proof=proof),
    "create_passcode": lambda w, _, proof: w.mfa.create_passcode("ann", label="x", proof=proof),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", ["totp", "recovery"])
def test_r03_a_code_or_a_recovery_code_proves_enough(
    world: World, change: str, method: str
) -> None:
    ann = world.enroll()
    world.add_app(ann)
    proof = world.proof(ann) if method == "totp" else world.recovery_proof(ann)
    CHANGES[change](world, ann, proof)


@pytest.mark.parametrize("change", CHANGES)
def test_r03_nothing_less_proves_enough_once_two_step_is_on(world: World, change: str) -> None:
    before = password_proof(world)
    ann = world.enroll()
    bob = world.enroll("bob")
    world.add_app(ann)
    code = world.mfa.verify_code("ann", world.fresh_code(ann.app), bound_to="session-1")
    challenge = world.challenge(ann)
    offer = offer_with(world, world.proof(ann))
    row = world.row("ann")
    weak = [before, password_proof(world), world.proof(bob), code, challenge, offer.token, "", "x"]
    for proof in weak:
        with pytest.raises(ProofError):
            CHANGES[change](world, ann, proof)
    assert world.row("ann") == row


@pytest.mark.parametrize("change", CHANGES)
def test_r03_a_proof_lives_five_minutes(world: World, change: str) -> None:
    ann = world.enroll()
    world.add_app(ann)
    proof = world.proof(ann)
    world.pass_time(seconds=300)
    with pytest.raises(ProofError):
        CHANGES[change](world, ann, proof)
    world.pass_time(seconds=-1)
    CHANGES[change](world, ann, proof)


def test_r03_password_proof_lives_five_minutes_and_is_bound(world: World) -> None:
    proof = world.mfa.password_proof("ann", password_verified=True, bound_to="s1")
    for session in (None, "s2"):
        with pytest.raises(ProofError):
            offer_with(world, proof, bound_to=session)
    with pytest.raises(ProofError):
        world.mfa.begin_enrollment("bob", account_name=NAME, proof=proof, bound_to="s1")
    world.pass_time(seconds=299)
    assert offer_with(world, proof, bound_to="s1").token
    world.pass_time(seconds=1)
    with pytest.raises(ProofError):
        offer_with(world, proof, bound_to="s1")


def test_r03_each_proof_is_bound_to_its_session(world: World) -> None:
    world.set_policy(required=True)
    here = {"bound_to": "s1"}

    def is_bound(proof: Any, use: Any) -> None:
        assert proof is not None
        for elsewhere in ({"bound_to": "s2"}, {}):
            with pytest.raises(ProofError):
                use(proof, **elsewhere)
        use(proof, **here)

    offers: list[Any] = []

    def begin(proof: Any, **session: Any) -> None:
        offers.append(world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof, **session))

    def regenerate(proof: Any, **session: Any) -> None:
        world.mfa.regenerate_recovery_codes("ann", proof=proof, **session)

    required: Any = world.mfa.begin_login("ann", password_verified=True, **here)
    is_bound(required.proof, begin)
    app = VirtualAuthenticator(offers[0].uri)
    enrolled = world.mfa.confirm_enrollment(offers[0].token, world.code(app), **here)
    is_bound(enrolled.proof, regenerate)
    step: Any = world.mfa.begin_login("ann", password_verified=True, **here)
    done = world.mfa.complete_login(step.challenge, world.fresh_code(app), **here)
    is_bound(done.proof, regenerate)
    is_bound(world.mfa.verify_code("ann", world.fresh_code(app), **here), regenerate)


def test_r03_a_proof_dies_with_the_epoch(world: World) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    world.mfa.password_changed("ann")
    with pytest.raises(ProofError):
        offer_with(world, proof)


def test_r03_a_proof_dies_with_the_authenticator_that_earned_it(world: World) -> None:
    ann = world.enroll()
    spare, added = world.add_app(ann)
    proof = world.mfa.verify_code("ann", world.fresh_code(spare))
    world.mfa.remove_authenticator("ann", added.authenticator_id, proof=world.proof(ann))
    with pytest.raises(ProofError):
        offer_with(world, proof)


def test_r03_a_proof_dies_with_a_locked_authenticator(world: World) -> None:
    world.set_policy(code_failures_max=5)
    ann = world.enroll()
    proof = world.proof(ann)
    by_recovery = world.recovery_proof(ann)
    world.fail(ann, 5)
    with pytest.raises(ProofError):
        world.mfa.disable("ann", proof=proof)
    world.mfa.disable("ann", proof=by_recovery)


def test_r03_a_proof_dies_with_the_recovery_set_that_earned_it(world: World) -> None:
    ann = world.enroll()
    by_code, by_recovery = world.proof(ann), world.recovery_proof(ann)
    world.mfa.regenerate_recovery_codes("ann", proof=by_recovery)
    with pytest.raises(ProofError):
        world.mfa.regenerate_recovery_codes("ann", proof=by_recovery)
    world.mfa.regenerate_recovery_codes("ann", proof=by_code)


def test_r03_a_trusted_device_earns_no_proof(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    step = world.mfa.begin_login("ann", password_verified=True, trusted_device=token)
    assert isinstance(step, SignedIn)
    assert step.proof is None


def test_r03_a_sign_in_by_code_earns_a_proof(world: World) -> None:
    ann = world.enroll()
    assert world.mfa.disable("ann", proof=world.sign_in(ann).proof)


def test_r04_five_authenticators_at_most(world: World) -> None:
    ann = world.enroll()
    apps = [ann.app, *[world.add_app(ann, f"App {number}")[0] for number in range(2, 6)]]
    labels = [one.label for one in world.mfa.status("ann").authenticators]
    assert labels == ["Phone", "App 2", "App 3", "App 4", "App 5"]
    with pytest.raises(LimitReachedError):
        offer_with(world, world.proof(ann))
    assert all(is_right(world, world.fresh_code(app)) for app in apps)
    last = world.mfa.status("ann").authenticators[4].authenticator_id
    world.add_app(ann, "App 6", replaces=last)
    assert len(world.mfa.status("ann").authenticators) == 5
    with pytest.raises(NotFoundError):
        offer_with(world, world.proof(ann), replaces=last)


def test_r04_a_sixth_may_take_the_place_of_one_of_five(world: World) -> None:
    ann = world.enroll()
    added = [world.add_app(ann, f"Spare {n}")[1] for n in range(4)]
    assert {one.account_id for one in added} == {"ann"}
    with pytest.raises(LimitReachedError):
        world.add_app(ann, "Sixth")
    with pytest.raises(NotFoundError):
        world.add_app(ann, "Sixth", replaces="A" * 22)
    _, sixth = world.add_app(ann, "Sixth", replaces=added[0].authenticator_id)
    held = world.mfa.status("ann").authenticators
    ids = [ann.authenticator_id, *(one.authenticator_id for one in added[1:])]
    assert [one.authenticator_id for one in held] == [*ids, sixth.authenticator_id]
    assert held[-1].last_used_at == world.now


def test_r04_parameters_are_fixed_at_enrolment(world: World) -> None:
    ann = world.enroll()
    world.set_policy(digits=8, period_seconds=60, algorithm="SHA256")
    spare, _ = world.add_app(ann)
    assert len(world.fresh_code(spare)) == 8
    assert is_right(world, world.code(spare))
    assert is_right(world, world.fresh_code(ann.app))


def test_r04_the_same_secret_twice_is_refused(world: World) -> None:
    proof = password_proof(world)
    offer = offer_with(world, proof)
    world.mfa.confirm_enrollment(offer.token, world.code(app_of(offer)))
    for given in (offer.secret_text, offer.uri, offer.secret_groups.lower()):
        with pytest.raises(DuplicateSecretError):
            world.mfa.import_authenticator("ann", given, **BY)


# ---------------------------------------------------------------------------------------------- 5, 6


def test_r05_spaces_and_hyphens_do_not_matter(world: World) -> None:
    ann = world.enroll()
    for form in ("{} {}", "{}-{}", " {}{} ", "{} - {}"):
        code = world.fresh_code(ann.app)
        assert is_right(world, form.format(code[:3], code[3:]))


@pytest.mark.parametrize(
    "form",
    ["\t{}{}\r\n", "\u3000{}{}\u2003", "{}\u00a0{}", "{}\u202f{}", "\u00a0 {}-{} \u202f", "{}{}\n"],
)
def test_r05_what_people_paste_around_and_between_the_digits_is_dropped(
    world: World, form: str
) -> None:
    """Any white space around; inside, spaces, hyphens and no-break spaces alone."""
    ann = world.enroll()
    code = world.fresh_code(ann.app)
    assert is_right(world, form.format(code[:3], code[3:]))


def test_r05_full_width_digits_are_read(world: World) -> None:
    """An input method for Japanese or Chinese types U+FF10 to U+FF19."""
    ann = world.enroll()
    wide = dict(zip("0123456789", "０１２３４５６７８９", strict=True))
    assert is_right(world, "".join(wide[digit] for digit in world.fresh_code(ann.app)))


def test_r05_a_malformed_code_sounds_wrong_and_is_not_counted(world: World) -> None:
    ann = world.enroll()
    code = world.fresh_code(ann.app)
    before = world.row("ann")
    malformed = ["", " ", "-", code[:5], code + "0", "+" + code, "¹" * 6, "٣" * 6, "\U0001d7d8" * 6]
    malformed += [
        code[:3] + "." + code[3:],
        code[:3] + "\n" + code[3:],
        code[:3] + "\u200b" + code[3:],
    ]
    malformed += [code[:3] + "\u2013" + code[3:], code + "\0", "0x1234", "1e1000", code * 20]
    for text in malformed:
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", text)
    assert world.row("ann") == before
    assert is_right(world, code)


@pytest.mark.parametrize(
    ("past", "future", "accepted"),
    [
        (0, 0, {0}),
        (1, 1, {-1, 0, 1}),
        (2, 0, {-2, -1, 0}),
        (0, 2, {0, 1, 2}),
        (2, 2, {-2, -1, 0, 1, 2}),
    ],
)
def test_r05_the_window_is_the_policys(
    world: World, past: int, future: int, accepted: set[int]
) -> None:
    ann = world.enroll()
    world.set_policy(window_past_steps=past, window_future_steps=future, throttle_free_failures=10)
    tried = {}
    for steps in range(-4, 5):
        world.pass_time(minutes=10)
        tried[steps] = is_right(world, world.code(ann.app, steps))
    assert {steps for steps, right in tried.items() if right} == accepted


def test_r05_steps_are_taken_in_order_only(world: World) -> None:
    """A step below the last accepted one is spent, inside the window too."""
    ann = world.enroll()
    world.pass_time(minutes=10)
    assert is_right(world, world.code(ann.app, 0))
    assert not is_right(world, world.code(ann.app, -1))
    assert not is_right(world, world.code(ann.app, 0))
    assert is_right(world, world.code(ann.app, 1))


# Found by search: codes 194688 (of both) at step 60,000,001, and 311980 at steps …001 and …002.
TWIN_A = "NVTGC23JOQWXIZLTOQWXGZLDOJSXILKB"
TWIN_B = "NVTGC23JOQWXIZLTOQWTAMBQGE3TOMJU"
REPEATING = "NVTGC23JOQWXIZLTOQWTAMBSGMZDCNJZ"


def test_r05_the_lowest_matching_step_is_spent(world: World) -> None:
    """An app that shows one code twice in a row is good for two sign-ins, not three."""
    world.mfa.import_authenticator("ann", REPEATING, **BY)
    world.clock.now = 60_000_001 * 30
    assert [is_right(world, "311980") for _ in range(3)] == [True, True, False]


def test_r05_every_authenticator_that_matches_advances(world: World) -> None:
    """One code that two apps happen to show is good for one sign-in, not two."""
    for secret in (TWIN_A, TWIN_B):
        world.mfa.import_authenticator("ann", secret, **BY)
    world.clock.now = 60_000_001 * 30
    assert [is_right(world, "194688") for _ in range(2)] == [True, False]
    used = [one.last_used_at for one in world.mfa.status("ann").authenticators]
    assert used == [world.now, world.now]


def test_r05_a_clock_that_went_back_is_operational_and_uncounted(world: World) -> None:
    ann = world.enroll()
    world.sign_in(ann)
    world.pass_time(seconds=-60)
    for text in (world.code(ann.app), world.wrong_code(ann.app)):
        with pytest.raises(ClockError):
            world.mfa.verify_code("ann", text)
    world.pass_time(seconds=90)
    assert (
        world.mfa.complete_login(world.challenge(ann), world.code(ann.app)).failed_since_last == 0
    )


def test_r05_one_step_back_is_a_code_like_any_and_two_are_the_clocks_fault(world: World) -> None:
    ann = world.enroll()
    wrong = world.wrong_code(ann.app)
    world.pass_time(seconds=-30)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", wrong)
    world.pass_time(seconds=-30)
    with pytest.raises(ClockError):
        world.mfa.verify_code("ann", wrong)


def test_r05_a_minute_between_two_clocks_changes_nothing(world: World) -> None:
    world.enroll()
    before = world.row("ann")
    assert before is not None
    for back, writes in ((60, 0), (1, 1)):
        world.pass_time(seconds=-back)
        world.mfa.begin_login("ann", password_verified=True)
        after = world.row("ann")
        assert after is not None
        assert after.revision == before.revision + writes


def test_r05_an_authenticator_ahead_of_the_clock_is_skipped_alone(world: World) -> None:
    ann = world.enroll()
    spare, _ = world.add_app(ann)
    world.pass_time(minutes=4)
    assert is_right(world, world.code(ann.app))
    world.pass_time(minutes=-2)
    assert is_right(world, world.code(spare))
    assert not is_right(world, world.code(ann.app))


def test_r05_resync_never_lowers_a_last_step(world: World) -> None:
    """Nor does a third spent code sign in: what a clock ahead accepted stays accepted."""
    ann = world.enroll()
    world.pass_time(minutes=10)
    world.sign_in(ann)
    shown = [world.code(ann.app, steps) for steps in (-2, -1, 0)]
    world.pass_time(minutes=-5)
    with pytest.raises(ClockError):
        world.mfa.verify_code("ann", world.code(ann.app))
    proof = world.recovery_proof(ann)
    now_shown = world.code(ann.app, -1), world.code(ann.app)
    for count, pair in enumerate((now_shown, tuple(shown[:2]), tuple(shown[1:])), 1):
        with pytest.raises(WrongCodeError):
            world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)
        assert (world.events[-1].kind, failures(world)) == ("code_replayed", count)
    world.pass_time(minutes=5)
    assert not is_right(world, shown[2])
    assert is_right(world, world.fresh_code(ann.app))


def test_r05_resync_takes_two_codes_that_are_both_unspent(world: World) -> None:
    """A pair of the last accepted code and the next one is refused; the two after it are learnt."""
    ann = world.enroll()
    world.sign_in(ann)
    proof = world.recovery_proof(ann)
    with pytest.raises(WrongCodeError):
        world.mfa.resync(
            "ann", ann.authenticator_id, world.code(ann.app, 0), world.code(ann.app, 1), proof=proof
        )
    assert world.events[-1].kind == "code_replayed"
    first, second = world.code(ann.app, 1), world.code(ann.app, 2)
    world.mfa.resync("ann", ann.authenticator_id, first, second, proof=proof)
    for spent in (first, second):
        assert not is_right(world, spent)
    assert is_right(world, world.code(ann.app, 3))


def test_r05_resync_reaches_twenty_steps_beyond_a_clock_that_went_back(world: World) -> None:
    """18 steps back, the second code after the last accepted one is the twentieth ahead."""
    ann = world.enroll()
    world.pass_time(hours=1)
    world.sign_in(ann)
    pair = world.code(ann.app, 1), world.code(ann.app, 2)
    world.pass_time(seconds=-18 * 30)
    world.mfa.resync("ann", ann.authenticator_id, *pair, proof=world.recovery_proof(ann))
    assert is_right(world, world.code(ann.app, 21))


def test_r05_where_no_pair_in_reach_is_unspent_resync_blames_the_clock_uncounted(
    world: World,
) -> None:
    """19 steps back, the second code after the last accepted one is the 21st ahead."""
    ann = world.enroll()
    world.pass_time(hours=1)
    world.sign_in(ann)
    pair = world.code(ann.app, 1), world.code(ann.app, 2)
    world.pass_time(seconds=-19 * 30)
    proof = world.recovery_proof(ann)
    before = world.row("ann")
    for _ in range(9):
        with pytest.raises(ClockError):
            world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)
    assert world.row("ann") == before


def test_r05_an_app_that_a_clock_carried_ahead_is_replaced(world: World) -> None:
    """By another method's proof; the next time steps of the old app need not come."""
    ann = world.enroll()
    world.pass_time(days=400)
    world.sign_in(ann)
    world.pass_time(days=-400)
    proof = world.recovery_proof(ann)
    offer = offer_with(world, proof, replaces=ann.authenticator_id)
    world.mfa.confirm_enrollment(offer.token, world.code(app_of(offer)))
    assert is_right(world, world.fresh_code(app_of(offer)))


def resync(world: World, ann: Person, first: int, second: int) -> None:
    codes = world.code(ann.app, first), world.code(ann.app, second)
    proof = world.recovery_proof(ann)
    world.mfa.resync("ann", ann.authenticator_id, *codes, proof=proof)


@pytest.mark.parametrize("ahead", [-19, -10, 10, 20])
def test_r05_resync_learns_an_offset_within_twenty_steps(world: World, ahead: int) -> None:
    ann = world.enroll()
    world.pass_time(hours=1)
    assert not is_right(world, world.code(ann.app, ahead - 1))
    resync(world, ann, ahead - 1, ahead)
    world.pass_time(minutes=5)
    for steps, right in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        assert is_right(world, world.code(ann.app, ahead + steps)) is right
    assert not is_right(world, world.code(ann.app))


@pytest.mark.parametrize(("first", "second"), [(10, 12), (11, 10), (10, 10), (20, 21), (-21, -20)])
def test_r05_resync_refuses_and_counts_what_is_no_pair(
    world: World, first: int, second: int
) -> None:
    ann = world.enroll()
    world.pass_time(hours=1)
    for count in (1, 2):
        with pytest.raises(WrongCodeError):
            resync(world, ann, first, second)
        assert failures(world) == count


def test_r05_the_offset_never_walks_by_itself(world: World) -> None:
    ann = world.enroll()
    for _ in range(20):
        world.pass_time(minutes=10)
        assert is_right(world, world.code(ann.app, 1))
    world.pass_time(minutes=10)
    assert not is_right(world, world.code(ann.app, 2))


def test_r05_a_stored_future_time_counts_as_now(world: World) -> None:
    ann = world.enroll()
    world.pass_time(days=2)
    device = world.trust(ann)
    world.fail(ann, 5)
    world.pass_time(days=-1)
    wait = world.mfa.status("ann").retry_at
    assert wait is not None
    assert wait <= world.later(seconds=30)
    assert world.is_trusted(ann, device)
    world.pass_time(days=30)
    assert not world.is_trusted(ann, device)


def test_r05_a_wait_does_not_grow_when_the_clock_goes_back_a_little(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 5)
    world.pass_time(seconds=-45)
    assert world.mfa.status("ann").retry_at == world.later(seconds=30)


def test_r06_a_replay_sounds_wrong_counts_and_has_its_own_event(world: World) -> None:
    ann = world.enroll()
    code = world.fresh_code(ann.app)
    assert is_right(world, code)
    with pytest.raises(WrongCodeError) as replayed:
        world.mfa.verify_code("ann", code)
    assert (world.events[-1].kind, failures(world)) == ("code_replayed", 1)
    with pytest.raises(WrongCodeError) as wrong:
        world.mfa.verify_code("ann", world.wrong_code(ann.app))
    assert (world.events[-1].kind, failures(world)) == ("code_refused", 2)
    assert type(replayed.value) is type(wrong.value)
    assert replayed.value.args == wrong.value.args


# ------------------------------------------------------------------------------------------------ 7


# After failure n: min(30 * 2 ** (n - 5), 3600) seconds, none for the first four.
WAITS = {1: 0, 2: 0, 3: 0, 4: 0, 5: 30, 6: 60, 7: 120, 8: 240, 9: 480, 10: 960, 11: 1920}
WAITS |= {12: 3600, 13: 3600, 14: 3600}


def test_r07_waits_double_up_to_an_hour(world: World) -> None:
    ann = world.enroll()
    for count, seconds in WAITS.items():
        world.fail(ann, 1)
        assert failures(world) == count
        if seconds:
            with pytest.raises(ThrottledError) as wait:
                world.mfa.verify_code("ann", "000000")
            assert wait.value.retry_after_seconds == seconds
            assert wait.value.retry_at == world.later(seconds=seconds)
            world.pass_time(seconds=seconds - 1)
            with pytest.raises(ThrottledError):
                world.mfa.verify_code("ann", "000000")
            world.pass_time(seconds=1)


def test_r07_recovery_codes_have_no_waits(world: World) -> None:
    """Or somebody with the password could keep the owner out, by guessing once an hour."""
    ann = world.enroll()
    challenge = world.challenge(ann)
    for count in range(1, 31):
        with pytest.raises(WrongCodeError):
            world.mfa.complete_login(challenge, "0" + "Z" * 15, method="recovery")
        assert failures(world) == count
    assert world.mfa.complete_login(challenge, ann.recovery_codes[0], method="recovery")


def test_r07_a_wait_for_codes_does_not_touch_recovery_codes(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 8)
    with pytest.raises(ThrottledError):
        world.mfa.verify_code("ann", world.code(ann.app, 1))
    assert world.recover(ann, ann.recovery_codes[0]).method == "recovery"


# ------------------------------------------------------------ 7: wrong codes in a signed-in session


def wrong_in_session(world: World, ann: Person, times: int, method: Any = "totp") -> None:
    """Type wrong codes into a session, each of them counted and the session alive."""
    code = world.wrong_code(ann.app) if method == "totp" else "0" + "Z" * 15
    for _ in range(times):
        with pytest.raises(WrongCodeError) as refused:
            world.mfa.verify_code("ann", code, method=method)
        assert type(refused.value) is WrongCodeError


@pytest.mark.parametrize("method", ["totp", "recovery"])
def test_r07_the_fifth_wrong_code_in_a_row_ends_every_session(world: World, method: Any) -> None:
    ann = world.enroll()
    device, epoch = world.trust(ann), ann.enrolled.epoch
    proof = world.proof(ann)
    wrong_in_session(world, ann, 4, method)
    assert world.mfa.session_is_current("ann", epoch)
    wrong = world.wrong_code(ann.app) if method == "totp" else "0" + "Z" * 15
    with pytest.raises(SessionEndedError) as ended:
        world.mfa.verify_code("ann", wrong, method=method)
    assert isinstance(ended.value, WrongCodeError)
    assert ended.value.code == "session_ended"
    assert not world.mfa.session_is_current("ann", epoch)
    assert not world.is_trusted(ann, device)
    with pytest.raises(ProofError):
        world.mfa.disable("ann", proof=proof)
    told = [event for event in world.events if event.kind == "sessions_ended"]
    (event,) = told
    assert (event.audience, event.reason, event.count) == ("owner", "wrong_codes", 5)
    assert [item.kind for item in world.mfa.history("ann")].count("sessions_ended") == 1


def test_r07_session_failures_of_all_methods_and_calls_are_one_run(world: World) -> None:
    """Codes, recovery codes and pairs for `resync`: whoever types them is in the same session."""
    ann = world.enroll()
    world.pass_time(hours=1)
    proof = world.recovery_proof(ann)
    wrong_in_session(world, ann, 2, "recovery")
    wrong_in_session(world, ann, 2)
    pair = world.code(ann.app, 10), world.code(ann.app, 12)
    with pytest.raises(SessionEndedError):
        world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)


@pytest.mark.parametrize("success", ["totp", "recovery", "resync", "epoch"])
def test_r07_a_success_in_the_session_or_a_new_epoch_clears_the_run(
    world: World, success: str
) -> None:
    ann = world.enroll()
    world.pass_time(hours=1)
    proof = world.recovery_proof(ann)
    wrong_in_session(world, ann, 4, "recovery")
    match success:
        case "totp":
            world.proof(ann)
        case "recovery":
            world.recovery_proof(ann)
        case "resync":
            pair = world.code(ann.app, 10), world.code(ann.app, 11)
            world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)
        case _:
            world.mfa.password_changed("ann")
    wrong_in_session(world, ann, 4, "recovery")


def test_r07_a_sign_in_elsewhere_does_not_clear_the_run(world: World) -> None:
    """Or the owner's daily sign-ins would let a stolen session go on guessing."""
    ann = world.enroll()
    wrong_in_session(world, ann, 4, "recovery")
    world.sign_in(ann)
    world.recover(ann, ann.recovery_codes[0])
    with pytest.raises(SessionEndedError):
        world.mfa.verify_code("ann", "0" + "Z" * 15, method="recovery")


def test_r07_wrong_codes_at_a_sign_in_end_no_session(world: World) -> None:
    ann = world.enroll()
    device = world.trust(ann)
    world.fail(ann, 9)
    world.fail(ann, 9, method="recovery")
    assert world.mfa.session_is_current("ann", ann.enrolled.epoch)
    assert world.is_trusted(ann, device)
    wrong_in_session(world, ann, 4, "recovery")


def test_r07_codes_of_a_session_are_counted_in_the_one_throttle(world: World) -> None:
    ann = world.enroll()
    wrong_in_session(world, ann, 3)
    world.fail(ann, 1)
    assert failures(world) == 4
    wrong_in_session(world, ann, 1)
    with pytest.raises(ThrottledError) as wait:
        world.mfa.complete_login(world.challenge(ann), world.code(ann.app, 1))
    assert wait.value.retry_after_seconds == 30


def cap_in_sessions(world: World, ann: Person, times: int) -> None:
    """Fail in sessions only, waiting as each wait says; every fifth ends them all."""
    for _ in range(times):
        world.pass_time(hours=1)
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", world.wrong_code(ann.app))


def test_r07_a_cap_reached_in_sessions_alone_does_not_suspect_the_password(world: World) -> None:
    """Who guessed there had a session, not the password."""
    ann = world.enroll()
    cap_in_sessions(world, ann, 50)
    assert world.mfa.status("ann").is_locked
    assert world.kinds().count("sessions_ended") == 10
    world.mfa.reset("ann", **BY)
    assert not world.mfa.status("ann").password_change_required
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


def test_r07_one_failure_after_a_password_in_the_run_suspects_it_at_the_cap(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 1)
    cap_in_sessions(world, ann, 49)
    assert world.mfa.status("ann").is_locked
    world.mfa.reset("ann", **BY)
    with pytest.raises(PasswordChangeRequiredError):
        world.mfa.begin_login("ann", password_verified=True)


def test_r07_the_fiftieth_in_a_row_locks(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 49)
    assert not world.mfa.status("ann").is_locked
    world.fail(ann, 1)
    assert world.mfa.status("ann").is_locked
    assert world.kinds()[-2:] == ["code_refused", "locked"]
    world.pass_time(days=400)
    with pytest.raises(SecondFactorLockedError):
        world.mfa.verify_code("ann", world.code(ann.app))


def test_r07_the_200th_in_30_days_locks_whatever_the_successes(world: World) -> None:
    ann = world.enroll()
    for _ in range(49):
        world.fail(ann, 4)
        world.sign_in(ann)
    world.fail(ann, 3)
    assert not world.mfa.status("ann").is_locked
    world.fail(ann, 1)
    assert world.mfa.status("ann").is_locked


def test_r07_failures_of_more_than_30_days_ago_do_not_lock(world: World) -> None:
    ann = world.enroll()
    for _ in range(49):
        world.fail(ann, 4)
        world.sign_in(ann)
    world.fail(ann, 3)
    world.sign_in(ann)
    world.pass_time(days=30)
    world.fail(ann, 4)
    assert not world.mfa.status("ann").is_locked


def test_r07_a_success_of_the_same_kind_alone_resets_the_run(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 4)
    world.fail(ann, 4, method="recovery")
    world.mfa.verify_code("ann", world.fresh_code(ann.app))
    world.fail(ann, 4)
    assert failures(world) == 4
    world.fail(ann, 1, method="recovery")
    assert failures(world) == 5
    world.recovery_proof(ann)
    world.fail(ann, 1, method="recovery")
    assert failures(world) == 1
    world.fail(ann, 1)
    assert failures(world) == 5


def test_r07_password_and_new_challenges_reset_nothing(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.set_policy(passcodes_end_with_password=False)
    world.fail(ann, 5)
    waits = world.mfa.status("ann").retry_at
    for _ in range(5):
        world.challenge(ann)
    world.mfa.password_changed("ann")
    world.client("ann", new.passcode)
    assert world.mfa.status("ann").retry_at == waits == world.later(seconds=30)
    with pytest.raises(ThrottledError):
        world.mfa.complete_login(world.challenge(ann), world.code(ann.app))


def test_r07_reset_clears_both_counters(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 6)
    world.fail(ann, 6, method="recovery")
    world.mfa.reset("ann", **BY)
    ann = world.enroll()
    for method in ("totp", "recovery"):
        world.fail(ann, 1, method=method)
        assert failures(world) == 1


def test_r07_one_counter_for_all_authenticators(world: World) -> None:
    ann = world.enroll()
    spare, _ = world.add_app(ann)
    world.fail(Person("ann", spare, [], ann.enrolled), 4)
    world.pass_time(seconds=30)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(ann.app, spare))
    assert failures(world) == 5
    with pytest.raises(ThrottledError):
        world.mfa.verify_code("ann", world.code(spare))


def test_r07_refused_by_the_wait_is_not_evaluated_and_not_counted(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 5)
    challenge = world.challenge(ann)
    code = world.code(ann.app, 1)
    before = world.row("ann")
    for _ in range(10):
        with pytest.raises(ThrottledError):
            world.mfa.complete_login(challenge, code)
    assert world.row("ann") == before
    world.pass_time(seconds=30)
    assert world.mfa.complete_login(challenge, code).failed_since_last == 5


def test_r07_the_challenge_is_checked_before_the_wait(world: World) -> None:
    """A double click after a success costs nothing."""
    ann = world.enroll()
    challenge, code = world.challenge(ann), world.fresh_code(ann.app)
    world.mfa.complete_login(challenge, code)
    before = world.row("ann")
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, code)
    assert world.row("ann") == before
    world.fail(ann, 5)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, code)


def test_r07_a_code_is_reachable_only_with_the_password(world: World) -> None:
    ann = world.enroll()
    before = world.row("ann")
    for challenge in ("", "x", password_proof(world), "A" * 200):
        with pytest.raises(ChallengeError):
            world.mfa.complete_login(challenge, world.wrong_code(ann.app))
    assert world.row("ann") == before


def test_r07_recovery_codes_have_no_cap_and_stay_open_when_locked(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 120, method="recovery")
    world.lock(ann)
    world.pass_time(hours=1)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, CodeRequired)
    assert step.methods == ("recovery",)
    assert world.recover(ann, ann.recovery_codes[0]).method == "recovery"


def test_r07_the_nist_profile_locks_recovery_codes_at_a_hundred(world: World) -> None:
    world.policy = NIST_800_63B
    world.mfa.open_account("ann")
    ann = world.enroll()
    world.fail(ann, 99, method="recovery")
    world.pass_time(hours=1)
    assert world.mfa.begin_login("ann", password_verified=True).methods == ("totp", "recovery")
    world.fail(ann, 1, method="recovery")
    world.pass_time(hours=1)
    assert world.mfa.begin_login("ann", password_verified=True).methods == ("totp",)
    with pytest.raises(SecondFactorLockedError):
        world.mfa.verify_code("ann", ann.recovery_codes[0], method="recovery")
    assert world.mfa.regenerate_recovery_codes("ann", proof=world.proof(ann))


def be_suspect(world: World, how: str) -> None:
    """Reach the cap, then turn two-step off: the password is suspect and no factor is on."""
    ann = world.enroll()
    world.lock(ann)
    if how == "reset":
        world.mfa.reset("ann", **BY)
    else:
        world.mfa.disable("ann", proof=world.recovery_proof(ann))


@pytest.mark.parametrize("how", ["reset", "disable"])
def test_r07_a_suspect_password_opens_nothing_until_it_is_changed(world: World, how: str) -> None:
    be_suspect(world, how)
    assert world.mfa.status("ann").password_change_required
    for required in (False, True):
        world.set_policy(required=required)
        for use in (
            lambda: world.mfa.begin_login("ann", password_verified=True),
            lambda: password_proof(world),
            lambda: offer_with(world, "x"),
            lambda: world.client("ann", PASSWORD),
            lambda: world.mfa.import_authenticator("ann", TWIN_A, **BY),
        ):
            with pytest.raises(PasswordChangeRequiredError):
                use()
    world.set_policy(required=False)
    world.mfa.password_changed("ann")
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)
    assert world.client("ann", PASSWORD).via == "password"
    assert world.enroll().id == "ann"


def test_r07_wrong_codes_short_of_the_cap_leave_the_password_alone(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 49)
    world.mfa.reset("ann", **BY)
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


# ------------------------------------------------------------------------------------------------ 8


def test_r08_ten_codes_of_sixteen_symbols_hashed_one_by_one(world: World) -> None:
    ann = world.enroll()
    assert world.hasher.hashed == 10
    assert len(ann.recovery_codes) == 10
    symbol = "[0-9A-HJKMNP-TV-Z]"
    assert all(re.fullmatch(rf"({symbol}{{4}}-){{3}}{symbol}{{4}}", c) for c in ann.recovery_codes)


def test_r08_one_hash_for_each_attempt(world: World) -> None:
    ann = world.enroll()
    wrong = ann.recovery_codes[3][:-4] + "ZZZZ"
    for done, text in enumerate((wrong, ann.recovery_codes[9]), start=1):
        try:
            world.mfa.verify_code("ann", text, method="recovery")
        except WrongCodeError:
            assert text == wrong
        assert world.hasher.verified == done
    for text in (ann.recovery_codes[9], "", "0BCD", "123456", "0" * 15, "u" * 16):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", text, method="recovery")
    assert world.hasher.verified == 2


def test_r08_a_code_may_be_typed_as_people_read_it(world: World) -> None:
    ann = world.enroll()
    forms: list[Callable[[str], str]] = [
        str.lower,
        lambda code: code.replace("-", " "),
        lambda code: "\t" + code.replace("-", "\u00a0") + "\r\n",
        lambda code: code.replace("-", "\u202f"),
        lambda code: code.replace("-", ""),
        lambda code: code.replace("0", "O").replace("1", "l"),
        lambda code: code.replace("0", "o").replace("1", "I"),
    ]
    for form, code in zip(forms, ann.recovery_codes, strict=False):
        assert world.mfa.verify_code("ann", form(code), method="recovery")


def test_r08_a_slot_that_does_not_exist_is_a_wrong_code(world: World) -> None:
    world.enroll()
    for count, slot in enumerate("AZ", 1):  # the eleventh and the last of ten
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", slot + "0" * 15, method="recovery")
        assert world.events[-1].count == count


def test_r08_the_last_code_is_asked_for_and_then_none(world: World) -> None:
    ann = world.enroll()
    for left in range(9, -1, -1):
        world.recover(ann, ann.recovery_codes.pop())
        step: Any = world.mfa.begin_login("ann", password_verified=True)
        assert step.methods == (("totp", "recovery") if left else ("totp",))


def test_r08_the_owner_hears_at_three_or_fewer(world: World) -> None:
    ann = world.enroll()
    told = []
    for code in ann.recovery_codes:
        world.events.clear()
        left = world.recover(ann, code).recovery_codes_left
        told += [left] if "recovery_codes_low" in world.kinds() else []
    assert told == [3, 2, 1, 0]


def test_r08_regenerating_voids_the_older_set_slot_by_slot(world: World) -> None:
    ann = world.enroll()
    world.mfa.regenerate_recovery_codes("ann", proof=world.proof(ann))
    for code in ann.recovery_codes[:4]:
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", code, method="recovery")
