"""The worked adapter of the documentation, on a cluster of three etcd nodes."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from mfakit import (
    MFA,
    CodeRequired,
    Enrolled,
    KeyRing,
    MFAKitError,
    NewPasscode,
    Policy,
    RefusedError,
    SignedIn,
    UnavailableError,
)
from mfakit.errors import CredentialRefusedError, NotFoundError, StoreUnavailableError
from mfakit.storage import Store, StoredRecord, Summary
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, StoreContract, VirtualAuthenticator
from servers.child import need
from servers.etcd import Certificates, EtcdCluster

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "etcd_store"
sys.path.insert(0, str(EXAMPLE))  # as its README says: copy the file beside your own

pytestmark = pytest.mark.server
START = 1_800_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    need("urllib3", "pip install urllib3")
    one = EtcdCluster()
    yield one
    one.stop()


def open_store(endpoints: Sequence[str], prefix: str, timeout_seconds: float = 2.0) -> Any:
    from etcd_store import EtcdStore

    return EtcdStore(endpoints, prefix=prefix, timeout_seconds=timeout_seconds)


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    return StoredRecord(
        account_id=account_id,
        revision=revision,
        document=document,
        summary=Summary(state="enrolled"),
    )


class TestEtcdStore(StoreContract):
    SECONDS = 2  # a write takes milliseconds here

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster

    def make_store(self) -> Any:
        self.prefix = f"{next(_numbers)}/"
        return open_store(self.cluster.endpoints, self.prefix)

    def opener(self, store: Any) -> Callable[[], Any]:
        return partial(open_store, self.cluster.endpoints, self.prefix)


# ----------------------------------------------------------------------------------- the example


def test_the_example_is_at_most_60_lines_of_code() -> None:
    """The promise of "write your own in an hour" is kept by the example itself."""
    import ast

    source = (EXAMPLE / "etcd_store.py").read_text(encoding="utf-8")
    described: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            described |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code = [
        line
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and number not in described
    ]
    assert 40 < len(code) <= 60


def test_the_documentation_shows_the_example_and_nothing_else() -> None:
    """The blocks of "Write a storage adapter" are the two files, whole and in their order."""
    page = EXAMPLE.parents[1] / "docs" / "write-a-store.md"
    blocks = re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    files = [EXAMPLE / "etcd_store.py", EXAMPLE / "test_etcd_store.py"]
    assert _lines("".join(blocks)) == _lines("".join(one.read_text("utf-8") for one in files))


def test_the_example_proves_itself(cluster: EtcdCluster, tmp_path: Path) -> None:
    """What its README tells the reader to run passes, in a directory of the reader's own."""
    for name in ("etcd_store.py", "test_etcd_store.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_etcd_store.py"],
        cwd=tmp_path,
        env=os.environ | {"ETCD": ",".join(cluster.endpoints)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 15


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


# ---------------------------------------------------------------------------------- one node fails


def test_a_write_through_one_node_is_read_through_each_other(cluster: EtcdCluster) -> None:
    """Linearizable: a node that has not heard of a write yet asks before it answers."""
    prefix = f"{next(_numbers)}/"
    stores = [open_store([endpoint], prefix) for endpoint in cluster.endpoints]
    stores[0].create(row(revision=1))
    for revision in range(1, 100):
        writer, reader = stores[revision % 3], stores[(revision + 1) % 3]
        assert writer.replace(row(revision=revision + 1), expected=revision) is True
        assert reader.load("ann").revision == revision + 1


def test_a_killed_node_is_unavailable_and_the_next_call_asks_another(cluster: EtcdCluster) -> None:
    node = (cluster.leader() + 1) % 3  # a follower: the cluster itself goes on
    endpoints = cluster.endpoints[node:] + cluster.endpoints[:node]
    store = open_store(endpoints, f"{next(_numbers)}/")
    assert store.create(row()) is True
    cluster.kill(node)
    try:
        with pytest.raises(StoreUnavailableError) as raised:
            store.replace(row(revision=2), expected=1)
        assert raised.value.__cause__ is not None
        assert store.replace(row(revision=2), expected=1) is True
        assert store.load("ann") == row(revision=2)
    finally:
        cluster.start(node)
    assert open_store(endpoints, store._prefix).load("ann") == row(revision=2)


def test_a_node_that_hangs_is_unavailable_after_the_timeout(cluster: EtcdCluster) -> None:
    node = (cluster.leader() + 1) % 3
    endpoints = cluster.endpoints[node:] + cluster.endpoints[:node]
    store = open_store(endpoints, f"{next(_numbers)}/", timeout_seconds=0.5)
    store.create(row())
    cluster.freeze(node)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            store.load("ann")
        assert time.monotonic() - began < 5
        assert store.load("ann") == row()
    finally:
        cluster.thaw(node)


def test_without_a_majority_nothing_is_answered(cluster: EtcdCluster) -> None:
    """One node of three knows that it may be behind: it refuses to read, and to write."""
    leader = cluster.leader()
    alone, others = (leader + 1) % 3, [leader, (leader + 2) % 3]
    store = open_store([cluster.endpoints[alone]], f"{next(_numbers)}/", timeout_seconds=1)
    store.create(row())
    for node in others:
        cluster.kill(node)
    try:
        with pytest.raises(StoreUnavailableError):
            store.load("ann")
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
    finally:
        for node in others:
            cluster._spawn(node)
        for node in others:
            cluster._wait(node)
    loaded = _insist(lambda: store.load("ann"))
    assert loaded in (row(), row(revision=2))  # the outcome was unknown; a load shows it
    assert _insist(lambda: store.replace(row(revision=3), expected=loaded.revision)) is True


def test_what_is_no_etcd_is_unavailable(cluster: EtcdCluster) -> None:
    """An answer of another server, or none, is never a row and never "no row"."""
    store = open_store([f"{cluster.endpoints[0]}/nowhere"], "x/")
    with pytest.raises(StoreUnavailableError):
        store.load("ann")


def test_only_who_holds_a_certificate_gets_in(tmp_path: Path) -> None:
    """As the example's README says: TLS, and `--client-cert-auth`."""
    from etcd_store import EtcdStore

    tls = Certificates(tmp_path)
    cluster = EtcdCluster(nodes=1, tls=tls)
    try:
        files = {"cert_file": str(tls.certificate), "key_file": str(tls.key)}
        store = EtcdStore(cluster.endpoints, ca_certs=str(tls.authority), **files)
        assert store.create(row()) is True
        assert store.load("ann") == row()
        for stranger in ({"ca_certs": str(tls.authority)}, {}):
            with pytest.raises(StoreUnavailableError):
                EtcdStore(cluster.endpoints, **stranger).load("ann")
    finally:
        cluster.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12: fork beside threads
def test_a_forked_child_has_connections_of_its_own(cluster: EtcdCluster) -> None:
    """Or a child could read the answer to its sibling's question."""
    store = open_store(cluster.endpoints, f"{next(_numbers)}/")
    store.create(row())
    parents = store._connections_of(os.getpid())
    child = os.fork()
    if child == 0:
        is_own = store.load("ann") == row() and store._connections_of(os.getpid()) is not parents
        os._exit(0 if is_own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store._connections_of(os.getpid()) is parents
    assert store.load("ann") == row()


# -------------------------------------------------------------------- sign-ins while leaders die


def _insist(call: Callable[[], Any], within_seconds: float = 20) -> Any:
    """Call until there is an answer, as a client that retries "temporary failure" does."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            return call()
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@define
class Account:
    """What the platform was told about one account, and by what it can be checked afterwards."""

    id: str
    app: VirtualAuthenticator
    clock: FixedClock
    mfas: list[MFA]
    proof: Any = None
    spent: list[str] = field(factory=list)  # the last code that a sign-in was answered for
    live: list[NewPasscode] = field(factory=list)
    revoked: list[NewPasscode] = field(factory=list)
    is_off: bool = False


@define
class Ledger:
    """Facts that must hold from the moment they were answered, and when that was."""

    broken: list[str] = field(factory=list)
    answered: list[float] = field(factory=list)
    unknown: int = 0

    def require(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken.append(promise)

    def told(self) -> None:
        self.answered.append(time.monotonic())

    def longest_pause(self, begin: float, end: float) -> float:
        """Return the longest time without an answer to any write between two moments."""
        times = [begin, *sorted(one for one in self.answered if begin < one < end), end]
        return max(after - before for before, after in itertools.pairwise(times))


class Platform:
    """Three front ends, each with a node of its own that it asks first."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = stores
        self.ledger = Ledger()
        self.accounts: list[Account] = []
        self.stopping = threading.Event()

    def mfas(self, clock: FixedClock) -> list[MFA]:
        return [
            MFA(
                store,
                KeyRing({"k": b"k" * 32}),
                policy=Policy(issuer="Example", throttle_free_failures=10),
                clock=clock,
                hasher=CheapHasher(),
            )
            for store in self.stores
        ]

    def live(self) -> None:
        """Open accounts and use them until told to stop."""
        with ThreadPoolExecutor(3) as front_ends:
            for number in itertools.count():
                account = self.enroll()
                if account is not None:
                    self.accounts.append(account)
                    for turn in range(4):
                        self.use(account, front_ends, turn)
                    if number % 2 == 0:
                        self._reset(account)
                if self.stopping.is_set():
                    return

    def enroll(self) -> Account | None:
        account_id = f"account-{next(_numbers)}"
        clock = FixedClock(START)
        mfas = self.mfas(clock)
        try:
            proof = mfas[0].password_proof(account_id, password_verified=True)
            offer = mfas[1].begin_enrollment(account_id, account_name="a", proof=proof)
            app = VirtualAuthenticator(offer.uri)
            done = mfas[2].confirm_enrollment(offer.token, app.code(START))
        except UnavailableError:
            return None  # half set up, perhaps: the person begins again
        assert isinstance(done, Enrolled)
        self.ledger.told()
        return Account(account_id, app, clock, mfas)

    def use(self, account: Account, front_ends: ThreadPoolExecutor, turn: int) -> None:
        account.clock.advance(30)
        code = account.app.code(account.clock.now)
        came_of_it = list(
            front_ends.map(lambda mfa: self._submit(mfa, account, code), account.mfas)
        )
        accepted = [one for one in came_of_it if isinstance(one, SignedIn)]
        unknown = sum(one == "unknown" for one in came_of_it)
        self.ledger.unknown += unknown
        self.ledger.require(len(accepted) <= 1, "One code was accepted twice at once.")
        self.ledger.require(len(accepted) + unknown >= 1, "A right code was not accepted by any.")
        if not accepted:
            return
        self.ledger.told()
        account.proof = accepted[0].proof
        account.spent = [code]
        again = self._submit(account.mfas[turn % 3], account, code)
        self.ledger.require(not isinstance(again, SignedIn), "A spent code was accepted later.")
        self._change_passcodes(account, turn)

    def _submit(self, mfa: MFA, account: Account, code: str) -> Any:
        try:
            begun = mfa.begin_login(account.id, password_verified=True)
            assert isinstance(begun, CodeRequired)
            return mfa.complete_login(begun.challenge, code)
        except UnavailableError:
            return "unknown"
        except RefusedError:
            return "refused"

    def _change_passcodes(self, account: Account, turn: int) -> None:
        maker, user, admin = (account.mfas[(turn + place) % 3] for place in range(3))
        try:
            new = maker.create_passcode(account.id, label=f"phone {turn}", proof=account.proof)
        except UnavailableError:
            return  # whether it exists is unknown, and nobody knows its text
        self.ledger.told()
        self.ledger.require(
            self._opens(user, account, new), "A new passcode was unknown to another node."
        )
        if account.live:
            old = account.live.pop()
            _insist(lambda: _revoke(admin, account.id, old.passcode_id))
            self.ledger.told()
            account.revoked.append(old)
            self.ledger.require(
                not self._opens(maker, account, old), "A revoked passcode opened a mailbox."
            )
        account.live.append(new)

    def _opens(self, mfa: MFA, account: Account, new: NewPasscode) -> bool:
        try:
            _insist(
                lambda: mfa.authenticate_client(
                    account.id, new.passcode, protocol="imap", check_password=lambda _: None
                )
            )
        except CredentialRefusedError:
            return False
        return True

    def _reset(self, account: Account) -> None:
        _insist(lambda: account.mfas[0].reset(account.id, actor="op", reason="lost the phone"))
        self.ledger.told()
        account.is_off = True

    def audit(self, store: Store) -> None:
        """Check through one store all that anybody was ever answered."""
        self.stores = [store]
        for account in self.accounts:
            (mfa,) = self.mfas(account.clock)
            is_on = _insist(partial(mfa.status, account.id)).is_on
            self.ledger.require(is_on != account.is_off, "A reset, or a set-up, was lost.")
            if is_on:
                self._audit_factors(mfa, account)

    def _audit_factors(self, mfa: MFA, account: Account) -> None:
        for new in account.live:
            self.ledger.require(self._opens(mfa, account, new), "A passcode was lost.")
        for old in account.revoked:
            self.ledger.require(not self._opens(mfa, account, old), "A revocation was lost.")
        for code in account.spent:
            again = self._submit(mfa, account, code)
            self.ledger.require(again == "refused", "A spent code was forgotten.")


def each_node_first(cluster: EtcdCluster, prefix: str) -> list[Any]:
    """Return three stores on the same rows; each asks another node first."""
    endpoints = cluster.endpoints
    return [open_store((*endpoints[at:], *endpoints[:at]), prefix) for at in range(3)]


def _revoke(mfa: MFA, account_id: str, passcode_id: str) -> None:
    # Not found: the first try had won, and its answer was lost.
    with suppress(NotFoundError):
        mfa.revoke_passcode(account_id, passcode_id)


class ForgetfulStore(MemoryStore):
    """Say that a write won, and lose it: what a replica does that takes over too early."""

    forgets = False

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return self.forgets or super().replace(new, expected=expected)


def test_the_ledger_notices_answers_that_are_lost() -> None:
    """The test below can fail: a store that loses writes breaks what the ledger requires."""
    store = ForgetfulStore()
    platform = Platform([store, store, store])
    account = platform.enroll()
    assert account is not None
    platform.accounts.append(account)
    with ThreadPoolExecutor(3) as front_ends:
        platform.use(account, front_ends, 0)
        assert platform.ledger.broken == []
        store.forgets = True
        platform.use(account, front_ends, 1)
    platform.audit(store)
    assert {
        "One code was accepted twice at once.",
        "A spent code was accepted later.",
        "A new passcode was unknown to another node.",
        "A spent code was forgotten.",
    } <= set(platform.ledger.broken)


@pytest.mark.slow
def test_no_acceptance_is_doubled_and_no_answer_lost_while_leaders_die(
    cluster: EtcdCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sign-ins, passcodes and resets go through all nodes; the leader is killed -9, twice."""
    prefix = f"{next(_numbers)}/"
    platform = Platform(each_node_first(cluster, prefix))
    pauses = []
    with ThreadPoolExecutor(6) as people:
        lives = [people.submit(platform.live) for _ in range(6)]
        try:
            time.sleep(2)
            for _ in range(2):
                leader, killed_at = cluster.leader(), time.monotonic()
                cluster.kill(leader)
                time.sleep(5)
                pauses.append(platform.ledger.longest_pause(killed_at, time.monotonic()))
                cluster.start(leader)
                time.sleep(2)
        finally:
            platform.stopping.set()
    for life in lives:
        life.result()
    for endpoint in cluster.endpoints:
        platform.audit(open_store([endpoint], prefix))
    assert platform.ledger.broken == []
    assert len(platform.accounts) > 10
    assert sum(len(account.revoked) for account in platform.accounts) > 10
    assert sum(account.is_off for account in platform.accounts) > 3
    assert max(pauses) < 5, "Sign-ins did not go on after the leader's death."
    with capsys.disabled():
        sys.stdout.write(
            f"\netcd: leader killed, sign-ins went on after "
            f"{' and '.join(f'{pause:.2f} s' for pause in pauses)}; "
            f"{len(platform.ledger.answered)} writes answered, "
            f"{platform.ledger.unknown} with an unknown outcome\n"
        )


def test_codes_raced_through_three_nodes_have_one_winner(cluster: EtcdCluster) -> None:
    """Eight submissions of one code, spread over the nodes: one sign-in in each trial."""
    platform = Platform(each_node_first(cluster, f"{next(_numbers)}/"))
    account = platform.enroll()
    assert account is not None
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            account.clock.advance(30)
            code = account.app.code(account.clock.now)
            front_ends = (account.mfas * 3)[:8]
            came_of_it = list(threads.map(_race, front_ends, repeat(account.id), repeat(code)))
            assert came_of_it.count("SignedIn") == 1, came_of_it
            assert set(came_of_it) <= {"SignedIn", "WrongCodeError", "ContentionError"}


def _race(mfa: MFA, account_id: str, code: str) -> str:
    begun = mfa.begin_login(account_id, password_verified=True)
    assert isinstance(begun, CodeRequired)
    try:
        return type(mfa.complete_login(begun.challenge, code)).__name__
    except MFAKitError as error:
        return type(error).__name__
