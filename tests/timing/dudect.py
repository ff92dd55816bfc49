"""The statistics: two classes of input in random order, cropped, and Welch's t between them.

Reference: O. Reparaz, J. Balasch, I. Verbauwhede, "Dude, is my code constant time?", DATE 2017. As
there, a few thresholds crop what interrupts stretched, and the largest |t| counts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from random import Random
from statistics import fmean, median, variance
from time import perf_counter_ns
from typing import Any

from attrs import frozen

BOUND = 4.5
# Which share of all measurements, the fastest first, is compared.
CROPS = (1.0, 0.95, 0.9, 0.75, 0.5)
_WARM_UP = 0.05


@frozen(kw_only=True)
class Case:
    """Something that is timed with inputs of two classes.

    Args:
        name: What, for the table.
        classes: What the two classes are.
        make: Makes one input of class 0 or 1.
        call: What is timed, with one input.
        before: Puts things back before each call, not timed.
        samples: Of both classes together.
        leaks: The difference must show: this is a control of the method, or documented.
        close: Lets go of what the case holds.
    """

    name: str
    classes: tuple[str, str]
    make: Callable[[int, Random], Any]
    call: Callable[[Any], object]
    before: Callable[[], object] = list
    samples: int = 100_000
    leaks: bool = False
    close: Callable[[], object] = list


@frozen(kw_only=True)
class Finding:
    """What a case came to: medians in nanoseconds, and the largest |t|."""

    case: Case
    samples: int
    medians: tuple[float, float]
    t: float

    @property
    def is_as_promised(self) -> bool:
        """True if a difference shows exactly where one is said to be."""
        return (self.t >= BOUND) == self.case.leaks


def measure(case: Case, *, samples: int, seed: int) -> Finding:
    """Time a case.

    Args:
        case: The case.
        samples: Calls in all; the first twentieth is thrown away.
        seed: Of the order of the classes and of the inputs.
    """
    random = Random(seed)
    order = [random.randrange(2) for _ in range(samples)]
    # Each input is an object of its own in both classes, so that caches tell them apart alike.
    inputs = [case.make(one, random) for one in order]
    taken = _time(case, inputs)
    skipped = int(samples * _WARM_UP)
    split: tuple[list[int], list[int]] = ([], [])
    for one, nanoseconds in list(zip(order, taken, strict=True))[skipped:]:
        split[one].append(nanoseconds)
    return Finding(
        case=case,
        samples=samples - skipped,
        medians=(median(split[0]), median(split[1])),
        t=largest_t(*split),
    )


def _time(case: Case, inputs: Sequence[Any]) -> list[int]:
    before, call, taken = case.before, case.call, []
    gc.collect()
    gc.disable()
    try:
        for one in inputs:
            before()
            begun = perf_counter_ns()
            call(one)
            taken.append(perf_counter_ns() - begun)
    finally:
        gc.enable()
    return taken


def largest_t(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the largest |t| over the crops."""
    pooled = sorted([*first, *second])
    limits = [pooled[int(len(pooled) * share) - 1] for share in CROPS]
    return max([abs(_cropped_t(first, second, limit)) for limit in limits])


def _cropped_t(first: Sequence[float], second: Sequence[float], limit: float) -> float:
    kept = [[one for one in values if one <= limit] for values in (first, second)]
    return welch_t(*kept)


def welch_t(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Welch's t: the distance of two means in units of its own standard error."""
    if min(len(first), len(second)) < 2:
        return 0.0
    error = variance(first) / len(first) + variance(second) / len(second)
    distance = fmean(first) - fmean(second)
    if error == 0:
        return 0.0 if distance == 0 else float("inf")
    return distance / error**0.5
