"""The statistics against arithmetic by hand, and the method against a difference that is there."""

from __future__ import annotations

from random import Random

import pytest

from .cases import CASES
from .dudect import BOUND, Case, Finding, largest_t, measure, welch_t


def test_welch_by_hand() -> None:
    """Means 2 and 4, variances 1 and 4, three each: -2 / sqrt(1/3 + 4/3)."""
    assert welch_t([1, 2, 3], [2, 4, 6]) == pytest.approx(-1.5491933384829668, rel=1e-12)


def test_welch_of_unequal_sizes() -> None:
    """As `scipy.stats.ttest_ind(…, equal_var=False)` of SciPy 1.17 says."""
    first = [20.4, 24.2, 15.4, 21.4, 20.2, 18.5, 21.5]
    second = [20.2, 16.9, 18.5, 17.3, 20.5]
    assert welch_t(first, second) == pytest.approx(1.2204174122277793, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "t"),
    [([], [1, 2], 0), ([1], [1, 2], 0), ([3, 3], [3, 3], 0), ([3, 3], [4, 4], float("inf"))],
)
def test_welch_at_its_edges(first: list[float], second: list[float], t: float) -> None:
    assert abs(welch_t(first, second)) == t


def test_outliers_hide_nothing() -> None:
    """One interrupt in a hundred, a thousand times as long: only the crops show the difference."""
    random = Random(1)
    first, second = (
        [random.gauss(mean, 10) if random.random() < 0.99 else 1e6 for _ in range(5_000)]
        for mean in (100, 102)
    )
    assert abs(welch_t(first, second)) < BOUND < largest_t(first, second)


def test_same_is_same() -> None:
    random = Random(2)
    first, second = ([random.gauss(100, 10) for _ in range(5_000)] for _ in range(2))
    assert largest_t(first, second) < BOUND


def test_a_loop_that_ends_early_is_found() -> None:
    """A difference that no noise hides: a hundred times the work."""
    case = Case(
        name="loop",
        classes=("short", "long"),
        make=lambda kind, _: range(1_000 if kind else 10),
        call=sum,
        leaks=True,
    )
    found = measure(case, samples=2_000, seed=3)
    assert isinstance(found, Finding)
    assert found.is_as_promised
    assert found.medians[0] < found.medians[1]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("se")])
def test_every_case_runs(name: str) -> None:
    """Each input is refused, in both classes; figures are the command's task, on a quiet machine."""
    case = CASES[name]()
    found = measure(case, samples=100, seed=4)
    assert min(found.medians) > 0


def test_a_case_of_the_service_runs() -> None:
    """Two answers, each at its time: half a second after it was asked."""
    case = CASES["service-account"]()
    try:
        found = measure(case, samples=4, seed=1)
    finally:
        case.close()
    assert min(found.medians) >= 0.5e9
