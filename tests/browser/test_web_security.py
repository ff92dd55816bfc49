"""What an attacker with a browser tries: forged forms, planted and kept cookies, the back button."""

from __future__ import annotations

import base64
import re
import zlib
from urllib.parse import quote

import pytest
from people import oathtool
from sites import PASSWORD

pytestmark = pytest.mark.browser

REFUSED = {400, 403}
PAGES = (
    "/",
    "/messages/1",
    "/password",
    "/admin/",
    "/preferences/accounts",
    "/preferences/setup",
    "/preferences/app",
    "/preferences/key",
    "/preferences/confirm",
    "/preferences/disable",
    "/preferences/codes",
    "/preferences/passcode",
    "/preferences/others",
)
FORMS = (
    "/sign-in",
    "/sign-in/totp",
    "/sign-in/recovery",
    "/sign-out",
    "/password",
    "/admin/x",
    *(f"/preferences/{one}" for one in ("app", "key", "confirm", "disable", "codes", "passcode")),
    *(f"/preferences/{one}" for one in ("others", "remove-authenticator", "rename-authenticator")),
    *(f"/preferences/{one}" for one in ("rename-passcode", "rename-device", "revoke-passcode")),
    "/preferences/revoke-device",
)
ELSEWHERE = (
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "/\t/evil.example/",
    "/%09/evil.example/",
    "javascript:alert(1)",
    "http:evil.example",
    "evil.example",
    "///evil.example",
    "/;@evil.example",
)


def _session_cookie(one) -> dict:
    [cookie] = [cookie for cookie in one.context.cookies() if "session" in cookie["name"]]
    return cookie


def _plant(cookie, one) -> None:
    kept = {name: cookie[name] for name in ("name", "value", "httpOnly", "secure", "sameSite")}
    one.context.add_cookies([kept | {"url": one.site.url.replace("http:", "https:")}])


# --------------------------------------------------------------------------------------- forged forms


def test_no_form_is_taken_without_its_csrf_token(person):
    """Each is refused before anything is read, and nothing has changed afterwards."""
    ann = person()
    ann.enroll()
    ann.sign_in()
    for path in FORMS:
        sent = {"label": "x", "id": "x", "code": "000000", "csrf_token": "forged"}
        sent["csrfmiddlewaretoken"] = "forged"
        for form in (sent, {}):
            answer = ann.context.request.post(ann.site.url + path, form=form, max_redirects=0)
            assert answer.status in REFUSED, path
    ann.press("Preferences")
    ann.sees("Two-step authentication is on")


def test_a_form_on_another_site_changes_nothing(person):
    """The request is nobody's, and its answer does not put the owner's session out either."""
    ann = person()
    ann.enroll()
    ann.sign_in()
    ann.go("/preferences/disable")
    token = ann.page.locator("input[name=csrf_token], input[name=csrfmiddlewaretoken]").first
    name, value = token.get_attribute("name"), token.get_attribute("value")
    stranger = ann.context.new_page()
    stranger.goto("about:blank")
    stranger.set_content(
        f'<form method="post" action="{ann.site.url}/preferences/disable">'
        f'<input name="{name}" value="{value}"><button>Win a prize</button></form>'
    )
    with stranger.expect_response("**/preferences/disable") as answer:
        stranger.get_by_role("button").click()
    assert answer.value.status in REFUSED
    ann.press("Cancel")
    ann.sees("Two-step authentication is on")


def test_no_site_can_frame_a_page(person):
    ann = person()
    ann.page.set_content(f'<iframe src="{ann.site.url}/sign-in"></iframe>')
    ann.page.wait_for_timeout(500)
    assert "Sign in" not in ann.page.frames[1].content()


# -------------------------------------------------------------------------------------------- sessions


def test_a_password_alone_opens_no_page(person):
    """Between password and code every page leads back to the sign-in."""
    ann = person()
    ann.enroll()
    ann.give_password()
    for path in PAGES:
        ann.go(path)
        assert ann.heading == "Sign in", path


def test_a_planted_session_is_not_the_one_that_gets_signed_in(person):
    """Session fixation: what the attacker knows of the cookie is worth nothing afterwards."""
    victim, attacker = person(), person()
    victim.enroll()
    attacker.go("/sign-in")
    planted = _session_cookie(attacker)
    _plant(planted, victim)
    victim.give_password()
    after_password = _session_cookie(victim)
    victim.fill("One-time code", victim.next_code())
    victim.press("Sign in")
    assert victim.heading == "Inbox"
    values = {planted["value"], after_password["value"], _session_cookie(victim)["value"]}
    assert len(values) == 3
    for cookie in (planted, after_password):
        attacker.context.clear_cookies()
        _plant(cookie, attacker)
        attacker.go("/")
        assert attacker.heading == "Sign in"


def test_a_second_browser_cannot_use_what_the_first_one_sent(person):
    """The same code in another sign-in, and the same challenge with the next code, are refused."""
    ann = person()
    ann.enroll()
    thief = ann.other_browser()
    thief.give_password()
    ann.give_password()
    before = _session_cookie(ann)
    code = ann.next_code()
    ann.fill("One-time code", code)
    ann.press("Sign in")
    assert ann.heading == "Inbox"
    thief.fill("One-time code", code)
    thief.press("Sign in")
    assert thief.problem("code").startswith("That code is not valid.")
    thief.context.clear_cookies()
    _plant(before, thief)
    thief.go("/sign-in/totp")
    if ann.site.name == "flask":  # whose session is a cookie; a row in a table is gone
        thief.fill("One-time code", ann.next_code())
        thief.press("Sign in")
        thief.sees("This sign-in has expired or was completed already.")
    assert thief.heading == "Sign in"


def test_a_session_cookie_kept_from_before_sign_out_is_dead(person):
    ann, thief = person(), person()
    ann.enroll()
    ann.sign_in()
    stolen = _session_cookie(ann)
    ann.press("Sign out")
    _plant(stolen, thief)
    thief.go("/")
    assert thief.heading == "Sign in"


def test_the_back_button_shows_nothing_after_sign_out(person):
    ann = person()
    ann.enroll()
    ann.sign_in()
    ann.press("Preferences")
    ann.press("Sign out")
    ann.page.get_by_text("You are signed out.").wait_for()
    for _ in range(2):
        ann.page.go_back()
        assert ann.heading == "Sign in"


def test_pages_with_secrets_are_not_under_the_back_button(person):
    """Recovery codes, the key and a passcode are on their pages once, and in no cache."""
    from playwright.sync_api import Error

    ann = person()
    ann.set_up()
    ann.press("Finish")
    shown = [*ann.recovery_codes, ann.secret]
    ann.go("/preferences/passcode")
    ann.fill("Name of the device or program", "Phone")
    ann.press("Add")
    shown.append(ann.page.locator("#passcode").inner_text())
    ann.press("Done")
    gone = 0
    for _ in range(8):
        try:
            ann.page.go_back()
        except Error as error:  # the answer to a form: the browser has nothing to show
            assert "ERR_CACHE_MISS" in str(error)
            gone += 1
            ann.page.wait_for_url(re.compile("^chrome-error:"), wait_until="commit")
        text = ann.page.content().replace(" ", "")
        assert not [one for one in shown if one.replace(" ", "") in text], ann.page.url
    assert gone == 2  # recovery codes, passcode


# ---------------------------------------------------------------------------------------- redirections


def test_next_leads_to_this_site_only(person):
    ann = person()
    for there in ELSEWHERE:
        ann.go(f"/sign-in?next={quote(there)}")
        ann.fill("Email address", ann.address)
        ann.fill("Password", PASSWORD)
        ann.press("Sign in")
        assert ann.page.url.startswith(ann.site.url + "/"), there
        ann.context.clear_cookies()


def test_next_leads_where_the_person_was_going(person):
    """Through the code page, too; confirm goes on to pages of the table only."""
    ann = person()
    ann.enroll()
    ann.go("/preferences/accounts")
    ann.fill("Email address", ann.address)
    ann.fill("Password", PASSWORD)
    ann.press("Sign in")
    ann.fill("One-time code", ann.next_code())
    ann.press("Sign in")
    assert ann.heading == "Accounts"
    ann.go("/preferences/confirm?next=//evil.example/")
    ann.fill("One-time code", ann.next_code())
    ann.press("Next")
    assert ann.heading == "Accounts"


# -------------------------------------------------------------------------------- headers and leftovers


def test_headers(person):
    """Each page: nothing cached, nothing from elsewhere, no frame, no guessing of types."""
    ann = person()
    ann.give_password()
    for path in (*PAGES, "/sign-in", "/nothing"):
        headers = ann.context.request.get(ann.site.url + path).headers
        policy = dict(one.strip().partition(" ")[::2] for one in _policy(headers).split(";"))
        assert policy["default-src"] == "'none'", path
        assert policy["script-src"] == policy["style-src"] == "'self'", path
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'", path
        assert policy["form-action"] == "'self'", path
        assert "no-store" in headers["cache-control"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path


def _policy(headers) -> str:
    return headers["content-security-policy"]


def test_cookies(person):
    """Secure, HttpOnly, SameSite, for this host only."""
    ann = person()
    ann.enroll()
    ann.sign_in(trust=True)
    cookies = {one["name"]: one for one in ann.context.cookies()}
    assert {"__Host-session", "__Host-trusted_device"} <= set(cookies)
    for cookie in cookies.values():
        assert cookie["secure"], cookie["name"]
        assert cookie["httpOnly"], cookie["name"]
        assert cookie["sameSite"] == "Lax", cookie["name"]
        assert cookie["path"] == "/", cookie["name"]


def test_no_secret_is_in_the_session_cookie_or_the_log(person):
    """The owner can read the cookie, and operators the log; a key or code is in neither."""
    ann = person()
    ann.give_password()
    ann.begin_setup()
    ann.secret = ann.read_key()
    kept = [_plain(_session_cookie(ann)["value"])]
    ann.fill("Code that the app shows", code := ann.code())
    ann.press("Next")
    codes = ann.page.locator("#codes li").all_inner_texts()
    kept.append(_plain(_session_cookie(ann)["value"]))
    ann.go("/preferences/passcode")
    ann.fill("Name of the device or program", "Phone")
    ann.press("Add")
    passcode = ann.page.locator("#passcode").inner_text()
    kept.append(_plain(_session_cookie(ann)["value"]))
    kept.append((ann.site.directory / "log").read_text(encoding="utf-8"))
    secrets = [ann.secret, base64.b32decode(ann.secret).hex(), code, *codes, passcode, PASSWORD]
    for text in kept:
        assert not [one for one in secrets if one in text]
    assert "POST /preferences/passcode" in kept[-1]


def _plain(cookie: str) -> str:
    """Read a session cookie as its owner can: base64, perhaps compressed; else it is an id."""
    payload = cookie.strip(".").partition(".")[0]
    data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return (zlib.decompress(data) if cookie.startswith(".") else data).decode("utf-8", "replace")


def test_names_are_shown_as_text(person):
    """A name is not markup, wherever it is shown."""
    ann = person()
    ann.enroll()
    ann.sign_in()
    name = "<img src=x onerror=alert(1)>\"'&amp;{{ 7*7 }}"
    ann.go("/preferences/passcode")
    ann.fill("Name of the device or program", name)
    ann.press("Add")
    ann.sees(name)
    ann.press("Done")
    ann.sees(name)
    ann.press(f"Rename {name}")
    assert ann.page.get_by_label("New name").input_value() == name
    assert ann.complaints == []


def test_things_of_another_account_are_out_of_reach(person):
    ann, ben = person(), person()
    ann.enroll()
    ann.sign_in()
    ann.press("Preferences")
    address = ann.page.get_by_role("link", name="Rename My phone").get_attribute("href")
    ben.enroll()
    ben.sign_in()
    ben.go(address)
    ben.sees("No such entry.")
    ben.go("/messages/1")
    assert ben.heading == "Not Found"


def test_an_unknown_address_and_a_wrong_password_get_one_answer(person):
    ann = person()
    ann.enroll()
    answers = []
    for address, password in ((ann.address, "wrong"), ("nobody@example.com", PASSWORD)):
        ann.go("/sign-in")
        ann.fill("Email address", address)
        ann.fill("Password", password)
        ann.press("Sign in")
        answers.append(ann.page.locator("main").inner_text())
    assert answers[0] == answers[1]


def test_a_code_of_another_account_is_refused(person):
    ann, ben = person(), person()
    ann.enroll()
    ben.enroll()
    ben.give_password()
    ben.site.advance(30)
    ben.fill("One-time code", oathtool(ann.secret, ben.site.now))
    ben.press("Sign in")
    assert ben.problem("code")


def test_a_tab_of_another_account_changes_nothing(person):
    """Ben's key is on the page of one tab when Cleo signs in in another."""
    ben, cleo = person(), person()
    ben.give_password()
    ben.begin_setup()
    ben.secret = ben.read_key()
    left_open, ben.page = ben.page, ben.context.new_page()
    ben.address, of_ben = cleo.address, ben.address
    ben.give_password()
    assert ben.heading == "Inbox"
    cleos, ben.page = ben.page, left_open
    ben.fill("Code that the app shows", ben.code())
    ben.press("Next")
    ben.sees("This page belongs to another sign-in. Nothing was changed.")
    ben.press("Go to the inbox")
    assert ben.heading == "Inbox"
    assert cleo.address in ben.page.locator("header").inner_text()
    cleos.close()
    for address in (of_ben, cleo.address):
        assert not ben.site.beside("is_on", address)


def test_a_second_click_sends_no_form_twice(person):
    """At the end of a set-up the second answer would take the recovery codes away."""
    ann = person()
    ann.give_password()
    ann.begin_setup()
    ann.secret = ann.read_key()
    ann.fill("Code that the app shows", ann.code())
    sent = []
    ann.page.on("request", lambda one: sent.append(one) if one.method == "POST" else None)
    ann.page.evaluate(
        "const press = () => document.querySelector('main form button').click();"
        "press(); setTimeout(press, 50)"
    )
    ann.page.get_by_role("heading", name="Success!").wait_for()
    assert ann.page.locator("#codes li").count() == 10
    assert len(sent) == 1
