"""The help page, sentence by sentence, and every branch, in a real browser."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_s46_setup_and_s47_disable(person):
    """From preferences: Begin Setup, password, app, key, code, Finish; then a Disable link."""
    ann = person()
    ann.give_password()
    assert ann.heading == "Inbox"
    ann.press("Preferences")
    ann.press("Setup two-step authentication")
    assert ann.heading == "Set up two-step authentication"
    ann.press("Begin Setup")
    assert ann.heading == "Confirm that it is you"
    ann.fill("Password", "correct horse battery")
    ann.press("Next")
    assert ann.heading == "Install an authenticator app"
    ann.press("Next")
    ann.secret = ann.read_key()
    ann.fill("Code that the app shows", ann.code())
    ann.press("Next")
    assert ann.heading == "Success!"
    ann.press("Finish")
    ann.sees("Two-step authentication is on since 15 Jan 2027, 08:00 UTC")
    ann.sees_no("Setup two-step authentication")
    ann.press("Disable two-step authentication")
    ann.press("Disable")
    ann.sees("Two-step authentication is off.", "Setup two-step authentication")
    ann.sees_no("Disable two-step authentication")


def test_sign_in_with_a_code(person):
    ann = person()
    ann.set_up()
    ann.press("Sign out")
    ann.sign_in()
