"""`AsyncMFA`: what may interrupt a call, what it awaits, and what never happens by halves."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aio_world import run, until
from mfakit import MFA, AuditEvent, KeyRing, MFAKitError, Policy, SignedIn
from mfakit.aio import AsyncMFA, InThreads
from mfakit.errors import (
    BusyError,
    ChallengeError,
    ContentionError,
    CredentialRefusedError,
    PasswordCheckFailedError,
    PolicyUnavailableError,
    StoreConfigurationError,
    StoreUnavailableError,
    ThrottledError,
    WrongCodeError,
)
from mfakit.storage import Page, Store, StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher
from world import PASSWORD, Person, World

Call = Callable[[AsyncMFA], Awaitable[Any]]


class TardyStore:
    """An `AsyncStore` that answers late, and knows which writes it has done."""

    def __init__(self, rows: dict[str, StoredRecord] | None = None) -> None:
        self.store = MemoryStore()
        self.store._rows = dict(rows or {})
        self.won: list[int] = []
        self.ticks = 1

    async def load(self, account_id: str) -> StoredRecord | None:
        return await self._late(lambda: self.store.load(account_id))

    async def create(self, new: StoredRecord) -> bool:
        return await self._late(lambda: self._logged(self.store.create(new), new.revision))

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        won = lambda: self.store.replace(new, expected=expected)  # noqa: E731
        return await self._late(lambda: self._logged(won(), new.revision))

    async def delete(self, account_id: str, *, expected: int) -> bool:
        won = lambda: self.store.delete(account_id, expected=expected)  # noqa: E731
        return await self._late(lambda: self._logged(won(), expected))

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        return await self._late(lambda: self.store.scan(cursor=cursor, limit=limit, prefix=prefix))

    async def _late(self, call: Callable[[], Any]) -> Any:
        for _ in range(self.ticks):
            await asyncio.sleep(0)
        answer = call()
        for _ in range(self.ticks):
            await asyncio.sleep(0)
        return answer

    def _logged(self, won: bool, revision: int) -> bool:
        if won:
            self.won.append(revision)
        return won


class Platform:
    """An `AsyncMFA` whose policy, sink and store all take a while, on a copy of what a `World` left."""

    def __init__(self, world: World, **options: Any) -> None:
        assert isinstance(world.store, MemoryStore)
        self.store = TardyStore(world.store._rows)
        self.told: list[AuditEvent] = []
        self.policy = world.policy
        settings: dict[str, Any] = {
            "policy": self._policy,
            "events": self._sink,
            "clock": world.clock,
            "hasher": CheapHasher(),
        }
        keys = KeyRing({"newest": bytes(range(1, 33)), **world.keys})
        self.mfa = AsyncMFA(self.store, keys, **settings | options)

    async def _policy(self, account_id: str) -> Policy:
        await asyncio.sleep(0)
        return self.policy

    async def _sink(self, event: AuditEvent) -> None:
        await asyncio.sleep(0)
        self.told.append(event)
        await asyncio.sleep(0)

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.told]


async def _check_password(password: str) -> str | None:
    await asyncio.sleep(0)
    return "ann" if password.startswith(PASSWORD) else None


def _world() -> tuple[World, Person]:
    world = World(MemoryStore())
    world.set_policy(password_with_code=True)
    return world, world.enroll()


def _calls(world: World, ann: Person) -> dict[str, Call]:
    """Calls that cross every kind of await: loads, writes, hashes, the policy, the password."""
    made = world.passcode(ann)
    proof = world.proof(ann)
    wrong = world.wrong_code(ann.app)
    code = world.fresh_code(ann.app)
    challenge = world.challenge(ann)

    def client(credential: str, account_id: str = "ann") -> Call:
        return lambda m: m.authenticate_client(
            account_id, credential, protocol="imap", check_password=_check_password
        )

    return {
        "login": lambda m: m.complete_login(challenge, code, trust_device="Firefox"),
        "login_recovery": lambda m: m.complete_login(
            challenge, ann.recovery_codes[0], method="recovery"
        ),
        "wrong": lambda m: m.verify_code("ann", wrong),
        "passcode": client(made.passcode),
        "refused": client("kqzr" * 5),
        "password_and_code": client(PASSWORD + code),
        "password": client(PASSWORD, "bob"),
        "regenerate": lambda m: m.regenerate_recovery_codes("ann", proof=proof),
        "create_passcode": lambda m: m.create_passcode("ann", label="Tablet", proof=proof),
        "disable": lambda m: m.disable("ann", proof=proof),
        "open": lambda m: m.open_account("new"),
        "forget": lambda m: m.forget("ann", actor="op", reason="gone"),
        "reset_group": lambda m: m.reset_group(actor="op", reason="stolen"),
        "rotate_keys": lambda m: m.rotate_keys(),
    }


CALLS = sorted(_calls(*_world()))


def _revisions(platform: Platform) -> list[int]:
    """The revisions of the events, each once, in order."""
    return list(dict.fromkeys(event.revision for event in platform.told))


async def _outcome(call: Call, mfa: AsyncMFA) -> Any:
    try:
        return await call(mfa)
    except MFAKitError as error:
        return error


# ---------------------------------------------------------------------------------- cancellation


async def _cancelled_at(
    platform: Platform, call: Call, tick: int, *, again: bool = False
) -> BaseException | None:
    """Cancel a call after `tick` rounds of the loop (and in each that follows); None: it was done."""
    task = asyncio.create_task(_outcome(call, platform.mfa))
    for _ in range(tick):
        await asyncio.sleep(0)
    if task.done():
        return None
    task.cancel()
    while again and not task.done():
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


async def _check_cancelled(
    world: World, call: Call, whole: Platform, tick: int, again: bool
) -> bool:
    platform = Platform(world)
    error = await _cancelled_at(platform, call, tick, again=again)
    is_prefix = platform.kinds() == whole.kinds()[: len(platform.told)]
    assert is_prefix, (tick, platform.kinds(), whole.kinds())
    assert len(platform.store.won) <= len(whole.store.won)
    if whole.store.won:  # every write has events of its revision
        assert _revisions(platform) == platform.store.won, tick
    if error is not None:
        assert asyncio.all_tasks() == {asyncio.current_task()}, tick
    await platform.mfa.aclose()
    gate = platform.mfa._gate
    assert (gate._places._taken, gate._flights) == (set(), {}), tick
    assert (await platform.mfa.status("ann")).account_id == "ann"
    assert not isinstance(await _outcome(call, platform.mfa), BusyError)
    await platform.mfa.aclose()
    return error is not None


@pytest.mark.parametrize("again", [False, True], ids=["once", "again_and_again"])
@pytest.mark.parametrize("name", CALLS)
def test_cancellation_at_every_await(name: str, again: bool) -> None:
    """Whenever a caller is cancelled: a write is told if and only if it won, and nothing is kept."""
    world, ann = _world()
    call = _calls(world, ann)[name]

    async def main() -> tuple[int, int]:
        whole = Platform(world)
        await _outcome(call, whole.mfa)
        await whole.mfa.aclose()
        if whole.store.won:
            assert _revisions(whole) == whole.store.won
        for tick in range(1000):
            if not await _check_cancelled(world, call, whole, tick, again):
                return tick, len(whole.told)
        raise AssertionError("The call does not end.")

    ticks, events = run(main())
    assert ticks > 6
    assert events


@pytest.mark.parametrize("won", [True, False])
def test_a_write_that_was_begun_is_finished_and_told_before_the_caller_hears_of_it(
    won: bool,
) -> None:
    """The order: write, events, cancellation. A lost write is not tried again."""
    world, ann = _world()
    wrong = world.wrong_code(ann.app)
    order: list[str] = []

    async def main() -> None:
        platform = Platform(world, events=lambda event: order.append(event.kind.value))
        writing, go_on = asyncio.Event(), asyncio.Event()

        async def replace(new: StoredRecord, *, expected: int) -> bool:
            writing.set()
            await go_on.wait()
            order.append("written")
            return won

        platform.store.replace = replace  # type: ignore[method-assign]
        task = asyncio.create_task(platform.mfa.verify_code("ann", wrong))
        await writing.wait()
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        order.append("cancelled")

    run(main())
    assert order == (["written", "code_refused", "cancelled"] if won else ["written", "cancelled"])


def test_a_write_that_fails_after_cancellation_is_a_cancellation() -> None:
    """Its own failure is not reported as "never retrieved"."""
    world, ann = _world()

    async def main() -> None:
        platform = Platform(world)
        writing = asyncio.Event()

        async def replace(new: StoredRecord, *, expected: int) -> bool:
            writing.set()
            await asyncio.sleep(0.01)
            raise OSError("connection reset")

        platform.store.replace = replace  # type: ignore[method-assign]
        task = asyncio.create_task(platform.mfa.verify_code("ann", world.wrong_code(ann.app)))
        await writing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert platform.told == []

    run(main())


def test_timeout_and_task_group() -> None:
    """A timeout is a `TimeoutError` after the write; a group that fails waits for it, too."""
    world, ann = _world()
    wrong = world.wrong_code(ann.app)

    async def main() -> None:
        platform = Platform(world)
        platform.store.ticks = 500
        started = asyncio.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                replace = platform.store.replace

                async def slow(new: StoredRecord, *, expected: int) -> bool:
                    limit.reschedule(asyncio.get_running_loop().time())
                    started.set()
                    return await replace(new, expected=expected)

                platform.store.replace = slow  # type: ignore[method-assign]
                await platform.mfa.verify_code("ann", wrong)
        assert platform.kinds() == ["code_refused"]
        platform.store.replace = replace  # type: ignore[method-assign]

        async def fail() -> None:
            while len(platform.store.won) < 2:  # noqa: ASYNC110 - to the very tick
                await asyncio.sleep(0)
            raise LookupError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(platform.mfa.verify_code("ann", wrong))
        assert caught.group_contains(LookupError)
        assert platform.kinds() == ["code_refused"] * 2

    run(main())


def test_a_cancelled_call_shows_no_secret() -> None:
    """The traceback of a cancellation with locals: no code, wherever it fell."""
    world, ann = _world()
    challenge, code = world.challenge(ann), world.fresh_code(ann.app)

    async def main() -> None:
        for tick in range(1, 1000):
            platform = Platform(world)
            call = lambda m: m.complete_login(challenge, code)  # noqa: E731
            error = await _cancelled_at(platform, call, tick)
            if error is None:
                return
            frames = traceback.StackSummary.extract(
                traceback.walk_tb(error.__traceback__), capture_locals=True
            )
            own = [one for one in frames if "/mfakit/" in one.filename]
            for frame in own:
                for name, shown in (frame.locals or {}).items():
                    assert code not in shown, (tick, frame.name, name)
                    assert challenge not in shown, (tick, frame.name, name)

    run(main())


def test_a_loop_that_shuts_down_in_a_write_leaves_nothing_behind() -> None:
    """All tasks are cancelled at once, the shielded write too: its outcome is unknown, as a crash's."""
    world, ann = _world()
    wrong = world.wrong_code(ann.app)

    async def main() -> None:
        platform = Platform(world)
        writing = asyncio.Event()

        async def replace(new: StoredRecord, *, expected: int) -> bool:
            writing.set()
            await asyncio.Event().wait()
            return True

        platform.store.replace = replace  # type: ignore[method-assign]
        task = asyncio.create_task(platform.mfa.verify_code("ann", wrong))
        await writing.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 2
        for one in others:
            one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert platform.told == []

    run(main())


def test_a_loop_that_shuts_down_in_a_sink_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """No failure of the sink is logged, and it is told nothing more."""
    world, ann = _world()
    telling: list[str] = []

    async def sink(event: AuditEvent) -> None:
        telling.append(event.kind.value)
        await asyncio.Event().wait()

    async def main() -> None:
        platform = Platform(world, events=sink)
        call = platform.mfa.regenerate_recovery_codes("ann", proof=world.proof(ann))
        task = asyncio.create_task(call)
        await until(lambda: telling)
        for one in asyncio.all_tasks() - {asyncio.current_task()}:
            one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await platform.mfa.aclose()
        assert len(platform.store.won) == 1

    run(main())
    assert len(telling) == 1
    assert not [one for one in caplog.records if one.name == "mfakit"]


# ------------------------------------------------------------------------- check_password, policy


@pytest.mark.parametrize(
    "answer", [True, 1, "ANN", "Ann ", "bob", b"ann", None, ["ann"], object(), Exception]
)
@pytest.mark.parametrize("is_awaited", [True, False])
def test_only_the_very_account_id_is_a_yes(answer: object, is_awaited: bool) -> None:
    """Awaited or not: a truthy answer that is not the account's id signs nobody in."""
    world = World(MemoryStore())

    async def later(password: str) -> Any:
        return answer

    check: Any = later if is_awaited else lambda _: answer

    async def main() -> None:
        mfa = Platform(world).mfa
        with pytest.raises(CredentialRefusedError):
            await mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=check)

    run(main())


def test_an_awaitable_is_awaited_once_and_no_deeper() -> None:
    """A coroutine that gives a coroutine is no yes."""
    world = World(MemoryStore())

    async def inner() -> str:
        return "ann"

    async def main() -> None:
        mfa = Platform(world).mfa
        coroutine = inner()

        async def outer(password: str) -> Any:
            return coroutine

        with pytest.raises(CredentialRefusedError):
            await mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=outer)
        coroutine.close()
        for check in (lambda _: inner(), lambda _: asyncio.ensure_future(inner()), lambda _: "ann"):
            done = await mfa.authenticate_client(
                "ann", PASSWORD, protocol="imap", check_password=check
            )
            assert done.via == "password"

    run(main())


def test_no_check_is_no_yes() -> None:
    none: Any = None

    async def main() -> None:
        mfa = Platform(World(MemoryStore())).mfa
        with pytest.raises(CredentialRefusedError):
            await mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=none)

    run(main())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_coroutine_given_to_the_blocking_one_stays_a_refusal() -> None:
    """`MFA` with the check that was written for `AsyncMFA`: refused, never accepted."""
    world = World(MemoryStore())
    check: Any = _check_password
    with pytest.raises(CredentialRefusedError):
        world.mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=check)


class Boom(Exception):
    """What a platform's code raises."""


def _failing() -> dict[str, tuple[Any, type[Exception]]]:
    async def later(_: str) -> Any:
        await asyncio.sleep(0)
        raise Boom

    def now(_: str) -> Any:
        raise Boom

    async def cancelled(_: str) -> Any:
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    return {"now": (now, Boom), "later": (later, Boom), "cancelled": (cancelled, RuntimeError)}


@pytest.mark.parametrize("name", ["now", "later", "cancelled"])
def test_what_the_platform_raises_is_operational(name: str) -> None:
    """A policy or password check that fails, or waits for something that is cancelled.

    The cause is kept; and a caller that nobody cancelled gets no cancellation.
    """
    world = World(MemoryStore())
    fails, cause = _failing()[name]

    async def main() -> None:
        mfa = Platform(world).mfa
        with pytest.raises(PasswordCheckFailedError) as caught:
            await mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=fails)
        assert isinstance(caught.value.__cause__, cause)
        mfa = Platform(world, policy=fails).mfa
        with pytest.raises(PolicyUnavailableError) as caught_policy:
            await mfa.status("ann")
        assert isinstance(caught_policy.value.__cause__, cause)

    run(main())


def test_what_is_no_policy_is_operational() -> None:
    world = World(MemoryStore())

    async def nothing(_: str) -> Any:
        return None

    async def main() -> None:
        for policy in (nothing, lambda _: None, lambda _: Policy):
            with pytest.raises(PolicyUnavailableError):
                await Platform(world, policy=policy).mfa.status("ann")
        for policy in (Policy(), lambda _: Policy()):
            assert (await Platform(world, policy=policy).mfa.status("ann")).state == "not_enrolled"

    run(main())


# -------------------------------------------------------------------------------------------- sink


def _sinks(told: list[str]) -> dict[str, Any]:
    async def raises(event: AuditEvent) -> None:
        told.append(event.kind.value)
        await asyncio.sleep(0)
        raise Boom

    async def cancelled(event: AuditEvent) -> None:
        told.append(event.kind.value)
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    def raises_at_once(event: AuditEvent) -> None:
        told.append(event.kind.value)
        raise Boom

    return {"raises": raises, "raises_at_once": raises_at_once, "is_cancelled": cancelled}


@pytest.mark.parametrize("name", ["raises", "raises_at_once", "is_cancelled"])
def test_a_sink_that_fails_changes_no_outcome(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the next event is told, and the sign-in stands."""
    world, ann = _world()
    told: list[str] = []
    code = ann.recovery_codes[0]

    async def main() -> None:
        platform = Platform(world, events=_sinks(told)[name])
        assert await platform.mfa.verify_code("ann", code, method="recovery")
        await platform.mfa.aclose()

    with caplog.at_level(logging.ERROR, logger="mfakit"):
        run(main())
    assert len(told) >= 1
    records = [one for one in caplog.records if one.name == "mfakit"]
    assert len(records) == len(told)
    assert all(one.exc_info for one in records)
    assert code not in caplog.text


def test_a_sink_that_hangs_holds_its_caller_until_it_ends() -> None:
    """Documented: cancellation waits for the events. The bound belongs into the sink."""
    world, ann = _world()

    async def main() -> None:
        telling, go_on = asyncio.Event(), asyncio.Event()

        async def sink(event: AuditEvent) -> None:
            telling.set()
            await go_on.wait()

        platform = Platform(world, events=sink)
        task = asyncio.create_task(platform.mfa.verify_code("ann", world.wrong_code(ann.app)))
        await telling.wait()
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        async def bounded(event: AuditEvent) -> None:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        platform = Platform(world, events=bounded)
        with pytest.raises(WrongCodeError):
            await platform.mfa.verify_code("ann", world.wrong_code(ann.app))

    run(main())


def test_events_come_in_the_order_of_their_revisions() -> None:
    """Twenty guesses at once on one account: each told once, by rising revision for each writer."""
    world, ann = _world()
    wrong = world.wrong_code(ann.app)

    async def main() -> None:
        platform = Platform(world)
        outcomes = await asyncio.gather(
            *(_outcome(lambda m: m.verify_code("ann", wrong), platform.mfa) for _ in range(4))
        )
        assert [type(one) for one in outcomes] == [WrongCodeError] * 4
        assert sorted(_revisions(platform)) == sorted(platform.store.won)
        assert len(platform.told) == 4

    run(main())


# --------------------------------------------------------------------------------- context, stores


def test_context_variables_reach_what_the_platform_gave() -> None:
    """Policy, password check, sink and store see the caller's context, writes and threads included."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: set[tuple[str, str]] = set()

    class Spy(MemoryStore):
        def load(self, account_id: str) -> StoredRecord | None:
            seen.add(("load", request.get()))
            return super().load(account_id)

        def create(self, new: StoredRecord) -> bool:
            seen.add(("create", request.get()))
            return super().create(new)

    async def policy(account_id: str) -> Policy:
        seen.add(("policy", request.get()))
        return Policy()

    def check(password: str) -> str:
        seen.add(("check", request.get()))
        return "ann"

    def sink(event: AuditEvent) -> None:
        seen.add(("sink", request.get()))

    async def one(name: str) -> None:
        request.set(name)
        await mfa_of[0].authenticate_client("ann", PASSWORD, protocol="imap", check_password=check)
        await mfa_of[0].password_proof(name, password_verified=True)
        assert request.get() == name

    mfa_of: list[AsyncMFA] = []

    async def main() -> None:
        async with InThreads(Spy(), threads=2) as store:
            keys = KeyRing({"k": bytes(range(32))})
            mfa_of.append(AsyncMFA(store, keys, policy=policy, events=sink))
            await asyncio.gather(one("r1"), one("r2"))

    run(main())
    names = ("load", "create", "policy", "check", "sink")
    assert seen == {(name, request_id) for name in names for request_id in ("r1", "r2")}


@pytest.mark.parametrize(
    "error", [OSError("reset"), KeyError("x"), StoreUnavailableError(), asyncio.CancelledError()]
)
def test_a_store_that_fails_is_unavailable_and_a_write_is_not_tried_again(
    error: BaseException,
) -> None:
    world, ann = _world()

    async def main() -> None:
        platform = Platform(world)
        tries = 0

        async def replace(new: StoredRecord, *, expected: int) -> bool:
            nonlocal tries
            tries += 1
            raise error

        platform.store.replace = replace  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailableError):
            await platform.mfa.verify_code("ann", world.fresh_code(ann.app))
        assert (tries, platform.told) == (1, [])

    run(main())


@pytest.mark.parametrize("says", [None, 1, "true"])
def test_a_write_says_true_or_false(says: Any) -> None:
    """What a driver's count of rows means is not guessed; the operator is told."""
    world, ann = _world()

    async def main() -> None:
        platform = Platform(world)

        async def replace(new: StoredRecord, *, expected: int) -> Any:
            return says

        platform.store.replace = replace  # type: ignore[method-assign]
        with pytest.raises(StoreConfigurationError, match="True or False"):
            await platform.mfa.verify_code("ann", world.fresh_code(ann.app))

    run(main())


def test_a_write_that_did_not_win_is_tried_eight_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight lost writes are contention, after pauses that are random and grow."""
    world, ann = _world()
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def paused(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def main() -> None:
        platform = Platform(world)
        platform.store.ticks = 0

        async def replace(new: StoredRecord, *, expected: int) -> Any:
            return False

        platform.store.replace = replace  # type: ignore[method-assign]
        platform.mfa._policy = Policy()
        monkeypatch.setattr("mfakit.aio.driver.asyncio.sleep", paused)
        with pytest.raises(ContentionError):
            await platform.mfa.verify_code("ann", world.fresh_code(ann.app))
        monkeypatch.undo()

    run(main())
    assert len(pauses) == 8
    assert all(0 <= pause <= 0.001 * 2**lost for lost, pause in enumerate(pauses))
    assert len(set(pauses)) > 1


def test_a_store_that_blocks_is_a_mistake_that_says_what_to_do() -> None:
    world, _ = _world()

    async def main() -> None:
        store: Any = MemoryStore()
        mfa = AsyncMFA(store, KeyRing(world.keys))
        with pytest.raises(StoreConfigurationError, match="InThreads"):
            await mfa.status("ann")

    run(main())


def test_a_store_without_scan_cannot_be_walked() -> None:
    class Unscannable:
        def __init__(self) -> None:
            self.load, self.create = MemoryStore().load, MemoryStore().create

    async def main() -> None:
        store: Any = Unscannable()
        for one in (store, InThreads(store)):
            mfa = AsyncMFA(one, KeyRing({"k": bytes(range(32))}))
            with pytest.raises(StoreConfigurationError, match="walked"):
                await mfa.accounts()

    run(main())


def test_maintenance_counts_what_failed_and_goes_on() -> None:
    """As `MFA` does: a torn row is one failure, the others are done."""
    world, _ = _world()
    world.enroll("bob")
    store: Any = world.store
    torn = store._rows["bob"]
    store._rows["bob"] = StoredRecord(
        account_id="bob", revision=torn.revision, document=b"{}", summary=torn.summary
    )

    async def main() -> None:
        platform = Platform(world)
        page = await platform.mfa.rotate_keys()
        assert page.failed == (("bob", "record_integrity"),)
        assert (page.done, page.unchanged, page.key_ids, page.cursor) == (1, 0, ("k1",), None)
        reset = await platform.mfa.reset_group(actor="op", reason="stolen", prefix="a")
        assert (reset.done, reset.unchanged, reset.failed) == (1, 0, ())
        assert [one.account_id for one in (await platform.mfa.accounts()).accounts] == [
            "ann",
            "bob",
        ]

    run(main())


def test_records_are_those_of_the_blocking_one(tmp_path: Any) -> None:
    """One store, both classes: what one wrote the other reads, and a code is good for one of them."""
    world, ann = _world()
    store: Store = world.store
    code, first, second = world.fresh_code(ann.app), world.challenge(ann), world.challenge(ann)

    async def main() -> None:
        mfa = AsyncMFA(InThreads(store), KeyRing(world.keys), clock=world.clock)
        done = await mfa.complete_login(first, code)
        assert world.mfa.session_is_current("ann", done.epoch)
        with pytest.raises(WrongCodeError):
            world.mfa.complete_login(second, code)

    run(main())
    assert isinstance(world.mfa, MFA)


# ------------------------------------------------------------------------------------------- races


def _attempt(what: str, world: World, ann: Person) -> Call:
    """A call that only one of many can win."""
    challenges = [world.challenge(ann) for _ in range(8)]
    if what == "code":
        code = world.fresh_code(ann.app)
        return lambda m: m.complete_login(challenges.pop(), code)
    recovery = ann.recovery_codes.pop()
    if what == "challenge":
        return lambda m: m.complete_login(challenges[0], recovery, method="recovery")
    return lambda m: m.complete_login(challenges.pop(), recovery, method="recovery")


@pytest.mark.parametrize("what", ["code", "recovery_code", "challenge"])
@pytest.mark.parametrize("loops", [1, 2])
def test_of_many_at_once_one_wins(what: str, loops: int, tmp_path: Path) -> None:
    """Eight tasks in one loop, or four in each of two loops in threads, on SQLite: exactly one."""
    world = World(SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL"))
    world.set_policy(throttle_free_failures=10)
    ann = world.enroll()
    hasher = CheapHasher()
    options: dict[str, Any] = {"policy": world.policy, "clock": world.clock, "hasher": hasher}
    store = InThreads(world.store, threads=4)
    mfa = AsyncMFA(store, KeyRing(world.keys), events=world.events.append, **options)

    async def some(call: Call, number: int) -> list[Any]:
        return await asyncio.gather(*(_outcome(call, mfa) for _ in range(number)))

    for _ in range(8):
        world.pass_time(hours=2)
        call = _attempt(what, world, ann)
        with ThreadPoolExecutor(loops) as threads:
            running = [threads.submit(asyncio.run, some(call, 8 // loops)) for _ in range(loops)]
            outcomes = [one for each in running for one in each.result()]
        won = [one for one in outcomes if isinstance(one, SignedIn)]
        lost = {type(one) for one in outcomes if not isinstance(one, SignedIn)}
        assert len(won) == 1, outcomes
        assert lost <= {WrongCodeError, ChallengeError, ContentionError, BusyError, ThrottledError}
    told = [event.kind.value for event in world.events]
    assert told.count("signed_in") == 8

    async def close() -> None:
        await mfa.aclose()
        await store.aclose()

    run(close())
