"""A browser, the sites, and a person with a phone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest
from people import Person, SmtpSink
from sites import STARTERS, Site

# The shell is Chromium without windows: it takes a third of the processor time.
BROWSERS = ("chromium-headless-shell", "chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NEEDED = {
    "oathtool": "apt-get install oathtool",
    "zbarimg": "apt-get install zbar-tools",
    "playwright": "pip install '.[test,browser]'",
    "aiosmtpd": "pip install '.[test,browser]'",
    "axe_playwright_python": "pip install '.[test,browser]'",
    "PIL": "pip install '.[test,browser]'",
    "flask_wtf": "pip install '.[test,browser]'",
}
# address prefix: (plan, how many). Each test takes accounts that no other test has.
PLANS = {
    "ann": ("optional", 120),
    "ben": ("required", 12),
    "cleo": ("required soon", 8),
    "dan": ("no trusted devices", 2),
    "fay": ("no passcodes", 2),
    "gus": ("unavailable", 8),
    "operator": ("required", 8),
}


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    for name, command in NEEDED.items():
        is_module = "install '" in command
        if (find_spec(name) if is_module else shutil.which(name)) is None:
            _give_up(f"{name} is missing: {command}")


def _give_up(missing: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _browser() -> str:
    for name in [os.environ.get("CHROMIUM", ""), *BROWSERS]:
        if found := shutil.which(name):
            return found
    _give_up("Chromium is missing: apt-get install chromium-headless-shell (or chromium)")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium; for a module only, because Playwright holds the thread's event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_browser(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def smtp() -> Iterator[SmtpSink]:
    sink = SmtpSink()
    yield sink
    sink.stop()


@pytest.fixture(scope="session", params=sorted(STARTERS))
def server(request: pytest.FixtureRequest, smtp: SmtpSink) -> Iterator[Site]:
    accounts = [
        (f"{name}{number}@example.com", plan, name == "operator")
        for name, (plan, many) in PLANS.items()
        for number in range(many)
    ]
    smtp.mails.clear()  # of the site before: its accounts had the same addresses
    directory = Path(tempfile.mkdtemp())
    site = Site(request.param, directory, smtp.port, accounts)
    site.unused = {name: iter(range(many)) for name, (_, many) in PLANS.items()}
    yield site
    site.stop()
    sys.stdout.write((directory / "log").read_text(encoding="utf-8"))  # shown if a test failed
    shutil.rmtree(directory)


@pytest.fixture
def site(server: Site) -> Site:
    server.reset_clock()
    return server


@pytest.fixture
def person(chromium: Any, site: Site) -> Iterator[Any]:
    """Makes people: each has a browser of their own and an account that nobody else uses."""
    people: list[Person] = []

    def make(name: str = "ann", **options: Any) -> Person:
        address = f"{name}{next(site.unused[name])}@example.com"
        people.append(Person(chromium, site, address, **options))
        return people[-1]

    yield make
    for one in people:
        one.leave()
