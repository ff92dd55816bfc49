"""The HTTP interface: Dovecot's Lua passdb, nginx `auth_request`, metrics.

    POST /dovecot      form: user, password, service, remote_ip
    GET  /auth/dav     Basic credentials, X-Real-IP; also /auth/eas
    GET  /metrics      Prometheus
    GET  /health       200 while the service takes logins

200 is yes, 401 is no, everything else is a temporary failure. Who asks shows the key, or reaches the
socket at all. `Expect: 100-continue`, which Dovecot sends, is answered by aiohttp before the body.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Sequence
from hmac import compare_digest
from urllib.parse import parse_qsl, quote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mfakit.core.secret import Secret
from mfakit.mail import journal
from mfakit.mail.logins import Answer, LoginAttempt, Outcome

__all__ = ["KEY_HEADER", "make_app"]

Judge = Callable[[LoginAttempt], Awaitable[Answer]]

BODY_BYTES_MAX = 16_384
KEY_HEADER = "X-Mfakit-Key"
REALM_HEADER = {"WWW-Authenticate": 'Basic realm="Mail", charset="UTF-8"'}  # RFC 7617 §2.1
_STATUS = {Outcome.ACCEPTED: 200, Outcome.REFUSED: 401, Outcome.UNAVAILABLE: 503}
_FIELDS = ("user", "password", "service", "remote_ip")


def make_app(
    judge: Judge, *, key: Callable[[], Secret | None], metrics: Callable[[], tuple[bytes, str]]
) -> web.Application:
    """Return the application, to be run by `aiohttp.web.AppRunner` alone or inside another.

    Args:
        judge: `MailLogins.judge`, or what stands before it.
        key: Returns what callers must show; None where the permissions of a socket decide.
        metrics: Returns the text of the metrics and its content type.
    """
    views = _Views(judge, metrics)
    app = web.Application(middlewares=[_key_check(key)], client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/dovecot", views.dovecot)
    app.router.add_get("/auth/{protocol:dav|eas}", views.auth_request)
    app.router.add_get("/metrics", views.metrics)
    app.router.add_get("/health", views.health)
    return app


def _key_check(key: Callable[[], Secret | None]) -> Middleware:
    @web.middleware
    async def check_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        wanted = key()
        if wanted is not None and not _has_key(request, wanted):
            # SECURITY: not 401. A caller with a wrong key is misconfigured, and its clients must not
            # hear that their passwords are wrong.
            journal.say("wrong_key", logging.WARNING, path=request.rel_url.path)
            return web.Response(status=403)
        return await handler(request)

    return check_key


class _Views:
    def __init__(self, judge: Judge, metrics: Callable[[], tuple[bytes, str]]) -> None:
        self._judge = judge
        self._metrics = metrics

    async def dovecot(self, request: web.Request) -> web.Response:
        fields = await _receive_form(request)
        if fields is None:
            journal.say("wrong_form", logging.WARNING)
            return web.Response(status=400)
        attempt = LoginAttempt.parse(
            fields["user"],
            fields["password"],
            service=fields["service"],
            remote_ip=fields["remote_ip"],
            interface="dovecot",
        )
        return web.Response(status=_STATUS[(await self._judge(attempt)).outcome])

    async def auth_request(self, request: web.Request) -> web.Response:
        basic = _read_basic(request.headers.get("Authorization", ""))
        if basic is None:  # a client's first request, before it was asked
            return web.Response(status=401, headers=REALM_HEADER)
        attempt = LoginAttempt.parse(
            *basic,
            service=request.match_info["protocol"],
            remote_ip=_only(request.headers.getall("X-Real-IP", [])),
            interface="auth_request",
        )
        answer = await self._judge(attempt)
        if answer.outcome is Outcome.ACCEPTED:
            account = {"X-Mfakit-Account": quote(answer.account_id or "", safe="@")}
            return web.Response(status=200, headers=account)
        headers = REALM_HEADER if answer.outcome is Outcome.REFUSED else None
        return web.Response(status=_STATUS[answer.outcome], headers=headers)

    async def metrics(self, _: web.Request) -> web.Response:
        body, content_type = self._metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()


def _has_key(request: web.Request, wanted: Secret) -> bool:
    """Compare in constant time. nginx needs `Authorization` for the client's credentials."""
    shown = request.headers.get(KEY_HEADER)
    if shown is None:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return compare_digest(shown.encode(errors="surrogateescape"), wanted.reveal())


async def _receive_form(request: web.Request) -> dict[str, str | None] | None:
    try:
        return _read_form(await request.read())
    except web.RequestPayloadError:  # said to be compressed, and is not
        return None


def _read_form(body: bytes) -> dict[str, str | None] | None:
    """Return the four fields, each there once; None if this is no such form. No UTF-8 is None."""
    try:
        # Latin-1 gives each byte back as it was.
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="latin-1",
            max_num_fields=8,
        )
    except ValueError:
        return None
    fields = {name: _decode(value.encode("latin-1")) for name, value in pairs}
    # SECURITY: of two addresses or services, one is the client's own.
    return fields if fields.keys() >= set(_FIELDS) and len(fields) == len(pairs) else None


def _only(values: Sequence[str]) -> str | None:
    """Return the one value. SECURITY: of two, one is the client's own; then none is known."""
    return values[0] if len(values) == 1 else None


def _read_basic(header: str) -> tuple[str | None, str | None] | None:
    """Return login and password; None if there are no Basic credentials. RFC 7617 §2."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None, None
    return (_decode(login), _decode(password)) if colon else (None, None)


def _decode(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
