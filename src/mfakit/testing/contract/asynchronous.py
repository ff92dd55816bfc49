"""The contract of an `AsyncStore`: the same checks through an event loop, and two of its own."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from mfakit.errors import StoreUnavailableError
from mfakit.storage import AsyncStore, Store, StoredRecord
from mfakit.testing.contract.base import NotTestedError, Opener, check, require
from mfakit.testing.contract.bridge import Bridge, BridgeOpener, LoopThread, bridge
from mfakit.testing.contract.failures import FailureChecks
from mfakit.testing.contract.races import RaceChecks
from mfakit.testing.contract.rows import RowChecks
from mfakit.testing.contract.scanning import ScanChecks
from mfakit.testing.contract.values import ValueChecks

__all__ = ["AsyncStoreContract"]


class AsyncStoreContract(FailureChecks, RaceChecks, ScanChecks, ValueChecks, RowChecks):
    """`StoreContract` for an `AsyncStore`. Override `make_store`, and the hooks that apply.

    Each check runs an event loop in a thread; hooks are called in that thread, and awaited if they
    are coroutine functions.
    """

    CANCELLATIONS = 40
    PATIENCE_SECONDS = 10.0

    _loop_thread: LoopThread

    async def make_store(self) -> AsyncStore:
        """Return a store for one check; as `StoreContract.make_store`, inside the loop."""
        raise TypeError("Override make_store() and return an empty store.")

    def opener(self, store: Any) -> Callable[[], AsyncStore | Awaitable[AsyncStore]]:
        """As `StoreContract.opener`: what it returns is called, or awaited, inside a loop."""
        raise NotTestedError("opener")

    def cut_connections(self, store: Any) -> object:
        """As `StoreContract.cut_connections`; may be a coroutine function."""
        raise NotTestedError("cut_connections")

    def caller_transaction(
        self, store: Any
    ) -> AbstractContextManager[object] | AbstractAsyncContextManager[object]:
        """As `StoreContract.caller_transaction`; may be an asynchronous context manager."""
        raise NotTestedError("caller_transaction")

    # -- how the checks reach it

    def _open_store(self) -> Bridge:
        self._loop_thread = LoopThread()
        self._owned.callback(self._loop_thread.close)
        return bridge(self.make_store, self._loop_thread)

    def _opener_of(self, store: Store) -> Opener:
        return BridgeOpener(self._loop_thread.call(self.opener, _behind(store)))

    def _cut(self, store: Store) -> None:
        self._loop_thread.call(self.cut_connections, _behind(store))

    def _in_caller_transaction(self, store: Store) -> AbstractContextManager[object]:
        return self._loop_thread.entered(
            self._loop_thread.call(self.caller_transaction, _behind(store))
        )

    # -- only here

    @check(
        harm="One code would let two sign-ins through.",
        look="An await between the read and the write, or a connection that coroutines share.",
    )
    def test_one_coroutine_wins(self) -> None:
        """Of coroutines that create or replace one row at once, exactly one wins."""
        store = self._own(self._open_store())
        rows = [self._row(f"user-{turn}") for turn in range(self.ROUNDS)]
        self._loop_thread.call(_race_coroutines, store.store, rows, self.THREADS)

    @check(
        harm="A browser that hangs up would tear a record, or leave a connection that answers the"
        " next owner with another's record.",
        look="A connection goes back to its pool only when no call on it was cut off: close it"
        " on any BaseException, cancellation included.",
    )
    def test_cancelled_write_is_whole(self) -> None:
        """A cancelled write leaves the old row or the new one, and the store goes on working."""
        store = self._own(self._open_store())
        neighbours = [self._row(f"user-{place}", place + 5) for place in range(self.THREADS)]
        self._loop_thread.call(self._cancel_writes, store.store, self._row(), neighbours)

    # -- helpers

    async def _cancel_writes(
        self, store: AsyncStore, row: StoredRecord, neighbours: list[StoredRecord]
    ) -> None:
        for one in (row, *neighbours):
            await store.create(one)
        begun, present, whole_way = [row], row, 0
        for turn in range(self.CANCELLATIONS):
            new = _other(row, present.revision + 1)
            begun.append(new)
            writing = asyncio.ensure_future(store.replace(new, expected=present.revision))
            if turn == 0:
                whole_way = await _let_run(writing, None)
            else:
                # A little beyond the whole way as it was last seen: the first may have been long.
                moment = random.randint(0, whole_way + whole_way // 4 + 1)  # noqa: S311 - any
                turned = await _let_run(writing, moment)
                whole_way = turned if writing.done() else whole_way
                writing.cancel()
            won = await self._outcome(writing)
            present = await self._still_whole(store, begun, neighbours)
            require(
                present == new or won is not True, "True was answered for a write that is lost."
            )
            require(present != new or won is not False, "False was answered for a write that won.")

    async def _outcome(self, writing: asyncio.Future[bool]) -> bool | None:
        """Return the answer of a write, None if it did not come to one."""
        await asyncio.wait({writing}, timeout=self.PATIENCE_SECONDS)
        require(writing.done(), "a cancelled write did not come to an end.")
        try:
            return await writing
        except (asyncio.CancelledError, StoreUnavailableError):
            return None

    async def _still_whole(
        self, store: AsyncStore, begun: list[StoredRecord], neighbours: list[StoredRecord]
    ) -> StoredRecord:
        """Return the row, one of those whose writing was begun, while its neighbours are as ever."""
        loading = asyncio.gather(*(store.load(one.account_id) for one in (begun[0], *neighbours)))
        try:
            present, *others = await asyncio.wait_for(loading, self.PATIENCE_SECONDS)
        except TimeoutError:
            text = "the store no longer answers: cancelled calls kept their connections."
            raise AssertionError(text) from None
        require(others == neighbours, "after a cancelled write a load answered with another row.")
        if present is None or present not in begun:
            raise AssertionError("a cancelled write left a row that is neither old nor new.")
        return present


def _behind(store: Store) -> AsyncStore:
    if isinstance(store, Bridge):
        return store.store
    raise TypeError("An asynchronous store is expected.")


def _other(row: StoredRecord, revision: int) -> StoredRecord:
    return StoredRecord(
        account_id=row.account_id, revision=revision, document=os.urandom(16), summary=row.summary
    )


async def _race_coroutines(store: AsyncStore, rows: list[StoredRecord], writers: int) -> None:
    for row in rows:
        first = [_other(row, place + 2) for place in range(writers)]
        created = await _one_won(store, first, [store.create(one) for one in first])
        second = [_other(row, place + 100) for place in range(writers)]
        replacing = [store.replace(one, expected=created.revision) for one in second]
        await _one_won(store, second, replacing)


async def _one_won(
    store: AsyncStore, rows: list[StoredRecord], writing: Sequence[Awaitable[bool]]
) -> StoredRecord:
    answers = await asyncio.gather(*writing)
    winners = [row for row, won in zip(rows, answers, strict=True) if won is True]
    require(len(winners) == 1, f"{len(winners)} coroutines won; exactly one must.")
    found = await store.load(rows[0].account_id)
    require(found == winners[0], "another row is there than the one that won.")
    return winners[0]


async def _let_run(writing: asyncio.Future[bool], turns: int | None) -> int:
    """Let the loop turn until a write is done, or so many times; return how many it were."""
    turned = 0
    while turned != turns and not writing.done():
        await asyncio.sleep(0)
        turned += 1
    return turned
