"""Mail clients: each tries one credential at one server and says what the server answered."""

from __future__ import annotations

import base64
import imaplib
import poplib
import smtplib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from servers.daemon import HOST

ACCEPTED, REFUSED, UNAVAILABLE, CLOSED = "accepted", "refused", "unavailable", "closed"
TIMEOUT = 30
# What a server says when it refuses, and when it cannot tell. RFC 5530 §3, RFC 3206 §4, RFC 4954 §6.
_SAYS = {
    "[AUTHENTICATIONFAILED]": REFUSED,
    "[AUTH]": REFUSED,
    "535 ": REFUSED,
    "[UNAVAILABLE]": UNAVAILABLE,
    "[SYS/TEMP]": UNAVAILABLE,
    "454 ": UNAVAILABLE,
    "435 ": UNAVAILABLE,
}
Client = Callable[[int, str, str], str]


def _read(answer: str) -> str:
    found = [meaning for text, meaning in _SAYS.items() if text in answer]
    return found[0] if found else f"unknown: {answer}"


def try_imap(port: int, login: str, password: str) -> str:
    try:
        client = imaplib.IMAP4(HOST, port, timeout=TIMEOUT)
    except (imaplib.IMAP4.abort, OSError):
        return CLOSED
    try:
        client.login(login, password)
        client.logout()
    except imaplib.IMAP4.abort:
        return CLOSED
    except imaplib.IMAP4.error as error:
        return _read(str(error))
    except OSError:
        return CLOSED
    else:
        return ACCEPTED
    finally:
        with suppress(OSError):
            client.shutdown()


def try_pop3(port: int, login: str, password: str) -> str:
    try:
        client = poplib.POP3(HOST, port, timeout=TIMEOUT)
    except (poplib.error_proto, OSError, EOFError):
        return CLOSED
    try:
        client.user(login)
        client.pass_(password)
        client.quit()
    except poplib.error_proto as error:
        return CLOSED if "EOF" in str(error) else _read(str(error))
    except OSError:
        return CLOSED
    else:
        return ACCEPTED
    finally:
        with suppress(OSError):
            client.close()


def _try_smtp(mechanism: str) -> Client:
    def attempt(port: int, login: str, password: str) -> str:
        try:
            with smtplib.SMTP(HOST, port, timeout=TIMEOUT) as client:
                client.ehlo("client.example.com")
                client.user, client.password = login, password
                client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))
        except smtplib.SMTPAuthenticationError as error:
            return _read(f"{error.smtp_code} ")
        except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, OSError):
            return CLOSED
        else:
            return ACCEPTED

    return attempt


try_smtp_plain, try_smtp_login = _try_smtp("PLAIN"), _try_smtp("LOGIN")


def try_raw(port: int, response: bytes) -> str:
    """Answer the challenge of PLAIN over SMTP, with whatever bytes."""
    with smtplib.SMTP(HOST, port, timeout=TIMEOUT) as client:
        client.ehlo("client.example.com")
        client.docmd("AUTH", "PLAIN")
        code, _ = client.docmd(base64.b64encode(response).decode())
        return ACCEPTED if code == 235 else _read(f"{code} ")


def is_ended(session: imaplib.IMAP4) -> bool:
    """Whether the server ends an open session within seconds; telling it takes effect a moment later."""
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline:
            session.noop()
            time.sleep(0.05)
    except (imaplib.IMAP4.abort, OSError):
        session.shutdown()
        return True
    return False


def try_all(ports: dict[str, tuple[Client, int]], login: str, password: str) -> dict[str, str]:
    """Try one credential at every server at once."""
    with ThreadPoolExecutor(len(ports)) as pool:
        tries = {
            name: pool.submit(client, port, login, password)
            for name, (client, port) in ports.items()
        }
        return {name: one.result() for name, one in tries.items()}
