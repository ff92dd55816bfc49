"""What the tests share: a world on every store that ships without a server."""

from __future__ import annotations

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
