"""One login of a mail client, from the server that asks to the answer it gets.

Three answers and no fourth: accepted, refused, unavailable. Whatever goes wrong here or below is
unavailable, which servers report as a temporary failure. Everything but a yes is given at a fixed time
after arrival, so that unknown, wrong, enrolled and not enrolled look alike.
"""

from __future__ import annotations

import asyncio
import math
import time
import unicodedata
from collections.abc import Awaitable, Callable
from enum import StrEnum
from inspect import isawaitable, iscoroutinefunction
from typing import Protocol, TypeVar

from attrs import field, frozen

from mfakit.aio.threads import Threads
from mfakit.arguments import parse_secret_text
from mfakit.core.secret import Secret
from mfakit.errors import (
    ConfigurationError,
    CredentialRefusedError,
    InvalidInputError,
    MFAKitError,
    PasswordChangeRequiredError,
)
from mfakit.events import ClientInfo
from mfakit.results import ClientSignedIn
from mfakit.storage.causes import DriverError

__all__ = [
    "Answer",
    "ClientAuthenticator",
    "LoginAttempt",
    "MailLogins",
    "Outcome",
    "Platform",
    "parse_protocol",
]

T = TypeVar("T")
Found = str | None

LOGIN_CHARACTERS_MAX = 320  # RFC 5321 §4.5.3.1: 64 + 1 + 255
# What the servers call a protocol -> what passcodes call it.
_PROTOCOLS = {
    "imap": "imap",
    "pop3": "pop3",
    "smtp": "smtp",
    "submission": "smtp",
    "sieve": "sieve",
    "managesieve": "sieve",
    "dav": "dav",
    "eas": "eas",
}


class ClientAuthenticator(Protocol):
    """What the service needs of `mfakit.aio.AsyncMFA`."""

    async def authenticate_client(
        self,
        account_id: str,
        credential: str,
        *,
        protocol: str,
        check_password: Callable[[str], Found | Awaitable[Found]],
        client: ClientInfo | None = None,
    ) -> ClientSignedIn:
        """Judge what a mail client sent as its password."""


@frozen(kw_only=True)
class Platform:
    """What the platform gives the service. A plain function runs in a thread, `async def` on the loop.

    Args:
        mfa: `mfakit.aio.AsyncMFA`.
        resolve_account: From the login as typed to the account's id; None if there is no such account
            or it is suspended. Asked first on every login, with passcodes too, and never cached.
        check_password: From the login as typed and the password to the id of the account that they
            belong to, or None. Asked only while two-step is off, or for a password with a code.
        threads: Plain calls of each of the two functions that run at once.
        aclose: Awaited once the platform is not used any more.
    """

    mfa: ClientAuthenticator
    resolve_account: Callable[[str], Found | Awaitable[Found]]
    check_password: Callable[[str, str], Found | Awaitable[Found]]
    threads: int = 8
    aclose: Callable[[], Awaitable[object]] | None = None


class Outcome(StrEnum):
    """What a server is told."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@frozen(kw_only=True)
class LoginAttempt:
    """What a server was sent by a client.

    Args:
        login: As typed, None if it cannot name anybody.
        password: Whatever the password field held, None if it is no text or too long.
        protocol: "imap", "pop3", "smtp", "sieve", "dav", "eas", or None.
        client: Where the client connects from, as the server saw it.
        interface: By which interface the server asks, for logs and metrics.
    """

    login: str | None = field(repr=False)
    password: Secret | None = field(repr=False)
    protocol: str | None
    client: ClientInfo
    interface: str

    @classmethod
    def parse(
        cls, login: object, password: object, *, service: object, remote_ip: object, interface: str
    ) -> LoginAttempt:
        """Read untrusted text; what cannot be meant is refused later, like any wrong password."""
        return cls(
            login=_parse_login(login),
            password=parse_secret_text(password),
            protocol=parse_protocol(service),
            client=_parse_client(remote_ip),
            interface=interface,
        )


@frozen(kw_only=True)
class Answer:
    """The answer, and for the log how it came about.

    Attributes:
        outcome: What the server is told.
        account_id: Whose login it was, None if it named nobody.
        via: "passcode", "password" or "password+code", if accepted.
        passcode_id: Which passcode, if one was used.
        code: Of the error, if not accepted.
        where: File and line of an error that is not ours.
    """

    outcome: Outcome
    account_id: str | None = None
    via: str | None = None
    passcode_id: str | None = None
    code: str | None = None
    where: str | None = None


def parse_protocol(service: object) -> str | None:
    """Return what passcodes call the service, None if none is known by that name."""
    return _PROTOCOLS.get(service) if isinstance(service, str) else None


def _parse_login(login: object) -> str | None:
    if not isinstance(login, str) or not 0 < len(login) <= LOGIN_CHARACTERS_MAX:
        return None
    # Control characters, lone surrogates and what no alphabet has: nobody is called that.
    return None if any([unicodedata.category(one)[0] == "C" for one in login]) else login


def _parse_client(remote_ip: object) -> ClientInfo:
    try:
        return ClientInfo(remote_ip=remote_ip if isinstance(remote_ip, str) and remote_ip else None)
    except InvalidInputError:
        return ClientInfo()  # passcodes limited to networks are refused then


class MailLogins:
    """Judge logins for as long as one set-up of the platform lasts.

    Args:
        platform: What the platform gives.
        refusal_seconds: When anything but a yes is given, from arrival; after that at its multiples.
        attempt_seconds: How long an answer may take before the attempt counts as unavailable.
        working_max: Attempts being decided at once; more are unavailable.
        held_max: Answers waiting for their time at once; more are unavailable and do not wait.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        refusal_seconds: float = 0.5,
        attempt_seconds: float = 8.0,
        working_max: int = 256,
        held_max: int = 10_000,
    ) -> None:
        self._platform = platform
        self._refusal_seconds = refusal_seconds
        self._attempt_seconds = attempt_seconds
        self._working_max = working_max
        self._held_max = held_max
        # Apart: passwords that take long to check must not keep passcode logins from being resolved.
        self._resolving = Threads(platform.threads, "mfakit-resolve")
        self._checking = Threads(platform.threads, "mfakit-password")
        self._idle = asyncio.Event()
        self._idle.set()
        self.working: int = 0
        self.held: int = 0

    async def judge(self, attempt: LoginAttempt) -> Answer:
        """Answer an attempt. Raises nothing but a cancellation."""
        arrived = time.monotonic()
        answer = await self._work(attempt)
        return answer if answer.outcome is Outcome.ACCEPTED else await self._hold(answer, arrived)

    async def resolve(self, login: str) -> str | None:
        """Return the id of the account that a login names. Raises what the platform raises.

        Raises:
            ConfigurationError: `resolve_account` gave neither a str nor None.
        """
        found = await _call(self._platform.resolve_account, self._resolving, login)
        if found is not None and not isinstance(found, str):
            raise ConfigurationError("resolve_account must return a str or None.")
        return found

    async def aclose(self) -> None:
        """Wait for the attempts that are being decided, then close the platform."""
        await self._idle.wait()
        await self._resolving.aclose()
        await self._checking.aclose()
        if self._platform.aclose is not None:
            await self._platform.aclose()

    async def _work(self, attempt: LoginAttempt) -> Answer:
        if self.working >= self._working_max:
            return Answer(outcome=Outcome.UNAVAILABLE, code="queue_full")
        self.working += 1
        self._idle.clear()
        try:
            return await self._answer(attempt)
        finally:
            self.working -= 1
            if not self.working:
                self._idle.set()

    async def _hold(self, answer: Answer, arrived: float) -> Answer:
        """Keep an answer until its time. A failure too: who is turned away at once is back at once."""
        if self.held >= self._held_max:
            return Answer(outcome=Outcome.UNAVAILABLE, code="queue_full")
        took = time.monotonic() - arrived
        steps = max(1, math.ceil(took / self._refusal_seconds))
        self.held += 1
        try:
            await asyncio.sleep(steps * self._refusal_seconds - took)
        finally:
            self.held -= 1
        return answer

    async def _answer(self, attempt: LoginAttempt) -> Answer:
        account_id: str | None = None
        try:
            async with asyncio.timeout(self._attempt_seconds):
                account_id = await self._resolve(attempt)
                if account_id is None:
                    return Answer(outcome=Outcome.REFUSED, code="unknown")
                return await self._authenticate(account_id, attempt)
        except (CredentialRefusedError, PasswordChangeRequiredError) as error:
            return Answer(outcome=Outcome.REFUSED, account_id=account_id, code=error.code)
        except TimeoutError:
            return Answer(outcome=Outcome.UNAVAILABLE, account_id=account_id, code="timeout")
        except Exception as error:
            return _unavailable(account_id, error)

    async def _resolve(self, attempt: LoginAttempt) -> str | None:
        """Return the account's id; None if nobody is meant, or nothing was sent as a password."""
        login, password = attempt.login, attempt.password
        # SECURITY: an empty password signs in anonymously where it is checked by an LDAP bind.
        if login is None or password is None or not password.reveal():
            return None
        return await self.resolve(login)

    async def _authenticate(self, account_id: str, attempt: LoginAttempt) -> Answer:
        login, password = attempt.login, attempt.password
        if login is None or password is None or attempt.protocol is None:
            raise CredentialRefusedError

        async def check_password(text: str) -> Found:
            return await _call(self._platform.check_password, self._checking, login, text)

        signed_in = await self._platform.mfa.authenticate_client(
            account_id,
            password.reveal().decode(),
            protocol=attempt.protocol,
            check_password=check_password,
            client=attempt.client,
        )
        # SECURITY: only this class says that somebody may come in, and only for this account.
        if not isinstance(signed_in, ClientSignedIn) or signed_in.account_id != account_id:
            raise ConfigurationError("authenticate_client must return a ClientSignedIn.")
        return Answer(
            outcome=Outcome.ACCEPTED,
            account_id=account_id,
            via=signed_in.via,
            passcode_id=signed_in.passcode_id,
        )


async def _call(
    function: Callable[..., Found | Awaitable[Found]], threads: Threads, *arguments: str
) -> Found:
    if iscoroutinefunction(function):
        found: Found | Awaitable[Found] = function(*arguments)
    else:
        found = await asyncio.wrap_future(threads.submit(lambda: function(*arguments)))
    return await found if isawaitable(found) else found


def _unavailable(account_id: str | None, error: Exception) -> Answer:
    """Name the error by its class and place: its text may hold anything."""
    cause = error.__cause__ or error
    name = cause.name if isinstance(cause, DriverError) else type(cause).__name__
    trace = cause.__traceback__ or error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    return Answer(
        outcome=Outcome.UNAVAILABLE,
        account_id=account_id,
        code=error.code if isinstance(error, MFAKitError) else "platform_failed",
        where=f"{name} at {place}",
    )
