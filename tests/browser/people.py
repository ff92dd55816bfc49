"""A person at a browser: what they see, type and press, and their phone (oathtool)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from email import message_from_bytes
from email.message import Message
from email.policy import default
from functools import reduce
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sites import PASSWORD, Site

TIMEOUT_MS = 10_000


class SmtpSink:
    """An SMTP server that keeps what it is given."""

    def __init__(self) -> None:
        from aiosmtpd.controller import Controller

        self.mails: list[Message] = []
        with socket.create_server(("127.0.0.1", 0)) as free:  # the controller cannot take port 0
            self.port = free.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def stop(self) -> None:
        self._controller.stop()

    def subjects(self, address: str, count: int) -> list[str]:
        """Wait until an address has got so many mails, and return their subjects in order."""
        until = monotonic() + 30
        while True:
            found = [mail["Subject"] for mail in self.mails if mail["To"] == address]
            if len(found) >= count or monotonic() > until:
                return found
            sleep(0.02)


def oathtool(secret: str, at: int) -> str:
    """Return the code that a phone shows at Unix seconds."""
    command = ["oathtool", "--totp", "--base32", "-N", f"@{at}", secret]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Person:
    """Somebody with a password, a browser and, after set-up, a phone."""

    def __init__(self, chromium: Any, site: Site, address: str, **options: Any) -> None:
        self.site, self.address = site, address
        self.secret, self.recovery_codes = "", []
        self._chromium, self._options = chromium, options
        self.context = self.new_browser()
        self.page = self.context.new_page()
        self.complaints: list[str] = []  # of the browser: what the CSP stops is among them
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def new_browser(self) -> Any:
        """Return a browser profile without cookies."""
        context = self._chromium.new_context(base_url=self.site.url, **self._options)
        context.set_default_timeout(TIMEOUT_MS)
        return context

    def other_browser(self) -> Person:
        """Return the same person, with the same phone, at another browser."""
        other = Person(self._chromium, self.site, self.address, **self._options)
        other.secret, other.recovery_codes = self.secret, self.recovery_codes
        return other

    def leave(self) -> None:
        self.context.close()

    # -------------------------------------------------------------------------- reading and pressing

    def go(self, path: str) -> Any:
        return self.page.goto(path)

    def press(self, name: str) -> None:
        """Press a link or button by the name that a screen reader says."""
        either = [
            self.page.get_by_role(role, name=text, exact=True)
            for role in ("link", "button")
            for text in (name, f"{name}…")
        ]
        reduce(type(either[0]).or_, either).first.click()

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_label(label, exact=True).fill(text)

    def sees(self, *texts: str) -> bool:
        shown = self.page.locator("main").inner_text()
        missing = [text for text in texts if text not in shown]
        assert not missing, (missing, self.heading, shown)
        return True

    def sees_no(self, *texts: str) -> bool:
        shown = self.page.locator("main").inner_text()
        assert not [text for text in texts if text in shown], shown
        return True

    def problem(self, field: str) -> str:
        """Return what is said at a field; it is in the summary, too, and leads there."""
        field_text = self.page.locator(f"#{field}-error").inner_text()
        summary = self.page.get_by_role("alert").get_by_role("link", name=field_text)
        assert summary.get_attribute("href") == f"#{field}"
        described = self.page.locator(f"#{field}[aria-invalid=true]")
        assert f"{field}-error" in described.get_attribute("aria-describedby")
        return field_text

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is: names of keys, or text."""
        self.page.wait_for_function(
            "!document.querySelector('[autofocus]') || document.activeElement !== document.body"
        )
        for one in keys:
            if one == "Enter":
                with self.page.expect_navigation():
                    self.page.keyboard.press(one)
            elif one == "Tab":
                self.page.keyboard.press(one)
            else:
                self.page.keyboard.type(one)

    def tab_to(self, name: str) -> None:
        """Press Tab until the focus, which must be visible, is on a name."""
        for _ in range(40):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.innerText").strip() == name:
                break
        else:
            raise AssertionError(f"the keyboard does not reach {name}")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert self.page.evaluate(outline) == "solid", name

    @property
    def heading(self) -> str:
        return self.page.get_by_role("heading", level=1).inner_text()

    def shot(self, name: str) -> None:
        """Keep a picture of the page, if somebody wants to look at them."""
        directory = os.environ.get("SCREENSHOTS")
        if directory:
            Path(directory).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{directory}/{name}.png", full_page=True)

    # ---------------------------------------------------------------------------------- the journeys

    def code(self) -> str:
        return oathtool(self.secret, self.site.now)

    def next_code(self) -> str:
        """Wait for the phone to show the next code."""
        self.site.advance(30)
        return self.code()

    def give_password(self, password: str = PASSWORD) -> None:
        self.go("/sign-in")
        self.fill("Email address", self.address)
        self.fill("Password", password)
        self.press("Sign in")

    def sign_in(self, *, trust: bool = False) -> None:
        """Sign in with password and the next code."""
        self.give_password()
        assert self.heading == "Enter your code"
        if trust:
            self.page.get_by_label(re.compile("Trust this device")).check()
        self.fill("One-time code", self.next_code())
        self.press("Sign in")
        assert self.heading == "Inbox"

    def read_key(self) -> str:
        """Return the key that the page shows for manual entry."""
        self.page.get_by_text("No camera?").click()
        return self.page.locator("#key").inner_text().replace(" ", "")

    def read_key_by_keyboard(self) -> str:
        """The same, opened with Tab and Enter."""
        self.tab_to("No camera? Enter the key by hand")
        self.page.keyboard.press("Space")
        return self.page.locator("#key").inner_text().replace(" ", "")

    def begin_setup(self) -> None:
        """Go to the page with the key."""
        self.go("/preferences/setup")
        self.press("Begin Setup")
        if self.heading == "Confirm that it is you":
            self.fill("Password", PASSWORD)
            self.press("Next")
        self.press("Next")

    def enroll(self) -> None:
        """Have two-step on already, set up in another browser."""
        self.secret, self.recovery_codes = self.site.enroll(self.address)

    def set_up(self) -> None:
        """From the password to recovery codes, as quickly as the pages allow."""
        self.give_password()
        self.begin_setup()
        self.secret = self.read_key()
        self.fill("Code that the app shows", self.code())
        self.press("Next")
        assert self.heading == "Success!"
        self.recovery_codes = self.page.locator("#codes li").all_inner_texts()

    def look_up(self, address: str) -> None:
        """Search the operator's list."""
        self.go({"django": "/operator", "flask": "/admin/"}[self.site.name])
        self.page.locator("#address, #searchbar").fill(address)
        self.press("Search")

    def confirm(self) -> None:
        """Give a code if the page asks for one."""
        if self.heading == "Confirm that it is you":
            self.fill("One-time code", self.next_code())
            self.press("Next")
