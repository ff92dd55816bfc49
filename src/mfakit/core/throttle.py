"""How many wrong codes are too many: waits, and the cap.

One `Throttle` for codes of all authenticators of an account and one for its recovery codes. Only a
success of the same kind clears the run of failures; nothing clears the count by day.
"""

from __future__ import annotations

from mfakit.core.record import Throttle
from mfakit.policy import Policy

DAY_SECONDS = 86_400
DAYS_COUNTED = 30


def retry_at(throttle: Throttle, policy: Policy, now: int) -> int | None:
    """Return the Unix second from which a code is evaluated again, None for now.

    Reference: SP 800-63B-4 §3.2.2: 30 s after failure 5, doubling up to an hour.
    """
    excess = throttle.failures - policy.throttle_free_failures - 1
    if excess < 0:
        return None
    # The exponent is bounded first: 30 * 2**1000 seconds would be no wait but an overflow.
    first, longest = policy.throttle_first_wait_seconds, policy.throttle_longest_wait_seconds
    wait = min(first << min(excess, 20), longest)
    until = min(throttle.last_failure_at, now) + wait
    return until if until > now else None


def with_failure(throttle: Throttle, now: int, *, in_session: bool = False) -> Throttle:
    """Return the throttle after one more failure."""
    today = now // DAY_SECONDS
    days = {today: 1}
    for day, count in throttle.days:
        if day > today - DAYS_COUNTED:
            counted_on = min(day, today)  # a day of a clock that was ahead counts as today
            days[counted_on] = days.get(counted_on, 0) + count
    return Throttle(
        failures=throttle.failures + 1,
        failures_in_session=throttle.failures_in_session + in_session,
        last_failure_at=now,
        days=tuple(sorted(days.items())),
    )


def cleared(throttle: Throttle) -> Throttle:
    """Return the throttle after a success: the run is over, the days stay."""
    return Throttle(days=throttle.days)


def is_exhausted(
    throttle: Throttle, *, in_a_row: int | None, in_30_days: int | None, now: int
) -> bool:
    """Say whether a cap is reached; None is no cap."""
    today = now // DAY_SECONDS
    recent = sum(count for day, count in throttle.days if day > today - DAYS_COUNTED)
    counted = ((throttle.failures, in_a_row), (recent, in_30_days))
    return any(cap is not None and count >= cap for count, cap in counted)
