"""What Postfix, set up as docs/mail-clients.md says, tells its clients while mfakit is out."""

from __future__ import annotations

import base64
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import define

from mail.clients import CLOSED
from mail.conftest import need
from mail.site import Site
from servers import postfix
from servers.child import free_ports
from servers.daemon import HOST
from servers.postfix import Postfix
from world import PASSWORD

pytestmark = pytest.mark.server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mail-clients.md"
TEMPORARY, WRONG, YES, RECEIVED = "454 4.7.0", "535 5.7.8", "235 2.7.0", "250 2.1.5"


@define
class Ports:
    """The three of a mail server."""

    mx: int
    submission: int
    submissions: int


_open: list[Client] = []


@pytest.fixture(autouse=True)
def _close_clients() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


class Client:
    """One SMTP session over TLS; `CLOSED` is what it hears of a connection that ends."""

    def __init__(self, port: int, *, is_wrapped: bool = False) -> None:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        self._smtp = smtplib.SMTP(timeout=20)
        self.first = CLOSED
        _open.append(self)
        with suppress(OSError, smtplib.SMTPException):
            if is_wrapped:
                self._smtp = smtplib.SMTP_SSL(timeout=20, context=trust)
            self._smtp._host = "localhost"  # type: ignore[attr-defined]
            self._smtp.connect(HOST, port)
            if not is_wrapped:
                self._smtp.ehlo("client.example.com")
                self._smtp.starttls(context=trust)
            self.first = self.say("EHLO client.example.com")

    def say(self, command: str) -> str:
        try:
            code, text = self._smtp.docmd(command)
        except (OSError, smtplib.SMTPException):
            return CLOSED
        return f"{code} {text.decode()}"[:9] if code > 0 else CLOSED

    def sign_in(self, login: str, password: str) -> str:
        sent = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return self.say(f"AUTH PLAIN {sent}") if self.first != CLOSED else CLOSED

    def receive(self) -> str:
        """What a mail server hears that has mail for somebody here."""
        if self.first == CLOSED:
            return CLOSED
        self.say("MAIL FROM:<somebody@example.org>")
        return self.say("RCPT TO:<ann@example.com>")

    def close(self) -> None:
        self._smtp.close()


def _block(number: int) -> str:
    section = PAGE.read_text(encoding="utf-8").split("## Postfix and Exim")[1]
    return section.split("```text\n")[number].split("```")[0]


@contextmanager
def _postfix(site: Site, *, everywhere: bool = False) -> Iterator[Ports]:
    """Postfix with the page's lines; only ports and paths are others, and no chroot."""
    certificate, key = site.base / "certificate.pem", site.base / "key.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
    )
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    ports = Ports(*free_ports(3))
    settings = _block(1).replace("mfakit/sasl", f"unix:{site.base}/sasl.sock")
    settings += "smtpd_tls_security_level = may\n"
    settings += f"smtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {key}\n"
    if everywhere:
        settings += "smtpd_sasl_auth_enable = yes\n"
    services = _block(2).replace(" n - y ", " n - n ")
    services = services.replace("submission inet", f"{HOST}:{ports.submission} inet")
    services = services.replace("submissions inet", f"{HOST}:{ports.submissions} inet")
    services += f"{HOST}:{ports.mx} inet n - n - - smtpd\ntlsmgr unix - - n 1000? 1 tlsmgr\n"
    server = Postfix(
        sasl=f"unix:{site.base}/sasl.sock",
        lmtp=site.base / "lmtp",
        settings=settings,
        services=services,
    )
    server.start()
    try:
        yield ports
    finally:
        server.close()


def _wait_for(port: int, *, is_wrapped: bool) -> Client:
    """A session, once Postfix starts the next smtpd: `service_throttle_time` after the last one ended."""
    deadline = time.monotonic() + 20
    while True:
        client = Client(port, is_wrapped=is_wrapped)
        if client.first != CLOSED or time.monotonic() > deadline:
            return client
        time.sleep(0.2)


def test_ports_25_465_and_587_while_mfakit_is_down() -> None:
    """25 receives; 587 and 465 close, or say 454 where a session had come further; never 535."""
    need(postfix)
    site = Site()
    with _postfix(site) as ports:
        bob = site.login(site.new_account("bob"))
        wrapped = {ports.submission: False, ports.submissions: True}
        assert Client(ports.mx).receive() == RECEIVED
        for port, is_wrapped in wrapped.items():
            assert Client(port, is_wrapped=is_wrapped).sign_in(bob, PASSWORD) == CLOSED
        site.start()
        clients = [_wait_for(port, is_wrapped=wrapped[port]) for port in wrapped]
        (site.base / "store-is-down").touch()
        assert [one.sign_in(bob, PASSWORD) for one in clients] == [TEMPORARY] * 2
        (site.base / "store-is-down").unlink()
        assert [one.sign_in(bob, "wrong") for one in clients] == [WRONG] * 2
        site.kill()
        (site.base / "sasl.sock").unlink(missing_ok=True)
        assert [one.sign_in(bob, PASSWORD) for one in clients] == [TEMPORARY] * 2
        assert Client(ports.mx).receive() == RECEIVED
        site.start()
        assert [one.sign_in(bob, PASSWORD) for one in clients] == [YES] * 2
    site.close()


def test_why_it_is_switched_on_for_each_service() -> None:
    """In main.cf it holds for port 25, too, which then receives nothing while mfakit is down."""
    need(postfix)
    site = Site()
    with _postfix(site, everywhere=True) as ports:
        assert Client(ports.mx).receive() == CLOSED
        site.start()
        assert _wait_for(ports.mx, is_wrapped=False).receive() == RECEIVED
    site.close()
