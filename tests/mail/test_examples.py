"""The examples do what their pages say."""

from __future__ import annotations

import imaplib
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mail.clients import is_ended
from mail.conftest import need
from mail.test_logins import FakeMFA
from mfakit.errors import CredentialRefusedError, StoreUnavailableError
from mfakit.mail import Platform
from servers import dovecot, postfix
from servers.child import free_hundred, free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "dovecot_postfix"
FIRST_PORT = free_hundred()
PASSWORD = "correct horse"
LOGIN = "ann@example.com"


@pytest.fixture
def base() -> Iterator[Path]:
    """The example's directory, while run.py runs."""
    need(dovecot, postfix)
    directory = Path(tempfile.mkdtemp(prefix="mfakit-example-"))
    directory.chmod(0o755)
    command = [sys.executable, "run.py", "--directory", str(directory), "--ports", str(FIRST_PORT)]
    with subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith(f"IMAP {FIRST_PORT + 93}"), [
            path.read_text()[-2000:] for path in directory.glob("*.log")
        ]
        yield directory
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _account(base: Path, *arguments: str) -> str:
    environment = os.environ | {"MFAKIT_EXAMPLE": str(base)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "account.py"), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    return done.stdout


def _imap(base: Path, login: str, password: str) -> imaplib.IMAP4_SSL:
    trust = ssl.create_default_context(cafile=base / "certificate.pem")
    client = imaplib.IMAP4_SSL("localhost", FIRST_PORT + 93, ssl_context=trust, timeout=30)
    try:
        client.login(login, password)
    except imaplib.IMAP4.error:
        client.shutdown()
        raise
    return client


@pytest.mark.server
@pytest.mark.slow
def test_the_walk_through(base: Path) -> None:
    """Password, enrolment, passcode, mail by both submission servers, list, revoke."""
    _imap(base, LOGIN, PASSWORD).logout()
    assert "Two-step verification is on" in _account(base, "enroll", LOGIN, "--play-phone")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        _imap(base, LOGIN, PASSWORD)
    _imap(base, "bob@example.com", PASSWORD).logout()
    passcode = _account(base, "passcode", LOGIN, "Ann's phone").strip()
    phone = _imap(base, LOGIN, passcode)
    phone.select("INBOX")
    trust = ssl.create_default_context(cafile=base / "certificate.pem")
    for port in (FIRST_PORT + 87, FIRST_PORT + 88):
        with smtplib.SMTP("localhost", port, timeout=30) as client:
            client.starttls(context=trust)
            client.login(LOGIN, passcode)
            client.sendmail(LOGIN, [LOGIN], "Subject: hello\n\nhello\n")
    deadline = time.monotonic() + 60
    while len(phone.search(None, "ALL")[1][0].split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        phone.noop()
    assert len(phone.search(None, "ALL")[1][0].split()) == 2
    assert "Ann's phone" in _account(base, "list", LOGIN)
    assert "127.0.0.1 imap" in _account(base, "list", LOGIN)
    _account(base, "revoke", LOGIN, "Ann's phone")
    assert is_ended(phone)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        _imap(base, LOGIN, passcode)


def test_the_smtp_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """235, 535, 454; nothing before STARTTLS, nothing before AUTH."""
    pytest.importorskip("aiosmtpd")
    monkeypatch.syspath_prepend(ROOT / "examples" / "smtp_server")
    from server import SubmissionController

    files = [str(tmp_path / name) for name in ("certificate.pem", "key.pem")]
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    subprocess.run(
        [*make.split(), "-subj", "/CN=x", "-out", files[0], "-keyout", files[1]],
        check=True,
        capture_output=True,
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*files)
    received: list[tuple[Any, bytes]] = []

    class Handler:
        async def handle_DATA(self, _: Any, session: Any, envelope: Any) -> str:
            received.append((session.auth_data, envelope.content))
            return "250 OK"

    async def resolve(login: str) -> str | None:
        return "ann" if login == LOGIN else None

    mfa = FakeMFA()
    platform = Platform(mfa=mfa, resolve_account=resolve, check_password=lambda _a, _b: None)
    where = {"hostname": "127.0.0.1", "port": free_port()}
    controller = SubmissionController(Handler(), platform, tls, **where)
    controller.start()
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        for says, code in (
            (mfa.says, 235),
            (CredentialRefusedError(), 535),
            (StoreUnavailableError(), 454),
        ):
            mfa.says = says
            for mechanism in ("PLAIN", "LOGIN"):
                with smtplib.SMTP(**_host(where), timeout=20) as client:
                    client.ehlo("client.example.com")
                    assert "auth" not in client.esmtp_features
                    client.starttls(context=unverified)
                    client.ehlo("client.example.com")
                    assert client.docmd("MAIL", f"FROM:<{LOGIN}>")[0] == 530
                    client.user, client.password = LOGIN, "pass-code"
                    attempt = getattr(client, f"auth_{mechanism.lower()}")
                    if code == 235:
                        assert client.auth(mechanism, attempt)[0] == code
                        client.sendmail(LOGIN, [LOGIN], "Subject: x\n\nx\n")
                    else:
                        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                            client.auth(mechanism, attempt)
                        assert caught.value.smtp_code == code
    finally:
        controller.stop()
    assert [(data.login, data.password) for data, _ in received] == [(LOGIN.encode(), b"")] * 2
    assert {asked[:3] for asked in mfa.asked} == {("ann", "pass-code", "smtp")}


def _host(where: dict[str, Any]) -> dict[str, Any]:
    return {"host": where["hostname"], "port": where["port"]}
