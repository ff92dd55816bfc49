"""The Valkey store on a real server, through both client packages."""

from __future__ import annotations

import itertools
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, MFAKitError, Policy
from mfakit.errors import (
    RecordIntegrityError,
    StoreConfigurationError,
    StoreUnavailableError,
    UnavailableError,
)
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.valkey import AsyncValkeyStore, ValkeyStore
from mfakit.testing import CheapHasher, FixedClock, StoreContract, VirtualAuthenticator
from servers.child import free_ports, need
from servers.valkey import GET_IT, SentinelServer, ValkeyServer

valkey = need("valkey", GET_IT)
redis = need("redis", GET_IT)
CacheConfig = need("redis.cache", GET_IT).CacheConfig

pytestmark = pytest.mark.server
PACKAGES = pytest.mark.parametrize("package", ["valkey", "redis"])
NOW = 1_800_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared() -> Iterator[ValkeyServer]:
    """One server for the tests that leave it as it was."""
    server = ValkeyServer()
    yield server
    server.stop()


@contextmanager
def running(**settings: str) -> Iterator[ValkeyServer]:
    """Start a server of one test's own."""
    server = ValkeyServer(**settings)
    try:
        yield server
    finally:
        server.stop()


def make_client(package: str, address: dict[str, Any], **options: Any) -> Any:
    module = {"valkey": valkey, "redis": redis}[package]
    return getattr(module, package.capitalize())(**address | options)


def open_store(package: str, address: dict[str, Any], prefix: str) -> ValkeyStore:
    return ValkeyStore(make_client(package, address), prefix=prefix)


def new_prefix() -> str:
    return f"{{{next(_numbers)}}}:"


def row(
    account_id: str = "ann", revision: int = 1, document: bytes = b"{}", state: str = "enrolled"
) -> StoredRecord:
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=Summary(state=state)
    )


class _ValkeyContract(StoreContract):
    SECONDS = 1  # for each race: a synced write takes longer than one to memory

    package: str

    @pytest.fixture(autouse=True)
    def _server(self, shared: ValkeyServer) -> None:
        self.server = shared

    def make_store(self) -> ValkeyStore:
        return open_store(self.package, self.server.address, new_prefix())

    def opener(self, store: ValkeyStore) -> Callable[[], ValkeyStore]:
        return partial(open_store, self.package, self.server.address, store._prefix.decode())

    def cut_connections(self, store: ValkeyStore) -> None:
        make_client("valkey", self.server.address).client_kill_filter(_type="normal")


class TestValkeyClient(_ValkeyContract):
    package = "valkey"


class TestRedisClient(_ValkeyContract):
    package = "redis"


# ------------------------------------------------------------------------------------- the layout


def test_the_rows_and_the_index_are_where_the_documentation_says(shared: ValkeyServer) -> None:
    client, prefix = make_client("valkey", shared.address), new_prefix()
    store = ValkeyStore(make_client("valkey", shared.address), prefix=prefix)
    store.create(row("tenant/ann", revision=2**63 - 1))
    assert client.hgetall(f"{prefix}account:tenant/ann") == {
        b"revision": b"9223372036854775807",
        b"document": b"{}",
        b"summary": b'{"state":"enrolled"}',
    }
    assert client.zrange(f"{prefix}ids", 0, -1, withscores=True) == [(b"tenant/ann", 0.0)]
    assert client.ttl(f"{prefix}account:tenant/ann") == -1
    assert store.delete("tenant/ann", expected=2**63 - 1) is True
    assert client.keys(f"{prefix}*") == []


def test_a_scan_leaves_out_what_was_deleted_since_it_was_listed(shared: ValkeyServer) -> None:
    client, prefix = make_client("valkey", shared.address), new_prefix()
    store = ValkeyStore(make_client("valkey", shared.address), prefix=prefix)
    for name in ("a", "b", "c"):
        store.create(row(name))
    client.delete(f"{prefix}account:b")
    page = store.scan(cursor=None, limit=2)
    assert [one.account_id for one in page.records] == ["a"]
    rest = store.scan(cursor=page.cursor, limit=2)
    assert [one.account_id for one in rest.records] == ["c"]
    assert rest.cursor is None


def test_a_torn_summary_keeps_nobody_out(shared: ValkeyServer) -> None:
    client, prefix = make_client("valkey", shared.address), new_prefix()
    store = ValkeyStore(make_client("valkey", shared.address), prefix=prefix)
    store.create(row())
    client.hset(f"{prefix}account:ann", "summary", b'{"state":')
    assert store.load("ann") == row(state="unknown")
    client.hdel(f"{prefix}account:ann", "summary")
    assert store.load("ann") == row(state="unknown")


def test_a_torn_row_is_not_a_missing_one(shared: ValkeyServer) -> None:
    """The core refuses an empty document as torn; "no row" would turn two-step off."""
    client, prefix = make_client("valkey", shared.address), new_prefix()
    store = ValkeyStore(make_client("valkey", shared.address), prefix=prefix)
    store.create(row())
    client.hdel(f"{prefix}account:ann", "document")
    assert store.load("ann") == row(document=b"")
    mfa = MFA(store, KeyRing({"k": b"k" * 32}), policy=Policy(issuer="Example"))
    with pytest.raises(RecordIntegrityError):
        mfa.begin_login("ann", password_verified=True)


def test_a_server_that_forgot_its_scripts_is_taught_again(shared: ValkeyServer) -> None:
    store = open_store("valkey", shared.address, new_prefix())
    store.create(row())
    make_client("valkey", shared.address).script_flush()
    assert store.replace(row(revision=2), expected=1) is True


def test_a_cluster_of_one_shard_is_served_by_a_plain_client() -> None:
    """The braces of the prefix keep the keys of a script in one slot."""
    (bus,) = free_ports(1)
    with running(cluster_enabled="yes", cluster_port=str(bus)) as server:
        client = make_client("valkey", server.address)
        store = ValkeyStore(make_client("valkey", server.address))
        with pytest.raises(StoreUnavailableError):  # CLUSTERDOWN: no slots yet
            store.load("ann")
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        _until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        assert store.create(row()) is True
        assert store.replace(row(revision=2), expected=1) is True
        assert store.scan(cursor=None, limit=5).records == (row(revision=2),)
        with pytest.raises(StoreConfigurationError, match="one server"):
            ValkeyStore(valkey.ValkeyCluster(host="127.0.0.1", port=server.port))


@PACKAGES
def test_a_pipeline_is_no_client(package: str) -> None:
    """It answers nothing before it is executed: each write would look lost, and be done later."""
    client = make_client(package, {"host": "127.0.0.1", "port": 1})
    with pytest.raises(StoreConfigurationError, match="one server"):
        ValkeyStore(client.pipeline())


@PACKAGES
def test_the_documented_rights_are_enough(package: str) -> None:
    """A user with the rights of the page on stores, and no others, can do all that a store does."""
    page = Path(__file__).resolve().parents[2] / "docs" / "choose-a-store.md"
    (rights,) = re.findall(r"^ACL SETUSER .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    with running() as server:
        admin = make_client("valkey", server.address)
        assert admin.execute_command(*rights.split()) == b"OK"
        user = server.address | {"username": "mfakit", "password": "PASSWORD"}
        store = ValkeyStore(make_client(package, user))
        assert store.create(row()) is True
        assert store.replace(row(revision=2), expected=1) is True
        assert store.load("ann") == row(revision=2)
        assert store.scan(cursor=None, limit=1).records == (row(revision=2),)
        assert store.delete("ann", expected=2) is True
        with pytest.raises(StoreUnavailableError):
            ValkeyStore(make_client(package, user), prefix="others:").load("ann")


# ------------------------------------------------------------------------------ what a client must be


UNFIT = [
    ("valkey", {"decode_responses": True}),
    ("redis", {"decode_responses": True}),
    ("valkey", {"protocol": 3, "cache_enabled": True}),
    ("redis", {"protocol": 3, "cache_config": CacheConfig()}),
]


@pytest.mark.parametrize(("package", "options"), UNFIT)
def test_a_client_that_decodes_or_caches_is_refused(
    package: str, options: dict[str, Any], shared: ValkeyServer
) -> None:
    with pytest.raises(StoreConfigurationError, match="client without"):
        ValkeyStore(make_client(package, shared.address, **options))


def test_a_client_of_another_kind_is_refused() -> None:
    for store, wrong in (
        (ValkeyStore, valkey.asyncio.Valkey()),
        (AsyncValkeyStore, valkey.Valkey()),
        (ValkeyStore, object()),
    ):
        with pytest.raises(StoreConfigurationError, match="one server"):
            store(wrong)


def test_a_client_of_a_subclass_is_accepted(shared: ValkeyServer) -> None:
    """Platforms derive clients, to measure them for instance."""

    class Measured(valkey.Valkey):  # type: ignore[misc, name-defined]
        pass

    assert ValkeyStore(Measured(**shared.address), prefix=new_prefix()).create(row()) is True


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(StoreConfigurationError, match="everysec"):
        ValkeyStore(valkey.Valkey(), durability="no")  # type: ignore[arg-type]


def test_repr_names_no_address() -> None:
    store = ValkeyStore(valkey.Valkey(password="hunter2"), prefix="x:")
    assert repr(store) == "ValkeyStore(b'x:', durability='always')"


# ------------------------------------------------------------------------------ what a server must be


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("appendonly", "no", "appendonly yes"),
        ("appendfsync", "no", "appendfsync always"),
        ("appendfsync", "everysec", "appendfsync always"),
        ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_server_that_loses_what_it_answered_is_refused_until_it_is_set_right(
    setting: str, value: str, says: str
) -> None:
    with running() as server:
        admin = make_client("valkey", server.address)
        right = admin.config_get(setting)[setting]
        admin.config_set(setting, value)
        store = open_store("valkey", server.address, "x:")
        for call in (store.check, lambda: store.load("ann"), lambda: store.create(row())):
            with pytest.raises(StoreConfigurationError, match=says):
                call()
        admin.config_set(setting, right)
        assert store.load("ann") is None


def test_the_last_second_may_be_given_up_by_name() -> None:
    with running(appendfsync="everysec") as server:
        store = ValkeyStore(make_client("valkey", server.address), durability="everysec")
        assert store.create(row()) is True
        make_client("valkey", server.address).config_set("appendonly", "no")
        with pytest.raises(StoreConfigurationError):
            store.check()


def test_evicting_what_expires_is_accepted() -> None:
    """No key of a store expires, so a policy for keys that do cannot reach it."""
    with running(maxmemory_policy="volatile-lru") as server:
        assert open_store("valkey", server.address, "x:").create(row()) is True


@pytest.mark.parametrize("forbid", ["rename", "acl"])
def test_hidden_settings_are_a_matter_of_trust(forbid: str) -> None:
    """Managed services forbid CONFIG: nothing is assumed of them, "unchecked" says who promises."""
    with running(**{"rename_command": "CONFIG ''"} if forbid == "rename" else {}) as server:
        if forbid == "acl":
            admin = make_client("valkey", server.address)
            admin.execute_command("ACL SETUSER default -config|get")
        store = open_store("valkey", server.address, "x:")
        with pytest.raises(StoreConfigurationError, match="unchecked"):
            store.load("ann")
        trusting = ValkeyStore(make_client("valkey", server.address), durability="unchecked")
        assert trusting.create(row()) is True


def test_settings_are_checked_again_after_a_failure() -> None:
    """The server came back without its append-only file: nothing is written into it."""
    with running() as server:
        store = open_store("valkey", server.address, "x:")
        store.create(row())
        server.kill()
        with pytest.raises(StoreUnavailableError):
            store.load("ann")
        server.start(appendonly="no")
        with pytest.raises(StoreConfigurationError):
            store.load("ann")  # not None: an account must not look as if it had no second factor


def test_a_replica_is_refused(shared: ValkeyServer) -> None:
    with running(replicaof=f"127.0.0.1 {shared.port}") as replica:
        store = open_store("valkey", replica.address, "x:")
        with pytest.raises(StoreConfigurationError, match="replica"):
            store.load("ann")


# ----------------------------------------------------------------------------- failures are typed


@contextmanager
def _setting(server: ValkeyServer, name: str, value: str) -> Iterator[None]:
    admin = make_client("valkey", server.address)
    before = admin.config_get(name)[name]
    admin.config_set(name, value)
    yield
    admin.config_set(name, before)


@contextmanager
def _demoted(server: ValkeyServer) -> Iterator[None]:
    admin = make_client("valkey", server.address)
    admin.replicaof("127.0.0.1", 1)
    yield
    admin.replicaof("NO", "ONE")


TROUBLES: dict[str, Callable[[ValkeyServer], Any]] = {
    "OOM": lambda server: _setting(server, "maxmemory", "1"),
    "NOREPLICAS": lambda server: _setting(server, "min-replicas-to-write", "3"),
    "READONLY": lambda server: _demoted(server),
    "BUSY": lambda server: server.busy(),
}


@PACKAGES
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_server_in_trouble_is_unavailable_and_then_available(package: str, trouble: str) -> None:
    with running() as server:
        store = open_store(package, server.address, "x:")
        store.create(row())
        with TROUBLES[trouble](server):
            with pytest.raises(StoreUnavailableError) as raised:
                store.replace(row(revision=2), expected=1)
            cause = f"{type(raised.value.__cause__).__name__} {raised.value.__cause__}".upper()
            assert {"OOM": "OUTOFMEMORY"}.get(trouble, trouble) in cause
        assert store.load("ann") == row()
        assert store.replace(row(revision=2), expected=1) is True


def test_a_key_of_another_type_and_a_wrong_password_are_unavailable(shared: ValkeyServer) -> None:
    prefix = new_prefix()
    make_client("valkey", shared.address).set(f"{prefix}account:ann", "x")
    store = open_store("valkey", shared.address, prefix)
    stranger = ValkeyStore(make_client("valkey", shared.address, password="wrong"))
    for call in (
        lambda: store.load("ann"),
        lambda: store.create(row()),
        lambda: stranger.load("ann"),
    ):
        with pytest.raises(StoreUnavailableError):
            call()


@PACKAGES
def test_a_killed_server_is_unavailable_and_the_next_call_recovers(package: str) -> None:
    with running() as server:
        store = open_store(package, server.address, "x:")
        store.create(row())
        for revision in range(1, 4):
            server.kill()
            for call in (
                lambda: store.load("ann"),
                lambda new=revision: store.replace(row(revision=new + 1), expected=new),
                lambda: store.scan(cursor=None, limit=1),
            ):
                with pytest.raises(StoreUnavailableError):
                    call()
            server.start()
            assert store.load("ann") == row(revision=revision)
            assert store.replace(row(revision=revision + 1), expected=revision) is True


@PACKAGES
def test_connections_cut_under_writers_lose_and_double_nothing(package: str) -> None:
    """A sole writer never loses a race; after an unknown outcome, a load shows which it was."""

    def write(store: ValkeyStore, account_id: str, done: threading.Event) -> int:
        revision, unknown = 1, 0
        while not done.is_set():
            try:
                won = store.replace(row(account_id, revision + 1), expected=revision)
                assert won is True
                revision += 1
            except StoreUnavailableError:
                unknown += 1
                loaded = _insist(partial(store.load, account_id))
                assert loaded.revision in (revision, revision + 1)
                revision = loaded.revision
        assert _insist(partial(store.load, account_id)) == row(account_id, revision)
        return unknown

    with running() as server, ThreadPoolExecutor(4) as threads:
        admin, done = make_client("valkey", server.address), threading.Event()
        store = open_store(package, server.address, "x:")
        accounts = [f"account-{number}" for number in range(4)]
        for account_id in accounts:
            store.create(row(account_id))
        writing = [threads.submit(write, store, account_id, done) for account_id in accounts]
        for _ in range(40):
            time.sleep(0.02)
            admin.client_kill_filter(_type="normal")
        done.set()
        assert sum(one.result(timeout=20) for one in writing) > 0


def test_a_server_that_hangs_is_unavailable_after_the_timeout() -> None:
    with running() as server:
        client = make_client("valkey", server.address, socket_timeout=0.3)
        store = ValkeyStore(client, prefix="x:")
        store.create(row())
        server.freeze()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        assert time.monotonic() - began < 5
        server.thaw()
        loaded = store.load("ann")
        assert loaded in (row(), row(revision=2))  # the outcome was unknown; a load shows it


def test_a_first_call_to_a_busy_server_is_unavailable() -> None:
    """A server that cannot show its settings now is not one that never shows them."""
    with running() as server, server.busy(), pytest.raises(StoreUnavailableError):
        open_store("valkey", server.address, "x:").check()


def test_sentinel_leads_the_store_to_the_next_primary(capsys: pytest.CaptureFixture[str]) -> None:
    """The store goes on there by itself. What a failover may lose, no client can know."""
    with running() as primary, running(replicaof=f"127.0.0.1 {primary.port}") as replica:
        admin = make_client("valkey", replica.address)
        _until(lambda: admin.info()["master_link_status"] == "up")
        watcher = SentinelServer(primary)
        try:
            sentinel = valkey.Sentinel([("127.0.0.1", watcher.port)], socket_timeout=2)
            store = ValkeyStore(sentinel.master_for("accounts", socket_timeout=2), prefix="x:")
            assert store.create(row()) is True
            sees = make_client("valkey", watcher.address)
            _until(lambda: sees.sentinel_master("accounts")["num-slaves"] == 1)
            _until(lambda: admin.exists("x:account:ann") == 1)
            primary.kill()
            killed_at = time.monotonic()
            assert _insist(lambda: store.replace(row(revision=2), expected=1)) is True
            pause = time.monotonic() - killed_at
            assert store.load("ann") == row(revision=2)
            with capsys.disabled():
                sys.stdout.write(f"\nvalkey: primary killed, went on after {pause:.2f} s\n")
        finally:
            watcher.stop()


class Proxy:
    """A connection between a client and a server, that can lose one answer."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._server_port = port
        self.loses_next = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            for source, target, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._carry, args=(source, target, is_answer), daemon=True
                ).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with source, target:
            while True:
                try:
                    data = source.recv(65_536)
                    is_lost = is_answer and self.loses_next
                    self.loses_next = self.loses_next and not is_lost
                    if not data or is_lost:
                        target.shutdown(socket.SHUT_RDWR)
                        return
                    target.sendall(data)
                except OSError:
                    return


@PACKAGES
@pytest.mark.parametrize("pool", ["ConnectionPool", "BlockingConnectionPool"])
def test_a_write_whose_answer_is_lost_is_sent_once_and_its_outcome_unknown(
    package: str, pool: str
) -> None:
    """Sent again, it would find its own revision and answer False for a write that had won."""
    with running() as server:
        admin, proxy = make_client("valkey", server.address), Proxy(server.port)
        module = {"valkey": valkey, "redis": redis}[package]
        connections = getattr(module, pool)(
            **server.address | {"port": proxy.port},
            retry=module.retry.Retry(module.backoff.NoBackoff(), 3),
            retry_on_error=[module.ConnectionError, module.TimeoutError],
        )
        client = make_client(package, {}, connection_pool=connections)
        client.ping()  # a connection from before the store
        store = ValkeyStore(client, prefix="x:")
        store.create(row())
        admin.config_resetstat()
        proxy.loses_next = True
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        assert not proxy.loses_next
        calls = admin.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert calls == 1
        assert store.load("ann") == row(revision=2)
        proxy.close()


# ------------------------------------------------------------------------------------- durability


def _hammer(store: ValkeyStore, account_id: str, answered: dict[str, int]) -> None:
    revision = answered[account_id]
    while True:
        new = row(account_id, revision + 1, document=b"%d" % (revision + 1) * 500)
        try:
            assert store.replace(new, expected=revision) is True
        except StoreUnavailableError:
            return
        revision += 1
        answered[account_id] = revision


def test_what_was_answered_survives_the_death_of_the_server() -> None:
    """Kill -9 under eight writers: each answered write is there, and no half of another."""
    with running() as server:
        store = open_store("valkey", server.address, "x:")
        for _ in range(3):
            answered = {}
            for number in range(8):
                loaded = store.load(f"account-{number}")
                if loaded is None:
                    store.create(row(f"account-{number}"))
                answered[f"account-{number}"] = 1 if loaded is None else loaded.revision
            before = dict(answered)
            with ThreadPoolExecutor(8) as threads:
                writing = [threads.submit(_hammer, store, one, answered) for one in answered]
                time.sleep(0.5)
                server.kill()
            for one in writing:
                one.result()
            server.start()
            for account_id, revision in answered.items():
                assert revision > before[account_id]
                loaded = store.load(account_id)
                assert loaded is not None
                assert loaded.revision in (revision, revision + 1)
                assert loaded.document == b"%d" % loaded.revision * 500


def test_without_the_settings_that_are_asked_for_answered_writes_are_lost() -> None:
    """Why the settings are checked: the test above fails on a server without them."""
    with running(appendonly="no") as server:
        store = ValkeyStore(make_client("valkey", server.address), durability="unchecked")
        assert store.create(row()) is True
        server.kill()
        server.start()
        assert store.load("ann") is None


# ----------------------------------------------------------------------------------- whole sign-ins


@PACKAGES
def test_one_code_raced_by_eight_threads_signs_in_once(package: str, shared: ValkeyServer) -> None:
    store = open_store(package, shared.address, new_prefix())
    clock = FixedClock(NOW)
    mfa = MFA(
        store,
        KeyRing({"k": b"k" * 32}),
        policy=Policy(issuer="Example", throttle_free_failures=10),
        clock=clock,
        hasher=CheapHasher(),
    )
    proof = mfa.password_proof("ann", password_verified=True)
    offer = mfa.begin_enrollment("ann", account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    assert isinstance(mfa.confirm_enrollment(offer.token, app.code(NOW)), Enrolled)

    def submit(code: str) -> str:
        begun = mfa.begin_login("ann", password_verified=True)
        assert isinstance(begun, CodeRequired)
        try:
            return type(mfa.complete_login(begun.challenge, code)).__name__
        except MFAKitError as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as threads:
        for _ in range(25):
            clock.advance(30)
            kinds = Counter(threads.map(submit, [app.code(clock.now)] * 8))
            assert kinds["SignedIn"] == 1, kinds
            assert set(kinds) <= {"SignedIn", "WrongCodeError", "ContentionError"}


# --------------------------------------------------------------------------------------- helpers


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _insist(call: Callable[[], Any]) -> Any:
    """Call until there is an answer."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return call()
        except UnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.005)
