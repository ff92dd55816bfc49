"""A browser without a screen: one cookie jar, and tabs that keep the page they were given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, urlsplit

import pyotp

from browser.sites import PASSWORD, Site

Fields = list[tuple[str, str | bytes]]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def shown(self) -> str:
        """What a person reads in the page's main part."""
        main = re.search(r"<main.*?</main>", self.text, re.DOTALL)
        return unescape(re.sub(r"<[^>]+>|\s+", " ", main[0])) if main else self.text


class Browser:
    """One cookie jar."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    def send(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Answer:
        connection = HTTPConnection(urlsplit(self.site.url).netloc, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={one}" for name, one in self.cookies.items())}
        connection.request(method, path, body, headers | ({"Content-Type": kind} if kind else {}))
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0" or "1970" in morsel["expires"]:
                    del self.cookies[name]
        connection.close()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, headers, text)

    def post(self, path: str, fields: Fields) -> Answer:
        return self.send("POST", path, encoded(fields), "application/x-www-form-urlencoded")

    def tab(self) -> Tab:
        return Tab(self)


def encoded(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Return a form; bytes stand for what no browser sends."""
    pairs = (
        f"{name}={quote_from_bytes(one if isinstance(one, bytes) else one.encode())}"
        for name, one in fields
    )
    return "&".join(pairs).encode()


class Tab:
    """The page that was loaded last, however the cookies have changed since."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.path, self.page = browser, "", Answer(0, {}, "")

    def go(self, path: str) -> Answer:
        return self._show(path, self.browser.send("GET", path))

    def fields(self, part: str = "main") -> Fields:
        """Return the hidden fields of the form in a part of the page."""
        form = re.search(rf"<{part}.*?(<form.*?</form>)", self.page.text, re.DOTALL)
        assert form, self.page.text
        inputs = re.findall(r"<input[^>]* type=\"hidden\"[^>]*>", form[1])
        pairs = [re.search(r'name="([^"]*)" value="([^"]*)"', one) for one in inputs]
        return [(one[1], unescape(one[2])) for one in pairs if one]

    def press(self, **given: str) -> Answer:
        """Send the page's form."""
        fields = self.fields() + [(name, one) for name, one in given.items() if one is not None]
        return self._show(self.path, self.browser.post(self.path, fields))

    def sign_out(self) -> Answer:
        """Press the button in the header of this page."""
        return self._show("/sign-out", self.browser.post("/sign-out", self.fields("header")))

    def _show(self, path: str, answer: Answer) -> Answer:
        for _ in range(5):
            self.path, self.page = path, answer
            if answer.status not in {301, 302, 303, 307, 308}:
                return answer
            path = answer.location
            answer = self.browser.send("GET", path)
        raise AssertionError(f"redirected for ever: {path}")


class Owner:
    """An account, and the phone of whom it belongs to."""

    def __init__(self, site: Site, address: str) -> None:
        self.site, self.address, self.secret = site, address, ""

    def code(self) -> str:
        return pyotp.TOTP(self.secret).at(int(self.site.now))

    def next_code(self) -> str:
        self.site.advance(30)
        return self.code()

    def give_password(self, tab: Tab, path: str = "/sign-in") -> Answer:
        tab.go(path)
        return tab.press(address=self.address, password=PASSWORD)

    def sign_in(self, tab: Tab) -> Answer:
        answer = self.give_password(tab)
        if self.secret:
            answer = tab.press(code=self.next_code())
        assert "<h1>Inbox</h1>" in answer.text, answer.shown
        assert self.address in answer.text
        return answer

    def see_key(self, tab: Tab) -> Answer:
        """Go on from a signed-in session, or the wizard, to the page with the key."""
        answer = tab.go("/preferences/app")
        if "Confirm that it is you" in answer.text:
            answer = tab.press(password=PASSWORD)
        answer = tab.press(label="My phone")
        found = re.search(r'id="key" class="pick">([^<]+)<', answer.text)
        assert found, answer.shown
        self.secret = found[1].replace(" ", "")
        return answer

    def set_up(self, tab: Tab) -> list[str]:
        """Turn two-step on; return the recovery codes. The tab is signed in afterwards."""
        self.give_password(tab)
        self.see_key(tab)
        answer = tab.press(code=self.next_code())
        codes = re.findall(r"<li><code>([^<]+)</code></li>", answer.text)
        assert len(codes) == 10, answer.shown
        return codes

    def is_on(self) -> Any:
        return self.site.beside("is_on", self.address)
