"""Every page of an example, one after another, each with its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from people import Person, oathtool
from sites import PASSWORD


def _signing_in(ann: Person) -> Iterator[str]:
    ann.go("/sign-in")
    yield "sign-in"
    ann.give_password("a wrong one")
    yield "sign-in-wrong"
    ann.give_password()
    yield "inbox"
    ann.press("Welcome to Example Mail")
    yield "message"
    ann.press("Preferences")
    yield "accounts-off"


def _setting_up(ann: Person) -> Iterator[str]:
    ann.press("Setup two-step authentication")
    yield "setup"
    ann.press("Begin Setup")
    yield "password"
    ann.fill("Password", PASSWORD)
    ann.press("Next")
    yield "app"
    ann.press("Next")
    yield "key"
    ann.secret = ann.read_key()
    yield "key-by-hand"
    ann.fill("Code that the app shows", "000000")
    ann.press("Next")
    yield "key-wrong-code"
    ann.fill("Code that the app shows", ann.code())
    ann.press("Next")
    yield "success"
    ann.press("Finish")
    yield "accounts-on"


def _changing(ann: Person) -> Iterator[str]:
    for page in ("disable", "codes", "passcode"):
        ann.go(f"/preferences/{page}")
        yield page
        if page == "codes":
            ann.press("Make new codes")
            yield "codes-shown"
    ann.fill("Name of the device or program", "iPhone Mail")
    ann.press("Add")
    yield "passcode-shown"
    ann.press("Done")
    ann.site.advance(600)
    ann.press("Add another phone")
    yield "confirm"
    ann.press("Use a recovery code instead")
    yield "confirm-recovery"
    ann.press("Use the authenticator app instead")
    ann.confirm()
    ann.fill("Name of this phone", "Spare phone")
    ann.press("Next")
    ann.fill("Code that the app shows", oathtool(ann.read_key(), ann.site.now))
    ann.press("Next")
    yield "accounts-two-phones"


def _coming_back(ann: Person) -> Iterator[str]:
    ann.press("Sign out")
    yield "signed-out"
    ann.give_password()
    yield "code"
    ann.fill("One-time code", "000000")
    ann.press("Sign in")
    yield "code-wrong"
    ann.press("Use a recovery code instead")
    yield "recovery"
    ann.press("Use the authenticator app instead")
    ann.page.get_by_label(re.compile("Trust this device")).check()
    ann.fill("One-time code", ann.next_code())
    ann.press("Sign in")
    yield "inbox-with-warning"
    ann.press("Preferences")
    yield "accounts-full"
    for button in ("Remove Spare phone", "Rename iPhone Mail", "Revoke iPhone Mail"):
        ann.press(button)
        yield button.lower().replace(" ", "-")
        ann.press("Cancel")
    ann.go("/preferences/others")
    yield "others"
    ann.go("/password")
    yield "change-password"
    ann.go("/nothing")
    yield "not-found"


def _others(make: Callable[[str], Person]) -> Iterator[tuple[Person, str]]:
    ben = make("ben")
    ben.give_password()
    yield ben, "wizard"
    cleo = make("cleo")
    cleo.give_password()
    yield cleo, "inbox-required-soon"
    cleo.press("Preferences")
    yield cleo, "accounts-required-soon"
    gus = make("gus")
    gus.give_password()
    gus.press("Preferences")
    yield gus, "accounts-unavailable"
    operator = make("operator")
    operator.set_up()
    operator.press("Operator")
    yield operator, "operator"
    operator.look_up(ben.address)
    operator.press(ben.address)
    yield operator, "operator-account"
    if operator.site.name == "django":  # a page of its own
        operator.press("Reset two-step verification")
        yield operator, "operator-reset"


def every_page(make: Callable[[str], Person]) -> Iterator[tuple[Person, str]]:
    """Yield each page as it stands before a person, with its name."""
    ann = make("ann")
    for part in (_signing_in, _setting_up, _changing, _coming_back):
        for name in part(ann):
            yield ann, name
    yield from _others(make)
