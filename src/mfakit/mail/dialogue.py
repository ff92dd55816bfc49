"""The Dovecot authentication protocol, server side, without a socket: lines in, what to do out.

Only what Postfix and Exim need: PLAIN (RFC 4616) and LOGIN. A line that is no line of the protocol
raises `ProtocolError`, and the connection is dropped. A response of the client that cannot be read is
an attempt without a login, which is refused like a wrong password and at the same time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from attrs import define, field, frozen

from mfakit.mail.logins import LoginAttempt

__all__ = ["Ask", "Dialogue", "ProtocolError", "Say", "accepted", "hello", "refused"]

MAJOR, MINOR = b"1", b"2"
_MECHANISMS = (b"PLAIN", b"LOGIN")
_PENDING_MAX = 256
_Field = str | None


class ProtocolError(Exception):
    """The peer does not speak the protocol. Drop the connection."""


@frozen
class Say:
    """Send this line."""

    line: bytes


@frozen
class Ask:
    """Have this attempt judged, and answer under this number."""

    number: bytes
    attempt: LoginAttempt


@define
class _Exchange:
    """A request whose client has not yet said everything."""

    mechanism: bytes
    service: _Field
    remote_ip: _Field
    login: bytes | None = field(default=None, repr=False)


def hello(process_id: int, connection: int, cookie: str) -> bytes:
    """Return what a server says first."""
    lines = [
        b"VERSION\t%b\t%b" % (MAJOR, MINOR),
        *[b"MECH\t%b\tplaintext" % mechanism for mechanism in _MECHANISMS],
        b"SPID\t%d" % process_id,
        b"CUID\t%d" % connection,
        b"COOKIE\t%b" % cookie.encode("ascii"),
        b"DONE",
    ]
    return b"".join([line + b"\n" for line in lines])


def accepted(ask: Ask) -> bytes:
    """Return the answer for a client that may come in. Its login has no character to escape."""
    return b"OK\t%b\tuser=%b\n" % (ask.number, (ask.attempt.login or "").encode())


def refused(number: bytes) -> bytes:
    """Return the answer for a client that may not. It names nobody: servers log what it says."""
    return b"FAIL\t%b\n" % number


class Dialogue:
    """What was said on one connection so far."""

    def __init__(self) -> None:
        self._is_greeted = False
        self._exchanges: dict[bytes, _Exchange] = {}
        self._commands: dict[bytes, Callable[[list[bytes]], Say | Ask | None]] = {
            b"VERSION": self._version,
            b"CPID": lambda _: None,
            b"AUTH": self._auth,
            b"CONT": self._continue,
            b"CANCEL": self._cancel,
        }

    def receive(self, line: bytes) -> Say | Ask | None:
        """Take a line without its line feed, and return what to do.

        Raises:
            ProtocolError: Drop the connection.
        """
        command, *arguments = line.removesuffix(b"\r").split(b"\t")
        act = self._commands.get(command)
        if act is None or self._is_greeted == (command == b"VERSION"):
            raise ProtocolError
        return act(arguments)

    def _version(self, arguments: list[bytes]) -> None:
        if not arguments or arguments[0] != MAJOR:
            raise ProtocolError
        self._is_greeted = True

    def _auth(self, arguments: list[bytes]) -> Say | Ask | None:
        number, arguments = _take_number(arguments)
        if not arguments or number in self._exchanges:
            raise ProtocolError
        mechanism, parameters = arguments[0].upper(), arguments[1:]
        if mechanism not in _MECHANISMS:
            return Say(refused(number))
        named = dict([_split(one) for one in parameters])
        exchange = _Exchange(mechanism, _text(named.get(b"service")), _text(named.get(b"rip")))
        # Exim sends an empty response where the client has sent none.
        return self._go_on(number, exchange, named.get(b"resp") or None)

    def _continue(self, arguments: list[bytes]) -> Say | Ask | None:
        number, arguments = _take_number(arguments)
        exchange = self._exchanges.pop(number, None)
        if exchange is None or len(arguments) != 1:
            raise ProtocolError
        return self._go_on(number, exchange, arguments[0])

    def _cancel(self, arguments: list[bytes]) -> None:
        number, _ = _take_number(arguments)
        self._exchanges.pop(number, None)

    def _go_on(self, number: bytes, exchange: _Exchange, response: bytes | None) -> Say | Ask:
        if response is None:
            prompt = b"Username:" if exchange.mechanism == b"LOGIN" else b""
            return self._wait(number, exchange, prompt)
        said = _decode(response)
        if exchange.mechanism == b"PLAIN":
            return _ask(number, exchange, *_read_plain(said))
        if exchange.login is None and said is not None:
            exchange.login = said
            return self._wait(number, exchange, b"Password:")
        return _ask(number, exchange, exchange.login, said)

    def _wait(self, number: bytes, exchange: _Exchange, prompt: bytes) -> Say:
        if len(self._exchanges) >= _PENDING_MAX:
            raise ProtocolError
        self._exchanges[number] = exchange
        return Say(b"CONT\t%b\t%b\n" % (number, base64.b64encode(prompt)))


def _take_number(arguments: list[bytes]) -> tuple[bytes, list[bytes]]:
    if not arguments or not arguments[0].isdigit() or len(arguments[0]) > 10:
        raise ProtocolError
    return arguments[0], arguments[1:]


def _split(parameter: bytes) -> tuple[bytes, bytes]:
    name, _, value = parameter.partition(b"=")
    return name, value


def _decode(response: bytes) -> bytes | None:
    try:
        return base64.b64decode(response, validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_plain(message: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return login and password of a PLAIN message. RFC 4616 §2: [authzid] NUL authcid NUL passwd."""
    parts = (message or b"").split(b"\0")
    if len(parts) != 3 or parts[0] not in {b"", parts[1]}:  # nobody acts for somebody else
        return None, None
    return parts[1], parts[2]


def _ask(number: bytes, exchange: _Exchange, login: bytes | None, password: bytes | None) -> Ask:
    attempt = LoginAttempt.parse(
        _text(login),
        _text(password),
        service=exchange.service,
        remote_ip=exchange.remote_ip,
        interface="sasl",
    )
    return Ask(number, attempt)


def _text(value: bytes | None) -> _Field:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
