"""Sessions of the webmails: their ids, their end, what a cache keeps, where a sign-in leads."""

from __future__ import annotations

import pytest

from browser.sites import PASSWORD

pytestmark = pytest.mark.slow

ELSEWHERE = ("//evil.example/", "https://evil.example/", "/%5Cevil.example", "/%09/evil.example/")
LONG = "/" + "a" * 6000


def _session(browser) -> str:
    return browser.cookies.get("__Host-session", "")


def test_a_session_gets_another_id_at_each_step_of_a_sign_in(browser, owner):
    """Whoever planted or kept an earlier one has nothing."""
    ann = owner()
    ann.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    tab.go("/sign-in")
    seen = [_session(browser)]
    ann.give_password(tab)
    seen.append(_session(browser))
    tab.press(code=ann.next_code())
    seen.append(_session(browser))
    assert len(set(seen)) == 3
    thief = type(browser)(browser.site)
    for kept in seen[:2]:
        thief.cookies = {"__Host-session": kept}
        assert "<h1>Sign in</h1>" in thief.tab().go("/").text


def test_nobody_is_signed_out_by_a_link(browser, owner):
    ann, tab = owner(), browser.tab()
    ann.sign_in(tab)
    assert browser.send("GET", "/sign-out").status == 405
    assert "<h1>Inbox</h1>" in tab.go("/").text


def test_signing_out_ends_what_a_cookie_kept(browser, owner):
    ann, tab = owner(), browser.tab()
    ann.sign_in(tab)
    kept = dict(browser.cookies)
    assert "You are signed out." in tab.sign_out().shown
    browser.cookies = kept
    assert "<h1>Sign in</h1>" in tab.go("/").text


@pytest.mark.parametrize("there", ELSEWHERE)
def test_a_sign_in_leads_to_no_other_site(browser, owner, there):
    ann, tab = owner(), browser.tab()
    ann.give_password(tab, f"/sign-in?next={there}")
    assert tab.path == "/"


def test_a_next_page_that_no_cookie_could_hold_is_forgotten(browser, owner):
    """A stranger's link must not make the sign-in impossible."""
    ann = owner()
    ann.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    ann.give_password(tab, f"/sign-in?next={LONG}")
    answer = tab.press(code=ann.next_code())
    assert "<h1>Inbox</h1>" in answer.text, answer.shown
    assert tab.path == "/"


def test_every_answer_is_kept_out_of_caches(browser, owner):
    """Pages with secrets, redirections, refusals; static files alone are cached."""
    ann, tab = owner(), browser.tab()
    ann.give_password(tab)
    answers = [ann.see_key(tab), tab.press(code=ann.next_code())]
    assert "Success!" in answers[1].text
    tab.go("/preferences/passcode")
    answers.append(tab.press(label="Phone", protocols="imap"))
    assert "shown <strong>only now" in answers[-1].text
    for path in ("/", "/nothing", "/sign-in", "/preferences/nothing", "/sign-out"):
        answers.append(browser.send("GET", path))
    answers.append(browser.post("/preferences/disable", [("csrf_token", "forged")]))
    for answer in answers:
        assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/preferences/codes", "/preferences/passcode"])
def test_what_is_shown_once_is_not_shown_by_sending_the_form_again(browser, owner, path):
    """Reload repeats the form. A passcode is not made twice, and no secret is shown again."""
    ann, tab = owner(), browser.tab()
    ann.set_up(tab)
    tab.go(path)
    sent = {"label": "Phone", "protocols": "imap"} if path.endswith("passcode") else {}
    form = tab.fields() + list(sent.items())
    shown = browser.post(path, form)
    again = browser.post(path, form)
    assert shown.status == 200
    assert again.status < 500
    assert shown.text != again.text
    if sent:
        assert "That name is in use." in tab.go(again.location).shown


def test_setting_up_twice_with_one_form_shows_no_codes_again(browser, owner):
    """The second click of a double click, or a reload of the page with the recovery codes."""
    ann, tab = owner(), browser.tab()
    ann.give_password(tab)
    ann.see_key(tab)
    form = [*tab.fields(), ("code", ann.next_code())]
    before = dict(browser.cookies)
    assert "Success!" in browser.post(tab.path, form).text
    after = dict(browser.cookies)
    for cookies in (after, before):
        browser.cookies = dict(cookies)
        again = browser.post(tab.path, form)
        assert 300 <= again.status < 500
        assert "Success!" not in again.text
    assert ann.is_on()


def test_a_code_page_sent_twice_stays_signed_in(browser, owner):
    """The second click finds the first one's session; it is told so, and is not signed out."""
    ann = owner()
    ann.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    ann.give_password(tab)
    form = [*tab.fields(), ("code", ann.next_code())]
    assert browser.post(tab.path, form).status == 302
    assert browser.post(tab.path, form).status < 500
    assert ann.address in tab.go("/").text


@pytest.mark.parametrize("path", ["/sign-in/totp", "/sign-in/recovery"])
def test_a_code_page_without_a_sign_in_leads_to_the_password(browser, path):
    assert "<h1>Sign in</h1>" in browser.tab().go(path).text


def test_a_password_page_sent_twice_asks_for_the_code(browser, owner):
    ann = owner()
    ann.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    tab.go("/sign-in")
    form = [*tab.fields(), ("address", ann.address), ("password", PASSWORD)]
    before = dict(browser.cookies)
    browser.post("/sign-in", form)
    browser.cookies = before  # the first answer never arrived
    answer = browser.post("/sign-in", form)
    assert answer.status < 500
    if answer.location:
        tab.go(answer.location)
        tab.press(code=ann.next_code())
        assert ann.address in tab.go("/").text
