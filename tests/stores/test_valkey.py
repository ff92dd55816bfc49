"""The Valkey stores on a real server, through both client packages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from mfakit.storage.valkey import ValkeyStore
from mfakit.testing import StoreContract
from servers.valkey import ValkeyServer

pytestmark = pytest.mark.server
PACKAGES = ("valkey", "redis")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    one = ValkeyServer()
    yield one
    one.stop()


def open_store(package: str, address: dict[str, Any], prefix: str) -> ValkeyStore:
    client = getattr(pytest.importorskip(package), package.capitalize())
    return ValkeyStore(client(**address), prefix=prefix)


class _ValkeyContract(StoreContract):
    package: str

    @pytest.fixture(autouse=True)
    def _server(self, server: ValkeyServer) -> None:
        self.server = server

    def make_store(self) -> ValkeyStore:
        return open_store(self.package, self.server.address, f"{{{next(_numbers)}}}:")

    def opener(self, store: ValkeyStore) -> Callable[[], ValkeyStore]:
        return partial(open_store, self.package, self.server.address, store._prefix.decode())

    def cut_connections(self, store: ValkeyStore) -> None:
        store._client.client_kill_filter(_type="normal", skipme=False)


class TestValkeyClient(_ValkeyContract):
    package = "valkey"


class TestRedisClient(_ValkeyContract):
    package = "redis"
