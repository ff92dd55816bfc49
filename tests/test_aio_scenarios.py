"""The scenarios, the mail table and the rules once more, through `AsyncMFA` on a store in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import test_mail_table
import test_rules
import test_rules_upkeep
import test_scenarios
import test_secrecy
from aio_world import AsyncWorld
from mfakit.storage.sqlite import SQLiteStore

MODULES = (test_scenarios, test_mail_table, test_rules, test_rules_upkeep, test_secrecy)
# For `MFA` a coroutine is no answer; `AsyncMFA` awaits it (tests/test_aio.py).
BLOCKING_ONLY = {"test_a_coroutine_is_no_yes"}


def _takes_world(test: Any) -> bool:
    return callable(test) and "world" in signature(test).parameters


# Every test of these that takes the fixture `world`: it is the one below, not that of conftest.
globals().update(
    {
        name: test
        for module in MODULES
        for name, test in vars(module).items()
        if name.startswith("test_") and name not in BLOCKING_ONLY and _takes_world(test)
    }
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AsyncWorld]:
    """A platform without accounts."""
    with asyncio.Runner() as runner:
        world = AsyncWorld(
            SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL"), runner.get_loop()
        )
        yield world
        runner.run(world.aclose())


def test_there_are_tests_here() -> None:
    """A change of names in the modules above must not empty this one."""
    assert sum(name.startswith("test_") for name in globals()) > 150
