"""The checks of a lost connection pass for who says what he knows, and fail for who guesses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import network_store
import pytest
from network_store import AsyncNetworkStore, NetworkStore, Server, UnevenStore

from mfakit.testing import AsyncStoreContract, StoreContract
from mfakit.testing.contract import check_names, run_check

TRUTH = "cut_connections_never_make_an_answer_false"
RECOVERY = "store_recovers_after_a_cut"


class Contract(StoreContract):
    def __init__(self, kind: type[NetworkStore], server: Server) -> None:
        self.kind, self.server = kind, server

    def make_store(self) -> NetworkStore:
        return self.kind(self.server.address)

    def cut_connections(self, store: object) -> None:
        self.server.cut()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.mark.parametrize("check", [TRUTH, RECOVERY])
def test_who_says_what_he_knows_passes(server: Server, check: str) -> None:
    result = run_check(Contract(NetworkStore, server), check)
    assert (result.outcome, result.text) == ("passed", "")


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (network_store.RetryingStore, TRUTH, "False was answered for a write that won"),
        (network_store.HopefulStore, TRUTH, "True was answered for a write that is lost"),
        (network_store.StuckStore, RECOVERY, "StoreUnavailableError"),
        (network_store.TellingStore, RECOVERY, "the store raised builtins."),
        (network_store.TellingStore, TRUTH, "the store raised builtins."),
    ],
)
def test_who_guesses_is_caught(
    server: Server, kind: type[NetworkStore], check: str, words: str
) -> None:
    result = run_check(Contract(kind, server), check)
    assert result.outcome == "failed"
    assert words in result.text


class AsyncContract(AsyncStoreContract):
    PROCESSES = KILLS = 2

    def __init__(self, kind: type[AsyncNetworkStore], server: Server) -> None:
        self.kind, self.server = kind, server

    async def make_store(self) -> AsyncNetworkStore:
        return self.kind(self.server.address)

    def opener(self, store: object) -> partial[AsyncNetworkStore]:
        return partial(self.kind, self.server.address)

    async def cut_connections(self, store: object) -> None:
        self.server.cut()


def test_an_asynchronous_store_passes(server: Server) -> None:
    """A store that is right keeps every promise that it can be put to."""
    results = {
        name: run_check(AsyncContract(AsyncNetworkStore, server), name)
        for name in check_names(AsyncContract)
    }
    assert [one.text for one in results.values() if one.outcome == "failed"] == []
    assert {one.needs for one in results.values()} == {"", "scan()", "caller_transaction()"}


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (network_store.AwaitingStore, "one_coroutine_wins", "coroutines won; exactly one must"),
        (network_store.HalfUsedStore, "cancelled_write_is_whole", ""),
        (network_store.LeakingStore, "cancelled_write_is_whole", "no longer answers"),
    ],
)
def test_what_only_an_asynchronous_store_does_wrong_is_caught(
    server: Server, kind: type[AsyncNetworkStore], check: str, words: str
) -> None:
    contract = AsyncContract(kind, server)
    contract.PATIENCE_SECONDS = 2.0
    result = run_check(contract, check)
    assert result.outcome == "failed"
    assert words in result.text


def test_writes_are_cancelled_in_the_middle_however_long_the_first_one_took() -> None:
    """A busy machine makes one write long; the moments of cancelling follow those that come next."""

    class Contract(AsyncStoreContract):
        async def make_store(self) -> UnevenStore:
            return UnevenStore()

    for _ in range(5):
        assert run_check(Contract(), "cancelled_write_is_whole").outcome == "failed"
