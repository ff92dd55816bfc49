"""Argon2 off the event loop: shared runs, bounded runs, waiters that go away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from aio_world import run, until
from mfakit import Argon2Hasher, Policy
from mfakit.aio.gate import AsyncHashGate
from mfakit.core.decision import CheckHash, NewHashes
from mfakit.core.secret import Secret
from mfakit.errors import BusyError, HashingError
from slow_hasher import SlowHasher, check


async def _ask(gate: AsyncHashGate, check: CheckHash) -> tuple[bool, bool]:
    """Is it right, and did finding out take so long that the row must be read again?"""
    verdict = await gate.check(check)
    return verdict.value, verdict.waited


def _waiting(gate: AsyncHashGate) -> int:
    return len(gate._places._taken)


def _tasks(*work: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(one) for one in work]


def with_gate(
    main: Callable[[AsyncHashGate, SlowHasher], Coroutine[Any, Any, None]], **options: Any
) -> None:
    """Run a test on a gate; at its end no place, flight or thread may be left."""

    async def whole() -> None:
        hasher = SlowHasher()
        gate = AsyncHashGate(hasher, **options)
        try:
            await main(gate, hasher)
        finally:
            hasher.go.set()
            await gate.aclose()
        assert (_waiting(gate), gate._flights, hasher.running) == (0, {}, 0)

    run(whole())
    assert not [one for one in threading.enumerate() if one.name.startswith("mfakit-hash")]


# ------------------------------------------------------------------------------- shared and bounded


@pytest.mark.parametrize(("secret", "right"), [(b"right", True), (b"wrong", False)])
def test_identical_attempts_share_one_run(secret: bytes, right: bool) -> None:
    """Eight connections of one phone: one Argon2 run, one answer, one place."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(secret)) for _ in range(8)))
        await until(lambda: hasher.runs == 1)
        assert _waiting(gate) == 1
        hasher.go.set()
        assert await asyncio.gather(*tasks) == [(right, True)] * 8
        assert hasher.runs == 1

    with_gate(main, concurrency=4)


def test_attempts_that_differ_in_anything_do_not_share() -> None:
    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        checks = [
            check(),
            check(b"wrong", is_mail=False),
            check(account="bob"),
            check(account="cy", stored="t"),
        ]
        tasks = _tasks(*(_ask(gate, one) for one in checks))
        await until(lambda: hasher.runs == 4)
        hasher.go.set()
        assert [value for value, _ in await asyncio.gather(*tasks)] == [True, False, True, True]

    with_gate(main, concurrency=8)


def test_runs_at_once_are_bounded_and_the_queue_too() -> None:
    """Two run, three wait, the next is busy; all that were taken are answered."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(account=f"user-{n}")) for n in range(5)))
        await until(lambda: hasher.runs == 2)
        with pytest.raises(BusyError):
            await gate.check(check(account="late"))
        hasher.go.set()
        assert await asyncio.gather(*tasks) == [(True, True)] * 5
        assert (hasher.runs, hasher.most) == (5, 2)
        assert await _ask(gate, check(account="late")) == (True, True)

    with_gate(main, concurrency=2, queue=3)


def test_one_account_takes_one_place_for_mail_and_one_for_the_web() -> None:
    """A second different attempt of a kind is busy, and others are not affected."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(_ask(gate, check(b"1")), _ask(gate, check(b"2", is_mail=False)))
        await until(lambda: _waiting(gate) == 2)
        for is_mail in (True, False):
            with pytest.raises(BusyError):
                await gate.check(check(b"3", is_mail=is_mail))
        with pytest.raises(BusyError):
            await gate.hash(_new())
        tasks += _tasks(_ask(gate, check(b"1")), _ask(gate, check(account="bob")))
        await until(lambda: _waiting(gate) == 3)
        hasher.go.set()
        assert [value for value, _ in await asyncio.gather(*tasks)] == [False, False, False, True]

    with_gate(main, concurrency=1)


def test_a_storm_of_mail_clients_leaves_places_for_the_web() -> None:
    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(account=f"user-{n}")) for n in range(2)))
        await until(lambda: _waiting(gate) == 2)
        with pytest.raises(BusyError):
            await gate.check(check(account="late"))
        tasks += _tasks(_ask(gate, check(account="late", is_mail=False)))
        await until(lambda: _waiting(gate) == 3)
        hasher.go.set()
        assert [value for value, _ in await asyncio.gather(*tasks)] == [True, True, True]

    with_gate(main, concurrency=1, queue=1)


@pytest.mark.parametrize("is_mail", [True, False], ids=["mail", "web"])
def test_whoever_holds_one_place_of_an_account_does_not_hold_its_other(is_mail: bool) -> None:
    """With room for many, the account's own places decide; a waiter that goes away gives its back."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        held, gone = _tasks(
            _ask(gate, check(b"held", is_mail=is_mail)),
            _ask(gate, check(b"gone", is_mail=not is_mail)),
        )
        await until(lambda: hasher.runs == 1 and _waiting(gate) == 2)
        with pytest.raises(BusyError):
            await gate.check(check(b"another", is_mail=is_mail))
        gone.cancel()
        await asyncio.wait((gone,))
        assert _waiting(gate) == 1
        (other,) = _tasks(_ask(gate, check(is_mail=not is_mail)))
        await until(lambda: _waiting(gate) == 2)
        hasher.go.set()
        assert await asyncio.gather(held, other) == [(False, True), (True, True)]

    with_gate(main, concurrency=1, queue=64)


def test_new_hashes_are_the_webs() -> None:
    """Who sets two-step up waits for no mail client."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(account=one)) for one in ("ann", "bob")))
        await until(lambda: _waiting(gate) == 2)
        hashing = asyncio.create_task(gate.hash(_new()))
        await until(lambda: _waiting(gate) == 3)
        with pytest.raises(BusyError):
            await gate.check(check(b"another", is_mail=False))
        hasher.go.set()
        assert await asyncio.gather(*tasks) == [(True, True)] * 2
        assert len(await hashing) == 2

    with_gate(main, concurrency=1, queue=1)


def test_a_run_that_fails_says_nothing_about_the_secret() -> None:
    """The one that ran gets the error, those that waited are busy, nobody is told "wrong"."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(stored="broken")) for _ in range(4)))
        await until(lambda: hasher.runs == 1)
        hasher.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in results] == [HashingError, BusyError, BusyError, BusyError]
        assert await _ask(gate, check()) == (True, True)

    with_gate(main)


def _new(account_id: str = "ann") -> NewHashes:
    secrets = Secret(b"one"), Secret(b"two")
    return NewHashes(account_id=account_id, purpose="p", secrets=secrets, policy=Policy())


def test_new_hashes_keep_their_order_and_are_never_shared() -> None:
    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        hasher.go.set()
        for hashed in await asyncio.gather(gate.hash(_new()), gate.hash(_new("bob"))):
            assert [(one.reveal(), text.reveal().decode()) for one, text in hashed] == [
                (b"one", "hash-one"),
                (b"two", "hash-two"),
            ]
        assert hasher.runs == 4

    with_gate(main, concurrency=1, queue=1)


def test_a_success_is_remembered_and_a_failure_is_not() -> None:
    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        hasher.go.set()
        right = [await _ask(gate, check()) for _ in range(3)]
        assert right == [(True, True), (True, False), (True, False)]
        assert hasher.runs == 1
        assert [await _ask(gate, check(b"wrong")) for _ in range(3)] == [(False, True)] * 3
        assert [await _ask(gate, check(remember=0)) for _ in range(2)] == [(True, True)] * 2
        assert hasher.runs == 6

    with_gate(main)


# ------------------------------------------------------------------------------ waiters that go away


@pytest.mark.parametrize("goes", [0, 1, 2])
def test_one_of_the_waiters_is_cancelled(goes: int) -> None:
    """Whoever it is, the one that began it too: the others get their answer from the same run."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check()) for _ in range(3)))
        await until(lambda: hasher.runs == 1)
        tasks[goes].cancel()
        await asyncio.wait([tasks[goes]], timeout=1)
        assert tasks[goes].cancelled()
        assert _waiting(gate) == 1
        hasher.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one for one in results if one == (True, True)] == [(True, True)] * 2
        assert hasher.runs == 1
        assert await _ask(gate, check()) == (True, False)  # the others made it remembered

    with_gate(main)


def test_a_run_that_waits_and_loses_one_of_its_waiters_still_runs() -> None:
    """Not begun yet, shared by two, one goes: it stays in the queue for the other."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        first = _tasks(_ask(gate, check(account="first")))
        await until(lambda: hasher.runs == 1)
        tasks = _tasks(*(_ask(gate, check()) for _ in range(2)))
        await until(lambda: _waiting(gate) == 2)
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        hasher.go.set()
        assert await asyncio.gather(*first, tasks[1]) == [(True, True)] * 2

    with_gate(main, concurrency=1)


def test_a_run_that_nobody_waits_for_is_dropped_if_it_has_not_begun() -> None:
    """Clients that hang up do not fill the queue: their places are free at once."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        first = _tasks(_ask(gate, check(account="first")))
        await until(lambda: hasher.runs == 1)
        for _ in range(20):
            tasks = _tasks(*(_ask(gate, check()) for _ in range(2)), gate.hash(_new("bob")))
            await until(lambda: _waiting(gate) == 3)
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks)
            assert _waiting(gate) == 1
        hasher.go.set()
        assert await asyncio.gather(*first) == [(True, True)]
        assert hasher.runs == 1

    with_gate(main, concurrency=1, queue=2)


def test_a_run_that_has_begun_is_finished_and_keeps_its_place_till_then() -> None:
    """A thread cannot be stopped, so its place is taken until it is free; who comes again joins it."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(_ask(gate, check()))
        await until(lambda: hasher.runs == 1)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert _waiting(gate) == 1
        with pytest.raises(BusyError):
            await gate.check(check(account="bob"))
        again = _tasks(_ask(gate, check()))
        await asyncio.sleep(0.01)
        hasher.go.set()
        assert await asyncio.gather(*again) == [(True, True)]
        assert hasher.runs == 1

    with_gate(main, concurrency=1, queue=0)


def test_a_failure_that_nobody_hears_of_is_no_complaint() -> None:
    """Everybody was cancelled and the run fails: no "exception was never retrieved"."""

    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        tasks = _tasks(*(_ask(gate, check(stored="broken")) for _ in range(2)))
        await until(lambda: hasher.runs == 1)
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)
        hasher.go.set()
        await until(lambda: _waiting(gate) == 0)

    with_gate(main)


def test_when_no_thread_can_be_begun_nothing_is_known_and_no_place_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(gate: AsyncHashGate, hasher: SlowHasher) -> None:
        def start(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        hasher.go.set()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for call in (gate.check(check()), gate.hash(_new())):
                with pytest.raises(HashingError):
                    await call
            assert (_waiting(gate), gate._flights) == (0, {})
        assert await _ask(gate, check()) == (True, True)

    with_gate(main)


def test_it_goes_on_after_aclose_and_in_another_loop() -> None:
    """Closed, it has no thread; used again, in the same loop or the next, it begins new ones."""
    hasher = SlowHasher()
    hasher.go.set()
    gate = AsyncHashGate(hasher)

    async def main() -> None:
        for _ in range(2):
            assert (await gate.check(check(b"wrong"))).value is False
            await gate.aclose()
            await gate.aclose()

    run(main())
    run(main())
    assert hasher.runs == 4


def test_a_loop_that_ends_in_the_middle_of_a_run_leaves_no_place_taken() -> None:
    """The next loop can check the very same thing."""
    hasher = SlowHasher()
    gate = AsyncHashGate(hasher, concurrency=1, queue=0)

    async def main() -> None:
        task = asyncio.create_task(_ask(gate, check()))
        await until(lambda: hasher.runs == 1)
        assert not task.done()

    asyncio.run(main())
    hasher.go.set()
    end = time.monotonic() + 60
    while _waiting(gate):
        assert time.monotonic() < end
        time.sleep(0.001)

    async def again() -> None:
        assert await _ask(gate, check()) == (True, True)
        await gate.aclose()

    run(again())


def test_the_loop_goes_on_while_argon2_runs() -> None:
    """With the real hasher: a ticker beside ten hashes never stands still for as long as they take."""

    async def main() -> None:
        gate = AsyncHashGate(Argon2Hasher(), concurrency=1)
        policy = Policy(argon2_memory_kib=65_536)
        secrets = tuple(Secret(str(n).encode()) for n in range(10))
        gaps: list[float] = []

        async def tick() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.001)
                now = time.monotonic()
                gaps.append(now - last)
                last = now

        ticker = asyncio.create_task(tick())
        started = time.monotonic()
        new = NewHashes(account_id="ann", purpose="p", secrets=secrets, policy=policy)
        hashed = await gate.hash(new)
        took = time.monotonic() - started
        ticker.cancel()
        await asyncio.wait([ticker])
        await gate.aclose()
        assert hashed[0][1].reveal().startswith(b"$argon2id$")
        # On the loop it would be one gap as long as all of it.
        assert len(gaps) > 20
        assert max(gaps) < took / 3, (max(gaps), took)

    run(main())
