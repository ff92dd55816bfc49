"""The webmail examples as servers, each with accounts that no two tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.sites import STARTERS, Site
from web.visitors import Browser, Owner

PLANS = {
    "ann": ("optional", 120, False),
    "ben": ("required", 24, False),
    "operator": ("optional", 90, True),
}


@pytest.fixture(scope="session", params=sorted(STARTERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    accounts = [
        (f"{name}{number}@example.com", plan, is_admin)
        for name, (plan, many, is_admin) in PLANS.items()
        for number in range(many)
    ]
    directory: Path = tmp_path_factory.mktemp(request.param)
    site = Site(request.param, directory, 9, accounts)  # discard: no test reads the notices
    site.unused = {name: iter(range(many)) for name, (_, many, _) in PLANS.items()}
    yield site
    site.stop()
    sys.stdout.write((directory / "log").read_text(encoding="utf-8"))  # shown if a test failed


@pytest.fixture
def site(server: Site) -> Iterator[Site]:
    server.reset_clock()
    yield server
    server.beside("mend_store", "ann0@example.com")


@pytest.fixture
def owner(site: Site) -> Callable[..., Owner]:
    """Make owners, each with an account of their own."""
    return lambda name="ann": Owner(site, f"{name}{next(site.unused[name])}@example.com")


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site)
