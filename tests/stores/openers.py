"""The stores that tests of the whole library run on, by name.

Each entry is a context manager that takes an empty directory and gives an opener: a callable without
arguments that opens one and the same data, here or (picklable) in another process. A store with a
server of its own starts it there and stops it at exit; where it cannot be had it calls
`pytest.skip` with the command that gets it, or fails when `CI` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from mfakit.storage import Store
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from servers.etcd import EtcdCluster
from servers.valkey import ValkeyServer

Opener = Callable[[], Store]


@contextmanager
def memory(directory: Path) -> Iterator[Opener]:
    store = MemoryStore()
    yield lambda: store


@contextmanager
def sqlite(directory: Path) -> Iterator[Opener]:
    yield partial(SQLiteStore, directory / "mfa.db", synchronous="NORMAL")


@contextmanager
def valkey(directory: Path) -> Iterator[Opener]:
    from test_valkey import open_store

    server = ValkeyServer()
    try:
        yield partial(open_store, "valkey", server.address, "race:")
    finally:
        server.stop()


@contextmanager
def etcd(directory: Path) -> Iterator[Opener]:
    from test_etcd import open_store

    cluster = EtcdCluster()
    try:
        yield partial(open_store, cluster.endpoints, "race/")
    finally:
        cluster.stop()


STORES: dict[str, Callable[[Path], AbstractContextManager[Opener]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "valkey": valkey,
    "etcd": etcd,
}
IN_ONE_PROCESS = {"memory"}
