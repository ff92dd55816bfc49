"""A clock that stands still until it is moved."""

from __future__ import annotations

__all__ = ["FixedClock"]


class FixedClock:
    """Give the same Unix seconds until `advance`; pass it as `clock=`.

    Args:
        now: Unix seconds to begin with.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now: float = now

    def __call__(self) -> float:
        """Return the present Unix seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock, backwards too."""
        self.now += seconds
