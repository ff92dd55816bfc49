"""The driver that awaits. It differs from `mfakit.driver.BlockingDriver` in what may interrupt it.

Cancellation may fall anywhere but between a write and its events: a write that was begun is finished
and its events are told before the cancellation goes on. In a load, a hash, the policy or the password
check it takes effect at once; nothing was decided then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, TypeVar

from mfakit import errors
from mfakit.aio.gate import AsyncHashGate
from mfakit.arguments import require_page
from mfakit.core.decision import CheckHash, CheckPassword, NewHashes
from mfakit.driver import (
    Driver,
    Tally,
    judge_password,
    log_sink_failure,
    pause_seconds,
    require_parts,
    require_policy,
    require_row,
    require_won,
    scan_of,
    write_call,
)
from mfakit.events import AuditEvent
from mfakit.hashing import Argon2Hasher, Hasher
from mfakit.keyring import KeyRing
from mfakit.operations import Answer, Effect, GetPolicy, Load, Operation, Verdict, Write
from mfakit.policy import DEFAULT, Policy
from mfakit.results import MaintenancePage
from mfakit.storage import AsyncStore, Page, StoredRecord

__all__ = ["AsyncDriver"]

T = TypeVar("T")

PasswordCheck = Callable[[str], str | Awaitable[str | None] | None]


class AsyncDriver(Driver):
    """Run operations for tasks of an event loop."""

    def __init__(
        self,
        store: AsyncStore,
        keys: KeyRing,
        *,
        policy: Policy | Callable[[str], Policy | Awaitable[Policy]] = DEFAULT,
        events: Callable[[AuditEvent], object] | None = None,
        realm: str = "mail",
        clock: Callable[[], float] = time.time,
        hasher: Hasher | None = None,
        hash_concurrency: int | None = None,
        hash_queue: int = 64,
    ) -> None:
        require_parts(store, keys, policy, events, clock)
        hasher = hasher or Argon2Hasher()
        super().__init__(
            keys, policy=policy, events=events, realm=realm, clock=clock, hasher=hasher
        )
        self._store = store
        self._gate = AsyncHashGate(hasher, concurrency=hash_concurrency, queue=hash_queue)
        self._performers: dict[type[Effect], Callable[[Any], Awaitable[object]]] = {
            Load: self._load,
            Write: self._write,
            GetPolicy: self._get_policy,
            CheckHash: self._gate.check,
            NewHashes: self._new_hashes,
        }

    async def aclose(self) -> None:
        """Wait for hashes that run and let their threads go. The store is not closed."""
        await self._gate.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _run(self, operation: Operation[T], check_password: PasswordCheck | None = None) -> T:
        reply: Any = None
        while True:
            try:
                effect = operation.send(reply)
            except StopIteration as stop:
                answer: Answer[T] = stop.value
                break
            reply = await self._perform(effect, check_password)
        if answer.events:
            await _finish(self._tell(answer.events))
        if isinstance(answer.outcome, errors.MFAKitError):
            raise answer.outcome
        return answer.outcome

    async def _perform(self, effect: Effect, check_password: PasswordCheck | None) -> object:
        if isinstance(effect, CheckPassword):
            return await _ask(check_password, effect)
        return await self._performers[type(effect)](effect)

    async def _load(self, load: Load) -> StoredRecord | None:
        return require_row(await _in_store(lambda: self._store.load(load.account_id)))

    async def _write(self, write: Write) -> bool:
        if await _finish(self._write_and_tell(write)):
            return True
        await self._pause(write.lost)
        return False

    async def _write_and_tell(self, write: Write) -> bool:
        if require_won(await _in_store(write_call(self._store, write))):
            await self._tell(write.events)
            return True
        return False

    async def _pause(self, lost: int) -> None:
        await asyncio.sleep(pause_seconds(lost))

    async def _new_hashes(self, new: NewHashes) -> Verdict:
        return Verdict(value=tuple(await self._gate.hash(new)))

    async def _get_policy(self, wanted: GetPolicy) -> Policy:
        if isinstance(self._policy, Policy):
            return self._policy
        try:
            found = await _settled(self._policy(wanted.account_id))
        except Exception as error:
            raise errors.PolicyUnavailableError from error
        return require_policy(found)

    async def _tell(self, events: tuple[AuditEvent, ...]) -> None:
        if self._events is None:
            return
        for event in events:
            try:
                await _settled(self._events(event))
            except Exception as error:
                log_sink_failure(error)

    async def _scan(self, cursor: str | None, limit: int, prefix: str) -> Page:
        scan = scan_of(self._store)
        require_page(cursor, limit, prefix)
        page: Page = await _in_store(lambda: scan(cursor=cursor, limit=limit, prefix=prefix))
        return page

    async def _maintain(
        self, do: Callable[[str], Awaitable[tuple[bool, tuple[str, ...]]]], page: Page
    ) -> MaintenancePage:
        tally = Tally()
        for row in page.records:
            try:
                tally.count(await do(row.account_id))
            except errors.MFAKitError as error:
                tally.fail(row.account_id, error)
        return tally.result(page)


async def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Await work to its end even if the caller is cancelled; only then raise the cancellation."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    try:
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            if not task.cancelled():
                task.exception()  # who was cancelled does not hear of it: it is retrieved here
            raise cancelled
        return task.result()
    finally:
        del task, cancelled  # an error refers to this frame: no cycle may keep it


async def _settled(found: object) -> object:
    """Return what a callable of the platform gave, awaited if it is awaitable."""
    if not isawaitable(found):
        return found
    try:
        return await found
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not this task was cancelled but something that it waited for: a failure like any other.
        raise RuntimeError("What was awaited was cancelled.") from error


async def _ask(check_password: PasswordCheck | None, question: CheckPassword) -> Verdict:
    if check_password is None:
        return Verdict(value=False)
    try:
        found = await _settled(check_password(question.password.reveal().decode()))
    except Exception as error:
        raise errors.PasswordCheckFailedError from error
    return judge_password(found, question)


async def _in_store(call: Callable[[], Any]) -> Any:
    try:
        answer = call()
        is_asynchronous = isawaitable(answer)
        answer = await _settled(answer)
    except errors.MFAKitError:
        raise
    except Exception as error:
        raise errors.StoreUnavailableError from error
    if not is_asynchronous:
        raise errors.StoreConfigurationError(
            "AsyncMFA needs an asynchronous store. Put one that blocks into mfakit.aio.InThreads."
        )
    return answer
