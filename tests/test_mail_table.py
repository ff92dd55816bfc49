"""Every row of the mail-client table: what a credential is worth, and what is not even checked."""

from __future__ import annotations

from typing import Any

import pyotp
import pytest

from mfakit import ClientInfo
from mfakit.errors import (
    BusyError,
    CredentialRefusedError,
    PasswordChangeRequiredError,
    PasswordCheckFailedError,
    UnavailableError,
    WrongCodeError,
)
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, PasswordBook, World


def _try(world: World, credential: Any, book: PasswordBook, **how: Any) -> Any:
    how = {"protocol": "imap"} | how
    account_id = how.pop("account_id", "ann")
    check = book.checker(account_id)
    return world.mfa.authenticate_client(account_id, credential, check_password=check, **how)


def _is_refused(world: World, credential: Any, book: PasswordBook, **how: Any) -> str:
    """Assert one refusal that writes nothing, and return the event's reason."""
    before = world.row("ann")
    with pytest.raises(CredentialRefusedError):
        _try(world, credential, book, **how)
    assert world.row("ann") == before
    assert world.events[-1].reason is not None
    return world.events[-1].reason


def test_off_the_password_decides(world: World) -> None:
    """Without two-step the platform's password check decides, asked once."""
    book = PasswordBook()
    assert _try(world, PASSWORD, book).via == "password"
    assert _is_refused(world, "wrong", book) == "password"
    assert book.asked == [PASSWORD, "wrong"]


@pytest.mark.parametrize("answer", [True, 1, "ANN", "Ann ", "bob", b"ann", None, ["ann"]])
def test_only_the_very_account_id_is_a_yes(world: World, answer: object) -> None:
    """A truthy answer that is not the account's id signs nobody in."""
    assert _is_refused(world, PASSWORD, PasswordBook(lambda: answer)) == "password"


def test_a_coroutine_is_no_yes(world: World) -> None:
    """An asynchronous check that nobody awaited signs nobody in."""

    async def check() -> str:
        return "ann"

    coroutine = check()
    assert _is_refused(world, PASSWORD, PasswordBook(lambda: coroutine)) == "password"
    coroutine.close()


@pytest.mark.parametrize("policy_allows", [True, False])
def test_locked_takes_passcodes_only(world: World, policy_allows: bool) -> None:
    """Once the authenticators are locked, a code after the password opens nothing."""
    world.set_policy(code_failures_max=5, password_with_code=policy_allows)
    person = world.enroll()
    made = world.passcode(person)
    world.fail(person, 5)
    book = PasswordBook()
    for text in (PASSWORD, PASSWORD + world.fresh_code(person.app)):
        assert _is_refused(world, text, book) == "two_step_is_on"
    assert _try(world, made.passcode, book).via == "passcode"
    assert book.asked == []


def test_password_with_code_spends_and_counts(world: World) -> None:
    """A code used so is spent on the web too, and wrong ones add to the one counter."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    fresh = world.fresh_code(person.app)
    book = PasswordBook()
    assert _try(world, PASSWORD + fresh, book).via == "password+code"
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", fresh)
    world.fail(person, 3)
    with pytest.raises(CredentialRefusedError):
        _try(world, PASSWORD + world.wrong_code(person.app), book)
    assert world.mfa.status("ann").retry_at == world.later(seconds=30)


def test_a_failing_password_check_is_temporary(world: World) -> None:
    """An exception of the platform never sounds like a wrong password."""

    def fail() -> None:
        raise OSError("directory is down")

    with pytest.raises(PasswordCheckFailedError):
        _try(world, PASSWORD, PasswordBook(fail))


def test_required_after_the_deadline_is_refused_unchecked(world: World) -> None:
    """Before the deadline the password works, afterwards it is not even checked."""
    world.set_policy(required=True, required_from=world.later(days=1))
    book = PasswordBook()
    assert _try(world, PASSWORD, book).via == "password"
    world.pass_time(days=1)
    assert _is_refused(world, PASSWORD, book) == "enrollment_required"
    assert book.asked == [PASSWORD]


def test_a_suspect_password_is_refused_unchecked(world: World) -> None:
    """Who had the password guessed codes up to the cap: it must be changed first."""
    world.set_policy(code_failures_max=5)
    person = world.enroll()
    world.lock(person, 5)
    world.mfa.reset("ann", actor="ops", reason="asked in person")
    book = PasswordBook()
    with pytest.raises(PasswordChangeRequiredError):
        _try(world, PASSWORD, book)
    assert book.asked == []
    world.mfa.password_changed("ann")
    assert _try(world, PASSWORD, book).via == "password"


def test_on_nothing_but_a_passcode_is_checked(world: World) -> None:
    """Right password, wrong password, code, recovery code: refused alike, no oracle."""
    person = world.enroll()
    world.pass_time(seconds=30)
    book = PasswordBook()
    for credential in (PASSWORD, "wrong", world.code(person.app), person.recovery_codes[0], ""):
        assert _is_refused(world, credential, book) == "two_step_is_on"
    assert _is_refused(world, PASSWORD + world.code(person.app), book) == "two_step_is_on"
    for malformed in (None, 5, b"x", "x" * 5000, "\ud800"):
        assert _is_refused(world, malformed, book) == "malformed"
    assert (book.asked, world.hasher.verified) == ([], 0)


@pytest.mark.parametrize("protocol", ["", "IMAP", "http", None, 5, ["imap"]])
def test_unknown_protocols_are_refused(world: World, protocol: Any) -> None:
    """Deny by default, two-step on or off."""
    book = PasswordBook()
    assert _is_refused(world, PASSWORD, book, protocol=protocol) == "protocol"
    assert book.asked == []


def test_passcode_reasons_go_to_the_event_only(world: World) -> None:
    """Wrong protocol, wrong network, expired, revoked, switched off: one error."""
    person = world.enroll()
    book = PasswordBook()
    made = world.passcode(
        person,
        protocols={"imap", "smtp"},
        networks=["192.0.2.0/24", "2001:db8::/32"],
        expires_at=world.later(days=2),
    )
    inside = ClientInfo(remote_ip="::ffff:192.0.2.7")
    done = _try(world, made.passcode.upper(), book, client=inside)
    assert (done.via, done.passcode_id) == ("passcode", made.passcode_id)
    assert world.mfa.passcodes("ann")[0].last_used_ip == "192.0.2.7"
    outside = ClientInfo(remote_ip="198.51.100.1")
    assert _is_refused(world, made.passcode, book, client=outside) == "wrong_network"
    assert _is_refused(world, made.passcode, book) == "wrong_network"
    how = {"client": inside, "protocol": "pop3"}
    assert _is_refused(world, made.passcode, book, **how) == "wrong_protocol"
    world.set_policy(passcodes=False)
    assert _is_refused(world, made.passcode, book, client=inside) == "passcodes_off"
    assert _is_refused(world, PASSWORD, book, client=inside) == "two_step_is_on"
    world.set_policy(passcodes=True)
    wrong = made.passcode[:-1] + ("a" if made.passcode[-1] != "a" else "b")
    assert _is_refused(world, wrong, book, client=inside) == "wrong_passcode"
    world.pass_time(days=2)
    assert _is_refused(world, made.passcode, book, client=inside) == "expired"
    world.mfa.revoke_passcode("ann", made.passcode_id)
    assert _is_refused(world, made.passcode, book, client=inside) == "unknown_passcode"
    assert book.asked == []


def test_one_hash_whatever_the_number_none_for_unknown(world: World) -> None:
    """25 passcodes cost one hash a try, an unknown first group none, a remembered one none."""
    person = world.enroll()
    proof = world.proof(person)
    made = [world.mfa.create_passcode("ann", label=f"{n}", proof=proof) for n in range(25)]
    book = PasswordBook()
    _try(world, made[24].passcode, book)
    assert world.hasher.verified == 1
    _try(world, made[24].passcode, book)
    assert world.hasher.verified == 1
    taken = {one.hint for one in made}
    unknown = next(text for n in "abcdefgh" if (text := n * 4) not in taken) + "a" * 16
    assert _is_refused(world, unknown, book) == "unknown_passcode"
    assert world.hasher.verified == 1
    world.mfa.revoke_passcode("ann", made[24].passcode_id)
    assert _is_refused(world, made[24].passcode, book) == "unknown_passcode"


def test_password_with_code_when_policy_allows(world: World) -> None:
    """Once for each code: the saved text is refused uncounted, other failures count."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    book = PasswordBook()
    text = PASSWORD + world.fresh_code(person.app)
    assert _try(world, text, book).via == "password+code"
    asked = len(book.asked)
    assert _is_refused(world, text, book) == "repeated"
    assert len(book.asked) == asked
    assert _is_refused(world, PASSWORD, book) == "two_step_is_on"
    fresh = world.fresh_code(person.app)
    assert _is_refused(world, "wrong" + fresh, book) == "password"
    assert world.mfa.verify_code("ann", fresh)  # a wrong password spends no code
    with pytest.raises(CredentialRefusedError):
        _try(world, PASSWORD + fresh, book)
    assert world.events[-1].kind == "code_replayed"
    wrong = world.wrong_code(person.app)
    for _ in range(4):
        with pytest.raises(CredentialRefusedError):
            _try(world, PASSWORD + wrong, book)
    asked = len(book.asked)
    assert _is_refused(world, PASSWORD + world.code(person.app, steps=1), book) == "throttled"
    assert len(book.asked) == asked


def test_a_code_alone_is_no_password_with_a_code(world: World) -> None:
    """The platform is not asked whether an empty password is right."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    book = PasswordBook(answer=lambda: "ann")
    assert _is_refused(world, world.fresh_code(person.app), book) == "two_step_is_on"
    assert book.asked == []


def _with_eight_digits(world: World) -> VirtualAuthenticator:
    uri = pyotp.TOTP(pyotp.random_base32(), digits=8).provisioning_uri(name="a", issuer_name="B")
    world.mfa.import_authenticator("ann", uri, actor="ops", reason="asked in person")
    return VirtualAuthenticator(uri)


@pytest.mark.parametrize("digits", [6, 8])
def test_password_with_a_code_of_the_one_length_that_all_apps_have(
    world: World, digits: int
) -> None:
    """Two apps of six digits, or one of eight."""
    world.set_policy(password_with_code=True)
    if digits == 6:
        person = world.enroll()
        apps = [person.app, world.add_app(person)[0]]
    else:
        apps = [_with_eight_digits(world)]
    book = PasswordBook()
    for app in apps:
        assert _try(world, PASSWORD + world.fresh_code(app), book).via == "password+code"
    assert book.asked == [PASSWORD] * len(apps)


def test_password_with_a_code_needs_apps_of_one_length(world: World) -> None:
    """Six digits on one, eight on another: a text would have two readings, one of them uncounted."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    eight = _with_eight_digits(world)
    book = PasswordBook()
    for app in (eight, person.app):
        assert _is_refused(world, PASSWORD + world.fresh_code(app), book) == "two_step_is_on"
    assert book.asked == []
    assert world.mfa.verify_code("ann", world.code(person.app))  # and nothing was spent


def test_300_guesses_against_apps_of_two_lengths_sign_nobody_in(world: World) -> None:
    """Not one is evaluated: the platform is not asked, no counter moves, no code is compared."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    eight = _with_eight_digits(world)
    world.pass_time(minutes=5)
    book = PasswordBook(answer=lambda: "ann")
    right = [PASSWORD + world.code(person.app), PASSWORD + world.code(eight)]
    wrong = [f"{PASSWORD}{guess:0{length}d}" for guess in range(149) for length in (6, 8)]
    for text in wrong + right:
        assert _is_refused(world, text, book) == "two_step_is_on"
    assert book.asked == []
    assert world.mfa.status("ann").retry_at is None


def test_an_empty_password_is_never_asked(world: World) -> None:
    """To a directory an empty password is an anonymous bind, and succeeds (RFC 4513 5.1.2)."""
    book = PasswordBook(answer=lambda: "ann")
    assert _is_refused(world, "", book) == "password"
    assert book.asked == []


def test_operational_failures_are_temporary(world: World) -> None:
    """A store that fails, or no place to hash: never "wrong password"."""
    person = world.enroll()
    made = world.passcode(person)

    class Down:
        def load(self, account_id: str) -> None:
            raise OSError("network is unreachable")

    with pytest.raises(UnavailableError):
        _down(world, made.passcode, Down())
    world.mfa._gate._places._total = 0
    with pytest.raises(BusyError):
        _try(world, made.passcode, PasswordBook())


def _down(world: World, credential: str, store: Any) -> None:
    kept, world.store = world.store, store
    try:
        mfa = world.make_mfa()
    finally:
        world.store = kept
    mfa.authenticate_client("ann", credential, protocol="imap", check_password=lambda _: "ann")
