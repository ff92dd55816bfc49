"""The asynchronous Valkey store on a real server, through both client packages."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from mfakit.errors import StoreConfigurationError, StoreUnavailableError
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.valkey import AsyncValkeyStore, ValkeyStore
from mfakit.testing import AsyncStoreContract
from servers.child import need
from servers.valkey import GET_IT, ValkeyServer

valkey = need("valkey", GET_IT)
redis = need("redis", GET_IT)

pytestmark = pytest.mark.server
PACKAGES = pytest.mark.parametrize("package", ["valkey", "redis"])
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    one = ValkeyServer()
    yield one
    one.stop()


def make_client(package: str, address: dict[str, Any], **options: Any) -> Any:
    module = {"valkey": valkey, "redis": redis}[package]
    return getattr(module.asyncio, package.capitalize())(**address | options)


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    return StoredRecord(
        account_id=account_id,
        revision=revision,
        document=document,
        summary=Summary(state="enrolled"),
    )


class ClosingStore(AsyncValkeyStore):
    """What the contract opens, it closes."""

    async def close(self) -> None:
        await self._client.aclose()


def open_store(package: str, address: dict[str, Any], prefix: str) -> ClosingStore:
    return ClosingStore(make_client(package, address), prefix=prefix)


class _AsyncValkeyContract(AsyncStoreContract):
    SECONDS = 1  # for each race: a synced write takes longer than one to memory

    package: str

    @pytest.fixture(autouse=True)
    def _server(self, server: ValkeyServer) -> None:
        self.server = server

    async def make_store(self) -> ClosingStore:
        return open_store(self.package, self.server.address, f"{{async-{next(_numbers)}}}:")

    def opener(self, store: ClosingStore) -> Callable[[], ClosingStore]:
        return partial(open_store, self.package, self.server.address, store._prefix.decode())

    def cut_connections(self, store: ClosingStore) -> None:
        valkey.Valkey(**self.server.address).client_kill_filter(_type="normal")


class TestAsyncValkeyClient(_AsyncValkeyContract):
    package = "valkey"


class TestAsyncRedisClient(_AsyncValkeyContract):
    package = "redis"


# ------------------------------------------------------------------------------------------------


@PACKAGES
def test_it_keeps_what_the_synchronous_store_keeps(package: str, server: ValkeyServer) -> None:
    """Both may serve one platform: a web front end and a mail front end, say."""
    prefix = f"{{async-{next(_numbers)}}}:"
    sync = ValkeyStore(valkey.Valkey(**server.address), prefix=prefix)

    async def run() -> None:
        client = make_client(package, server.address)
        store = AsyncValkeyStore(client, prefix=prefix)
        assert await store.create(row()) is True
        assert sync.load("ann") == row()
        assert sync.replace(row(revision=2), expected=1) is True
        assert await store.load("ann") == row(revision=2)
        assert await store.scan(cursor=None, limit=1) == sync.scan(cursor=None, limit=1)
        assert await store.delete("ann", expected=2) is True
        assert sync.load("ann") is None
        await client.aclose()

    asyncio.run(run())


@PACKAGES
def test_a_cancelled_call_leaves_no_answer_to_the_next(package: str) -> None:
    """A connection that was left in the middle of an answer would give it to another account."""
    server = ValkeyServer()

    async def run() -> None:
        client = make_client(package, server.address)
        store = AsyncValkeyStore(client)
        for name in ("ann", "bob"):
            await store.create(row(name, document=name.encode() * 20_000))
        for _ in range(10):
            server.freeze()
            call = asyncio.create_task(store.load("ann"))
            for _ in range(20):  # until it waits for the answer
                await asyncio.sleep(0.001)
            call.cancel()
            server.thaw()
            with pytest.raises(asyncio.CancelledError):
                await call
            loaded = await store.load("bob")
            assert loaded is not None
            assert loaded.document == b"bob" * 20_000
        await client.aclose()

    try:
        asyncio.run(run())
    finally:
        server.stop()


@PACKAGES
def test_a_killed_server_is_unavailable_and_the_next_call_recovers(package: str) -> None:
    server = ValkeyServer()

    async def run() -> None:
        client = make_client(package, server.address)
        store = AsyncValkeyStore(client)
        await store.create(row())
        server.kill()
        for call in (
            lambda: store.load("ann"),
            lambda: store.replace(row(revision=2), expected=1),
            lambda: store.scan(cursor=None, limit=1),
            store.check,
        ):
            with pytest.raises(StoreUnavailableError):
                await call()
        server.start()
        assert await store.load("ann") == row()
        assert await store.replace(row(revision=2), expected=1) is True
        await client.aclose()

    try:
        asyncio.run(run())
    finally:
        server.stop()


@PACKAGES
def test_the_server_is_checked_as_by_the_synchronous_store(package: str) -> None:
    server = ValkeyServer(appendfsync="everysec")

    async def run() -> None:
        client = make_client(package, server.address)
        strict = AsyncValkeyStore(client)
        for call in (strict.check, lambda: strict.load("ann"), lambda: strict.create(row())):
            with pytest.raises(StoreConfigurationError, match="appendfsync always"):
                await call()
        assert await AsyncValkeyStore(client, durability="everysec").load("ann") is None
        await client.execute_command("ACL SETUSER default -config|get")
        with pytest.raises(StoreConfigurationError, match="unchecked"):
            await AsyncValkeyStore(client, durability="everysec").check()
        trusting = AsyncValkeyStore(client, durability="unchecked")
        await trusting.check()
        assert await trusting.create(row()) is True
        await client.aclose()

    try:
        asyncio.run(run())
    finally:
        server.stop()


def test_a_first_call_to_a_busy_server_is_unavailable() -> None:
    server = ValkeyServer()

    async def run() -> None:
        client = make_client("valkey", server.address)
        with server.busy(), pytest.raises(StoreUnavailableError):
            await AsyncValkeyStore(client).check()
        await client.aclose()

    try:
        asyncio.run(run())
    finally:
        server.stop()


def test_a_write_is_sent_once_whatever_the_client_was_told(server: ValkeyServer) -> None:
    """Both packages' asynchronous retries are off, for open connections and for new ones."""

    async def run() -> None:
        for package, module in (("valkey", valkey), ("redis", redis)):
            retry = module.asyncio.retry.Retry(module.backoff.NoBackoff(), 5)
            client = make_client(package, server.address, retry=retry)
            await client.ping()
            AsyncValkeyStore(client)
            for _ in range(2):
                connection = client.connection_pool.make_connection()
                assert connection.retry._retries == 0
            assert client.get_retry()._retries == 0
            await client.aclose()

    asyncio.run(run())
