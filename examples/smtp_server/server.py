"""A submission server in Python (aiosmtpd) whose clients sign in with application passcodes.

`MailLogins` gives the three answers of `mfakit serve-auth`, each at its time: 235, 535, 454.
"""

from __future__ import annotations

import ssl
from inspect import isawaitable
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mfakit.mail import LoginAttempt, MailLogins, Outcome, Platform

ANSWERS = {
    Outcome.ACCEPTED: None,  # aiosmtpd's own: 235
    Outcome.REFUSED: "535 5.7.8 Authentication failed",
    Outcome.UNAVAILABLE: "454 4.7.0 Temporary authentication failure",
}


class Submission(SMTP):
    """aiosmtpd calls its authenticator without awaiting it; here it may be a coroutine."""

    async def auth_PLAIN(self, _: Any, args: list[str]) -> AuthResult:
        found = await super().auth_PLAIN(_, args)
        return await found if isawaitable(found) else found

    async def auth_LOGIN(self, _: Any, args: list[str]) -> AuthResult:
        found = await super().auth_LOGIN(_, args)
        return await found if isawaitable(found) else found


class SubmissionController(Controller):
    """Serve `handler` to those who sign in; its event loop is a thread of its own."""

    def __init__(self, handler: Any, platform: Platform, tls: ssl.SSLContext, **where: Any) -> None:
        super().__init__(handler, **where)
        self._platform, self._tls = platform, tls
        self._logins: MailLogins | None = None

    def factory(self) -> SMTP:
        # Made here, in the loop that uses it. AUTH is offered after STARTTLS only, MAIL after AUTH only.
        self._logins = self._logins or MailLogins(self._platform)
        options = {"tls_context": self._tls, "require_starttls": True, "auth_required": True}
        return Submission(self.handler, authenticator=self._authenticate, **options)

    async def _authenticate(
        self, _: SMTP, session: Session, __: Envelope, ___: str, given: LoginPassword
    ) -> AuthResult:
        login, password = (part.decode(errors="surrogateescape") for part in given)
        peer = session.peer[0] if session.peer else None
        attempt = LoginAttempt.parse(
            login, password, service="smtp", remote_ip=peer, interface="smtp"
        )
        outcome = (await self._logins.judge(attempt)).outcome  # type: ignore[union-attr]
        return AuthResult(
            success=outcome is Outcome.ACCEPTED,
            handled=False,
            message=ANSWERS[outcome],
            auth_data=LoginPassword(given.login, b""),  # the session does not keep the password
        )
