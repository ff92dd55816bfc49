"""A passcode that a browser showed, at a real mail server that shares the webmail's store."""

from __future__ import annotations

import imaplib
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import PASSWORD, ROOT, Site

import mfakit.mail
from servers import dovecot
from servers.child import free_port

pytestmark = [pytest.mark.browser, pytest.mark.server]
HERE = Path(__file__).parent
KEY = "0123456789abcdef0123456789abcdef"
SETTINGS = """
platform = "mail_side:make_platform"
refusal_seconds = 0.1
[http]
listen = ["127.0.0.1:{port}"]
key_file = "{key_file}"
"""


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A throw-away certificate for localhost, and its key."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    out = ["-nodes", "-days", "2", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*make, *name, *out], check=True, capture_output=True)
    return files


@pytest.fixture
def mail_server(
    site: Site, tmp_path: Path, certificate: tuple[Path, Path]
) -> Iterator[dovecot.Dovecot]:
    """Dovecot, and the auth service on the webmail's store."""
    if not dovecot.is_installed():
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(dovecot.HOW_TO_GET_IT)
    port, key_file, settings = free_port(), tmp_path / "http.key", tmp_path / "auth.toml"
    key_file.touch(mode=0o600)
    key_file.write_text(KEY)
    settings.write_text(SETTINGS.format(port=port, key_file=key_file))
    command = [str(Path(sys.executable).parent / "mfakit"), "serve-auth", "--config", str(settings)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        "MAIL_SIDE_EXAMPLE": site.name,
        "MAIL_SIDE_DIRECTORY": str(site.directory),
    }
    lua = Path(mfakit.mail.__file__).parent / "mfakit.lua"
    url = f"http://127.0.0.1:{port}/dovecot"
    server = dovecot.Dovecot(lua=lua, url=url, key=KEY, certificate=certificate)
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as service:
        try:
            server.start()
            yield server
        finally:
            server.close()
            service.terminate()


def sign_in(port: int, trust: ssl.SSLContext, address: str, password: str) -> imaplib.IMAP4_SSL:
    """Sign in over TLS; wait for as long as the service is not there yet."""
    until = time.monotonic() + 20
    while True:
        client = imaplib.IMAP4_SSL("localhost", port, ssl_context=trust, timeout=20)
        try:
            client.login(address, password)
        except imaplib.IMAP4.error as error:
            client.shutdown()
            if "UNAVAILABLE" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return client


def test_s53_the_passcode_that_was_shown_works_over_imap_and_tls(
    person, mail_server, certificate
) -> None:
    """Copied from the page as it stands there; the plain password and a revoked one are refused."""
    trust = ssl.create_default_context(cafile=certificate[0])
    ann = person()
    ann.set_up()
    ann.press("Finish")
    ann.press("Add Application Code")
    ann.fill("Name of the device or program", "iPhone Mail")
    ann.press("Add")
    passcode = ann.page.locator("#passcode").inner_text()

    phone = sign_in(mail_server.imaps, trust, ann.address, passcode)
    assert phone.select("INBOX")[0] == "OK"
    phone.logout()
    ann.press("Done")
    ann.sees("iPhone Mail", "15 Jan 2027, 08:00 UTC (IMAP)")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        sign_in(mail_server.imaps, trust, ann.address, PASSWORD)

    ann.press("Revoke iPhone Mail")
    ann.press("Revoke")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        sign_in(mail_server.imaps, trust, ann.address, passcode)
