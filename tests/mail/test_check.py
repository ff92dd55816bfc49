"""What `serve-auth --check` and a start find out about the accounts, before the first login."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.pool import StaticPool

from mail.test_hashes import HASHES
from mail.test_logins import FakeMFA
from mail.test_service import Box
from mfakit.errors import ConfigurationError, CredentialRefusedError
from mfakit.mail import (
    LoginAttempt,
    MailLogins,
    MailService,
    Outcome,
    PasswdFile,
    Platform,
    SQLQuery,
)
from mfakit.mail.passwords import PasswordSource
from mfakit.mail.service import check_service
from servers import postgres

QUERY = "SELECT id, hash FROM users WHERE login = :login"
FIELDS = "::::::"
USERS = f"""ann:{HASHES[2]}
bob:{HASHES[2]}{FIELDS}allow_nets=192.0.2.0/24
cid:$y$j9T$sesame$sesame
"""
PROBLEMS = [
    "users line 2: the field allow_nets: every login of the account is refused.",
    "users line 3: A password hash of the scheme yescrypt cannot be verified. Store one of a scheme that docs/auth-service.md lists.",
]


class Fails(PasswordSource):
    """Accounts that are out of reach."""

    def __init__(self, says: Callable[[], list[str]]) -> None:
        self.find_problems = says  # type: ignore[method-assign]

    def resolve_account(self, login: str) -> str | None:
        raise OSError

    def check_password(self, login: str, password: str) -> str | None:
        raise OSError

    def find_problems(self) -> list[str]:
        raise AssertionError


def _raise(error: Exception) -> Callable[[], list[str]]:
    def says() -> list[str]:
        raise error

    return says


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)
    monkeypatch.setitem(sys.modules, "box", ModuleType("box"))
    return made


def _use(box: Box, source: Any) -> None:
    async def close() -> None:
        box.closed.append("closed")

    sys.modules["box"].make = lambda: Platform(  # type: ignore[attr-defined]
        mfa=FakeMFA(),
        resolve_account=source.resolve_account,
        check_password=source.check_password,
        aclose=close,
    )


def _users(tmp_path: Path, text: str = USERS) -> Path:
    (tmp_path / "users").write_text(text)
    return tmp_path / "users"


_engines: list[sqlalchemy.Engine] = []


@pytest.fixture(autouse=True)
def _dispose() -> Iterator[None]:
    yield
    while _engines:
        _engines.pop().dispose()


def _database(account_id: object = "ann") -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    _engines.append(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE users (login, id, hash)")
        row = ("ann", account_id, HASHES[2])
        connection.exec_driver_sql("INSERT INTO users VALUES (?, ?, ?)", row)
    return engine


def test_the_command_lists_restricted_accounts_and_hashes(tmp_path: Path) -> None:
    """With their line and why; it names an account on request, and has no part of a hash."""
    box, path = Box(tmp_path), _users(tmp_path)
    (tmp_path / "box.py").write_text(
        "from mfakit.mail import PasswdFile, Platform\n"
        "def make():\n"
        f"    users = PasswdFile({str(path)!r})\n"
        "    return Platform(mfa=None, resolve_account=users.resolve_account,\n"
        "                    check_password=users.check_password)\n"
    )
    command = [Path(sys.executable).parent / "mfakit", "serve-auth", "--config", box.path]
    done = subprocess.run(
        [*command, "--check", "--login", "ANN"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *[f"{tmp_path}/{problem}" for problem in PROBLEMS],
        "Accounts with problems: 2.",
        "ANN: account ann",
    ]
    assert "sesame" not in done.stdout + done.stderr
    done = subprocess.run([*command, "--login", "ann"], check=False, cwd=tmp_path)
    assert done.returncode == 2


def test_a_start_counts_the_problems_and_serves_the_rest(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    _use(box, PasswdFile(_users(box.base)))

    async def run() -> bool:
        service = MailService(box.path)
        await service.start()
        try:
            return await service.reload()
        finally:
            await service.stop()

    with caplog.at_level(logging.WARNING, "mfakit.mail"):
        assert asyncio.run(run())
    said = [(one.getMessage(), one.__dict__["fields"]) for one in caplog.records]
    assert said == [("accounts_with_problems", {"count": 2})] * 2


def test_a_login_that_names_nobody(box: Box) -> None:
    _use(box, PasswdFile(_users(box.base, f"ann:{HASHES[2]}\n")))
    assert asyncio.run(check_service(box.path)) == []
    assert asyncio.run(check_service(box.path, "eve")) == ["eve: no account"]
    assert box.closed == ["closed"] * 2


@pytest.mark.parametrize("how", ["check", "start"])
def test_accounts_that_cannot_be_right_start_nothing(box: Box, how: str) -> None:
    """And what the factory has made is closed again."""
    _use(box, SQLQuery(_database(), "SELECT hash FROM users WHERE login = :login"))

    async def start() -> None:
        service = MailService(box.path)
        try:
            await service.start()
        finally:
            await service.stop()

    with pytest.raises(ConfigurationError, match="two columns"):
        asyncio.run(check_service(box.path) if how == "check" else start())
    assert box.closed == ["closed"]
    assert not (box.base / "s").exists()


def test_a_reload_to_accounts_that_cannot_be_right_keeps_the_old_ones(box: Box) -> None:
    _use(box, SQLQuery(_database(), QUERY))

    async def run() -> tuple[bool, str | None]:
        service = MailService(box.path)
        await service.prepare()
        _use(box, SQLQuery(_database(), "SELECT hash FROM users WHERE login = :login"))
        try:
            assert service._logins is not None
            return await service.reload(), await service._logins.resolve("ann")
        finally:
            await service.stop()

    assert asyncio.run(run()) == (False, "ann")


@pytest.mark.parametrize(
    "says", [_raise(OSError()), lambda: time.sleep(1) or []], ids=["down", "slow"]
)
def test_accounts_out_of_reach_do_not_keep_the_service_down(
    box: Box, says: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """A start says so and goes on: logins fail for the moment. A check that was asked for fails."""
    box.write(top='platform = "box:make"\nattempt_seconds = 0.2')
    _use(box, Fails(says))

    async def run() -> None:
        service = MailService(box.path)
        await service.start()
        await service.stop()

    asyncio.run(run())
    assert "check_failed" in [one.getMessage() for one in caplog.records]
    with pytest.raises(ConfigurationError, match="cannot be checked now: "):
        asyncio.run(check_service(box.path))


def test_a_login_that_cannot_be_named_now(box: Box) -> None:
    _use(box, Fails(list))
    with pytest.raises(ConfigurationError, match="cannot be checked now: OSError"):
        asyncio.run(check_service(box.path, "ann"))


def test_an_id_of_bytes_is_found_by_naming_a_login(box: Box) -> None:
    """Where the driver does not tell types before there is a row."""
    _use(box, SQLQuery(_database(b"ann"), QUERY))
    with pytest.raises(ConfigurationError, match="first column"):
        asyncio.run(check_service(box.path, "ann"))


@pytest.mark.server
@pytest.mark.parametrize(
    ("columns", "wrong"),
    [
        ("'ann'::bytea, hash", "first column"),
        ("gen_random_uuid(), hash", "first column"),
        ("7::numeric, hash", "first column"),
        ("7::float8, hash", "first column"),
        ("true, hash", "first column"),
        ("id, hash::bytea", "second column"),
        ("id, hash, id", "two columns"),
        ("nothing, hash", "refuses the query"),
        ("id, hash", None),
        ("7, hash", None),
        ("7::bigint, hash", None),
        ("id::varchar, hash", None),
    ],
)
def test_postgres_tells_types_before_the_first_login(columns: str, wrong: str | None) -> None:
    server = postgres.running()
    engine = sqlalchemy.create_engine(server.url(driver="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS users (login text, id text, hash text)"
        )
    users = SQLQuery(engine, f"SELECT {columns} FROM users WHERE login = :login")
    try:
        if wrong is None:
            assert users.find_problems() == []
            return
        with pytest.raises(ConfigurationError, match=wrong):
            users.find_problems()
    finally:
        engine.dispose()


class Asks(FakeMFA):
    """Two-step is off: the platform is asked about the password."""

    async def authenticate_client(self, account_id: str, credential: str, **options: Any) -> Any:
        if await options["check_password"](credential) is None:
            raise CredentialRefusedError
        return await super().authenticate_client(account_id, credential, **options)


def _judge(source: Any, login: str, password: str, refusal_seconds: float) -> tuple[Any, float]:
    async def run() -> tuple[Any, float]:
        platform = Platform(
            mfa=Asks(), resolve_account=source.resolve_account, check_password=source.check_password
        )
        logins = MailLogins(platform, refusal_seconds=refusal_seconds)
        attempt = LoginAttempt.parse(
            login, password, service="imap", remote_ip="192.0.2.7", interface="test"
        )
        began = time.monotonic()
        answer = await logins.judge(attempt)
        took = time.monotonic() - began
        await logins.aclose()
        return answer, took

    return asyncio.run(run())


@pytest.mark.parametrize("account_id", [b"ann", None, True])
def test_an_id_that_is_none_is_a_temporary_failure_at_its_time(account_id: object) -> None:
    """Not a success, and not a wrong password; given when refusals are given."""
    source = SQLQuery(_database(), QUERY)
    source._find = lambda _: (account_id, HASHES[2])  # type: ignore[method-assign, assignment, return-value]
    answer, took = _judge(source, "ann", "pw", 0.4)
    assert (answer.outcome, answer.code) == (Outcome.UNAVAILABLE, "configuration")
    assert answer.account_id is None
    assert 0.4 <= took < 0.6


def test_a_restricted_account_is_refused_at_its_time(tmp_path: Path) -> None:
    answer, took = _judge(PasswdFile(_users(tmp_path)), "bob", "pw", 0.4)
    assert answer.outcome is Outcome.REFUSED
    assert 0.4 <= took < 0.6


def test_a_hash_that_cannot_be_verified_is_a_temporary_failure_at_its_time(tmp_path: Path) -> None:
    answer, took = _judge(PasswdFile(_users(tmp_path)), "cid", "pw", 0.4)
    assert (answer.outcome, answer.code) == (Outcome.UNAVAILABLE, "configuration")
    assert 0.4 <= took < 0.6


@pytest.mark.parametrize("characters", [1025, 4096, 4097, 100_000])
def test_a_long_password_is_refused_at_its_time(tmp_path: Path, characters: int) -> None:
    """Whether the front end or the check of the password finds it too long."""
    path = tmp_path / "users"
    path.write_text(f"ann:{HASHES[2]}\n")
    source = PasswdFile(path)
    taken: list[str | None] = []
    check = source.check_password

    def check_password(login: str, password: str) -> str | None:
        taken.append(check(login, password))
        return taken[-1]

    source.check_password = check_password  # type: ignore[method-assign]
    answer, took = _judge(source, "ann", "x" * characters, 0.4)
    assert taken == ([None] if characters <= 4096 else [])
    assert answer.outcome is Outcome.REFUSED
    assert 0.4 <= took < 0.6
