"""Two tabs of one browser and two accounts: what one account began is not done as the other."""

from __future__ import annotations

import pytest

from browser.sites import PASSWORD

pytestmark = pytest.mark.slow

STALE = "This page belongs to another sign-in. Nothing was changed."


def _refused(answer) -> None:
    assert answer.status == 409, (answer.status, answer.shown)
    assert STALE in answer.shown
    assert "set-cookie" not in answer.headers  # a stranger's form must put nobody's session out


def _is_signed_in(tab, owner) -> None:
    answer = tab.go("/")
    assert "<h1>Inbox</h1>" in answer.text, answer.shown
    assert owner.address in answer.text


def _nobody_is_signed_in(tab) -> None:
    assert "<h1>Sign in</h1>" in tab.go("/").text


@pytest.mark.parametrize("leaves", [True, False], ids=["after signing out", "without signing out"])
@pytest.mark.parametrize("kind", ["ann", "ben"], ids=["optional", "required"])
def test_an_offer_is_not_confirmed_by_the_session_of_another_account(browser, owner, kind, leaves):
    """Ben's key page, left open, does nothing once Cleo has signed in; not to Ben either."""
    ben, cleo = owner(kind), owner()
    first, second = browser.tab(), browser.tab()
    ben.give_password(first)
    ben.see_key(first)
    if leaves:
        second.go("/preferences/setup")
        second.sign_out()
    cleo.sign_in(second)
    _refused(first.press(code=ben.next_code()))
    assert not ben.is_on()
    assert not cleo.is_on()
    _is_signed_in(second, cleo)
    answer = first.go("/preferences/key")
    assert ben.secret not in answer.text.replace(" ", "")
    assert ben.address not in answer.text


def test_a_wizard_that_begins_ends_the_session_of_the_other_account(browser, owner):
    """Ben must set up: until he has, the browser shows neither mailbox."""
    cleo, ben = owner(), owner("ben")
    first, second = browser.tab(), browser.tab()
    cleo.sign_in(first)
    answer = ben.give_password(second)
    assert "required for this account" in answer.text
    assert cleo.address not in answer.text
    _nobody_is_signed_in(first)
    assert cleo.address not in first.go("/preferences/setup").text
    ben.see_key(second)
    assert "Success!" in second.press(code=ben.next_code()).text
    _is_signed_in(first, ben)
    assert not cleo.is_on()


def test_a_code_is_taken_for_the_sign_in_that_its_page_shows(browser, owner):
    """Ben's password, Cleo's password, Ben's code: refused, and counted against neither."""
    ben, cleo = owner(), owner()
    for one in (ben, cleo):
        one.set_up(type(browser)(browser.site).tab())
    first, second = browser.tab(), browser.tab()
    assert ben.address in ben.give_password(first).text
    assert cleo.address in cleo.give_password(second).text
    _refused(first.press(code=ben.next_code()))
    _nobody_is_signed_in(first)
    second.go("/sign-in/totp")
    answer = second.press(code=cleo.code())
    assert "Wrong codes" not in answer.shown
    _is_signed_in(second, cleo)


def test_a_sign_in_page_of_before_signs_in_nobody_by_another_name(browser, owner):
    """Both pages of the sign-in were open before either password was given."""
    ben, cleo = owner(), owner()
    ben.set_up(type(browser)(browser.site).tab())
    first, second = browser.tab(), browser.tab()
    first.go("/sign-in")
    second.go("/sign-in")
    assert ben.address in first.press(address=ben.address, password=PASSWORD).text
    answer = second.press(address=cleo.address, password=PASSWORD)
    assert answer.status < 500
    first.press(code=ben.next_code())
    answer = first.go("/")
    assert (ben.address in answer.text) != (cleo.address in answer.text)
    if ben.address in answer.text:
        assert "<h1>Inbox</h1>" in answer.text


def test_a_pending_sign_in_ends_the_session_of_the_other_account(browser, owner):
    """Between the password and the code of Ben, Cleo's mailbox is closed, and her proof gone."""
    ben, cleo = owner(), owner()
    ben.set_up(type(browser)(browser.site).tab())
    first, second = browser.tab(), browser.tab()
    cleo.set_up(first)
    first.go("/preferences/disable")  # her code is fresh, so this is the form itself
    ben.give_password(second)
    _refused(first.press())
    _nobody_is_signed_in(first)
    assert cleo.is_on()
    assert ben.is_on()


FORMS = {
    "/preferences/disable": {},
    "/preferences/codes": {},
    "/preferences/passcode": {"label": "Phone", "protocols": "imap"},
    "/preferences/app": {"label": "Tablet"},
    "/password": {"password": PASSWORD, "new": "another long password"},
}


@pytest.mark.parametrize("path", FORMS)
def test_no_form_of_one_account_acts_in_the_session_of_another(browser, owner, path):
    ben, cleo = owner(), owner()
    first, second = browser.tab(), browser.tab()
    ben.set_up(first)
    first.go(path)
    cleo.sign_in(second)
    _refused(first.press(**FORMS[path]))
    _is_signed_in(second, cleo)
    assert ben.is_on()
    assert not cleo.is_on()
    second.sign_out()
    answer = ben.give_password(first)  # unchanged
    assert "Enter your code" in answer.text, answer.shown


def test_the_button_of_an_older_page_signs_nobody_else_out(browser, owner):
    ben, cleo = owner(), owner()
    first, second = browser.tab(), browser.tab()
    ben.sign_in(first)
    cleo.sign_in(second)
    _refused(first.sign_out())
    _is_signed_in(second, cleo)


def test_the_next_page_of_one_sign_in_is_not_that_of_another(browser, owner):
    ben, cleo = owner(), owner()
    ben.set_up(type(browser)(browser.site).tab())
    first, second = browser.tab(), browser.tab()
    ben.give_password(first, "/sign-in?next=/preferences/setup")
    cleo.sign_in(second)
    assert second.path == "/"


def test_a_proof_of_one_account_changes_nothing_of_another(browser, owner):
    """Ben has just given a code; Cleo, signed in afterwards, is asked for hers."""
    ben, cleo = owner(), owner()
    cleo.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    ben.set_up(tab)
    assert "Disable two-step" in tab.go("/preferences/disable").text
    cleo.sign_in(tab)
    browser.site.advance(600)
    assert "Confirm that it is you" in tab.go("/preferences/disable").text
    assert cleo.is_on()


def test_the_same_account_in_two_tabs_goes_on(browser, owner):
    """A second tab of one sign-in is no other sign-in."""
    ann = owner()
    first, second = browser.tab(), browser.tab()
    ann.sign_in(first)
    second.go("/preferences/setup")
    ann.see_key(first)
    second.go("/")
    assert "Success!" in first.press(code=ann.next_code()).text
    _is_signed_in(second, ann)
