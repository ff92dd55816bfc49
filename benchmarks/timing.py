"""Interleaved timing: contenders take turns in one run, so that drift of the machine hits all.

Absolute figures on a shared machine drift by half and more; a ratio of two contenders of the same
round does not. So every claim is a median of per-round ratios.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any

Contender = Callable[[], object]


class UnavailableError(Exception):
    """What a benchmark needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A measured number and the bound that it must keep; no bound is for information only."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        """True if the number is within its bounds."""
        is_high_enough = self.at_least is None or self.value >= self.at_least
        return is_high_enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        """The bound as text."""
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """How something grows: the values of each line, by what is on the other axis.

    Args:
        across: What grows, e.g. "passcodes of the account".
        up: What is measured, with its unit.
        lines: Name to value by number.
        is_logarithmic: Show the numbers in equal factors.
    """

    across: str
    up: str
    lines: Mapping[str, Mapping[int, float]]
    is_logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of times and the claims made of it; a picture, if something grows."""

    title: str
    microseconds: Mapping[str, float]
    claims: tuple[Claim, ...]
    curves: Curves | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the section as plain data."""
        claims = [
            {"name": one.name, "value": one.value, "target": one.target, "met": one.is_met}
            for one in self.claims
        ]
        return {"title": self.title, "microseconds": dict(self.microseconds), "claims": claims}


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What each contender took in each round, in nanoseconds a call."""

    taken: Mapping[str, list[float]]

    def microseconds(self) -> dict[str, float]:
        """Return each contender's median."""
        return {name: median(taken) / 1000 for name, taken in self.taken.items()}

    def ratio(self, slower: str, faster: str) -> float:
        """Return the median of per-round ratios: how many times longer `slower` takes."""
        pairs = zip(self.taken[slower], self.taken[faster], strict=True)
        return median([slow / fast for slow, fast in pairs])

    def undisturbed_ratio(self, slower: str, faster: str) -> float:
        """Return the ratio of the two 10th percentiles: each one's turns with the fewest disturbances."""
        return _tenth(self.taken[slower]) / _tenth(self.taken[faster])


def interleave(
    contenders: Mapping[str, Contender], *, rounds: int, calls: Mapping[str, int]
) -> Rounds:
    """Time contenders in turn, A B C A B C, one turn each; each round begins with another.

    Args:
        contenders: Name to what is timed.
        rounds: How many turns each one has.
        calls: Name to how many calls one turn is.
    """
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        _turn(contenders[name], calls[name])
    gc.collect()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(_turn(contenders[name], calls[name]))
    return Rounds(taken=taken)


def _turn(contender: Contender, calls: int) -> float:
    begun = perf_counter_ns()
    for _ in range(calls):
        contender()
    return (perf_counter_ns() - begun) / calls


def _tenth(taken: list[float]) -> float:
    return quantiles(taken, n=10, method="inclusive")[0]
