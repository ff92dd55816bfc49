"""The programs that people use, over TLS: curl, mbsync, fetchmail, swaks; nginx before DAV."""

from __future__ import annotations

import base64
import http.client
import imaplib
import os
import shutil
import smtplib
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from mail.clients import is_ended
from mail.conftest import Servers, make_servers, need
from mail.site import KEY, Site
from mfakit import CodeRequired
from mfakit.mail import DoveadmCommand, EndSessions
from servers import dovecot, postfix
from servers.child import free_port
from servers.daemon import HOST
from world import PASSWORD

pytestmark = pytest.mark.server

PROGRAMS = {"curl": "curl", "mbsync": "isync", "fetchmail": "fetchmail", "swaks": "swaks"}
NGINX = """
daemon off;
pid {base}/nginx.pid;
error_log {base}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {base}/body;
  proxy_temp_path {base}/proxy;
  fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi;
  scgi_temp_path {base}/scgi;
  server {{
    listen {host}:{port};
    location /Microsoft-Server-ActiveSync {{
      auth_request /mfakit/eas;
      error_page 500 =503 @unavailable;
      root {base};
      try_files /mailbox =404;
    }}
    location /calendars/ {{
      auth_request /mfakit/dav;
      auth_request_set $account $upstream_http_x_mfakit_account;
      error_page 500 =503 @unavailable;
      add_header X-Account $account;
      root {base};
      try_files /mailbox =404;
    }}
    location ~ ^/mfakit/(dav|eas)$ {{
      internal;
      proxy_pass http://unix:{socket}:/auth/$1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Mfakit-Key {key};
    }}
    location @unavailable {{
      return 503;
    }}
  }}
}}
"""


def _need_program(name: str, package: str) -> None:
    if shutil.which(name) is None:
        text = f"as root: apt-get install {package}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(text)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Servers, Path]]:
    """Dovecot with a throw-away certificate, Postfix, the service; refusals as in production."""
    need(dovecot, postfix)
    for name, package in PROGRAMS.items():
        _need_program(name, package)
    base = tmp_path_factory.mktemp("tls")
    key, certificate = base / "key.pem", base / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(
        [*make, "-nodes", "-days", "2", *subject, *files], check=True, capture_output=True
    )
    site = Site(refusal_seconds=0.5)
    made = make_servers(site, certificate=(certificate, key))
    try:
        site.start()
        made.dovecot.start()
        made.postfix.start()
        yield made, certificate
    finally:
        made.postfix.close()
        made.dovecot.close()
        site.close()


def test_from_enrolling_to_a_phone_that_syncs(secure: tuple[Servers, Path]) -> None:
    """The journey of the help page, and scenario 53: IMAP over TLS with a certificate that is checked."""
    servers, certificate = secure
    site = servers.site
    trust = ssl.create_default_context(cafile=certificate)
    ann = site.new_account("ann")
    # The help page: the password, the QR code, a code of the app; then a passcode for the phone.
    person = site.enroll(ann)
    login = site.mfa.begin_login(ann, password_verified=True)
    assert isinstance(login, CodeRequired)
    session = site.mfa.complete_login(login.challenge, site.fresh_code(person.app))
    assert session.proof is not None
    made = site.mfa.create_passcode(ann, label="Ann's phone", proof=session.proof)

    phone = imaplib.IMAP4_SSL("localhost", servers.dovecot.imaps, ssl_context=trust, timeout=20)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        phone.login(site.login(ann), PASSWORD)
    phone.login(site.login(ann), made.passcode)
    phone.select("INBOX")
    message = EmailMessage()
    message["Subject"] = "First mail"
    message["From"] = message["To"] = site.login(ann)
    message.set_content("Sent with the passcode.")
    with smtplib.SMTP(HOST, servers.postfix.submission, timeout=20) as out:
        out.login(site.login(ann), made.passcode)
        out.send_message(message)
    with smtplib.SMTP(HOST, servers.dovecot.submission, timeout=20) as out:
        out.starttls(context=_unverified())
        out.login(site.login(ann), made.passcode)
        out.send_message(message)
    assert _wait_for_mail(phone, 2) == 2
    (used,) = site.mfa.passcodes(ann)
    assert (used.label, used.last_used_protocol) == ("Ann's phone", "imap")

    ends = EndSessions(
        DoveadmCommand(["doveadm", "-c", str(servers.dovecot.configuration)]), site.login
    )
    site.make_mfa(events=ends).revoke_passcode(ann, made.passcode_id)
    assert is_ended(phone)
    again = imaplib.IMAP4_SSL("localhost", servers.dovecot.imaps, ssl_context=trust, timeout=20)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        again.login(site.login(ann), made.passcode)
    again.shutdown()


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _wait_for_mail(phone: imaplib.IMAP4, number: int) -> int:
    deadline, found = time.monotonic() + 20, 0
    while found < number and time.monotonic() < deadline:
        time.sleep(0.1)
        phone.noop()
        found = len(phone.search(None, "ALL")[1][0].split())
    return found


def _run(command: list[str], base: Path) -> int:
    environment = os.environ | {"HOME": str(base), "FETCHMAILHOME": str(base)}
    done = subprocess.run(
        command, check=False, capture_output=True, timeout=60, env=environment, cwd=base
    )
    return done.returncode


def _curl(url: str, certificate: Path) -> list[str]:
    return ["curl", "-sS", "--cacert", str(certificate), "--max-time", "30", url]


def test_curl(secure: tuple[Servers, Path], tmp_path: Path) -> None:
    """67 is curl's "login denied"."""
    servers, certificate = secure
    ports = servers.dovecot
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    for url in (
        f"imaps://localhost:{ports.imaps}/INBOX",
        f"pop3://{HOST}:{ports.pop3}/",
        f"smtp://{HOST}:{servers.postfix.submission}/client.example.com",
    ):
        command = _curl(url, certificate)
        if url.startswith("smtp"):
            letter = tmp_path / "letter"
            letter.write_text("Subject: hello\n\nhello\n")
            addresses = ["--mail-from", site.login(ann), "--mail-rcpt", site.login(ann)]
            command += [*addresses, "-T", str(letter)]
        assert _run([*command, "-u", f"{site.login(ann)}:{made.passcode}"], tmp_path) == 0
        assert _run([*command, "-u", f"{site.login(ann)}:{PASSWORD}"], tmp_path) == 67


def test_mbsync(secure: tuple[Servers, Path], tmp_path: Path) -> None:
    servers, certificate = secure
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    (tmp_path / "mail").mkdir()
    for password, status in ((made.passcode, 0), (PASSWORD, 1)):
        (tmp_path / ".mbsyncrc").write_text(
            f"IMAPAccount a\nHost localhost\nPort {servers.dovecot.imaps}\nUser {site.login(ann)}\n"
            f'Pass "{password}"\nSSLType IMAPS\nCertificateFile {certificate}\nAuthMechs PLAIN\n\n'
            "IMAPStore far\nAccount a\n\nMaildirStore near\nInbox ~/mail/inbox\nSubFolders Verbatim\n\n"
            "Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n"
        )
        assert _run(["mbsync", "-c", str(tmp_path / ".mbsyncrc"), "c"], tmp_path) == status


def test_fetchmail(secure: tuple[Servers, Path], tmp_path: Path) -> None:
    """1 is fetchmail's "no mail", 3 its "login failed"."""
    servers, _ = secure
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    for password, status in ((made.passcode, 1), (PASSWORD, 3)):
        settings = tmp_path / "fetchmailrc"
        settings.write_text(
            f"poll {HOST} protocol pop3 port {servers.dovecot.pop3} auth password"
            f' user "{site.login(ann)}" password "{password}" sslproto "" mda "cat"\n'
        )
        settings.chmod(0o600)
        assert _run(["fetchmail", "-f", str(settings)], tmp_path) == status


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(secure: tuple[Servers, Path], tmp_path: Path, mechanism: str) -> None:
    """28 is swaks' "authentication failed"."""
    servers, _ = secure
    site = servers.site
    ann = site.new_person()
    made = site.passcode(ann)
    server = ["--server", f"{HOST}:{servers.postfix.submission}", "--auth", mechanism]
    letter = ["--from", site.login(ann), "--to", site.login(ann), "--auth-user", site.login(ann)]
    for password, status in ((made.passcode, 0), (PASSWORD, 28)):
        command = ["swaks", *server, *letter, "--auth-password", password, "--timeout", "20"]
        assert _run(command, tmp_path) == status


def test_every_refusal_takes_the_same_time(secure: tuple[Servers, Path]) -> None:
    """Unknown, suspended, wrong password, enrolled, passcode or not: half a second, by Postfix."""
    servers, _ = secure
    site = servers.site
    ann, bob, eve = site.new_person(), site.new_account("bob"), site.new_account("eve")
    made = site.passcode(ann, protocols=["imap"])
    (site.base / "suspended" / eve).touch()
    wrong = made.passcode[:-1] + ("a" if made.passcode[-1] != "a" else "b")
    kinds = {
        "unknown": ("nobody@example.org", PASSWORD),
        "suspended": (site.login(eve), PASSWORD),
        "wrong password": (site.login(bob), "wrong"),
        "empty": (site.login(bob), ""),
        "enrolled": (site.login(ann), PASSWORD),
        "wrong passcode": (site.login(ann), wrong),
        "wrong protocol": (site.login(ann), made.passcode),
    }
    client, port = servers.fronts["postfix plain"]
    took = {}
    for name, (login, password) in kinds.items():
        times = []
        for _ in range(3):
            began = time.monotonic()
            assert client(port, login, password) == "refused"
            times.append(time.monotonic() - began)
        took[name] = statistics.median(times)
    assert min(took.values()) >= 0.5
    assert max(took.values()) - min(took.values()) < 0.25, took


@pytest.fixture
def nginx(servers: Servers, tmp_path: Path) -> Iterator[int]:
    program = shutil.which("nginx", path="/usr/sbin")
    if program is None or os.geteuid() != 0:
        text = "as root: apt-get install nginx-light"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(text)
    port = free_port()
    (tmp_path / "mailbox").write_text("mailbox")
    text = NGINX.format(
        base=tmp_path, host=HOST, port=port, socket=f"{servers.site.base}/http.sock", key=KEY
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text("user root;\n" + text)
    process = subprocess.Popen([program, "-c", str(configuration), "-p", str(tmp_path)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 1).close()
            break
        except OSError:
            time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(10)


def _fetch(
    port: int, path: str, credentials: tuple[str, str] | None
) -> tuple[int, http.client.HTTPMessage]:
    headers = {}
    if credentials is not None:
        text = base64.b64encode(":".join(credentials).encode()).decode()
        headers["Authorization"] = f"Basic {text}"
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request("GET", path, headers=headers | {"X-Real-IP": "198.51.100.9"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers


def test_dav_and_activesync_through_nginx(servers: Servers, nginx: int) -> None:
    """The location names the protocol; the address is nginx's word, whatever the client says."""
    site = servers.site
    ann = site.new_person()
    proof = site.proof(ann)
    dav = site.mfa.create_passcode(
        ann.id, label="Calendar", protocols=["dav"], networks=["127.0.0.0/8"], proof=proof
    )
    eas = site.mfa.create_passcode(ann.id, label="Outlook", protocols=["eas"], proof=proof)
    login = site.login(ann)
    calendars, activesync = "/calendars/ann/", "/Microsoft-Server-ActiveSync"
    status, headers = _fetch(nginx, calendars, None)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Mail", charset="UTF-8"')
    status, headers = _fetch(nginx, calendars, (login, dav.passcode))
    assert (status, headers["X-Account"]) == (200, ann.id)
    assert _fetch(nginx, activesync, (login, eas.passcode))[0] == 200
    for path, credential in (
        (calendars, eas.passcode),
        (activesync, dav.passcode),
        (calendars, PASSWORD),
        (activesync, PASSWORD),
        (calendars, "pä:ss"),
    ):
        assert _fetch(nginx, path, (login, credential))[0] == 401
    assert {one.label: one.last_used_ip for one in site.mfa.passcodes(ann.id)} == {
        "Calendar": HOST,
        "Outlook": HOST,
    }
    (site.base / "store-is-down").touch()
    assert _fetch(nginx, calendars, (login, dav.passcode))[0] == 503
