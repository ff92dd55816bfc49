"""The two protocols of the auth service, byte for byte as they come in, without a socket."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any, cast

from aiohttp import web

from mfakit.core.secret import Secret
from mfakit.mail.http import KEY_HEADER, make_app
from mfakit.mail.logins import Answer, LoginAttempt, Outcome
from mfakit.mail.sasl import LINE_BYTES_MAX, SaslServer

from .target import Target

LOGIN, PASSWORD, DOWN = "ann@example.com", b"right", "down"
KEY = b"0123456789abcdef"
_ROUNDS = 40  # of the event loop: more than any request needs when nothing waits
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.MULTILINE)
_LINE = re.compile(
    rb"CONT\t\d{1,10}\t(?:VXNlcm5hbWU6|UGFzc3dvcmQ6)?"
    rb"|OK\t\d{1,10}\tuser=ann@example\.com"
    rb"|FAIL\t\d{1,10}"
)


class Judge:
    """Let one login in with one password; say of another that it cannot be decided."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    async def __call__(self, attempt: LoginAttempt) -> Answer:
        assert attempt.login is None or attempt.login.isprintable() or " " in attempt.login
        assert attempt.protocol in {None, "imap", "pop3", "smtp", "sieve", "dav", "eas"}
        outcome = self._decide(attempt)
        self.outcomes.append(outcome)
        return Answer(outcome=outcome, account_id=attempt.login)

    @staticmethod
    def _decide(attempt: LoginAttempt) -> Outcome:
        if attempt.login == DOWN:
            return Outcome.UNAVAILABLE
        is_right = attempt.password is not None and attempt.password.reveal() == PASSWORD
        is_in = attempt.login == LOGIN and is_right and attempt.protocol is not None
        return Outcome.ACCEPTED if is_in else Outcome.REFUSED

    def count(self, outcome: Outcome) -> int:
        """Return how many attempts came to this."""
        return self.outcomes.count(outcome)


class _Wire(asyncio.Transport):
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 4711)})
        self.sent = bytearray()
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


# ---------------------------------------------------------------------------------------------- HTTP


class _Site:
    """The application behind aiohttp's own parser; what it answers is written down."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.answers: list[tuple[str, web.StreamResponse]] = []
        app = make_app(self.judge, key=lambda: Secret(KEY), metrics=lambda: (b"", "text/plain"))
        app.on_response_prepare.append(self._note)
        self._app = web.AppRunner(app, access_log=None)

    async def open(self) -> None:
        """Make the server; nothing listens."""
        await self._app.setup()

    async def close(self) -> None:
        """Let go of it."""
        await self._app.cleanup()

    async def receive(self, data: bytes) -> bytes:
        """Return what a connection answers to these bytes before it breaks off."""
        self.judge.outcomes, self.answers = [], []
        wire, connection = _Wire(), cast("Any", self._app.server)()
        connection.connection_made(wire)
        connection.data_received(data)
        await _settle()
        answers = self.answers
        self.answers = []  # what is answered from here on reaches nobody
        connection.connection_lost(None)
        await _settle()
        self.answers = answers
        return bytes(wire.sent)

    async def _note(self, request: web.Request, response: web.StreamResponse) -> None:
        self.answers.append((request.path, response))

    @property
    def logins(self) -> list[web.StreamResponse]:
        """The answers to who asked whether somebody may come in."""
        ways = {"/dovecot", "/auth/dav", "/auth/eas"}
        return [response for path, response in self.answers if path in ways]


async def _settle() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def http() -> Target:
    """Requests: nobody is asked about without the key, and only a yes of the judge is a 200."""
    loop, site = asyncio.new_event_loop(), _Site()
    run = loop.run_until_complete
    run(site.open())

    def close() -> None:
        run(site.close())
        loop.close()

    def check(data: bytes) -> bool:
        sent = run(site.receive(data))
        statuses = [response.status for _, response in site.answers]
        assert not {int(status) for status in _STATUS.findall(sent)} & {500, 501, 502}
        assert set(statuses) <= {200, 400, 401, 403, 404, 405, 413, 417, 503}
        accepted = site.judge.count(Outcome.ACCEPTED)
        assert [one.status for one in site.logins].count(200) <= accepted
        assert statuses.count(503) <= site.judge.count(Outcome.UNAVAILABLE)
        for response in site.logins:
            named = response.headers.get("X-Mfakit-Account", LOGIN)
            assert named == LOGIN
        assert KEY in data or not site.judge.outcomes
        # What is no HTTP at all, aiohttp quotes to its sender, and to nobody else.
        assert b" 400 Bad Request" in sent or not any([one in sent for one in (KEY, PASSWORD)])
        return accepted > 0

    return Target(check=check, seeds=_requests(), words=_HTTP_WORDS, bytes_max=1024, close=close)


def _requests() -> tuple[bytes, ...]:
    form = b"user=ann%40example.com&password=right&service=imap&remote_ip=192.0.2.9"
    basic = base64.b64encode(b"ann@example.com:right")
    down = base64.b64encode(b"down:right")
    return (
        _post(form),
        _post(form.replace(b"right", b"wrong")),
        _post(form.replace(b"ann%40example.com", b"%ff%00")),
        _post(form, key=b"another"),
        _post(form).replace(b"Host: a", b"Content-Encoding: gzip"),
        _post(b"user=ann&user=bob"),
        _get(b"/auth/dav", b"Basic " + basic),
        _get(b"/auth/eas", b"basic " + basic),
        _get(b"/auth/dav", b"Basic " + down),
        _get(b"/auth/dav", b"Basic !"),
        _get(b"/auth/imap", b"Basic " + basic),
        _get(b"/health", b"Bearer " + KEY),
        b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n" + _key_line() + b"\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + _key_line().replace(b"\r", b"\r\xff"),
        b"\x16\x03\x01",
    )


def _key_line(key: bytes = KEY) -> bytes:
    return KEY_HEADER.encode() + b": " + key + b"\r\n"


def _post(body: bytes, key: bytes = KEY) -> bytes:
    head = b"POST /dovecot HTTP/1.1\r\nHost: a\r\n" + _key_line(key)
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
    return head + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _get(path: bytes, authorization: bytes) -> bytes:
    lines = b"Host: a\r\nAuthorization: " + authorization + b"\r\nX-Real-IP: 192.0.2.9\r\n"
    return b"GET " + path + b" HTTP/1.1\r\n" + lines + _key_line() + b"\r\n"


_HTTP_WORDS = (
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Content-Length: ",
    b"Content-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"&user=",
    b"&password=",
    b"&service=",
    b"&remote_ip=",
    b"%40",
    b"%0d%0a",
    b"/auth/dav",
    b"/dovecot",
    b"Basic ",
    KEY,
)


# ---------------------------------------------------------------------------------------------- SASL


class _Writer:
    """The half of a stream that the server writes to."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.transport = _Wire()
        self.write = self.sent.extend

    async def drain(self) -> None:
        """Nothing is ever full here."""


def sasl() -> Target:
    """Lines: every answer is one of the protocol's, and OK is said as often as the judge says yes."""
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete

    def check(data: bytes) -> bool:
        judge = Judge()
        sent = run(_converse(judge, data))
        hello, done, answers = sent.partition(b"DONE\n")
        assert hello.startswith(b"VERSION\t1\t2\n")
        assert done
        lines = answers.split(b"\n")
        assert lines.pop() == b""
        for line in lines:
            assert _LINE.fullmatch(line)
            assert line.split(b"\t")[1] in data
        accepted = sum(line.startswith(b"OK") for line in lines)
        assert accepted <= judge.count(Outcome.ACCEPTED)
        assert not accepted or _may_enter(data)
        return accepted > 0

    return Target(
        check=check, seeds=_dialogues(), words=_SASL_WORDS, bytes_max=1024, close=loop.close
    )


def _may_enter(data: bytes) -> bool:
    """Say whether somewhere in it the right login and password are, as PLAIN or LOGIN has them."""
    said = {_decode(one) for one in re.findall(rb"[A-Za-z0-9+/]+=*", data)}
    login = LOGIN.encode()
    plain = {b"\0%b\0%b" % (login, PASSWORD), b"%b\0%b\0%b" % (login, login, PASSWORD)}
    return bool(said & plain) or {login, PASSWORD} <= said


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


async def _converse(judge: Judge, data: bytes) -> bytes:
    reader, writer = asyncio.StreamReader(limit=LINE_BYTES_MAX), _Writer()
    reader.feed_data(data)
    serving = asyncio.ensure_future(
        SaslServer(judge).serve(reader, cast("asyncio.StreamWriter", writer))
    )
    await _settle()
    reader.feed_eof()
    await serving
    return bytes(writer.sent)


def _dialogues() -> tuple[bytes, ...]:
    plain = base64.b64encode(b"\0ann@example.com\0right")
    login, password = base64.b64encode(LOGIN.encode()), base64.b64encode(PASSWORD)
    down = base64.b64encode(b"\0down\0right")
    greeting = b"VERSION\t1\t1\nCPID\t4711\n"
    auth = greeting + b"AUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.7"
    return (
        auth + b"\tresp=" + plain + b"\n",
        auth + b"\nCONT\t1\t" + plain + b"\n",
        auth.replace(b"PLAIN", b"LOGIN") + b"\nCONT\t1\t%b\nCONT\t1\t%b\n" % (login, password),
        auth + b"\tresp=" + down + b"\n",
        auth + b"\tresp=AGFubgBwdw==\n",
        auth + b"\tresp=" + base64.b64encode(b"bob\0ann@example.com\0right") + b"\n",
        auth + b"\nCANCEL\t1\n",
        greeting.replace(b"\n", b"\r\n") + b"AUTH\t2\tCRAM-MD5\n",
        auth + b"\nAUTH\t1\tPLAIN\n",
        b"CPID\t1\n",
        b"VERSION\t2\t0\n",
        b"",
    )


_SASL_WORDS = (
    b"AUTH\t",
    b"CONT\t",
    b"CANCEL\t",
    b"VERSION\t1",
    b"PLAIN",
    b"LOGIN",
    b"\tresp=",
    b"\n",
)
