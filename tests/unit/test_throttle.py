"""Waits and caps, against lists written by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_world import World

from mfakit import Policy
from mfakit.core.record import Throttle
from mfakit.core.throttle import cleared, is_exhausted, retry_at, with_failure
from mfakit.errors import SecondFactorLockedError, ThrottledError, WrongCodeError

NOW = 1_800_000_000
DAY = 86_400
# Seconds to wait after failure 1, 2, 3 …: four are free, then 30 s, doubling, an hour at most.
WAITS = [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


@pytest.mark.parametrize(
    ("failures", "wait"), [(0, 0), *enumerate(WAITS, 1), (50, 3600), (10_000, 3600)]
)
def test_wait_after_each_failure(failures: int, wait: int) -> None:
    """The wait counts from the last failure and ends exactly when it says."""
    throttle = Throttle(failures=failures, last_failure_at=NOW)
    policy = Policy()
    if not wait:
        assert retry_at(throttle, policy, NOW) is None
        return
    assert retry_at(throttle, policy, NOW) == NOW + wait
    assert retry_at(throttle, policy, NOW + wait - 1) == NOW + wait
    assert retry_at(throttle, policy, NOW + wait) is None
    assert retry_at(throttle, policy, NOW + wait + 1) is None


def test_waits_of_another_policy() -> None:
    """Free failures, first and longest wait are the policy's."""
    policy = Policy(
        throttle_free_failures=0, throttle_first_wait_seconds=5, throttle_longest_wait_seconds=30
    )
    waits = [
        (retry_at(Throttle(failures=n, last_failure_at=NOW), policy, NOW) or NOW) - NOW
        for n in range(6)
    ]
    assert waits == [0, 5, 10, 20, 30, 30]


def test_a_clock_that_went_back_does_not_lengthen_the_wait() -> None:
    """A failure stored in the future counts as now: at most the wait itself is left."""
    throttle = Throttle(failures=5, last_failure_at=NOW + 10 * DAY)
    assert retry_at(throttle, Policy(), NOW) == NOW + 30


def test_failures_count_in_a_row_and_by_day() -> None:
    """Each failure adds one to the run and one to its day."""
    throttle = Throttle()
    for hours in (0, 1, 24, 25, 26, 24 * 7):
        throttle = with_failure(throttle, NOW + 3600 * hours)
    today = NOW // DAY
    assert throttle.failures == 6
    assert throttle.last_failure_at == NOW + 3600 * 24 * 7
    assert throttle.days == ((today, 2), (today + 1, 3), (today + 7, 1))


def test_failures_in_a_session_are_counted_among_all() -> None:
    """So that at the cap one knows whether a guesser had the password."""
    throttle = Throttle()
    for number, in_session in enumerate((True, False, True, True)):
        throttle = with_failure(throttle, NOW + number, in_session=in_session)
    assert (throttle.failures, throttle.failures_in_session) == (4, 3)
    assert throttle.days == ((NOW // DAY, 4),)
    assert throttle.last_failure_at == NOW + 3
    assert (cleared(throttle).failures, cleared(throttle).failures_in_session) == (0, 0)
    waited = Throttle(failures=5, failures_in_session=5, last_failure_at=NOW)
    assert retry_at(waited, Policy(), NOW) == NOW + 30  # waits are those of all failures
    assert is_exhausted(
        Throttle(failures=50, failures_in_session=50), in_a_row=50, in_30_days=None, now=NOW
    )


@pytest.mark.parametrize("cap", [None, 1])
def test_without_failures_no_cap_is_reached(cap: int | None) -> None:
    assert not is_exhausted(Throttle(), in_a_row=cap, in_30_days=cap, now=NOW)


def test_the_longest_wait_may_be_as_short_as_the_first() -> None:
    """Then each wait is the same."""
    policy = Policy(throttle_first_wait_seconds=30, throttle_longest_wait_seconds=30)
    for failures in (5, 6, 30, 2**31 - 1):
        throttle = Throttle(failures=failures, last_failure_at=NOW)
        assert retry_at(throttle, policy, NOW) == NOW + 30


def test_days_leave_after_thirty() -> None:
    """Day 30 back is forgotten, day 29 back still counts."""
    throttle = with_failure(Throttle(), NOW)
    today = NOW // DAY
    kept = with_failure(throttle, NOW + 29 * DAY)
    assert kept.days == ((today, 1), (today + 29, 1))
    assert with_failure(throttle, NOW + 30 * DAY).days == ((today + 30, 1),)


def test_a_day_of_a_clock_that_was_ahead_counts_as_today() -> None:
    """No failure is lost, and none outlives its thirty days, because a clock was wrong."""
    ahead = with_failure(with_failure(Throttle(), NOW + 100 * DAY), NOW + 100 * DAY)
    assert with_failure(ahead, NOW).days == ((NOW // DAY, 3),)


def test_success_ends_the_run_and_keeps_the_days() -> None:
    """So a guesser who shares the account with its owner is still counted."""
    throttle = with_failure(with_failure(Throttle(), NOW), NOW)
    after = cleared(throttle)
    assert (after.failures, after.last_failure_at) == (0, 0)
    assert after.days == throttle.days


@pytest.mark.parametrize(
    ("failures", "exhausted"), [(0, False), (49, False), (50, True), (51, True)]
)
def test_cap_in_a_row(failures: int, exhausted: bool) -> None:
    """The fiftieth failure in a row, not the forty-ninth."""
    throttle = Throttle(failures=failures, last_failure_at=NOW)
    assert is_exhausted(throttle, in_a_row=50, in_30_days=200, now=NOW) is exhausted
    assert is_exhausted(throttle, in_a_row=None, in_30_days=200, now=NOW) is False


@pytest.mark.parametrize(
    ("days", "exhausted"),
    [
        (((0, 199),), False),
        (((0, 200),), True),
        (((-29, 100), (0, 100)), True),
        (((-30, 100), (0, 199)), False),  # out of the thirty days
        (((-29, 100), (-1, 99), (0, 1)), True),
        (tuple((-day, 7) for day in range(29, -1, -1)), True),  # 210
        (tuple((-day, 6) for day in range(29, -1, -1)), False),  # 180
    ],
)
def test_cap_in_30_days(days: tuple[tuple[int, int], ...], exhausted: bool) -> None:
    """The two hundredth in thirty days, whatever the successes between."""
    today = NOW // DAY
    throttle = Throttle(days=tuple((today + day, count) for day, count in days))
    assert is_exhausted(throttle, in_a_row=50, in_30_days=200, now=NOW) is exhausted
    assert is_exhausted(throttle, in_a_row=50, in_30_days=None, now=NOW) is False


@given(st.lists(st.integers(-40 * DAY, 40 * DAY), max_size=60))
def test_buckets_stay_few_and_sorted(offsets: list[int]) -> None:
    """However the clock jumps: at most thirty days, sorted, none in the future, the run exact."""
    throttle = Throttle()
    for offset in offsets:
        throttle = with_failure(throttle, NOW + offset)
        today = (NOW + offset) // DAY
        days = [day for day, _ in throttle.days]
        assert days == sorted(set(days))
        assert len(days) <= 30
        assert all(today - 30 < day <= today for day in days)
    assert throttle.failures == len(offsets)


def test_waits_at_the_surface() -> None:
    """Wrong codes, one at a time: exactly the waits of the list, then the lock at fifty."""
    world = World()
    _, phone, _ = world.enroll()
    world.clock.advance(3600)
    for failure, wait in enumerate(WAITS + [3600] * 36, 1):
        wrong = f"{(int(phone.code(world.clock.now, steps=-5)) + 1) % 10**6:06}"
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", wrong)
        if failure == 50:
            break
        if wait:
            with pytest.raises(ThrottledError) as caught:
                world.mfa.verify_code("ann", wrong)
            assert caught.value.retry_after_seconds == wait
            assert caught.value.retry_at.timestamp() == world.clock.now + wait
            world.clock.advance(wait)
    with pytest.raises(SecondFactorLockedError):
        world.mfa.verify_code("ann", phone.code(world.clock.now))
    assert world.mfa.status("ann").is_locked
    assert sum(event.kind == "locked" for event in world.events) == 1


def test_the_cap_of_thirty_days_is_of_codes_and_not_of_recovery_codes() -> None:
    """Recovery codes are long: what limits guesses of six digits must not lock them out."""
    world = World(
        Policy(throttle_free_failures=4, code_failures_max=5, code_failures_in_30_days_max=5)
    )
    enrolled, _, _ = world.enroll()
    first, second = enrolled.recovery_codes[:2]
    wrong = first[0] + second[1:]  # the slot of one, the rest of another
    for _ in range(6):
        with pytest.raises(WrongCodeError):  # at once: recovery codes have no waits
            world.mfa.verify_code("ann", wrong, method="recovery")
    assert world.mfa.verify_code("ann", first, method="recovery")
