"""Who gets in, and who does not: what a second review found, each as a promise.

Most failed on the code before the repairs; the others hold what the repairs must not break.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from mfakit import (
    ASVS_5,
    NIST_800_63B,
    ClientInfo,
    CodeRequired,
    EnrollmentRequired,
    KeyRing,
    SignedIn,
)
from mfakit.errors import (
    AvailabilityError,
    ClockError,
    ContentionError,
    CredentialRefusedError,
    InvalidInputError,
    KeyUnavailableError,
    NotAllowedNowError,
    PasswordNotVerifiedError,
    PasswordRefusedError,
    ProofError,
    RecordIntegrityError,
    SecondFactorLockedError,
    SessionEndedError,
    ThrottledError,
    UnknownAccountError,
    WeakAuthenticatorError,
    WrongCodeError,
)
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, VirtualAuthenticator
from mfakit.testing.interleaving import SteppedMFA, every_interleaving
from world import PASSWORD, PasswordBook, Person, World

BY = {"actor": "root", "reason": "asked in person"}
NAME = "ann@example.com"
# 20 bytes and 10 bytes, in base32.
KEY_160, KEY_80 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "GEZDGNBVGY3TQOJQ"


def uri(key: str, **parameters: Any) -> str:
    extra = "".join(f"&{name}={value}" for name, value in parameters.items())
    return f"otpauth://totp/Old:ann?secret={key}&issuer=Old{extra}"


def add_long_app(world: World, person: Person) -> VirtualAuthenticator:
    """Give a person who has a 6-digit app one that shows 8 digits."""
    world.set_policy(digits=8)
    app, _ = world.add_app(person)
    world.set_policy(digits=6)
    return app


# ------------------------------------------------------------------------- password with a code


def test_two_code_lengths_end_password_with_code(world: World) -> None:
    """Of two ways to take a text apart, one would be guessed at without being counted."""
    ann = world.enroll()
    add_long_app(world, ann)
    world.set_policy(password_with_code=True)
    book = PasswordBook()
    for guess in range(300):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, f"{PASSWORD}{guess:08d}", book=book)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, PASSWORD + world.fresh_code(ann.app), book=book)
    assert book.asked == []
    assert world.sign_in(ann).method == "totp"  # nobody was locked out either


def test_wrong_codes_after_the_password_cost_a_wait(world: World) -> None:
    world.set_policy(password_with_code=True)
    ann = world.enroll()
    wrong = world.wrong_code(ann.app)
    book = PasswordBook()
    for _ in range(9):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, PASSWORD + wrong, book=book)
    assert book.asked == [PASSWORD] * 5  # four without a wait, the fifth begins it
    with pytest.raises(CredentialRefusedError):
        world.client(ann, PASSWORD + world.code(ann.app, 1), book=book)


def test_two_clients_that_repeat_saved_texts_lock_nobody_out(world: World) -> None:
    """The older of two saved texts is as well known as the newer one."""
    world.set_policy(password_with_code=True)
    ann = world.enroll()
    saved = [PASSWORD + world.fresh_code(ann.app)]
    assert world.client(ann, saved[0]).via == "password+code"
    saved.append(PASSWORD + world.fresh_code(ann.app))
    assert world.client(ann, saved[1]).via == "password+code"
    for _ in range(240):  # more than the cap of 200 in 30 days
        for text in saved:
            with pytest.raises(CredentialRefusedError):
                world.client(ann, text)
        world.pass_time(minutes=10)
    assert world.sign_in(ann).failed_since_last == 0


@pytest.mark.parametrize(("older", "is_known"), [(15, True), (16, False)])
def test_the_last_sixteen_texts_are_known(world: World, older: int, is_known: bool) -> None:
    world.set_policy(password_with_code=True, window_past_steps=2)
    ann = world.enroll()
    texts = []
    for _ in range(older + 1):
        texts.append(PASSWORD + world.fresh_code(ann.app))
        world.client(ann, texts[-1])
    with pytest.raises(CredentialRefusedError):
        world.client(ann, texts[0])
    counted = world.sign_in(ann).failed_since_last
    assert counted == (0 if is_known else 1)


def test_the_password_is_asked_about_once_though_the_apps_change_meanwhile(world: World) -> None:
    """A verdict about one text says nothing about another."""
    world.set_policy(password_with_code=True)
    ann = world.enroll()
    proof = world.proof(ann)
    world.set_policy(digits=8)
    offer = world.mfa.begin_enrollment(
        "ann", account_name=NAME, proof=proof, replaces=ann.authenticator_id
    )
    long_app = VirtualAuthenticator(offer.uri)
    text = PASSWORD + "0" * 2 + world.fresh_code(ann.app)
    asked: list[str] = []

    def check(password: str) -> str:
        asked.append(password)
        world.mfa.confirm_enrollment(offer.token, world.code(long_app))
        return "ann"

    with pytest.raises(ContentionError):
        world.mfa.authenticate_client("ann", text, protocol="imap", check_password=check)
    assert asked == [PASSWORD + "00"]


# ----------------------------------------------------------------------------------------- resync


def test_resync_takes_no_spent_code(world: World) -> None:
    """Two spent codes may not make room for a third."""
    ann = world.enroll()
    proof = world.proof(ann)
    spent = []
    for _ in range(3):
        spent.append(world.fresh_code(ann.app))
        world.mfa.verify_code("ann", spent[-1])
    with pytest.raises(WrongCodeError):
        world.mfa.resync("ann", ann.authenticator_id, spent[0], spent[1], proof=proof)
    assert world.kinds()[-1] == "code_replayed"
    challenge = world.challenge(ann)
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(challenge, spent[2])


def test_resync_takes_two_unspent_codes_alone(world: World) -> None:
    """The first of the pair may not be the one accepted last, either."""
    ann = world.enroll()
    last = world.fresh_code(ann.app)
    proof = world.mfa.verify_code("ann", last)
    following = [world.code(ann.app, steps) for steps in (1, 2)]
    with pytest.raises(WrongCodeError):
        world.mfa.resync("ann", ann.authenticator_id, last, following[0], proof=proof)
    world.mfa.resync("ann", ann.authenticator_id, *following, proof=proof)
    for code in following:
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", code)


def test_resync_blames_a_clock_that_was_ahead_and_not_the_owner(world: World) -> None:
    """Every step in reach was spent while the clock was wrong: no right code could be taken."""
    ann = world.enroll()
    world.pass_time(hours=2)
    world.mfa.verify_code("ann", world.code(ann.app))
    world.pass_time(hours=-2)
    proof = world.recovery_proof(ann)
    codes = [world.code(ann.app, steps) for steps in (1, 2)]
    before = world.mfa.status("ann")
    for _ in range(10):
        with pytest.raises(ClockError):
            world.mfa.resync("ann", ann.authenticator_id, *codes, proof=proof)
    assert world.mfa.status("ann").epoch == before.epoch
    offer = world.mfa.begin_enrollment(
        "ann", account_name=NAME, proof=proof, replaces=ann.authenticator_id
    )
    replaced = VirtualAuthenticator(offer.uri)
    world.mfa.confirm_enrollment(offer.token, world.code(replaced))
    world.pass_time(seconds=30)
    assert world.mfa.verify_code("ann", world.code(replaced))


# --------------------------------------------------------------- what a policy or a profile binds


@pytest.mark.parametrize("profile", [NIST_800_63B, ASVS_5], ids=["NIST", "ASVS"])
def test_a_profile_imports_no_short_secret(world: World, profile: Any) -> None:
    world.policy = evolve(profile, issuer="Mail")
    world.mfa.open_account("ann")
    with pytest.raises(WeakAuthenticatorError):
        world.mfa.import_authenticator("ann", uri(KEY_80), allow_weak=True, **BY)
    assert not world.mfa.status("ann").is_on


def test_asvs_imports_no_code_that_lives_longer_than_thirty_seconds(world: World) -> None:
    world.policy = evolve(ASVS_5, issuer="Mail")
    world.mfa.open_account("ann")
    for period in (31, 60, 120):
        with pytest.raises(WeakAuthenticatorError):
            world.mfa.import_authenticator("ann", uri(KEY_160, period=period), **BY)
    assert not world.mfa.status("ann").is_on
    world.mfa.import_authenticator("ann", uri(KEY_160, period=30), **BY)
    assert world.mfa.status("ann").is_on


def test_a_weak_secret_is_imported_only_where_call_and_policy_say_so(world: World) -> None:
    with pytest.raises(InvalidInputError):
        world.mfa.import_authenticator("ann", uri(KEY_80), **BY)
    world.set_policy(weak_imports=False)
    with pytest.raises(WeakAuthenticatorError):
        world.mfa.import_authenticator("ann", uri(KEY_80), allow_weak=True, **BY)
    world.set_policy(weak_imports=True)
    world.mfa.import_authenticator("ann", uri(KEY_80), allow_weak=True, **BY)
    assert world.mfa.status("ann").authenticators[0].is_weak


def test_a_policy_may_ask_imports_for_more_than_128_bits(world: World) -> None:
    world.set_policy(algorithm="SHA256", secret_bits_min=256)
    with pytest.raises(WeakAuthenticatorError):
        world.mfa.import_authenticator("ann", uri(KEY_160), **BY)


def test_an_offer_that_policy_has_become_too_strict_for_is_not_confirmed(world: World) -> None:
    world.set_policy(period_seconds=60)
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    world.set_policy(period_seconds=30, period_seconds_max=30)
    with pytest.raises(WeakAuthenticatorError):
        world.mfa.confirm_enrollment(offer.token, world.code(VirtualAuthenticator(offer.uri)))


@pytest.mark.parametrize("profile", [NIST_800_63B, ASVS_5], ids=["NIST", "ASVS"])
def test_in_a_profile_a_passcode_ends_after_a_year(world: World, profile: Any) -> None:
    world.policy = evolve(profile, issuer="Mail")
    world.mfa.open_account("ann")
    ann = world.enroll()
    made = world.now + timedelta(seconds=30)
    new = world.passcode(ann)
    assert new.expires_at == made + timedelta(days=365)
    assert world.mfa.passcodes("ann")[0].expires_at == new.expires_at
    world.pass_time(days=365, seconds=-1)
    assert world.client(ann, new.passcode).via == "passcode"
    world.pass_time(seconds=1)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)
    assert world.events[-1].reason == "expired"


def test_a_passcode_made_before_the_policy_ends_as_well(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    assert new.expires_at is None
    world.pass_time(days=31)
    assert world.client(ann, new.passcode).via == "passcode"
    world.set_policy(passcode_days_max=30)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)


def test_a_passcode_ends_on_the_earlier_of_its_own_day_and_the_policys(world: World) -> None:
    world.set_policy(passcode_days_max=30)
    ann = world.enroll()
    week, year = world.later(days=7), world.later(days=365)
    assert world.passcode(ann, "A", expires_at=week).expires_at == week
    until = world.passcode(ann, "B", expires_at=year).expires_at
    assert until == world.now + timedelta(days=30)


# ------------------------------------------------------------------------- sessions without a record


def test_a_session_of_a_forgotten_account_is_never_current_again(world: World) -> None:
    before = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(before, SignedIn)
    assert world.mfa.session_is_current("ann", before.epoch)
    world.mfa.forget("ann", **BY)
    assert not world.mfa.session_is_current("ann", before.epoch)
    world.mfa.open_account("ann")
    assert not world.mfa.session_is_current("ann", before.epoch)


@pytest.mark.parametrize("purge", [False, True])
def test_a_session_of_the_earlier_owner_is_not_current_for_the_next(
    world: World, purge: bool
) -> None:
    before = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(before, SignedIn)
    world.mfa.forget("ann", purge=purge, **BY)
    assert world.mfa.open_account("ann") is True
    assert not world.mfa.session_is_current("ann", before.epoch)
    assert world.mfa.open_account("ann") is False


def test_forget_erases_all_but_an_epoch(world: World) -> None:
    ann = world.enroll()
    world.passcode(ann, "Label of a telephone")
    epoch = world.mfa.status("ann").epoch
    assert world.mfa.forget("ann", **BY) is True
    row = world.row("ann")
    assert row is not None
    for text in ("telephone", "root", "asked in person", "passcode", "authenticator"):
        assert text.encode() not in row.document
    assert world.mfa.history("ann") == ()
    assert world.mfa.status("ann").epoch not in {epoch, "none"}
    assert world.mfa.accounts().accounts == ()
    assert world.mfa.forget("ann", **BY) is False  # a second click says that nobody was there


def test_who_signed_in_after_forget_is_forgotten_by_the_next_forget(world: World) -> None:
    """An id that two owners had, without `open_account` between them."""
    world.enroll()
    world.mfa.forget("ann", **BY)
    second = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(second, SignedIn)
    proof = world.mfa.password_proof("ann", password_verified=True)
    world.mfa.forget("ann", **BY)
    assert not world.mfa.session_is_current("ann", second.epoch)
    with pytest.raises(ProofError):
        world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)


@pytest.mark.parametrize("reenroll", [1, "yes", [1], None, 0])
def test_a_truthy_switch_spoils_no_record_of_a_group(world: World, reenroll: Any) -> None:
    world.enroll()
    assert world.mfa.reset_group(reenroll=reenroll, **BY).done == 1
    assert world.mfa.status("ann").is_required is bool(reenroll)


def test_force_does_not_throw_away_what_is_somebody_elses() -> None:
    """A store whose ids fold case answers with the row of another account."""

    class Folding(MemoryStore):
        def load(self, account_id: str) -> Any:
            return super().load(account_id.lower())

        def replace(self, new: Any, *, expected: int) -> bool:
            raise AssertionError

        def delete(self, account_id: str, *, expected: int) -> bool:
            raise AssertionError

    world = World(Folding())
    world.mfa.open_account("ann")
    for call in (
        lambda: world.mfa.reset("ANN", force=True, **BY),
        lambda: world.mfa.forget("ANN", force=True, **BY),
        lambda: world.mfa.forget("ANN", force=True, purge=True, **BY),
    ):
        with pytest.raises(RecordIntegrityError):
            call()


def test_purge_deletes_the_row(world: World) -> None:
    world.enroll()
    assert world.mfa.forget("ann", purge=True, **BY) is True
    assert world.row("ann") is None
    assert world.mfa.forget("ann", purge=True, **BY) is False
    world.mfa.forget("bob", **BY)
    assert world.mfa.forget("bob", purge=True, **BY) is False  # there was no owner
    assert world.row("bob") is None


def test_a_forgotten_account_is_unknown_until_it_is_opened_again(world: World) -> None:
    world.set_policy(unknown_account="refuse")
    world.mfa.open_account("ann")
    world.enroll()
    world.mfa.forget("ann", **BY)
    for call in (
        lambda: world.mfa.begin_login("ann", password_verified=True),
        lambda: world.mfa.status("ann"),
        lambda: world.client("ann", PASSWORD),
        lambda: world.mfa.password_changed("ann"),
        lambda: world.mfa.reset("ann", **BY),
    ):
        with pytest.raises(UnknownAccountError):
            call()
    assert world.mfa.rotate_keys().failed == ()
    assert world.mfa.reset_group(**BY).failed == ()
    world.mfa.open_account("ann")
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


# ------------------------------------------------------------------------ the password's verdict


def test_a_password_changed_while_it_was_checked_signs_nobody_in(world: World) -> None:
    def check(_: str) -> str:
        world.mfa.password_changed("ann")
        return "ann"

    for call in (world.mfa.begin_login, world.mfa.password_proof):
        with pytest.raises(ContentionError):
            call("ann", password="old one", check_password=check)


def test_a_right_password_begins_a_sign_in(world: World) -> None:
    ann, book = world.enroll(), PasswordBook()
    given: dict[str, Any] = {"password": PASSWORD, "check_password": book.checker("ann")}
    step = world.mfa.begin_login("ann", **given)
    assert isinstance(step, CodeRequired)
    assert world.mfa.complete_login(step.challenge, world.fresh_code(ann.app)).method == "totp"
    assert world.mfa.password_proof("bob", password=PASSWORD, check_password=lambda _: "bob")
    assert book.asked == [PASSWORD]


def test_no_order_of_a_password_change_and_a_sign_in_lets_the_old_password_in() -> None:
    """The old password is right until the very moment in which mfakit hears of the new one."""

    def begin() -> tuple[SteppedMFA, list[Any]]:
        mfa = SteppedMFA(MemoryStore(), KeyRing({"k1": bytes(32)}), hasher=CheapHasher())
        mfa.open_account("ann")
        first = mfa.status("ann").epoch

        def check(_: str) -> str | None:
            return "ann" if mfa.session_is_current("ann", first) else None

        return mfa, [
            lambda m: m.password_changed("ann"),
            lambda m: m.begin_login("ann", password="old", check_password=check),
        ]

    seen = set()
    for mfa, (_, step) in every_interleaving(begin):
        seen.add(type(step))
        assert not (isinstance(step, SignedIn) and mfa.session_is_current("ann", step.epoch)), (
            "the old password opened a session that goes on"
        )
    assert seen == {SignedIn, PasswordRefusedError, ContentionError}


@pytest.mark.parametrize("answer", [None, False, True, "bob", "ANN", b"ann", 1, object()])
def test_only_the_accounts_own_id_is_a_yes(world: World, answer: Any) -> None:
    for call in (world.mfa.begin_login, world.mfa.password_proof):
        with pytest.raises(PasswordRefusedError):
            call("ann", password=PASSWORD, check_password=lambda _: answer)
    assert world.kinds()[-1] == "password_refused"
    assert world.row("ann") is None


@pytest.mark.parametrize("password", ["", 7, b"bytes", "x" * 5000, "\ud800"])
def test_what_is_no_password_is_refused_unasked(world: World, password: Any) -> None:
    """An empty password is an anonymous bind to a directory, which succeeds."""
    asked: list[str] = []

    def check(text: str) -> str:
        asked.append(text)
        return "ann"

    for call in (world.mfa.begin_login, world.mfa.password_proof):
        with pytest.raises(PasswordRefusedError):
            call("ann", password=password, check_password=check)
    with pytest.raises(CredentialRefusedError):
        world.mfa.authenticate_client("ann", password, protocol="imap", check_password=check)
    assert asked == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, PasswordNotVerifiedError),
        ({"password_verified": False}, PasswordNotVerifiedError),
        ({"password_verified": True, "password": "x"}, InvalidInputError),
        ({"password_verified": True, "check_password": lambda _: "ann"}, InvalidInputError),
        ({"password": "x"}, InvalidInputError),
        ({"check_password": lambda _: "ann"}, InvalidInputError),
        ({"password": "x", "check_password": "ann"}, InvalidInputError),
    ],
)
def test_the_password_comes_in_one_way(world: World, given: Any, error: Any) -> None:
    for call in (world.mfa.begin_login, world.mfa.password_proof):
        with pytest.raises(error):
            call("ann", **given)


def test_unknown_and_locked_are_said_only_after_a_right_password(world: World) -> None:
    ann = world.enroll()
    world.set_policy(recovery_failures_max=5)
    world.lock(ann)
    world.fail(ann, 5, method="recovery")
    world.set_policy(unknown_account="refuse")
    for account_id, error in (("ann", SecondFactorLockedError), ("nobody", UnknownAccountError)):
        check = PasswordBook().checker(account_id)
        with pytest.raises(PasswordRefusedError):
            world.mfa.begin_login(account_id, password="wrong", check_password=check)
        with pytest.raises(error):
            world.mfa.begin_login(account_id, password=PASSWORD, check_password=check)


# ----------------------------------------------------------------------------------- in a session


def test_the_fifth_wrong_code_in_a_session_ends_every_session(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    epoch = world.mfa.status("ann").epoch
    wrong = world.wrong_code(ann.app)
    for _ in range(4):
        with pytest.raises(WrongCodeError) as refused:
            world.mfa.verify_code("ann", wrong)
        assert refused.type is WrongCodeError
    assert world.mfa.session_is_current("ann", epoch)
    with pytest.raises(SessionEndedError):
        world.mfa.verify_code("ann", wrong)
    assert not world.mfa.session_is_current("ann", epoch)
    assert not world.is_trusted(ann, token)
    assert world.events[-2].kind.value == "sessions_ended"
    assert world.events[-2].audience.value == "owner"
    status = world.mfa.status("ann")
    assert (status.state, status.is_locked) == ("enrolled", False)


def test_recovery_codes_and_resync_count_in_the_session_as_well(world: World) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    wrong = world.wrong_code(ann.app)
    guesses: list[Callable[[], object]] = [
        lambda: world.mfa.verify_code("ann", wrong),
        lambda: world.mfa.verify_code("ann", "0" + "Z" * 15, method="recovery"),
        lambda: world.mfa.resync("ann", ann.authenticator_id, wrong, wrong, proof=proof),
        lambda: world.mfa.verify_code("ann", "0" + "Z" * 15, method="recovery"),
    ]
    for guess in guesses:
        with pytest.raises(WrongCodeError):
            guess()
    with pytest.raises(SessionEndedError):
        world.mfa.verify_code("ann", "0" + "Z" * 15, method="recovery")


def test_a_right_code_in_the_session_begins_the_count_anew(world: World) -> None:
    ann = world.enroll()
    epoch = world.mfa.status("ann").epoch
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(WrongCodeError):
                world.mfa.verify_code("ann", world.wrong_code(ann.app))
        world.proof(ann)
    assert world.mfa.session_is_current("ann", epoch)


def test_a_sign_in_elsewhere_does_not_help_who_guesses_in_a_session(world: World) -> None:
    ann = world.enroll()
    for _ in range(4):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", world.wrong_code(ann.app))
    world.sign_in(ann)
    with pytest.raises(SessionEndedError):
        world.mfa.verify_code("ann", world.wrong_code(ann.app))


def test_guesses_in_sessions_alone_do_not_make_the_password_suspect(world: World) -> None:
    world.set_policy(code_failures_max=5)
    ann = world.enroll()
    for _ in range(5):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", world.wrong_code(ann.app))
    status = world.mfa.status("ann")
    assert status.is_locked
    world.mfa.reset("ann", **BY)
    assert not world.mfa.status("ann").password_change_required
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


def test_one_guess_in_a_session_does_not_clear_who_guessed_after_the_password(world: World) -> None:
    world.set_policy(code_failures_max=5)
    ann = world.enroll()
    world.fail(ann, 4)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(ann.app))
    assert world.mfa.status("ann").is_locked
    world.mfa.reset("ann", **BY)
    assert world.mfa.status("ann").password_change_required


# -------------------------------------------------------------------------------- recovery codes


def test_nobody_can_keep_the_owner_from_the_recovery_codes(world: World) -> None:
    """Whoever has the password guesses all the time; a right code is taken at once."""
    ann = world.enroll()
    world.fail(ann, 60, method="recovery")
    done = world.recover(ann, ann.recovery_codes[0])
    assert done.method == "recovery"
    world.fail(ann, 1, method="recovery")
    assert world.recover(ann, ann.recovery_codes[1]).method == "recovery"


def test_a_wait_after_wrong_codes_leaves_recovery_open(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 5)
    challenge = world.challenge(ann)
    with pytest.raises(ThrottledError):
        world.mfa.complete_login(challenge, world.code(ann.app))
    assert world.mfa.complete_login(challenge, ann.recovery_codes[0], method="recovery")


# ------------------------------------------------------------------------------ dead ends, records


def test_nobody_is_sent_to_a_set_up_that_policy_does_not_offer(world: World) -> None:
    world.enroll()
    world.set_policy(available=False)
    row = world.row("ann")
    with pytest.raises(AvailabilityError):
        world.mfa.reset("ann", reenroll=True, **BY)
    page = world.mfa.reset_group(reenroll=True, **BY)
    assert (page.done, page.failed) == (0, (("ann", "not_available"),))
    assert world.row("ann") == row


def test_who_must_enrol_again_may_though_policy_has_changed(world: World) -> None:
    world.enroll()
    world.mfa.reset("ann", reenroll=True, **BY)
    world.set_policy(available=False)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, EnrollmentRequired)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=step.proof)
    app = VirtualAuthenticator(offer.uri)
    world.pass_time(seconds=30)
    assert world.mfa.confirm_enrollment(offer.token, world.code(app))


@pytest.mark.parametrize("wrong", ["realm", "keys"])
def test_a_wrong_realm_or_key_file_destroys_nothing(world: World, wrong: str) -> None:
    ann = world.enroll()
    row = world.row("ann")
    other = world.make_mfa(**({"realm": "staging"} if wrong == "realm" else {}))
    if wrong == "keys":
        world.keys = {"k2": bytes(32)}
        other = world.make_mfa()
        world.keys = {"k1": bytes(range(32))}
    for call in (other.reset, other.forget):
        with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
            call("ann", **BY)
    for truthy in ("yes", 1):
        with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
            other.reset("ann", force=truthy, **BY)
    with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
        other.forget("ann", purge=True, **BY)
    assert world.row("ann") == row
    assert world.sign_in(ann)
    other.reset("ann", force=True, **BY)
    assert other.status("ann").state == "not_enrolled"


def test_an_event_that_the_lifecycle_lacks_is_a_refusal() -> None:
    from mfakit.core.lifecycle import TRANSITIONS, Event, State, next_state

    assert next_state(State.LOCKED, Event.IMPORTED) is None
    assert Event.SESSIONS_ENDED in TRANSITIONS[State.NOT_ENROLLED]


def test_a_locked_account_takes_no_import(world: World) -> None:
    ann = world.enroll()
    world.lock(ann)
    with pytest.raises(NotAllowedNowError):
        world.mfa.import_authenticator("ann", uri(KEY_160), **BY)


# ------------------------------------------------------------------------------------------ history


def test_passcodes_that_come_and_go_do_not_push_the_enrolment_out(world: World) -> None:
    ann = world.enroll()
    for number in range(20):
        new = world.passcode(ann, f"Phone {number}")
        world.mfa.revoke_passcode("ann", new.passcode_id)
    kinds = [item.kind for item in world.mfa.history("ann")]
    assert len(kinds) == 32
    assert kinds[0] == "enrolled"
    assert kinds[1:] == ["passcode_revoked", *["passcode_created", "passcode_revoked"] * 15]


# ------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    "network",
    [
        "10.1.2.3/0.0.0.0",
        "10.1.2.3/0",
        "10.0.0.0/0.0.0.255",
        "::1/0",
        "10.0.0.0/ 8",
        "::ffff:10.1.2.3/96",
    ],
)
def test_a_network_that_means_everybody_by_mistake_is_refused(world: World, network: str) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    with pytest.raises(InvalidInputError):
        world.mfa.create_passcode("ann", label="Mail", networks=[network], proof=proof)
    new = world.mfa.create_passcode("ann", label="Mail", networks=["10.1.2.3/32"], proof=proof)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode, client=ClientInfo(remote_ip="203.0.113.9"))


# -------------------------------------------------------------------------------------- typed codes


@pytest.mark.parametrize(
    "typed",
    [
        "{}\n",
        "\t{}\u2003",
        "{0[0]}{0[1]}{0[2]}\u00a0{0[3]}{0[4]}{0[5]}",
        "{0[0]}\u202f{0[1]}{0[2]}-{0[3]}{0[4]}{0[5]}",
    ],
    ids=["newline", "spaces around", "no-break space", "narrow no-break space"],
)
def test_a_code_is_read_as_people_paste_it(world: World, typed: str) -> None:
    ann = world.enroll()
    assert world.mfa.verify_code("ann", typed.format(world.fresh_code(ann.app)))


def test_full_width_digits_are_digits_and_no_other_script_is(world: World) -> None:
    ann = world.enroll()
    wide = world.fresh_code(ann.app).translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    arabic = world.code(ann.app).translate({ord("0") + n: 0x0660 + n for n in range(10)})
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", arabic)
    assert world.mfa.verify_code("ann", wide)


def test_a_stale_proof_is_refused_after_the_sessions_ended(world: World) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    for _ in range(5):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", world.wrong_code(ann.app))
    with pytest.raises(ProofError):
        world.mfa.create_passcode("ann", label="Mail", proof=proof)
