"""Mail to the owner about what happened to the account.

Only kinds for the owner: nothing that a stranger can cause, so the one that counts is seen.
"""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from queue import SimpleQueue
from threading import Thread

from mfakit import Audience, AuditEvent, EventKind

SENDER = "Example Mail <security@example.com>"
Send = Callable[[EmailMessage], object]

_K = EventKind
SUBJECTS = {
    _K.AUTHENTICATOR_ADDED: "Another authenticator app was added",
    _K.AUTHENTICATOR_IMPORTED: "An authenticator app was taken over",
    _K.AUTHENTICATOR_REMOVED: "An authenticator app was removed",
    _K.AUTHENTICATOR_RESYNCED: "The clock of an authenticator app was adjusted",
    _K.DEVICE_REVOKED: "A trusted device was revoked",
    _K.DEVICE_TRUSTED: "A device is now trusted",
    _K.DISABLED: "Two-step authentication was turned off",
    _K.ENROLLED: "Two-step authentication is on",
    _K.FORGOTTEN: "Two-step authentication data was deleted",
    _K.LOCKED: "Codes are locked after too many wrong ones",
    _K.PASSCODE_CREATED: "An application passcode was added",
    _K.PASSCODE_FIRST_USED: "An application passcode was used for the first time",
    _K.PASSCODE_REVOKED: "An application passcode was revoked",
    _K.PASSWORD_CHANGED: "The password was changed",
    _K.RECOVERY_CODES_LOW: "Few recovery codes are left",
    _K.RECOVERY_CODES_REGENERATED: "New recovery codes were made",
    _K.RECOVERY_CODE_USED: "A recovery code was used",
    _K.RESET: "Two-step authentication was reset by an operator",
    _K.SESSIONS_ENDED: "You were signed out everywhere after wrong codes",
}


class OwnerNotices:
    """An event sink that mails the owner, in a thread of its own: a slow relay delays no sign-in.

    What is queued is lost with the process; `MFA.history` has the changes. A platform with a mail
    queue puts the message there instead.
    """

    def __init__(self, send: Send, address_of: Callable[[str], str | None]) -> None:
        self._send = send
        self._address_of = address_of
        self._queue: SimpleQueue[EmailMessage] = SimpleQueue()
        Thread(target=self._work, name="owner-notices", daemon=True).start()

    def __call__(self, event: AuditEvent) -> None:
        """Queue the notice, if this is one for the owner."""
        address = self._address_of(event.account_id)
        if event.audience is Audience.OWNER and address:
            self._queue.put(notice(event, address))

    def _work(self) -> None:
        while True:
            message = self._queue.get()
            try:
                self._send(message)
            except Exception:
                logging.getLogger(__name__).exception("A notice could not be sent.")


def notice(event: AuditEvent, address: str) -> EmailMessage:
    """Return the mail about an event."""
    message = EmailMessage()
    message["From"], message["To"] = SENDER, address
    message["Subject"] = SUBJECTS[event.kind]
    message["Date"] = format_datetime(event.at)
    message["Message-ID"] = make_msgid(domain="example.com")
    message["Auto-Submitted"] = "auto-generated"
    facts = {
        "Account": address,
        "When": f"{event.at:%-d %b %Y, %H:%M} UTC",
        "Name": event.label,
        "From": event.client and event.client.remote_ip,
        "Browser": event.client and event.client.user_agent,
        "Operator": event.actor,
        "Reason": event.reason,
        "Left": event.count,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value not in (None, "")]
    lines += ["", "If this was not you, sign in, change your password, and look at Preferences >"]
    lines += ["Accounts. If you cannot sign in, write to postmaster@example.com.", ""]
    message.set_content("\n".join([f"{SUBJECTS[event.kind]}.", "", *lines]))
    return message


def smtp_sender(host: str, port: int) -> Send:
    """Return a `send` that hands messages to an SMTP server."""

    def send(message: EmailMessage) -> None:
        with smtplib.SMTP(host, port, timeout=10) as relay:
            relay.send_message(message)

    return send
