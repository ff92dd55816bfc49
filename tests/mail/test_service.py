"""The service in one process: HTTP, reload, sockets, settings, logs, metrics, the command."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from mail.site import KEY
from mail.test_logins import FakeMFA
from mfakit import AuditEvent, ClientInfo, EventKind
from mfakit.cli.commands import commands
from mfakit.errors import ConfigurationError, CredentialRefusedError, StoreUnavailableError
from mfakit.mail import (
    Answer,
    DoveadmCommand,
    DoveadmHTTP,
    EndSessions,
    LoginAttempt,
    MailService,
    Outcome,
    Platform,
    log_event,
)
from mfakit.mail.doveadm import ENDING_KINDS, DoveadmError
from mfakit.mail.journal import JsonFormatter
from mfakit.mail.service import check_service, load_platform, run_service
from mfakit.mail.settings import parse_address, read_key, read_settings
from servers.child import free_port

HOST = "127.0.0.1"
FORM = {"user": "ann@example.com", "password": "hunter2", "service": "imap", "remote_ip": HOST}
BEARER = {"Authorization": f"Bearer {KEY}"}


class Box:
    """A configuration in a directory, and the platform that it names."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "auth.toml"
        self.key = base / "http.key"
        self.key.write_text(KEY + "\n")
        self.key.chmod(0o640)
        self.port = free_port()
        self.mfa = FakeMFA()
        self.closed: list[str] = []
        self.made = 0
        self.write()

    def write(self, **changes: str) -> None:
        parts = {
            "top": 'platform = "box:make"\nrefusal_seconds = 0.1\nshutdown_seconds = 1.0',
            "http": f'listen = ["{HOST}:{self.port}", "unix:{self.base}/h"]\nkey_file = "{self.key}"',
            "sasl": f'listen = ["unix:{self.base}/s"]\nmode = "0600"',
        } | changes
        self.path.write_text(f"{parts['top']}\n[http]\n{parts['http']}\n[sasl]\n{parts['sasl']}\n")

    async def make(self) -> Platform:
        name = f"platform {self.made}"
        self.made += 1

        async def resolve(login: str) -> str | None:
            return "ann" if login == "ann@example.com" else None

        async def close() -> None:
            self.closed.append(name)

        return Platform(
            mfa=self.mfa, resolve_account=resolve, check_password=lambda _a, _b: None, aclose=close
        )


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)
    module = ModuleType("box")
    module.make = made.make  # type: ignore[attr-defined]
    module.nothing = dict  # type: ignore[attr-defined]
    module.text = "x"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "box", module)
    return made


def _run(box: Box, test: Any) -> Any:
    async def run() -> Any:
        service = MailService(box.path)
        await service.start()
        try:
            async with aiohttp.ClientSession(f"http://{HOST}:{box.port}") as session:
                return await test(service, session)
        finally:
            await service.stop()

    return asyncio.run(run())


# ------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize(
    ("says", "status"),
    [(FakeMFA().says, 200), (CredentialRefusedError(), 401), (StoreUnavailableError(), 503)],
)
def test_three_answers_over_http(box: Box, says: Any, status: int) -> None:
    box.mfa.says = says

    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        async with session.post("/dovecot", data=FORM, headers=BEARER) as response:
            assert response.status == status
            assert await response.read() == b""

    _run(box, test)
    assert box.mfa.asked == [("ann", "hunter2", "imap")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer " + KEY[:-1]},
        {"Authorization": "Basic " + KEY},
        {"X-Mfakit-Key": ""},
        {"X-Mfakit-Key": "ключ"},
        {"Authorization": f"Bearer {KEY}", "X-Mfakit-Key": "wrong"},
    ],
)
@pytest.mark.parametrize("path", ["/dovecot", "/auth/dav", "/metrics", "/health", "/elsewhere"])
def test_without_the_key_nothing_is_asked(box: Box, headers: dict[str, str], path: str) -> None:
    """Not 401: a client must not hear that its password is wrong."""

    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        method = "POST" if path == "/dovecot" else "GET"
        async with session.request(method, path, data=FORM, headers=headers) as response:
            assert response.status == 403

    _run(box, test)
    assert box.mfa.asked == []


def test_a_unix_socket_may_do_without_a_key(box: Box) -> None:
    box.write(http=f'listen = ["unix:{box.base}/h"]\nmode = "0600"')

    async def test(_: MailService, __: aiohttp.ClientSession) -> None:
        path = f"{box.base}/h"
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
            session.post("http://x/dovecot", data=FORM) as response,
        ):
            assert response.status == 200

    _run(box, test)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user=ann",
        b"\xff",
        b"user=a&password=b&service=c",
        b"&".join([b"a=b"] * 20),
        b"{}",
        b"user=ann%40example.com&password=hunter2&service=imap&remote_ip=8.8.8.8&remote_ip=10.0.0.1",
    ],
)
def test_a_form_that_is_none(box: Box, body: bytes) -> None:
    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        async with session.post("/dovecot", data=body, headers=BEARER) as response:
            assert response.status == 400

    _run(box, test)
    assert box.mfa.asked == []


def test_every_byte_of_a_password_arrives(box: Box) -> None:
    """Percent signs, plus, ampersand, UTF-8; what is no UTF-8 is refused and asked of nobody."""
    password = "p%&+=; \tä🔑"
    base = b"user=ann%40example.com&service=imap&remote_ip=127.0.0.1&password="

    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        for body, status in (
            (base + b"".join(b"%%%02X" % byte for byte in password.encode()), 200),
            (base + b"%FF", 401),
        ):
            async with session.post("/dovecot", data=body, headers=BEARER) as response:
                assert response.status == status

    _run(box, test)
    assert [asked[1] for asked in box.mfa.asked] == [password]


def test_expect_is_answered_before_the_body(box: Box) -> None:
    """Dovecot waits two seconds for it otherwise."""

    async def test(_: MailService, __: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_connection(HOST, box.port)
        body = "&".join(f"{name}={value}" for name, value in FORM.items()).replace("@", "%40")
        head = f"POST /dovecot HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(0.5):
            assert (await reader.readline()).split()[1] == b"100"
            await reader.readline()
        writer.write(body.encode())
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()

    _run(box, test)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Basic YW5uQGV4YW1wbGUuY29tOmh1bnRlcjI=", 200),
        ("basic YW5uQGV4YW1wbGUuY29tOmh1bnRlcjI=", 200),
        ("Basic YW5uQGV4YW1wbGUuY29t", 401),  # no colon
        ("Basic !", 401),
        ("Basic", 401),
        ("Bearer x", 401),
        (None, 401),
    ],
)
def test_basic_credentials(box: Box, header: str | None, status: int) -> None:
    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        headers = {"X-Mfakit-Key": KEY, "X-Real-IP": "192.0.2.7"}
        if header is not None:
            headers["Authorization"] = header
        async with session.get("/auth/eas", headers=headers) as response:
            assert response.status == status
            assert ("WWW-Authenticate" in response.headers) == (status == 401)
            if status == 200:
                assert response.headers["X-Mfakit-Account"] == "ann"
        async with session.get("/auth/imap", headers=headers) as response:
            assert response.status == 404

    _run(box, test)
    assert {asked[2] for asked in box.mfa.asked} <= {"eas"}


@pytest.mark.parametrize(
    ("shown", "known"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["10.0.0.1", "192.0.2.7"], None),
        (["192.0.2.7", "10.0.0.1"], None),
        (["10.0.0.1, 192.0.2.7"], None),
        ([], None),
    ],
)
def test_an_address_that_a_client_adds_is_not_believed(
    box: Box, monkeypatch: pytest.MonkeyPatch, shown: list[str], known: str | None
) -> None:
    """Where a proxy adds its header beside the client's own, no address is known."""
    seen: list[str | None] = []

    async def authenticate_client(*_: object, client: ClientInfo, **__: object) -> object:
        seen.append(client.remote_ip)
        return box.mfa.says

    monkeypatch.setattr(box.mfa, "authenticate_client", authenticate_client)

    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        headers = [("X-Mfakit-Key", KEY), ("Authorization", "Basic YW5uQGV4YW1wbGUuY29tOng=")]
        headers += [("X-Real-IP", one) for one in shown]
        async with session.get("/auth/dav", headers=headers) as response:
            assert response.status == 200

    _run(box, test)
    assert seen == [known]


def test_metrics(box: Box) -> None:
    """Counted by interface, protocol, outcome; nothing that a client sent."""

    async def test(_: MailService, session: aiohttp.ClientSession) -> str:
        for password, service in (("hunter2", "imap"), ("", "imap"), ("x", "secret-service")):
            form = FORM | {"password": password, "service": service}
            async with session.post("/dovecot", data=form, headers=BEARER):
                pass
        async with session.get("/metrics", headers=BEARER) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            return await response.text()

    text = _run(box, test)
    name = "mfakit_mail_attempts_total"
    assert f'{name}{{code="",interface="dovecot",outcome="accepted",protocol="imap"}} 1.0' in text
    assert (
        f'{name}{{code="unknown",interface="dovecot",outcome="refused",protocol="imap"}} 1' in text
    )
    assert 'outcome="refused",protocol="unknown"} 1.0' in text
    assert "mfakit_mail_working 0.0" in text
    assert "ann@" not in text
    assert "secret-service" not in text


# --------------------------------------------------------------------------------- sockets, reload


def test_sockets_have_their_permissions_and_go(box: Box) -> None:
    async def test(_: MailService, __: aiohttp.ClientSession) -> None:
        assert stat.S_IMODE((box.base / "s").stat().st_mode) == 0o600
        assert stat.S_IMODE((box.base / "h").stat().st_mode) == 0o660
        assert sorted(one.name for one in box.base.iterdir()) == ["auth.toml", "h", "http.key", "s"]

    (box.base / "s").touch()  # what an earlier run left
    _run(box, test)
    assert not (box.base / "s").exists()
    assert box.closed == ["platform 0"]


def test_a_stop_leaves_the_socket_of_a_successor(box: Box) -> None:
    async def test(_: MailService, __: aiohttp.ClientSession) -> None:
        (box.base / "s").unlink()
        (box.base / "s").touch()

    _run(box, test)
    assert (box.base / "s").exists()


def test_reload_takes_key_and_platform(box: Box) -> None:
    """The new ones are used at once; the old platform is closed after its last attempt."""
    other = "f" * 40

    async def test(service: MailService, session: aiohttp.ClientSession) -> None:
        box.key.write_text(other)
        assert await service.reload()
        for key, status in ((KEY, 403), (other, 200)):
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post("/dovecot", data=FORM, headers=headers) as response:
                assert response.status == status
        async with asyncio.timeout(30):
            while not box.closed:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert box.closed == ["platform 0"]

    _run(box, test)
    assert box.closed == ["platform 0", "platform 1"]


def test_a_reload_that_fails_changes_nothing(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: MailService, session: aiohttp.ClientSession) -> None:
        for broken in ("nonsense =", 'platform = "box:nothing"', 'platform = "box:gone"'):
            box.write(top=broken)
            assert not await service.reload()
        box.path.unlink()
        assert not await service.reload()
        async with session.post("/dovecot", data=FORM, headers=BEARER) as response:
            assert response.status == 200

    _run(box, test)
    assert caplog.text.count("reload_failed") == 4


def test_a_reload_does_not_open_a_port_to_everybody(box: Box) -> None:
    """The TCP port stays, so its key must stay, whatever the file says now."""

    async def test(service: MailService, session: aiohttp.ClientSession) -> None:
        box.write(http=f'listen = ["unix:{box.base}/h"]')
        assert not await service.reload()
        async with session.post("/dovecot", data=FORM) as response:
            assert response.status == 403

    _run(box, test)


@pytest.mark.usefixtures("background")
def test_signals(box: Box) -> None:
    """SIGHUP reloads, SIGTERM stops; systemd is told. Ctrl-C is not for a service in the background."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(box.base / "notify"))
    told.settimeout(30)

    def play() -> None:
        assert told.recv(500) == b"READY=1"
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        assert told.recv(500).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert told.recv(500) == b"READY=1"
        os.kill(os.getpid(), signal.SIGTERM)

    player = threading.Thread(target=play)
    player.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_SOCKET", str(box.base / "notify"))
        asyncio.run(run_service(box.path))
    player.join(30)
    assert not player.is_alive()
    assert told.recv(500) == b"STOPPING=1"
    told.close()
    assert box.closed == ["platform 0", "platform 1"]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_a_service_at_a_terminal(box: Box) -> None:
    async def play() -> None:
        serving = asyncio.create_task(run_service(box.path))
        while not (box.base / "s").exists():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(serving, 30)

    asyncio.run(play())
    assert box.closed == ["platform 0"]


def test_check_listens_on_nothing(box: Box) -> None:
    asyncio.run(check_service(box.path))
    assert not (box.base / "s").exists()
    assert box.closed == ["platform 0"]


def test_an_address_that_is_taken(box: Box) -> None:
    async def run() -> None:
        service = MailService(box.path)
        try:
            with pytest.raises(ConfigurationError, match="cannot be listened on"):
                await service.start()
        finally:
            await service.stop()

    with socket.create_server((HOST, box.port)):
        asyncio.run(run())


def test_judging_before_the_start(box: Box) -> None:
    attempt = LoginAttempt.parse("a", "b", service="imap", remote_ip=None, interface="x")
    with pytest.raises(ConfigurationError):
        asyncio.run(MailService(box.path).judge(attempt))


def test_a_platform_that_does_not_close(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("password hunter2")

    async def make() -> Platform:
        made = await Box.make(box)
        return Platform(
            mfa=made.mfa,
            resolve_account=made.resolve_account,
            check_password=made.check_password,
            aclose=fail,
        )

    async def run() -> None:
        service = MailService(box.path, make)
        await service.prepare()
        await service.stop()

    asyncio.run(run())
    assert "close_failed" in caplog.text
    assert "hunter2" not in caplog.text


# ---------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("part", "text", "says"),
    [
        ("top", "", "platform"),
        ("top", 'platform = "no colon"', "platform"),
        ("top", 'platform = "a:b"\nrefusal_second = 1', "refusal_second"),
        ("top", 'platform = "a:b"\nrefusal_seconds = 0', "refusal_seconds"),
        ("top", 'platform = "a:b"\nworking_max = 0', "working_max"),
        ("http", 'listen = ["0.0.0.0:9143"]\nkey_file = "/x"', "0.0.0.0:9143"),
        ("http", 'listen = ["example.com:9143"]', "example.com"),
        ("http", 'listen = ["127.0.0.1:99999"]', "99999"),
        ("http", 'listen = ["unix:relative"]', "relative"),
        ("http", 'listen = ["127.0.0.1:9143"]', "key_file"),
        ("http", 'listen = ["127.0.0.1:9143"]\nkey_file = "/nowhere/key"', "/nowhere/key"),
        ("sasl", 'mode = "rw"', "mode"),
        ("sasl", 'key_file = "/x"', "key_file"),
    ],
)
def test_wrong_settings_say_what_is_wrong(box: Box, part: str, text: str, says: str) -> None:
    box.write(**{part: text})
    with pytest.raises(ConfigurationError) as caught:
        read_settings(box.path)
    assert says in str(caught.value)


def test_something_must_be_listened_on(box: Box) -> None:
    box.write(http="", sasl="")
    with pytest.raises(ConfigurationError, match="listen"):
        read_settings(box.path)
    box.path.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_settings(box.path)


@pytest.mark.parametrize("key", ["short", "", "two words " * 5, "ä" * 40])
def test_a_bad_key(box: Box, key: str) -> None:
    box.key.write_text(key)
    with pytest.raises(ConfigurationError, match="32 or more"):
        read_settings(box.path)


def test_a_key_that_everybody_can_read(box: Box) -> None:
    box.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 0640"):
        read_settings(box.path)


def test_addresses() -> None:
    assert parse_address("unix:/run/x") == Path("/run/x")
    assert parse_address("127.0.0.1:80") == (HOST, 80)
    assert parse_address("[::1]:80") == ("::1", 80)


def test_no_key_file_is_no_key(box: Box) -> None:
    box.write(http=f'listen = ["unix:{box.base}/h"]')
    assert read_key(read_settings(box.path)) is None


@pytest.mark.parametrize("name", ["no_such_module:make", "box:gone", "box:make.gone", "box:text"])
def test_a_platform_that_is_not_there(box: Box, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load_platform(name)


def test_shipped_files_are_right(box: Box) -> None:
    """The example of a configuration is one, and the unit is what systemd reads."""
    example = (files("mfakit") / "mail" / "mfakit-auth.toml").read_text()
    box.path.write_text(example.replace("/etc/mfakit/http.key", str(box.key)))
    settings = read_settings(box.path)
    assert settings.refusal_seconds == 0.5
    assert settings == type(settings)(
        platform="mail_platform:make_platform", http=settings.http, sasl=settings.sasl
    )
    for name in ("mfakit.lua", "mfakit-auth.service", "mfakit-auth.toml"):
        shown = CliRunner().invoke(commands, ["serve-auth", "--show", name])
        assert shown.output == (files("mfakit") / "mail" / name).read_text()


# ----------------------------------------------------------------------------------- command, logs


def test_the_command_says_what_is_wrong(box: Box) -> None:
    box.write(http="nonsense")
    shown = CliRunner().invoke(commands, ["serve-auth", "--config", str(box.path)])
    assert shown.exit_code == 1
    assert "nonsense" in shown.output or "line" in shown.output


def test_the_command_names_what_is_missing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfakit.cli.serve_auth.find_spec", lambda name: None)
    shown = CliRunner().invoke(commands, ["serve-auth", "--config", str(box.path)])
    assert shown.exit_code == 2
    assert "mfakit[cli,mail]" in shown.output


def test_the_command_checks(tmp_path: Path) -> None:
    """In a process of its own: it sets logging up."""
    box = Box(tmp_path)
    (tmp_path / "box.py").write_text(
        "from mfakit.mail import Platform\n"
        "def make():\n"
        "    return Platform(mfa=None, resolve_account=print, check_password=print)\n"
    )
    command = [str(Path(sys.executable).parent / "mfakit"), "serve-auth", "--config", str(box.path)]
    done = subprocess.run(
        [*command, "--check"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["event"] == "stopped"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What the service's log says, as an operator's tools read it."""
    found: list[dict[str, Any]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(self.format(record)))

    keeper = Keeper()
    keeper.setFormatter(JsonFormatter())
    logger = logging.getLogger("mfakit.mail")
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(keeper)
    logger.setLevel(logging.NOTSET)


def test_a_log_has_ids_and_no_secrets(box: Box, lines: list[dict[str, Any]]) -> None:
    """Login names are not logged: people type passwords there."""

    async def test(_: MailService, session: aiohttp.ClientSession) -> None:
        for user in ("ann@example.com", "hunter2-typed-as-user"):
            async with session.post("/dovecot", data=FORM | {"user": user}, headers=BEARER):
                pass

    _run(box, test)
    logins = [line for line in lines if line["event"] == "login"]
    assert [line["outcome"] for line in logins] == ["accepted", "refused"]
    assert (logins[0]["account_id"], logins[0]["via"]) == ("ann", "passcode")
    assert logins[0]["remote_ip"] == HOST
    assert "account_id" not in logins[1]
    assert "hunter2" not in json.dumps(lines)
    assert KEY not in json.dumps(lines)


def test_an_audit_event_in_the_log(lines: list[dict[str, Any]]) -> None:
    log_event(_event(EventKind.CLIENT_REFUSED, reason="wrong_protocol", client=ClientInfo()))
    assert lines[0]["event"] == "audit"
    assert (lines[0]["kind"], lines[0]["reason"]) == ("client_refused", "wrong_protocol")


def test_an_exception_in_the_log_is_a_class(lines: list[dict[str, Any]]) -> None:
    try:
        raise OSError("hunter2")
    except OSError:
        logging.getLogger("mfakit.mail").exception("failed")
    assert lines[0]["exception"] == "OSError"
    assert "hunter2" not in json.dumps(lines)


# --------------------------------------------------------------------------------- ending sessions


def _event(kind: EventKind, **details: Any) -> AuditEvent:
    from datetime import UTC, datetime

    at = datetime(2027, 1, 15, tzinfo=UTC)
    return AuditEvent(kind=kind, account_id="ann", realm="mail", at=at, revision=1, **details)


class FakeDoveadm:
    def __init__(self) -> None:
        self.ended: list[str] = []

    def end_sessions(self, user: str) -> None:
        self.ended.append(user)


def test_which_events_end_sessions() -> None:
    """Revoking, turning off and on, password change, reset: the list is written out here."""
    doveadm = FakeDoveadm()
    sink = EndSessions(doveadm, lambda account_id: f"{account_id}@example.com")
    ending = []
    for kind in EventKind:
        doveadm.ended.clear()
        sink(_event(kind))
        if doveadm.ended:
            ending.append(kind.value)
            assert doveadm.ended == ["ann@example.com"]
    assert sorted(ending) == [
        "authenticator_imported",
        "disabled",
        "enrolled",
        "forgotten",
        "passcode_revoked",
        "password_changed",
        "reset",
    ]
    assert len(ENDING_KINDS) == 7
    doveadm.ended.clear()
    asyncio.run(sink.in_thread(_event(EventKind.RESET)))
    asyncio.run(sink.in_thread(_event(EventKind.SIGNED_IN)))
    assert doveadm.ended == ["ann@example.com"]


def test_who_has_no_mailbox_has_no_sessions() -> None:
    doveadm = FakeDoveadm()
    EndSessions(doveadm, lambda _: None)(_event(EventKind.RESET))
    assert doveadm.ended == []


@pytest.mark.parametrize("user", ["", "*", "a?b", "-A", "a\\b", "a\nb"])
def test_a_name_is_not_a_mask(user: str) -> None:
    """One revocation must not throw everybody out."""
    doveadm = FakeDoveadm()
    with pytest.raises(ConfigurationError):
        EndSessions(doveadm, lambda _: user)(_event(EventKind.RESET))
    assert doveadm.ended == []


def _answer_once(body: bytes) -> tuple[str, threading.Thread, list[bytes]]:
    heard: list[bytes] = []
    server = socket.create_server((HOST, 0))

    def serve() -> None:
        peer, _ = server.accept()
        with server, peer:
            peer.settimeout(5)
            while b"]]" not in b"".join(heard):
                heard.append(peer.recv(65_536))
            peer.sendall(body)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://{HOST}:{server.getsockname()[1]}/doveadm/v1", thread, heard


def _http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


FLUSHED = b'["doveadmResponse",[{"entries":"1"}],"flush"]'


@pytest.mark.parametrize(
    ("answer", "is_done"),
    [
        (_http(b"[" + FLUSHED + b',["doveadmResponse",[{"result":"ann"}],"kick"]]'), True),
        (_http(b"[" + FLUSHED + b',["error",{"type":"exitCode","exitCode":68},"kick"]]'), True),
        (_http(b"[" + FLUSHED + b',["error",{"type":"exitCode","exitCode":75},"kick"]]'), False),
        (_http(b"[" + FLUSHED + b"]"), False),
        (_http(b"{}"), False),
        (_http(b"[1, 2]"), False),
        (_http(b"", b"401 Unauthorized"), False),
        (b"220 smtp\r\n", False),
    ],
)
def test_the_http_api(answer: bytes, is_done: bool) -> None:
    url, thread, heard = _answer_once(answer)
    api = DoveadmHTTP(url, "key")
    if is_done:
        api.end_sessions("ann@example.com")
    else:
        with pytest.raises(DoveadmError):
            api.end_sessions("ann@example.com")
    thread.join(5)
    sent = b"".join(heard)
    assert b"Authorization: X-Dovecot-API a2V5\r\n" in sent
    assert json.loads(sent.split(b"\r\n\r\n", 1)[1]) == [
        ["authCacheFlush", {"user": ["ann@example.com"]}, "flush"],
        ["kick", {"mask": ["ann@example.com"]}, "kick"],
    ]


def test_no_http_api_is_there() -> None:
    with pytest.raises(OSError, match="refused"):
        DoveadmHTTP(f"http://{HOST}:{free_port()}", "key").end_sessions("ann")
    with pytest.raises(ConfigurationError):
        DoveadmHTTP("file:///etc/passwd", "key")


@pytest.mark.parametrize(("status", "is_done"), [(0, True), (68, True), (75, False)])
def test_the_command_of_doveadm(tmp_path: Path, status: int, is_done: bool) -> None:
    script = tmp_path / "doveadm"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n[ "$1" = auth ] || exit {status}\n'
    )
    script.chmod(0o755)
    command = DoveadmCommand([str(script)])
    if is_done:
        command.end_sessions("ann")
    else:
        with pytest.raises(DoveadmError):
            command.end_sessions("ann")
    assert (tmp_path / "said").read_text() == "auth cache flush ann\nkick ann\n"


def test_a_doveadm_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfakit.mail.doveadm._TIMEOUT_SECONDS", 0.1)
    with pytest.raises(DoveadmError):
        DoveadmCommand(["sh", "-c", "sleep 5", "--"]).end_sessions("ann")


def test_an_answer_of_its_own_kind() -> None:
    assert Answer(outcome=Outcome.REFUSED).outcome == "refused"
