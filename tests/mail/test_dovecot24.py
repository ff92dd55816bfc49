"""The same Lua file in Dovecot 2.4."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mail.clients import ACCEPTED, REFUSED, UNAVAILABLE, try_imap, try_pop3
from mail.conftest import LUA, Servers, need
from mail.site import KEY
from servers import dovecot24
from servers.dovecot24 import Dovecot24
from world import PASSWORD

pytestmark = pytest.mark.server


@pytest.fixture
def newer(servers: Servers) -> Iterator[Dovecot24]:
    need(dovecot24)
    made = Dovecot24(lua=LUA, url=servers.site.url, key=KEY)
    made.start()
    yield made
    made.close()


def test_yes_no_and_no_answer(servers: Servers, newer: Dovecot24) -> None:
    """Passcodes, scope, revocation, odd characters, outages: as with 2.3."""
    site = servers.site
    ann, bob = site.new_person(), site.new_account("bob")
    made = site.passcode(ann, protocols=["imap"])
    assert try_imap(newer.imap, site.login(ann), made.passcode) == ACCEPTED
    assert try_pop3(newer.pop3, site.login(ann), made.passcode) == REFUSED
    assert try_imap(newer.imap, site.login(ann), PASSWORD) == REFUSED
    assert try_imap(newer.imap, site.login(bob), PASSWORD) == ACCEPTED
    assert try_pop3(newer.pop3, site.login(bob), "p@ss&user=ann pä🔑") == REFUSED
    assert "pä" not in newer.log
    site.mfa.revoke_passcode(ann.id, made.passcode_id)
    assert try_imap(newer.imap, site.login(ann), made.passcode) == REFUSED
    (site.base / "store-is-down").touch()
    assert try_imap(newer.imap, site.login(ann), PASSWORD) == UNAVAILABLE
    (site.base / "store-is-down").unlink()
    site.kill()
    began = time.monotonic()
    assert try_imap(newer.imap, site.login(bob), PASSWORD) == UNAVAILABLE
    assert time.monotonic() - began < 10
    site.start()
    assert try_imap(newer.imap, site.login(bob), PASSWORD) == ACCEPTED
