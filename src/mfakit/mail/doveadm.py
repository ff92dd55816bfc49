"""An event sink that makes Dovecot forget: it flushes the auth cache and ends open sessions.

Revoking a passcode refuses the next login. It does not end a session that is open, and a Dovecot whose
auth cache is on goes on accepting what it has seen. Give this to the `MFA` of the web application, where
people revoke, and to the one of the service. What it raises is logged by mfakit and changes no outcome.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from mfakit.errors import ConfigurationError
from mfakit.events import AuditEvent, EventKind

__all__ = [
    "ENDING_KINDS",
    "Doveadm",
    "DoveadmCommand",
    "DoveadmError",
    "DoveadmHTTP",
    "EndSessions",
]

# After these, what let a client in before may no longer let it in.
ENDING_KINDS = frozenset(
    {
        EventKind.AUTHENTICATOR_IMPORTED,
        EventKind.DISABLED,
        EventKind.ENROLLED,
        EventKind.FORGOTTEN,
        EventKind.PASSCODE_REVOKED,
        EventKind.PASSWORD_CHANGED,
        EventKind.RESET,
    }
)
_NO_SUCH_USER = 68  # EX_NOHOST of doveadm: nobody was logged in
_TIMEOUT_SECONDS = 5.0
_CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


class DoveadmError(Exception):
    """Dovecot did not do as it was told. Sessions may be open still."""


class Doveadm(Protocol):
    """A way to reach doveadm."""

    def end_sessions(self, user: str) -> None:
        """Flush what Dovecot has cached of a user, then kick the user's sessions.

        Raises:
            DoveadmError, OSError: It did not happen.
        """


class DoveadmHTTP:
    """doveadm's HTTP API (https is taken by its URL).

    Args:
        url: For example "http://127.0.0.1:8080/doveadm/v1".
        api_key: `doveadm_api_key` of Dovecot's configuration.

    Raises:
        ConfigurationError: `url` is no http or https URL.
    """

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _CONNECTIONS or not parts.hostname:
            raise ConfigurationError("doveadm's URL begins with http:// or https://.")
        self._connection: type[http.client.HTTPConnection] = _CONNECTIONS[parts.scheme]
        self._host = parts.netloc
        self._path = parts.path or "/doveadm/v1"
        self._authorization = f"X-Dovecot-API {b64encode(api_key.encode()).decode()}"

    def end_sessions(self, user: str) -> None:
        """As `Doveadm.end_sessions`."""
        commands = [
            ["authCacheFlush", {"user": [user]}, "flush"],
            ["kick", {"mask": [user]}, "kick"],
        ]
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        connection = self._connection(self._host, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", self._path, json.dumps(commands), headers)
            response = connection.getresponse()
            body = response.read()
        except http.client.HTTPException as error:
            raise DoveadmError("doveadm did not answer as an HTTP server.") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK or not _is_done(body):
            raise DoveadmError("doveadm refused to end the sessions.")


class DoveadmCommand:
    """doveadm as a command, on Dovecot's own host; usually needs root or Dovecot's group.

    Args:
        command: How doveadm is called, for example ["sudo", "-n", "doveadm"].
    """

    def __init__(self, command: Sequence[str] = ("doveadm",)) -> None:
        self._command = tuple(command)

    def end_sessions(self, user: str) -> None:
        """As `Doveadm.end_sessions`."""
        self._run({0}, "auth", "cache", "flush", user)
        self._run({0, _NO_SUCH_USER}, "kick", user)

    def _run(self, fine: set[int], *arguments: str) -> None:
        try:
            done = subprocess.run(  # noqa: S603  no shell, and the name is checked
                [*self._command, *arguments],
                check=False,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise DoveadmError("doveadm did not answer.") from error
        if done.returncode not in fine:
            raise DoveadmError("doveadm refused to end the sessions.")


class EndSessions:
    """The event sink. `MFA(events=EndSessions(…))`; for `AsyncMFA` give `EndSessions(…).in_thread`.

    Args:
        doveadm: How to reach doveadm.
        user_of: From an account's id to its user name in Dovecot; None if it has none.
    """

    def __init__(self, doveadm: Doveadm, user_of: Callable[[str], str | None]) -> None:
        self._doveadm = doveadm
        self._user_of = user_of

    def __call__(self, event: AuditEvent) -> None:
        """End the account's sessions if the event is one after which they must end."""
        if event.kind not in ENDING_KINDS:
            return
        user = self._user_of(event.account_id)
        if user is None:
            return
        # SECURITY: doveadm takes a mask and options; a name must stay a name.
        if not user or user.startswith("-") or set(user) & set("*?\\") or not user.isprintable():
            raise ConfigurationError("user_of must return a Dovecot user name without wildcards.")
        self._doveadm.end_sessions(user)

    async def in_thread(self, event: AuditEvent) -> None:
        """Do the same without blocking the event loop."""
        if event.kind in ENDING_KINDS:
            await asyncio.to_thread(self, event)


def _is_done(body: bytes) -> bool:
    """Say whether every command was done; that nobody was logged in is as good."""
    try:
        answers = json.loads(body)
        return len(answers) == 2 and all([_is_fine(answer) for answer in answers])
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_fine(answer: list[object]) -> bool:
    kind, details, _ = answer
    if kind == "doveadmResponse":
        return True
    return isinstance(details, dict) and details.get("exitCode") == _NO_SUCH_USER
