"""Stores that block, on an event loop: bounded threads, calls that are cancelled, what is closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aio_world import run, until
from mfakit import KeyRing
from mfakit.aio import AsyncMFA, InThreads
from mfakit.errors import StoreUnavailableError
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore


def _row(account_id: str = "ann", revision: int = 1) -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=revision, document=b"{}", summary=Summary(state="none")
    )


class HeldStore(MemoryStore):
    """Each call waits until it is let go; counts how many run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.lock_ = threading.Event(), threading.Lock()
        self.begun = self.running = self.most = 0

    def load(self, account_id: str) -> StoredRecord | None:
        return self._held(lambda: super(HeldStore, self).load(account_id))

    def create(self, new: StoredRecord) -> bool:
        return self._held(lambda: super(HeldStore, self).create(new))

    def _held(self, call: Callable[[], Any]) -> Any:
        with self.lock_:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(10)
        with self.lock_:
            self.running -= 1
        return call()


def test_calls_at_once_are_bounded_and_the_loop_goes_on() -> None:
    async def main() -> None:
        held = HeldStore()
        async with InThreads(held, threads=3) as store:
            tasks = [asyncio.create_task(store.load("ann")) for _ in range(20)]
            await until(lambda: held.begun == 3)
            held.go.set()
            assert await asyncio.gather(*tasks) == [None] * 20
            assert (held.begun, held.most) == (20, 3)

    run(main())
    assert not [one for one in threading.enumerate() if one.name.startswith("mfakit-store")]


def test_a_cancelled_write_that_was_begun_is_done() -> None:
    """Its caller does not hear of it; the next load shows it. One not begun is never made."""

    async def main() -> None:
        held = HeldStore()
        async with InThreads(held, threads=1) as store:
            begun = asyncio.create_task(store.create(_row("ann")))
            await until(lambda: held.begun == 1)
            waiting = asyncio.create_task(store.create(_row("bob")))
            await asyncio.sleep(0)
            for one in (begun, waiting):
                one.cancel()
            await asyncio.wait([begun, waiting])
            assert begun.cancelled()
            assert waiting.cancelled()
            held.go.set()
            assert await store.load("ann") == _row("ann")
            assert await store.load("bob") is None

    run(main())


def test_it_closes_the_store_it_was_given(tmp_path: Path) -> None:
    """Its connections are closed with it; used again, both begin anew."""

    async def main() -> None:
        inner = SQLiteStore(tmp_path / "mfa.db")
        async with InThreads(inner) as store:
            assert await store.create(_row())
            assert inner._idle
        assert inner._idle == []
        assert await store.replace(_row(revision=2), expected=1)
        page = await store.scan(cursor=None, limit=10)
        assert [one.revision for one in page.records] == [2]
        assert await store.delete("ann", expected=2)
        await store.aclose()
        assert repr(store) == f"InThreads({inner!r})"

    run(main())


def test_a_store_whose_thread_cannot_be_begun_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with AsyncMFA(InThreads(MemoryStore()), KeyRing({"k": bytes(range(32))})) as mfa:

            def start(self: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                with pytest.raises(StoreUnavailableError):
                    await mfa.status("ann")
            assert (await mfa.status("ann")).state == "not_enrolled"

    run(main())


FORKED = """
import asyncio, os, sys
from mfakit import KeyRing
from mfakit.aio import AsyncMFA, InThreads
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

clock = FixedClock()
store = InThreads(SQLiteStore(sys.argv[1]), threads=1)
mfa = AsyncMFA(store, KeyRing({"k": bytes(range(32))}), clock=clock, hasher=CheapHasher(), hash_concurrency=1)

async def enroll(account_id):
    proof = await mfa.password_proof(account_id, password_verified=True)
    offer = await mfa.begin_enrollment(account_id, account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    done = await mfa.confirm_enrollment(offer.token, app.code(clock.now))
    assert await mfa.verify_code(account_id, done.recovery_codes[0], method="recovery")

asyncio.run(enroll("ann"))
child = os.fork()
asyncio.run(asyncio.wait_for(enroll("bob" if child else "cy"), 20))
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


def test_a_forked_process_begins_threads_of_its_own(tmp_path: Path) -> None:
    """A server that forks its workers after a first use: parent and child both go on."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "mfa.db")],
        env=kept,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("both\n", "")
