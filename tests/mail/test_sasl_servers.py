"""Postfix and Exim before the SASL server: odd strings, garbage, outages; never 535 for an outage."""

from __future__ import annotations

import base64
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mail import clients
from mail.clients import ACCEPTED, CLOSED, REFUSED, UNAVAILABLE
from mail.conftest import Servers, need
from servers import exim as exim_server
from servers.daemon import HOST
from servers.exim import Exim
from world import PASSWORD

pytestmark = pytest.mark.server

ODD_PASSWORDS = [
    "pass word ",
    "p@ss:word/%25\\\"'`$(id)",
    "pässwörd 🔑",
    "x" * 1000,
    "{PLAIN}x",
    "\x01t\x01n",
]
ODD_MESSAGES = [
    b"\0nobody",
    b"nobody",
    b"\0\0",
    b"\0\0\0\0",
    b"bob@example.com\0ann@example.com\0pw",
    b"\0ann@example.com\0p\xffw",
    b"\0a\xffnn@example.com\0pw",
    b"\0ann@example.com\r\nVERSION\t1\t1\0pw",
    b"\0" + b"a" * 4000 + b"\0pw",
    b"\0ann@example.com\0pw\0",
    b"\0ann@example.com\0",
]


@pytest.fixture(scope="module")
def exim(shared_servers: Servers) -> Iterator[Exim]:
    need(exim_server)
    server = Exim(socket=Path(f"{shared_servers.site.base}/sasl.sock"))
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("front", ["plain", "login"])
def test_exim(servers: Servers, exim: Exim, front: str) -> None:
    """The rows that differ in what Exim hears: yes, no, and no answer."""
    site = servers.site
    client = {"plain": clients.try_smtp_plain, "login": clients.try_smtp_login}[front]
    ann, bob = site.new_person(), site.new_account("bob")
    made = site.passcode(ann)
    other = site.mfa.create_passcode(
        ann.id, label="IMAP", protocols=["imap"], proof=site.proof(ann)
    )
    assert client(exim.port, site.login(ann), made.passcode) == ACCEPTED
    assert client(exim.port, site.login(bob), PASSWORD) == ACCEPTED
    assert client(exim.port, site.login(ann), PASSWORD) == REFUSED
    assert client(exim.port, site.login(ann), other.passcode) == REFUSED
    assert client(exim.port, site.login(bob), "wrong") == REFUSED
    (site.base / "store-is-down").touch()
    assert client(exim.port, site.login(ann), made.passcode) == UNAVAILABLE
    (site.base / "store-is-down").unlink()
    site.kill()
    assert client(exim.port, site.login(ann), made.passcode) == UNAVAILABLE
    site.start()
    assert client(exim.port, site.login(ann), made.passcode) == ACCEPTED


@pytest.mark.parametrize("password", ODD_PASSWORDS, ids=range(len(ODD_PASSWORDS)))
def test_odd_passwords_are_passwords(servers: Servers, password: str) -> None:
    """Refused like any wrong one, off and on, through every server; nothing falls over."""
    site = servers.site
    ann, bob = site.new_person(), site.new_account("bob")
    for login in (site.login(ann), site.login(bob)):
        response = b"\0" + login.encode() + b"\0" + password.encode()
        for port in (servers.postfix.submission, servers.dovecot.submission):
            # Dovecot itself does not take control characters, and says so as a refusal.
            assert clients.try_raw(port, response) == REFUSED
    assert site.asked(ann) == 0


@pytest.mark.parametrize("message", ODD_MESSAGES, ids=range(len(ODD_MESSAGES)))
def test_odd_messages_are_refused(servers: Servers, message: bytes) -> None:
    assert clients.try_raw(servers.postfix.submission, message) in {REFUSED, CLOSED}


def _sasl(servers: Servers) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(f"{servers.site.base}/sasl.sock")
    return peer


def _read_to_end(peer: socket.socket) -> bytes:
    said = b""
    try:
        while more := peer.recv(65_536):
            said += more
    except ConnectionError:
        pass
    return said


GARBAGE = {
    "a long line": b"VERSION\t1\t1\nAUTH\t1\tPLAIN\tresp=" + b"A" * 20_000,
    "binary": bytes(range(256)) * 64,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030102000100"),
    "another major version": b"VERSION\t9\t0\n",
    "no version": b"AUTH\t1\tPLAIN\tservice=smtp\tresp=AGEAYg==\n",
    "unknown command": b"VERSION\t1\t1\nCPID\t1\nUSER\t1\tann\tservice=smtp\n",
    "random lines": random.Random(5).randbytes(30_000).replace(b"\t", b"\n"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_its_connection_only(servers: Servers, name: str) -> None:
    """No answer that could be taken for one, and the next peer is served."""
    with _sasl(servers) as peer:
        peer.sendall(GARBAGE[name])
        peer.shutdown(socket.SHUT_WR)
        said = _read_to_end(peer)
    assert said.startswith(b"VERSION\t1\t2\n")
    assert b"\nOK" not in said
    assert b"\nFAIL" not in said
    bob = servers.site.new_account("bob")
    login = servers.site.login(bob)
    assert clients.try_smtp_plain(servers.postfix.submission, login, PASSWORD) == ACCEPTED


def test_garbage_over_http(servers: Servers) -> None:
    """Wrong key, wrong form, nonsense: never 200, and never 401, which clients would be told."""
    site = servers.site
    form = b"user=ann%40example.com&password=x&service=imap"
    good = b"POST /dovecot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n"
    key = b"0123456789abcdef0123456789abcdef"
    for sent in (
        good % (len(form), b"wrong") + form,
        good % (len(form), key) + form,  # a field is missing
        good % (40_000, key) + b"a" * 40_000,
        b"POST /dovecot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ):
        with socket.create_connection((HOST, site.port), 10) as peer:
            peer.sendall(sent)
            status = _read_to_end(peer).split(b" ", 2)[1]
        assert status in {b"400", b"403", b"413"}
    assert site.is_healthy()


def test_200_requests_in_one_write(servers: Servers) -> None:
    """Each gets its own answer, though only some are judged at once."""
    site = servers.site
    bob = site.login(site.new_account("bob"))
    right = base64.b64encode(f"\0{bob}\0{PASSWORD}".encode())
    wrong = base64.b64encode(f"\0{bob}\0wrong".encode())
    lines = [
        b"AUTH\t%d\tPLAIN\tservice=smtp\tresp=%b\n" % (number, wrong if number % 2 else right)
        for number in range(1, 201)
    ]
    with _sasl(servers) as peer:
        peer.sendall(b"VERSION\t1\t1\nCPID\t1\n" + b"".join(lines))
        said = b""
        while said.count(b"\nOK") + said.count(b"\nFAIL") < 200 and (more := peer.recv(65_536)):
            said += more
    answers = dict([reversed(line.split(b"\t")[:2]) for line in said.splitlines()[7:]])
    assert answers == {b"%d" % n: b"FAIL" if n % 2 else b"OK" for n in range(1, 201)}


def test_half_a_request_keeps_nobody_waiting(servers: Servers) -> None:
    """A peer that stops in the middle of a line holds its own connection only."""
    login = servers.site.login(servers.site.new_account("bob"))
    with _sasl(servers) as peer:
        peer.sendall(b"VERSION\t1\t1\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\tresp=AGFu")
        assert clients.try_smtp_plain(servers.postfix.submission, login, PASSWORD) == ACCEPTED


def test_doveadm_takes_it_for_a_dovecot(servers: Servers) -> None:
    """The protocol's own client understands yes and no."""
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    command = ["doveadm", "auth", "test", "-a", f"{site.base}/sasl.sock", "-x", "service=imap"]
    for password, status in ((made.passcode, 0), (PASSWORD, 77)):
        done = subprocess.run(
            [*command, site.login(ann), password], check=False, capture_output=True
        )
        assert done.returncode == status
