"""The servers that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

import mfakit.mail
from mail import clients
from mail.clients import Client
from mail.site import KEY, Site
from servers import dovecot, postfix
from servers.dovecot import Dovecot
from servers.postfix import Postfix

LUA = Path(mfakit.mail.__file__).parent / "mfakit.lua"


def need(*servers: object) -> None:
    """Skip without the servers; in CI their absence is a failure."""
    missing = [one.HOW_TO_GET_IT for one in servers if not one.is_installed()]  # type: ignore[attr-defined]
    if missing and os.environ.get("CI") == "true":
        pytest.fail("; ".join(missing))
    if missing:
        pytest.skip("; ".join(missing))


@define
class Servers:
    """One site with Dovecot and Postfix before it."""

    site: Site
    dovecot: Dovecot
    postfix: Postfix

    @property
    def fronts(self) -> dict[str, tuple[Client, int]]:
        """Every way in, by its name."""
        return {
            "imap": (clients.try_imap, self.dovecot.imap),
            "pop3": (clients.try_pop3, self.dovecot.pop3),
            "submission": (clients.try_smtp_plain, self.dovecot.submission),
            "postfix plain": (clients.try_smtp_plain, self.postfix.submission),
            "postfix login": (clients.try_smtp_login, self.postfix.submission),
        }

    def outcomes(self, login: str, password: str) -> dict[str, str]:
        return clients.try_all(self.fronts, login, password)

    def outcome(self, login: str, password: str) -> str:
        """Return the one answer that all servers give."""
        found = self.outcomes(login, password)
        assert len(set(found.values())) == 1, found
        return next(iter(found.values()))


def make_servers(site: Site, **options: object) -> Servers:
    """Start everything; the site may be started already."""
    imap = Dovecot(lua=LUA, url=site.url, key=KEY, **options)  # type: ignore[arg-type]
    smtp = Postfix(sasl=f"unix:{site.base}/sasl.sock", lmtp=imap.lmtp)
    imap.set_relay(smtp.relay)
    return Servers(site, imap, smtp)


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Servers]:
    need(dovecot, postfix)
    site = Site()
    made = make_servers(site)
    try:
        site.start()
        made.dovecot.start()
        made.postfix.start()
        yield made
    finally:
        made.postfix.close()
        made.dovecot.close()
        site.close()


@pytest.fixture
def servers(shared_servers: Servers) -> Iterator[Servers]:
    """The shared servers, with the service up and the policy as it is by default."""
    site = shared_servers.site
    if site.process is None:
        site.start()
    yield shared_servers
    site.reset_policy()
    for name in ("store-is-down", "directory-is-down"):
        (site.base / name).unlink(missing_ok=True)
