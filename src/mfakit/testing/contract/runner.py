"""Run the checks without pytest, and say in words what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from attrs import frozen

from mfakit.testing.contract.base import BrokenPromiseError, Checks, NotTestedError

__all__ = ["CheckResult", "check_names", "run_check"]

_TEST = "test_"


@frozen(kw_only=True)
class CheckResult:
    """What came of one check.

    Attributes:
        name: The stable name of the check.
        promise: What the store promises, a sentence.
        outcome: "passed", "failed" or "not tested".
        text: What is broken, what follows and where to look; "" unless it failed.
        needs: The hook or method that is missing; "" unless it was not tested.
        seconds: How long it took.
    """

    name: str
    promise: str
    outcome: Literal["passed", "failed", "not tested"]
    text: str
    needs: str
    seconds: float


def check_names(contract: type[object]) -> tuple[str, ...]:
    """Return the names of a contract's checks, in the order in which they are written."""
    names = [name for kind in reversed(contract.__mro__) for name in vars(kind)]
    return tuple(name[len(_TEST) :] for name in dict.fromkeys(names) if name.startswith(_TEST))


def run_check(contract: Checks, name: str) -> CheckResult:
    """Run one check.

    Args:
        contract: An instance of a `StoreContract` or `AsyncStoreContract`, used for nothing else at
            the same time.
        name: One of `check_names`.
    """
    test: Callable[[], None] = getattr(contract, _TEST + name)
    started = time.monotonic()
    outcome: Literal["passed", "failed", "not tested"] = "passed"
    text = needs = ""
    try:
        test()
    except NotTestedError as missing:
        outcome, needs = "not tested", f"{missing.needed}()"
    except BrokenPromiseError as broken:
        outcome, text = "failed", str(broken)
    return CheckResult(
        name=name,
        promise=test.__doc__ or "",
        outcome=outcome,
        text=text,
        needs=needs,
        seconds=time.monotonic() - started,
    )
