"""The help page, sentence by sentence, and every branch of it, in a real browser.

Numbers are those of the acceptance scenarios. Each test has accounts of its own; time stands still
until somebody waits.
"""

from __future__ import annotations

import re
import subprocess

import pytest
from people import oathtool
from sites import PASSWORD

from mfakit.errors import CredentialRefusedError

pytestmark = pytest.mark.browser
JAVASCRIPT = pytest.mark.parametrize("js", [True, False], ids=["js", "no-js"])
DAY = 86_400


# ------------------------------------------------------------------------------------------- set-up


@JAVASCRIPT
def test_s46_s47_setup_as_the_help_page_says_and_disable(person, smtp, js):
    """Preferences > Accounts, Begin Setup, password, app, key, code, Success; later Disable."""
    ann = person(java_script_enabled=js)
    ann.give_password()
    ann.press("Preferences")
    ann.sees("Account Security", "Your password alone opens this mailbox.")
    ann.press("Setup two-step authentication")
    ann.sees("Each one needs an application passcode afterwards.")
    ann.press("Begin Setup")
    ann.sees("Enter the password for your account to continue.")
    ann.fill("Password", PASSWORD)
    ann.press("Next")
    ann.sees("Install a one-time password application on your smartphone or tablet")
    ann.press("Next")
    ann.secret = ann.read_key()
    ann.sees(ann.address, "Time-based, SHA1, 6 digits, 30 seconds")
    ann.fill("Code that the app shows", ann.code())
    ann.press("Next")
    assert ann.heading == "Success!"
    assert len(set(ann.page.locator("#codes li").all_inner_texts())) == 10
    ann.press("Finish")
    ann.sees("Two-step authentication is on since 15 Jan 2027, 08:00 UTC", "10 of 10 left")
    ann.sees_no("Setup two-step authentication")

    ann.press("Disable two-step authentication")
    ann.press("Disable")
    ann.sees("Two-step authentication is off.", "Setup two-step authentication")
    ann.sees_no("Disable two-step authentication")
    ann.press("Sign out")
    ann.give_password()
    assert ann.heading == "Inbox"
    told = ["Two-step authentication is on", "Two-step authentication was turned off"]
    assert smtp.subjects(ann.address, 2) == told


def test_a_wrong_password_does_not_begin_setup(person):
    ann = person()
    ann.give_password()
    ann.go("/preferences/app")
    ann.fill("Password", "not it")
    ann.press("Next")
    assert ann.heading == "Confirm that it is you"
    assert ann.problem("password") == "That is not the password of this account."


def test_the_key_page_survives_a_reload_and_a_mistyped_code(person):
    """The same key is shown again; only its expiry ends it."""
    ann = person()
    ann.give_password()
    ann.begin_setup()
    ann.secret = ann.read_key()
    ann.page.reload()
    assert ann.read_key() == ann.secret
    ann.fill("Code that the app shows", "123 45")
    ann.press("Next")
    assert ann.problem("code").startswith("That code is not valid.")
    assert ann.read_key() == ann.secret
    ann.site.advance(601)
    ann.fill("Code that the app shows", ann.code())
    ann.press("Next")
    assert ann.heading == "Set up two-step authentication"
    ann.sees("This set-up has expired or was replaced. Begin set-up again.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_the_qr_code_on_the_screen_is_read_by_a_camera(person, tmp_path, scheme, width):
    """zbarimg decodes the picture of the page; modules are dark on white with a quiet zone."""
    from PIL import Image, ImageChops

    ann = person(color_scheme=scheme, viewport={"width": width, "height": 900})
    ann.give_password()
    ann.begin_setup()
    picture = tmp_path / "page.png"
    ann.page.screenshot(path=picture, full_page=True)
    command = ["zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(picture)]
    read = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    local, _, domain = ann.address.partition("@")
    name = f"{local}%40{domain}"
    assert read == (
        f"otpauth://totp/Example%20Mail:{name}?secret={ann.read_key()}&issuer=Example%20Mail"
    )
    box = ann.page.locator(".qr svg").bounding_box()
    left, top, side = (round(box[one]) for one in ("x", "y", "width"))
    with Image.open(picture) as page:
        code = page.convert("L").crop((left, top, left + side, top + side))
    shades = {shade for _, shade in code.getcolors()}
    assert shades == {0, 255}
    # Four white modules on each side, then the corner marks: a module is four pixels.
    dark = ImageChops.invert(code).getbbox()
    assert dark == (16, 16, side - 16, side - 16)


def test_other_sessions_end_when_two_step_is_turned_on(person):
    """The browser that set it up goes on; every other one must sign in again, with a code."""
    ann = person()
    other = ann.other_browser()
    other.give_password()
    ann.set_up()
    other.press("Preferences")
    assert other.heading == "Sign in"
    other.sees("This session has ended. Sign in again.")
    other.secret = ann.secret
    other.sign_in()
    ann.press("Finish")
    assert ann.heading == "Accounts"


# ------------------------------------------------------------------------------------------ sign-in


@JAVASCRIPT
def test_sign_in_asks_for_a_code_each_time(person, js):
    """Two-step adds to the password; a used or wrong code is refused, the next one is good."""
    ann = person(java_script_enabled=js)
    ann.enroll()
    ann.give_password()
    assert ann.heading == "Enter your code"
    assert ann.page.locator("#code").evaluate("one => one === document.activeElement")
    ann.fill("One-time code", ann.code())
    ann.press("Sign in")
    assert ann.problem("code").startswith("That code is not valid.")
    ann.fill("One-time code", ann.next_code())
    ann.press("Sign in")
    assert ann.heading == "Inbox"
    ann.sees("Wrong codes since your last sign-in: 1.")


def test_the_code_field_suits_a_phone(person):
    """A number pad, the system's own suggestion of codes, and no correction."""
    ann = person()
    ann.enroll()
    ann.give_password()
    field = ann.page.locator("#code")
    assert field.get_attribute("inputmode") == "numeric"
    assert field.get_attribute("autocomplete") == "one-time-code"


def test_too_many_wrong_codes_cost_a_wait_that_is_told(person):
    """The fifth wrong code costs 30 seconds; a right one is not looked at before."""
    ann = person()
    ann.enroll()
    ann.give_password()
    ann.site.advance(30)
    for _ in range(5):
        ann.fill("One-time code", "000000")
        ann.press("Sign in")
    ann.site.advance(10)
    ann.fill("One-time code", ann.code())
    ann.press("Sign in")
    assert ann.problem("code") == "Too many wrong codes. Wait 20 seconds, then try again."
    ann.site.advance(20)
    ann.fill("One-time code", ann.code())
    ann.press("Sign in")
    assert ann.heading == "Inbox"


def test_a_locked_account_comes_back_with_a_recovery_code(person, smtp):
    """After 50 wrong codes the app is refused; a recovery code opens the way to a new one."""
    ann = person()
    ann.enroll()
    ann.site.fail_codes(ann.address, 49)
    ann.give_password()
    ann.site.advance(3600)
    ann.give_password()
    ann.fill("One-time code", "000000")
    ann.press("Sign in")
    ann.give_password()
    assert ann.heading == "Use a recovery code"
    ann.sees_no("Use the authenticator app instead")
    ann.fill("Recovery code", ann.recovery_codes[0])
    ann.press("Sign in")
    ann.press("Preferences")
    ann.sees("Locked", "With a recovery code you can set up a new one.")
    ann.press("Setup two-step authentication")
    ann.press("Begin Setup")
    ann.fill("Name of this phone", "New phone")
    ann.press("Next")
    ann.secret = ann.read_key()
    ann.fill("Code that the app shows", ann.code())
    ann.press("Next")
    assert ann.heading == "Success!"
    ann.press("Finish")
    ann.sees("New phone")
    ann.sees_no("Locked", "My phone")
    told = smtp.subjects(ann.address, 3)
    assert told[0] == "Codes are locked after too many wrong ones"


def test_a_guessed_password_must_be_changed_before_anything_else(person):
    """After the lock and an operator's reset the old password opens nothing."""
    ann = person()
    ann.enroll()
    ann.site.fail_codes(ann.address, 50)
    ann.site.reset(ann.address)
    ann.give_password()
    assert ann.heading == "Sign in"
    ann.sees("Somebody who knows the password guessed codes. Change the password")


def test_a_sign_in_that_took_too_long_begins_again(person):
    ann = person()
    ann.enroll()
    ann.give_password()
    ann.site.advance(301)
    ann.fill("One-time code", ann.code())
    ann.press("Sign in")
    assert ann.heading == "Sign in"
    ann.sees("This sign-in has expired or was completed already. Sign in again.")


@JAVASCRIPT
def test_s48_a_recovery_code_in_place_of_the_phone(person, smtp, js):
    """Each works once; the owner hears of it by mail."""
    ann = person(java_script_enabled=js)
    ann.enroll()
    for expected in ("Inbox", "Use a recovery code"):
        ann.context.clear_cookies()
        ann.give_password()
        ann.press("Use a recovery code instead")
        ann.fill("Recovery code", ann.recovery_codes[4].lower())
        ann.press("Sign in")
        assert ann.heading == expected
    assert ann.problem("code").startswith("That code is not valid.")
    assert smtp.subjects(ann.address, 1) == ["A recovery code was used"]


def test_few_recovery_codes_are_told_and_made_anew(person):
    """At three left there is a warning at sign-in and in preferences; new ones void the old."""
    ann = person()
    ann.enroll()
    for code in ann.recovery_codes[:6]:
        ann.site.use_recovery_code(ann.address, code)
    ann.give_password()
    ann.press("Use a recovery code instead")
    ann.fill("Recovery code", ann.recovery_codes[6])
    ann.press("Sign in")
    ann.sees("Recovery codes left: 3.")
    ann.press("Preferences")
    ann.sees("3 of 10 left", "Make new ones now.")
    ann.press("Make new recovery codes")
    ann.press("Make new codes")
    ann.sees("The older recovery codes no longer work.")
    [*new] = ann.page.locator("#codes li").all_inner_texts()
    ann.press("Finish")
    ann.sees("10 of 10 left")
    ann.press("Sign out")
    ann.give_password()
    ann.press("Use a recovery code instead")
    ann.fill("Recovery code", ann.recovery_codes[9])
    ann.press("Sign in")
    assert ann.problem("code")
    ann.fill("Recovery code", new[9])
    ann.press("Sign in")
    assert ann.heading == "Inbox"


# ---------------------------------------------------------------------------------- trusted devices


@JAVASCRIPT
def test_s49_s50_trust_this_device_and_revoke_it(person, js):
    """Trusted: one is listed and the next sign-in asks no code. Revoked: it does again."""
    ann = person(java_script_enabled=js)
    ann.enroll()
    ann.sign_in(trust=True)
    [cookie] = [one for one in ann.context.cookies() if one["name"] == "__Host-trusted_device"]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    ann.press("Preferences")
    ann.sees("Chrome on Linux", "this device")
    ann.press("Sign out")
    ann.give_password()
    assert ann.heading == "Inbox"
    ann.press("Preferences")
    ann.press("Revoke Chrome on Linux")
    ann.press("Revoke")
    ann.sees("It is revoked.", "No device is trusted: each sign-in asks for a code.")
    ann.press("Sign out")
    ann.give_password()
    assert ann.heading == "Enter your code"


def test_other_devices_are_revoked_and_this_one_stays(person):
    ann = person()
    ann.enroll()
    ann.sign_in(trust=True)
    other = ann.other_browser()
    other.sign_in(trust=True)
    ann.press("Preferences")
    rows = ann.page.get_by_role("row", name=re.compile("Chrome on Linux"))
    assert rows.count() == 2
    rows.filter(has_text="this device").get_by_role("link", name=re.compile("Rename")).click()
    ann.fill("New name", "Kitchen computer")
    ann.press("Save")
    ann.sees("The name is changed.", "Kitchen computer")
    ann.press("Revoke all other devices")
    ann.press("Revoke")
    ann.sees("Kitchen computer")
    ann.sees_no("Chrome on Linux", "Revoke all other devices")
    other.press("Sign out")
    other.give_password()
    assert other.heading == "Enter your code"
    ann.press("Sign out")
    ann.give_password()
    assert ann.heading == "Inbox"


def test_trust_ends_after_thirty_days(person):
    ann = person()
    ann.enroll()
    ann.sign_in(trust=True)
    ann.press("Sign out")
    ann.site.advance(30 * DAY)
    ann.give_password()
    assert ann.heading == "Enter your code"


def test_a_spoilt_trust_cookie_asks_for_the_code(person):
    ann = person()
    ann.enroll()
    cookie = {"name": "__Host-trusted_device", "value": "garbage", "secure": True}
    ann.context.add_cookies([cookie | {"url": ann.site.url.replace("http", "https")}])
    ann.give_password()
    assert ann.heading == "Enter your code"


def test_s51_no_choice_to_trust_where_policy_has_none(person):
    dan = person("dan")
    dan.set_up()
    dan.press("Finish")
    dan.sees_no("Trusted devices")
    dan.press("Sign out")
    dan.give_password()
    assert dan.heading == "Enter your code"
    dan.sees_no("Trust this device")


# ------------------------------------------------------------------------------------------- policy


@JAVASCRIPT
def test_s52_required_the_mailbox_is_closed_until_setup_ends(person, js):
    """Every page leads to the wizard or the sign-in; afterwards neither Setup nor Disable."""
    ben = person("ben", java_script_enabled=js)
    ben.give_password()
    assert ben.heading == "Set up two-step authentication"
    ben.sees("The mailbox opens when it is set up.")
    for path in ("/", "/messages/1", "/preferences/accounts", "/preferences/disable", "/admin/"):
        ben.go(path)
        assert ben.heading == "Sign in", path
    ben.go("/preferences/setup")
    ben.press("Begin Setup")
    ben.press("Next")
    ben.secret = ben.read_key()
    ben.fill("Code that the app shows", ben.code())
    ben.press("Next")
    assert ben.heading == "Success!"
    ben.press("Finish")
    ben.sees("It is required for this account.")
    ben.sees_no("Setup two-step authentication", "Disable two-step authentication")
    ben.go("/preferences/disable")
    ben.press("Disable")
    ben.sees("Two-step verification is required for this account and cannot be turned off.")
    ben.press("Inbox")
    assert ben.heading == "Inbox"


def test_a_wizard_left_for_long_asks_for_the_password_again(person):
    ben = person("ben")
    ben.give_password()
    ben.site.advance(3600)
    ben.press("Begin Setup")
    assert ben.heading == "Confirm that it is you"
    ben.fill("Password", PASSWORD)
    ben.press("Next")
    assert ben.heading == "Install an authenticator app"


def test_a_deadline_is_told_and_then_kept(person):
    """Until then a warning at sign-in and in preferences; after it, set-up first."""
    cleo = person("cleo")
    cleo.give_password()
    assert cleo.heading == "Inbox"
    cleo.sees("Two-step authentication is required from 29 Jan 2027, 08:00 UTC.")
    cleo.press("Preferences")
    cleo.sees("this mailbox stays closed until it is set up", "Setup two-step authentication")
    cleo.press("Sign out")
    cleo.site.advance(14 * DAY)
    cleo.give_password()
    assert cleo.heading == "Set up two-step authentication"


def test_where_policy_offers_nothing_there_is_no_link(person):
    gus = person("gus")
    gus.give_password()
    gus.press("Preferences")
    gus.sees("Two-step authentication is not available for this account.")
    gus.sees_no("Setup two-step authentication")
    gus.begin_setup()
    gus.sees("Two-step verification is not available for this account.")


def test_where_policy_has_no_passcodes_there_is_no_list(person):
    fay = person("fay")
    fay.set_up()
    fay.press("Finish")
    fay.sees_no("Application Passcodes")
    fay.go("/preferences/passcode")
    fay.fill("Name of the device or program", "Phone")
    fay.press("Add")
    fay.sees("Application passcodes are not available for this account.")


# ------------------------------------------------------------------------------------ second phones


@JAVASCRIPT
def test_a_second_phone_is_added_renamed_and_removed(person, smtp, js):
    ann = person(java_script_enabled=js)
    ann.set_up()
    ann.press("Finish")
    ann.sees_no("Remove")
    ann.press("Add another phone")
    ann.fill("Name of this phone", "Tablet")
    ann.press("Next")
    tablet = ann.read_key()
    assert tablet != ann.secret
    ann.fill("Code that the app shows", oathtool(tablet, ann.site.now))
    ann.press("Next")
    ann.sees("Success! The authenticator app is added.", "My phone", "Tablet")
    ann.press("Rename My phone")
    ann.fill("New name", "Old phone")
    ann.press("Save")
    ann.press("Remove Old phone")
    ann.press("Remove")
    ann.sees("The authenticator app is removed.", "Tablet")
    ann.sees_no("Old phone", "Remove")
    ann.press("Sign out")
    ann.give_password()
    ann.fill("One-time code", ann.next_code())
    ann.press("Sign in")
    assert ann.problem("code")
    ann.fill("One-time code", oathtool(tablet, ann.site.now))
    ann.press("Sign in")
    assert ann.heading == "Inbox"
    told = smtp.subjects(ann.address, 3)[1:]
    assert told == ["Another authenticator app was added", "An authenticator app was removed"]


# ------------------------------------------------------------------------------------ confirmations


def test_a_change_long_after_sign_in_asks_for_a_code_first(person):
    """Then the form, and once; a recovery code will do, too."""
    ann = person()
    ann.set_up()
    ann.site.advance(600)
    ann.press("Finish")
    ann.press("Disable two-step authentication")
    assert ann.heading == "Confirm that it is you"
    ann.fill("One-time code", "000000")
    ann.press("Next")
    assert ann.problem("code")
    ann.press("Use a recovery code instead")
    ann.fill("Recovery code", ann.recovery_codes[0])
    ann.press("Next")
    assert ann.heading == "Disable two-step authentication"
    ann.press("Disable")
    ann.sees("Two-step authentication is off.")


def test_a_form_left_open_too_long_asks_for_a_code_and_comes_back(person):
    ann = person()
    ann.set_up()
    ann.go("/preferences/disable")
    ann.site.advance(600)
    ann.press("Disable")
    assert ann.heading == "Confirm that it is you"
    ann.sees("Confirm that it is you: enter a code")
    ann.fill("One-time code", ann.next_code())
    ann.press("Next")
    assert ann.heading == "Disable two-step authentication"
    ann.press("Disable")
    ann.sees("Two-step authentication is off.")


# ------------------------------------------------------------------------------------ mail programs


@JAVASCRIPT
def test_s53_an_application_passcode_for_a_mail_program(person, smtp, js):
    """Added, shown once, used as the password, listed with its last use, revoked."""
    ann = person(java_script_enabled=js)
    ann.set_up()
    ann.press("Finish")
    ann.press("Add Application Code")
    ann.fill("Name of the device or program", "iPhone Mail")
    ann.page.get_by_label("Sending mail (SMTP)").uncheck()
    ann.press("Add")
    assert ann.heading == "Your application passcode"
    passcode = ann.page.locator("#passcode").inner_text()
    assert re.fullmatch(r"([a-z]{4} ){4}[a-z]{4}", passcode)
    ann.press("Done")
    row = ann.page.get_by_role("row", name=re.compile("iPhone Mail"))
    shown = row.inner_text()
    assert passcode[:4] in shown
    assert passcode[5:9] not in shown
    assert all(text in shown for text in ("IMAP", "15 Jan 2027, 08:00 UTC", "never"))

    with pytest.raises(CredentialRefusedError):
        ann.site.mail_login(ann.address, PASSWORD)
    with pytest.raises(CredentialRefusedError):
        ann.site.mail_login(ann.address, passcode, "smtp")
    ann.site.advance(120)
    assert ann.site.mail_login(ann.address, passcode.replace(" ", "")) == "passcode"
    ann.page.reload()
    assert "15 Jan 2027, 08:02 UTC (IMAP)" in row.inner_text()

    ann.press("Revoke iPhone Mail")
    ann.sees(f"The passcode that begins with {passcode[:4]} stops working at once.")
    ann.press("Revoke")
    ann.sees("None yet.")
    with pytest.raises(CredentialRefusedError):
        ann.site.mail_login(ann.address, passcode)
    told = smtp.subjects(ann.address, 3)[1:]
    assert told == ["An application passcode was added", "An application passcode was revoked"]


def test_a_passcode_is_refused_at_the_web_sign_in(person):
    ann = person()
    ann.set_up()
    ann.go("/preferences/passcode")
    ann.fill("Name of the device or program", "Phone")
    ann.press("Add")
    passcode = ann.page.locator("#passcode").inner_text()
    ann.press("Sign out")
    ann.give_password(passcode)
    assert ann.problem("address") == "The address or the password is wrong."


def test_what_is_wrong_with_a_new_passcode_is_said_at_its_field(person):
    """A name that is in use, and no use chosen."""
    ann = person()
    ann.set_up()
    for _ in range(2):
        ann.go("/preferences/passcode")
        ann.fill("Name of the device or program", "Phone")
        ann.press("Add")
    assert ann.problem("label") == "That name is in use. Choose a different one."
    ann.page.get_by_role("link", name="That name is in use").click()
    assert ann.page.locator("#label").evaluate("one => one === document.activeElement")
    ann.fill("Name of the device or program", "Tablet")
    for one in ("Reading mail (IMAP)", "Sending mail (SMTP)"):
        ann.page.get_by_label(one).uncheck()
    ann.press("Add")
    ann.sees("Choose at least one use.")


# ---------------------------------------------------------------------------------------- operators


# The words of the Flask example's own pages, and those of mfakit in Django's admin.
WORDS = {
    "flask": {
        "nobody": "No account begins so.",
        "on": "On since 15 Jan 2027, 08:00 UTC",
        "begin": (),
        "reason": "Reason",
        "blank": "A reason has 1 to 200 ordinary characters.",
        "again": "The next sign-in must set it up again",
        "reset": "Reset",
        "done": "Two-step authentication is reset.",
    },
    "django": {
        "nobody": "0 accounts",
        "on": "Jan. 15, 2027, 8 a.m.",
        "begin": ("Reset two-step verification",),
        "reason": "Reason:",
        "blank": "This field is required.",
        "again": "Require set-up at the next sign-in:",
        "reset": "Reset two-step verification",
        "done": "1 account was reset.",
    },
}


def test_an_operator_sees_where_an_account_stands_and_resets_it(person, smtp):
    """With a reason, which the history and the owner get; the owner's sessions end."""
    ann, operator = person(), person("operator")
    words = WORDS[ann.site.name]
    ann.set_up()
    operator.set_up()
    operator.look_up("nobody")
    operator.sees(words["nobody"])
    operator.look_up(ann.address)
    operator.press(ann.address)
    operator.sees(words["on"], "My phone", "nrolled")
    for name in words["begin"]:
        operator.press(name)
    operator.fill(words["reason"], "   ")
    operator.press(words["reset"])
    operator.page.get_by_text(words["blank"]).first.wait_for()
    operator.fill(words["reason"], "Phone lost, passport shown")
    operator.page.get_by_label(words["again"]).check()
    operator.press(words["reset"])
    operator.page.get_by_text(words["done"]).wait_for()
    operator.look_up(ann.address)
    operator.press(ann.address)
    operator.sees("Phone lost, passport shown", operator.address)
    ann.press("Finish")
    assert ann.heading == "Sign in"
    ann.give_password()
    assert ann.heading == "Set up two-step authentication"
    told = smtp.subjects(ann.address, 2)[1:]
    assert told == ["Two-step authentication was reset by an operator"]
    [mail] = [one for one in smtp.mails if one["To"] == ann.address and "reset" in one["Subject"]]
    assert f"Operator: {operator.address}" in mail.get_content()
    assert "Reason: Phone lost, passport shown" in mail.get_content()


def test_the_operators_pages_are_closed_to_others(person):
    ann = person()
    ann.give_password()
    assert ann.go("/admin/").status == 403
    ann.sees_no("@example.com")


# --------------------------------------------------------------------------------- things around it


def test_a_changed_password_ends_what_hung_on_the_old_one(person):
    ann = person()
    ann.set_up()
    other = ann.other_browser()
    other.sign_in(trust=True)
    ann.press("Finish")
    ann.press("Change password")
    ann.fill("Present password", "wrong")
    ann.fill("New password", "a new passphrase")
    ann.press("Change password")
    assert ann.problem("password")
    ann.fill("Present password", PASSWORD)
    ann.fill("New password", "a new passphrase")
    ann.press("Change password")
    ann.sees("The password is changed.", "No device is trusted")
    other.press("Inbox")
    assert other.heading == "Sign in"
    other.give_password("a new passphrase")
    assert other.heading == "Enter your code"


def test_when_nothing_can_be_decided_the_page_says_try_again_later(person):
    """The server's clock went back: an operational failure, never "wrong code"."""
    ann = person()
    ann.site.advance(DAY)
    ann.enroll()
    ann.site.advance(-DAY)
    ann.give_password()
    ann.fill("One-time code", ann.code())
    with ann.page.expect_response(lambda one: one.request.method == "POST") as answer:
        ann.press("Sign in")
    assert answer.value.status == 503
    assert ann.heading == "Try again later"


def test_copy_download_and_print(person, tmp_path):
    """All three give all ten codes; what is printed has no navigation on it."""
    ann = person()
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ann.set_up()
    ann.press("Copy")
    ann.page.get_by_text("Copied", exact=True).wait_for()
    copied = ann.page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines() == ann.recovery_codes
    _download_has_all_codes(ann, tmp_path)
    ann.page.evaluate("window.print = () => { window.printed = true; }")
    ann.press("Print")
    assert ann.page.evaluate("window.printed")
    ann.page.emulate_media(media="print")
    assert ann.page.locator("#codes").is_visible()
    assert not ann.page.get_by_role("navigation").is_visible()


def test_download_needs_no_javascript_and_dead_buttons_are_hidden(person, tmp_path):
    ann = person(java_script_enabled=False)
    ann.set_up()
    _download_has_all_codes(ann, tmp_path)
    for name in ("Copy", "Print"):
        assert not ann.page.get_by_role("button", name=name).is_visible()


def _download_has_all_codes(ann, tmp_path):
    with ann.page.expect_download() as download:
        ann.press("Download")
    assert download.value.suggested_filename == "recovery-codes.txt"
    download.value.save_as(tmp_path / "codes.txt")
    text = (tmp_path / "codes.txt").read_text(encoding="utf-8")
    assert text.split()[-10:] == ann.recovery_codes
    assert ann.address in text


def test_set_up_and_sign_in_with_the_keyboard_alone(person):
    """Tab and Enter reach everything, and the focus is always visible."""
    ann = person()
    ann.go("/sign-in")
    ann.type(ann.address, "Tab", PASSWORD, "Enter")
    ann.tab_to("Preferences")
    ann.type("Enter")
    ann.tab_to("Setup two-step authentication…")
    ann.type("Enter")
    ann.tab_to("Begin Setup")
    ann.type("Enter")
    ann.type(PASSWORD, "Enter")
    ann.tab_to("Next")
    ann.type("Enter")
    ann.secret = ann.read_key_by_keyboard()
    ann.page.locator("#code").focus()
    ann.type(ann.code(), "Enter")
    assert ann.heading == "Success!"
    ann.tab_to("Sign out")
    ann.type("Enter")
    ann.type(ann.address, "Tab", PASSWORD, "Enter")
    ann.type(ann.next_code(), "Enter")
    assert ann.heading == "Inbox"
