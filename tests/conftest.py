"""What the tests share: a world on every store that ships without a server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from world import World


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A platform without accounts."""
    if request.param == "memory":
        yield World(MemoryStore())
        return
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    yield World(store)
    store.close()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let children heed SIGINT, also where a background job runs the tests: it ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def background() -> Iterator[None]:
    """Ignore SIGINT, as a background job does: children inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)
