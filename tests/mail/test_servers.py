"""The mail-client table over IMAP, POP3 and SMTP, with real Dovecot and Postfix."""

from __future__ import annotations

import imaplib
from datetime import timedelta

import pytest

from mail.clients import ACCEPTED, REFUSED, UNAVAILABLE, is_ended, try_imap, try_pop3
from mail.conftest import LUA, Servers
from mail.site import KEY
from mfakit.errors import LabelTakenError, LimitReachedError, WrongCodeError
from mfakit.mail import DoveadmHTTP, EndSessions
from servers.daemon import HOST
from servers.dovecot import Dovecot
from world import PASSWORD

pytestmark = pytest.mark.server

LOCALHOST = ["127.0.0.0/8", "::1/128"]
FRONTS = {"imap", "pop3", "submission", "postfix plain", "postfix login"}


def test_off_the_platform_decides(servers: Servers) -> None:
    """Without two-step the password is asked of the platform, once for each login."""
    site = servers.site
    bob = site.new_account("bob")
    assert servers.outcome(site.login(bob), PASSWORD) == ACCEPTED
    assert site.asked(bob) == len(FRONTS)
    assert servers.outcome(site.login(bob), "wrong") == REFUSED
    assert site.asked(bob) == 2 * len(FRONTS)


def test_off_but_required_is_refused_unchecked(servers: Servers) -> None:
    """Before the deadline the password works, afterwards nobody even looks at it."""
    site = servers.site
    bob = site.new_account("bob")
    site.set_policy(required=True, required_from=site.later(hours=1))
    assert servers.outcome(site.login(bob), PASSWORD) == ACCEPTED
    site.set_policy(required_from=site.later(hours=-1))
    assert servers.outcome(site.login(bob), PASSWORD) == REFUSED
    assert site.asked(bob) == len(FRONTS)


def test_off_with_a_suspect_password_is_refused_unchecked(servers: Servers) -> None:
    """Somebody who knew the password guessed codes up to the cap: it must be changed first."""
    site = servers.site
    site.set_policy(code_failures_max=5)
    ann = site.new_person()
    site.fail(ann, 5)
    site.mfa.reset(ann.id, actor="ops", reason="asked in person")
    assert servers.outcome(site.login(ann), PASSWORD) == REFUSED
    assert site.asked(ann) == 0
    site.mfa.password_changed(ann.id)
    assert servers.outcome(site.login(ann), PASSWORD) == ACCEPTED


def test_s20_on_a_passcode_signs_in(servers: Servers) -> None:
    """Scenarios 20, 23, 24: it works everywhere, and the list says when, where and by what."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann, label="iPhone Mail")
    (fresh,) = site.mfa.passcodes(ann.id)
    assert fresh.last_used_at is None
    site.pass_time(seconds=5)
    imap = servers.fronts["imap"]
    assert imap[0](imap[1], site.login(ann), made.passcode) == ACCEPTED
    (used,) = site.mfa.passcodes(ann.id)
    assert used.last_used_at is not None
    assert used.last_used_at > used.created_at
    assert (used.last_used_ip, used.last_used_protocol) == ("127.0.0.1", "imap")
    assert servers.outcome(site.login(ann).upper(), made.passcode) == ACCEPTED
    assert [one.last_used_at for one in site.mfa.passcodes(ann.id)] == [used.last_used_at]
    site.pass_time(minutes=16)
    smtp = servers.fronts["postfix login"]
    assert smtp[0](smtp[1], site.login(ann), made.passcode) == ACCEPTED
    (later,) = site.mfa.passcodes(ann.id)
    assert later.last_used_at is not None
    assert later.last_used_at - used.last_used_at >= timedelta(minutes=16)
    assert later.last_used_protocol == "smtp"
    assert site.asked(ann) == 0


def test_passcode_lists(servers: Servers) -> None:
    """Scenarios 22, 26, 30: labels are unique, 25 is the limit, a passcode tells its label."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann, label="Phone")
    proof = site.proof(ann)
    with pytest.raises(LabelTakenError):
        site.mfa.create_passcode(ann.id, label="Phone", proof=proof)
    rest = [site.mfa.create_passcode(ann.id, label=f"{n}", proof=proof) for n in range(24)]
    with pytest.raises(LimitReachedError):
        site.mfa.create_passcode(ann.id, label="one more", proof=proof)
    found = site.mfa.describe_passcode(ann.id, made.passcode)
    assert found is not None
    assert found.label == "Phone"
    assert servers.outcome(site.login(ann), rest[-1].passcode) == ACCEPTED


def test_on_nothing_else_is_even_checked(servers: Servers) -> None:
    """Password right or wrong, code, recovery code, both together: refused alike."""
    site = servers.site
    ann = site.new_person()
    site.pass_time(seconds=30)
    code = site.code(ann.app)
    for credential in (PASSWORD, "wrong", code, ann.recovery_codes[0], PASSWORD + code):
        assert servers.outcome(site.login(ann), credential) == REFUSED
    assert site.asked(ann) == 0
    assert site.mfa.verify_code(ann.id, code)  # none of that has spent it


def test_a_passcode_that_does_not_fit(servers: Servers) -> None:
    """Wrong protocol, wrong network, expired, wrong letters, another's: refused everywhere."""
    site = servers.site
    ann, bob = site.new_person(), site.new_person("bob")
    proof = site.proof(ann)

    def make(label: str, **limits: object) -> str:
        made = site.mfa.create_passcode(ann.id, label=label, proof=proof, **limits)  # type: ignore[arg-type]
        return made.passcode

    only_dav = make("dav", protocols=["dav", "eas", "sieve"])
    far_away = make("far", networks=["198.51.100.0/24"])
    near = make("near", networks=LOCALHOST)
    short = make("short", expires_at=site.later(hours=1))
    assert servers.outcome(site.login(ann), near) == ACCEPTED
    assert servers.outcome(site.login(ann), short) == ACCEPTED
    assert servers.outcome(site.login(bob), near) == REFUSED
    site.pass_time(hours=1)
    wrong = near[:-1] + ("a" if near[-1] != "a" else "b")
    for passcode in (only_dav, far_away, short, wrong):
        assert servers.outcome(site.login(ann), passcode) == REFUSED
    assert site.asked(ann) + site.asked(bob) == 0


def test_a_passcode_is_held_to_its_protocol(servers: Servers) -> None:
    """A passcode for IMAP reads mail and sends none."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann, protocols=["imap"])
    found = servers.outcomes(site.login(ann), made.passcode)
    assert found == dict.fromkeys(FRONTS, REFUSED) | {"imap": ACCEPTED}


def test_passcodes_switched_off(servers: Servers) -> None:
    """Scenario 29: by policy neither the passcode nor the password opens the mailbox."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    site.set_policy(passcodes=False)
    assert servers.outcome(site.login(ann), made.passcode) == REFUSED
    assert servers.outcome(site.login(ann), PASSWORD) == REFUSED
    assert site.asked(ann) == 0


def test_a_password_change_revokes(servers: Servers) -> None:
    """Scenario 27."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    site.mfa.password_changed(ann.id)
    assert servers.outcome(site.login(ann), made.passcode) == REFUSED


def test_revoked_while_a_client_polls(servers: Servers) -> None:
    """Scenario 25: the very next login is refused, remembered in memory or not."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    for _ in range(5):
        assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    site.mfa.revoke_passcode(ann.id, made.passcode_id)
    assert servers.outcome(site.login(ann), made.passcode) == REFUSED


def test_an_open_session_ends_when_dovecot_is_told(servers: Servers) -> None:
    """Revoking ends no open session by itself; the sink that speaks to doveadm does."""
    site, dovecot = servers.site, servers.dovecot
    ann = site.new_person()
    made = site.passcode(ann)
    api = DoveadmHTTP(f"http://{HOST}:{dovecot.doveadm}/doveadm/v1", dovecot.API_KEY)
    sink = EndSessions(api, lambda account_id: site.login(account_id))
    web = site.make_mfa(events=sink)
    session = imaplib.IMAP4(HOST, dovecot.imap, timeout=10)
    session.login(site.login(ann), made.passcode)
    site.mfa.passcodes(ann.id)
    assert session.noop()[0] == "OK"
    web.revoke_passcode(ann.id, made.passcode_id)
    assert is_ended(session)


def test_password_with_code_where_policy_allows(servers: Servers) -> None:
    """Accepted once; the text that the client saved is refused from then on."""
    site = servers.site
    ann = site.new_person()
    site.set_policy(password_with_code=True)
    text = PASSWORD + site.fresh_code(ann.app)
    client, port = servers.fronts["imap"]
    assert client(port, site.login(ann), text) == ACCEPTED
    asked = site.asked(ann)
    assert servers.outcome(site.login(ann), text) == REFUSED
    assert site.asked(ann) == asked
    assert servers.outcome(site.login(ann), PASSWORD) == REFUSED
    fresh = site.fresh_code(ann.app)
    assert client(port, site.login(ann), "wrong" + fresh) == REFUSED
    found = servers.outcomes(site.login(ann), PASSWORD + fresh)
    assert sorted(found.values()) == [ACCEPTED, *[REFUSED] * (len(FRONTS) - 1)]
    with pytest.raises(WrongCodeError):
        site.mfa.verify_code(ann.id, fresh)


def test_unknown_and_suspended_are_refused(servers: Servers) -> None:
    """Asked first, with a passcode too: a suspended account is out at once."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    (site.base / "suspended" / ann.id).touch()
    assert servers.outcome(site.login(ann), made.passcode) == REFUSED
    (site.base / "suspended" / ann.id).unlink()
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    assert servers.outcome("nobody@example.org", PASSWORD) == REFUSED


def test_nothing_that_fails_is_a_wrong_password(servers: Servers) -> None:
    """The store is down, or the platform's directory: a temporary failure on every protocol."""
    site = servers.site
    ann, bob = site.new_person(), site.new_account("bob")
    made = site.passcode(ann)
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    (site.base / "store-is-down").touch()
    for credential in (made.passcode, PASSWORD, "wrong"):
        assert servers.outcome(site.login(ann), credential) == UNAVAILABLE
    (site.base / "store-is-down").unlink()
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    (site.base / "directory-is-down").touch()
    assert servers.outcome(site.login(bob), PASSWORD) == UNAVAILABLE
    assert servers.outcome(site.login(ann), made.passcode) == ACCEPTED
    assert "no route" not in site.log


def test_why_the_auth_cache_stays_off(servers: Servers) -> None:
    """What the page warns of, with Dovecot 2.3: a cached passcode knows no protocol and no end.

    The sink that tells doveadm flushes it, too.
    """
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann, protocols=["imap"])
    caching = Dovecot(lua=LUA, url=site.url, key=KEY, cache_size="10M")
    caching.start()
    try:
        assert try_pop3(caching.pop3, site.login(ann), made.passcode) == REFUSED
        assert try_imap(caching.imap, site.login(ann), made.passcode) == ACCEPTED
        assert try_pop3(caching.pop3, site.login(ann), made.passcode) == ACCEPTED
        site.mfa.revoke_passcode(ann.id, made.passcode_id)
        assert try_imap(caching.imap, site.login(ann), made.passcode) == ACCEPTED
        api = DoveadmHTTP(f"http://{HOST}:{caching.doveadm}/doveadm/v1", caching.API_KEY)
        api.end_sessions(site.login(ann))
        assert try_imap(caching.imap, site.login(ann), made.passcode) == REFUSED
    finally:
        caching.close()
