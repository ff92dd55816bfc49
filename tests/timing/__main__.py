"""`python -m tests.timing [CASE…]`, from the repository's root: one table, some minutes.

Exits with 1 if a difference shows where constant time is claimed, or if a control shows none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import time_ns

from .cases import CASES
from .dudect import BOUND, Finding, measure

HEAD = """\
| what is timed | classes | samples | median, µs | difference, ns | largest t | |
|:--|:--|--:|--:|--:|--:|:--|"""


def main(given: Sequence[str] | None = None) -> int:
    """Time what was named, or all."""
    arguments = _parse(given)
    print(HEAD, flush=True)
    is_fine = True
    for name in arguments.cases or CASES:
        case = CASES[name]()
        samples = max(100, round(case.samples * arguments.scale))
        found = measure(case, samples=samples, seed=arguments.seed)
        case.close()
        print(_row(found), flush=True)
        is_fine &= found.is_as_promised
    return 0 if is_fine else 1


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.timing", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--scale", type=float, default=1, help="times as many samples")
    parser.add_argument("--seed", type=int, default=time_ns(), help="of order and inputs")
    arguments = parser.parse_args(given)
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def _row(found: Finding) -> str:
    case, (first, second) = found.case, found.medians
    sign = ">=" if case.leaks else "<"
    verdict = "as promised" if found.is_as_promised else "NOT AS PROMISED"
    return (
        f"| {case.name} | {case.classes[0]}, {case.classes[1]} | {found.samples:,} "
        f"| {first / 1000:,.2f} | {second - first:+,.0f} | {found.t:.2f} | {sign} {BOUND}: {verdict} |"
    )


if __name__ == "__main__":
    sys.exit(main())
