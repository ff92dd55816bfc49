"""`MailLogins`: three answers and no fourth, their time, and what bounds them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from mfakit.errors import (
    BusyError,
    CredentialRefusedError,
    InvalidInputError,
    PasswordChangeRequiredError,
    PasswordCheckFailedError,
    StoreUnavailableError,
)
from mfakit.mail import Answer, LoginAttempt, MailLogins, Outcome, Platform
from mfakit.results import ClientSignedIn
from mfakit.storage.causes import DriverError

T = TypeVar("T")
SIGNED_IN = ClientSignedIn(account_id="ann", via="passcode", passcode_id="p1")


class FakeMFA:
    """Answers or raises what it is told; records what it was asked."""

    def __init__(self, says: Any = SIGNED_IN) -> None:
        self.says = says
        self.asked: list[tuple[str, str, str]] = []

    async def authenticate_client(
        self, account_id: str, credential: str, *, protocol: str, check_password: Any, client: Any
    ) -> Any:
        self.asked.append((account_id, credential, protocol))
        if callable(self.says):
            return await self.says(check_password)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def _resolve(login: str) -> str | None:
    return "ann" if login == "ann@example.com" else None


def _logins(mfa: Any, *, resolve: Any = _resolve, check: Any = None, **limits: Any) -> MailLogins:
    platform = Platform(
        mfa=mfa, resolve_account=resolve, check_password=check or (lambda _login, _text: None)
    )
    return MailLogins(platform, **{"refusal_seconds": 0.05} | limits)


def _attempt(
    login: object = "ann@example.com",
    password: object = "secret-text",
    service: object = "imap",
    remote_ip: object = "192.0.2.7",
) -> LoginAttempt:
    return LoginAttempt.parse(login, password, service=service, remote_ip=remote_ip, interface="x")


def _judge(mfa: Any, attempt: LoginAttempt | None = None, **settings: Any) -> Answer:
    async def judge() -> Answer:
        logins = _logins(mfa, **settings)
        try:
            return await logins.judge(attempt or _attempt())
        finally:
            await logins.aclose()

    return asyncio.run(judge())


class Timeless(asyncio.SelectorEventLoop):
    """A loop whose time passes only while everything waits for it: no machine is too slow."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self._select = self._selector.select
        self._selector.select = self._pass_time

    def time(self) -> float:
        return self.now

    def _pass_time(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0
        return self._select(None if timeout is None else 0)


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine without threads in such time, which `MailLogins` reads as well."""

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=Timeless) as runner:
            clock = SimpleNamespace(monotonic=runner.get_loop().time)
            monkeypatch.setattr("mfakit.mail.logins.time", clock)
            return runner.run(coroutine)

    return run


def test_accepted() -> None:
    mfa = FakeMFA()
    answer = _judge(mfa)
    assert answer == Answer(
        outcome=Outcome.ACCEPTED, account_id="ann", via="passcode", passcode_id="p1"
    )
    assert mfa.asked == [("ann", "secret-text", "imap")]


@pytest.mark.parametrize(
    ("service", "protocol"),
    [
        ("imap", "imap"),
        ("pop3", "pop3"),
        ("smtp", "smtp"),
        ("submission", "smtp"),
        ("sieve", "sieve"),
        ("managesieve", "sieve"),
        ("dav", "dav"),
        ("eas", "eas"),
    ],
)
def test_services_have_one_name(service: str, protocol: str) -> None:
    mfa = FakeMFA()
    assert _judge(mfa, _attempt(service=service)).outcome is Outcome.ACCEPTED
    assert mfa.asked[0][2] == protocol


@pytest.mark.parametrize("service", ["", "IMAP", "lmtp", "doveadm", "ftp", None, 7, ["imap"]])
def test_unknown_services_are_refused(service: object) -> None:
    mfa = FakeMFA()
    assert _judge(mfa, _attempt(service=service)).outcome is Outcome.REFUSED
    assert mfa.asked == []


@pytest.mark.parametrize(
    "login", [None, "", 7, b"ann", "a" * 321, "ann\n", "a\0", "\ud800", "\u200f"]
)
def test_what_names_nobody_is_not_resolved(login: object) -> None:
    def resolve(_: str) -> str:
        raise AssertionError

    assert _judge(FakeMFA(), _attempt(login=login), resolve=resolve).outcome is Outcome.REFUSED


@pytest.mark.parametrize("password", [None, "", 7, b"x", "x" * 5000, "\ud800"])
def test_no_password_is_never_checked(password: object) -> None:
    """Many directories let an empty password in as nobody in particular."""
    mfa = FakeMFA()
    assert _judge(mfa, _attempt(password=password)).outcome is Outcome.REFUSED
    assert mfa.asked == []


def test_unknown_accounts_are_refused() -> None:
    answer = _judge(FakeMFA(), _attempt(login="nobody@example.com"))
    assert (answer.outcome, answer.account_id) == (Outcome.REFUSED, None)


@pytest.mark.parametrize("error", [CredentialRefusedError(), PasswordChangeRequiredError()])
def test_refused(error: Exception) -> None:
    answer = _judge(FakeMFA(error))
    assert (answer.outcome, answer.account_id) == (Outcome.REFUSED, "ann")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BusyError(), "busy"),
        (PasswordCheckFailedError(), "password_check_failed"),
        (InvalidInputError("account_id"), "invalid_input"),
        (OSError("password hunter2"), "platform_failed"),
        (KeyError("ann"), "platform_failed"),
    ],
)
def test_everything_else_is_unavailable(error: Exception, code: str) -> None:
    answer = _judge(FakeMFA(error))
    assert (answer.outcome, answer.code) == (Outcome.UNAVAILABLE, code)
    assert answer.where is not None
    assert answer.where.startswith(type(error).__name__)
    assert "hunter2" not in answer.where


def test_a_store_that_fails_is_named_by_its_database() -> None:
    """The server's code is what an operator looks up; the text may quote the row."""
    error = StoreUnavailableError()
    error.__cause__ = DriverError(ValueError("Failing row contains (ann)"), "23514")
    answer = _judge(FakeMFA(error))
    assert answer.where is not None
    assert answer.where.startswith("builtins.ValueError (23514) at /")
    assert "row" not in answer.where.partition(" at ")[0]


@pytest.mark.parametrize(
    "says", [True, None, "ann", 1, ClientSignedIn(account_id="bob", via="password"), object()]
)
def test_only_a_sign_in_of_this_account_is_a_yes(says: object) -> None:
    class Says(FakeMFA):
        async def authenticate_client(self, *_: Any, **__: Any) -> Any:
            return says

    assert _judge(Says()).outcome is Outcome.UNAVAILABLE


@pytest.mark.parametrize("found", [True, 1, b"ann", ["ann"]])
def test_resolve_account_must_return_text(found: Any) -> None:
    assert _judge(FakeMFA(), resolve=lambda _: found).outcome is Outcome.UNAVAILABLE


@pytest.mark.parametrize("is_plain", [True, False])
def test_check_password_gets_login_and_text(is_plain: bool) -> None:
    """Plain functions run in a thread, so that a slow directory does not stop the loop."""
    heard: list[tuple[str, str]] = []

    def check(login: str, text: str) -> str:
        heard.append((login, text))
        time.sleep(0.02)
        return "ann"

    async def check_later(login: str, text: str) -> str:
        heard.append((login, text))
        return "ann"

    async def authenticate(check_password: Callable[[str], Any]) -> ClientSignedIn:
        assert await check_password("typed") == "ann"
        return ClientSignedIn(account_id="ann", via="password")

    answer = _judge(FakeMFA(authenticate), check=check if is_plain else check_later)
    assert answer.via == "password"
    assert heard == [("ann@example.com", "typed")]


def test_a_lambda_around_a_coroutine_is_awaited() -> None:
    assert _judge(FakeMFA(), resolve=lambda login: _resolve(login)).outcome is Outcome.ACCEPTED


def test_plain_functions_do_not_block_each_other() -> None:
    all_eight = threading.Barrier(8)

    def resolve(_: str) -> str:
        all_eight.wait(30)
        return "ann"

    async def run() -> list[Answer]:
        logins = _logins(FakeMFA(), resolve=resolve, attempt_seconds=60)
        answers = await asyncio.gather(*[logins.judge(_attempt()) for _ in range(8)])
        await logins.aclose()
        return answers

    assert {one.outcome for one in asyncio.run(run())} == {Outcome.ACCEPTED}


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25])
def test_a_refusal_comes_at_a_multiple(seconds: float, timeless: Any) -> None:
    """However long the check took: after 0.2 s, or 0.4 s."""

    async def refuse(_: object) -> None:
        await asyncio.sleep(seconds)
        raise CredentialRefusedError

    async def judge() -> tuple[Answer, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await _logins(FakeMFA(refuse), refusal_seconds=0.2).judge(_attempt())
        return answer, loop.time() - began

    answer, took = timeless(judge())
    assert answer.outcome is Outcome.REFUSED
    assert took == pytest.approx(0.2 if seconds < 0.2 else 0.4)


def test_what_hangs_is_unavailable() -> None:
    async def hang(_: object) -> None:
        await asyncio.sleep(60)

    answer = _judge(FakeMFA(hang), attempt_seconds=0.1)
    assert (answer.outcome, answer.code, answer.account_id) == (
        Outcome.UNAVAILABLE,
        "timeout",
        "ann",
    )


def test_work_is_bounded_and_refusals_do_not_fill_it(timeless: Any) -> None:
    """Two at work: a third is unavailable. Any number of refusals may wait for their time."""

    async def run() -> None:
        gate = asyncio.Event()

        async def wait(_: object) -> ClientSignedIn:
            await gate.wait()
            return SIGNED_IN

        mfa = FakeMFA(wait)
        logins = _logins(mfa, working_max=2, held_max=3, refusal_seconds=0.3)
        busy = [asyncio.create_task(logins.judge(_attempt())) for _ in range(2)]
        await asyncio.sleep(0)
        third = await logins.judge(_attempt())
        assert (third.outcome, third.code) == (Outcome.UNAVAILABLE, "queue_full")
        gate.set()
        assert [one.outcome for one in await asyncio.gather(*busy)] == [Outcome.ACCEPTED] * 2
        mfa.says = CredentialRefusedError()
        refused = [asyncio.create_task(logins.judge(_attempt())) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert (logins.working, logins.held) == (0, 3)
        began = asyncio.get_running_loop().time()
        beyond = await logins.judge(_attempt())
        assert asyncio.get_running_loop().time() == began
        assert beyond.outcome is Outcome.UNAVAILABLE
        mfa.says = SIGNED_IN
        assert (await logins.judge(_attempt())).outcome is Outcome.ACCEPTED
        assert [one.outcome for one in await asyncio.gather(*refused)] == [Outcome.REFUSED] * 3
        assert logins.held == 0

    timeless(run())


def test_closing_waits_for_what_is_at_work() -> None:
    async def run() -> None:
        order: list[str] = []
        started = asyncio.Event()

        async def slow(_: object) -> ClientSignedIn:
            started.set()
            await asyncio.sleep(0.1)
            order.append("answered")
            return SIGNED_IN

        async def close() -> None:
            order.append("closed")

        platform = Platform(
            mfa=FakeMFA(slow), resolve_account=_resolve, check_password=print, aclose=close
        )
        logins = MailLogins(platform)
        task = asyncio.create_task(logins.judge(_attempt()))
        await started.wait()
        await logins.aclose()
        assert order == ["answered", "closed"]
        assert (await task).outcome is Outcome.ACCEPTED

    asyncio.run(run())


@pytest.mark.parametrize("address", [None, "", "somewhere", 7, "192.0.2.300"])
def test_an_address_that_is_none(address: object) -> None:
    assert _attempt(remote_ip=address).client.remote_ip is None


def test_an_attempt_shows_neither_login_nor_password() -> None:
    text = repr(_attempt())
    assert "secret-text" not in text
    assert "ann" not in text
