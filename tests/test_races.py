"""Threads and processes on one SQLite file, and what a store that fails does to an answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, MFAKitError, Policy
from mfakit.errors import (
    ContentionError,
    StoreConfigurationError,
    StoreUnavailableError,
    WrongCodeError,
)
from mfakit.storage import Page, Store, StoredRecord, Summary
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher, FixedClock, StoreContract, VirtualAuthenticator
from mfakit.testing.contract import run_check

KEY = b"k" * 32
NOW = 1_800_000_000
POLICY = Policy(issuer="Example", throttle_free_failures=10, code_failures_max=100)
THREADS, PROCESSES, TRIALS = 8, 2, 10

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def make_mfa(store: Store, now: float = NOW, hasher: CheapHasher | None = None) -> MFA:
    return MFA(
        store,
        KeyRing({"k": KEY}),
        policy=POLICY,
        clock=FixedClock(now),
        hasher=hasher or CheapHasher(),
    )


def enroll(mfa: MFA, account_id: str, now: float = NOW) -> tuple[VirtualAuthenticator, Enrolled]:
    proof = mfa.password_proof(account_id, password_verified=True)
    offer = mfa.begin_enrollment(account_id, account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    done = mfa.confirm_enrollment(offer.token, app.code(now))
    assert isinstance(done, Enrolled)
    return app, done


def challenge(mfa: MFA, account_id: str) -> str:
    begun = mfa.begin_login(account_id, password_verified=True)
    assert isinstance(begun, CodeRequired)
    return begun.challenge


# ------------------------------------------------------------------------------ threads x processes


def race(path: str, trials: list[list[Call]], barrier: Any, told: Any) -> None:
    """Run in a process: thread n of it makes call n of each trial, all threads at one moment."""
    store = SQLiteStore(path, synchronous="NORMAL")
    mfa = make_mfa(store, NOW + 60)

    def run(calls: list[Call]) -> list[str]:
        kinds = []
        for name, args, kwargs in calls:
            barrier.wait(60)
            try:
                kinds.append(type(getattr(mfa, name)(*args, **kwargs)).__name__)
            except MFAKitError as error:
                kinds.append(type(error).__name__)
        return kinds

    by_thread = [list(calls) for calls in zip(*trials, strict=True)]
    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(run, by_thread))
    store.close()
    told.put(results)


def race_in_processes(path: Path, trials: list[list[Call]]) -> list[Counter[str]]:
    """Make the 16 calls of each trial at once; return what came of them, by trial."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(THREADS * PROCESSES), context.Queue()
    workers = [
        context.Process(
            target=race,
            args=(
                str(path),
                [calls[THREADS * place : THREADS * (place + 1)] for calls in trials],
                barrier,
                told,
            ),
        )
        for place in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    results = [thread for _ in workers for thread in told.get(timeout=120)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(results) == THREADS * PROCESSES
    return [Counter(kinds) for kinds in zip(*results, strict=True)]


def test_one_code_signs_in_once_and_wrong_codes_are_counted_exactly(tmp_path: Path) -> None:
    """Sixteen submissions of one code at once: one sign-in; each refusal told was counted."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    mfa, later = make_mfa(store), make_mfa(store, NOW + 60)
    trials: list[list[Call]] = []
    for number in range(TRIALS):
        account_id = f"ann-{number}"
        app, _ = enroll(mfa, account_id)
        code = app.code(NOW + 60)
        trials.append(
            [
                ("complete_login", (challenge(later, account_id), code), {})
                for _ in range(THREADS * PROCESSES)
            ]
        )
    for number, kinds in enumerate(race_in_processes(tmp_path / "mfa.db", trials)):
        assert kinds["SignedIn"] == 1, kinds
        assert set(kinds) <= {"SignedIn", "WrongCodeError", "ContentionError", "ThrottledError"}
        record = _record(store, f"ann-{number}")
        assert sum(count for _, count in record.code_throttle.days) == kinds["WrongCodeError"]
    store.close()


def test_wrong_codes_at_once_are_counted_exactly(tmp_path: Path) -> None:
    """Policy lets ten go by; the eleventh begins a wait, and nothing after it is evaluated."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    mfa, later = make_mfa(store), make_mfa(store, NOW + 60)
    trials: list[list[Call]] = []
    for number in range(TRIALS):
        app, _ = enroll(mfa, f"ann-{number}")
        token = challenge(later, f"ann-{number}")
        shown = {app.code(NOW + 60, steps=step) for step in range(-2, 3)}
        wrong = next(
            code
            for code in ("000000", "111111", "222222", "333333", "444444", "555555")
            if code not in shown
        )
        trials.append([("complete_login", (token, wrong), {})] * (THREADS * PROCESSES))
    for number, kinds in enumerate(race_in_processes(tmp_path / "mfa.db", trials)):
        assert set(kinds) <= {"WrongCodeError", "ContentionError", "ThrottledError"}
        assert 1 <= kinds["WrongCodeError"] <= 11
        assert _record(store, f"ann-{number}").code_throttle.failures == kinds["WrongCodeError"]
    store.close()


def test_wrong_codes_at_once_end_the_sessions_at_every_fifth(tmp_path: Path) -> None:
    """In a session: each is counted in both places, and each new epoch begins a run of its own."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    mfa = make_mfa(store)
    trials: list[list[Call]] = []
    for number in range(TRIALS):
        enroll(mfa, f"ann-{number}")
        typed = ("verify_code", (f"ann-{number}", "0ZZZ-ZZZZ-ZZZZ-ZZZZ"), {"method": "recovery"})
        trials.append([typed] * (THREADS * PROCESSES))
    for number, kinds in enumerate(race_in_processes(tmp_path / "mfa.db", trials)):
        assert set(kinds) <= {"WrongCodeError", "SessionEndedError", "ContentionError", "BusyError"}
        record = _record(store, f"ann-{number}")
        counted = kinds["WrongCodeError"] + kinds["SessionEndedError"]
        assert record.recovery_throttle.failures == counted
        assert kinds["SessionEndedError"] == counted // 5
        assert record.session_failures == counted % 5
    store.close()


def test_one_recovery_code_signs_in_once(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    mfa, later = make_mfa(store), make_mfa(store, NOW + 60)
    trials: list[list[Call]] = []
    for number in range(TRIALS):
        account_id = f"ann-{number}"
        _, done = enroll(mfa, account_id)
        code = done.recovery_codes[3]
        trials.append(
            [
                ("complete_login", (challenge(later, account_id), code), {"method": "recovery"})
                for _ in range(THREADS * PROCESSES)
            ]
        )
    for number, kinds in enumerate(race_in_processes(tmp_path / "mfa.db", trials)):
        # Busy: one account holds two places at the hasher; who waits longer tries again.
        assert kinds["SignedIn"] == 1, kinds
        refused = {"WrongCodeError", "ContentionError", "ThrottledError", "BusyError"}
        assert set(kinds) <= {"SignedIn"} | refused
        assert mfa.status(f"ann-{number}").recovery_codes_left == 9
    store.close()


def test_the_limit_of_passcodes_holds(tmp_path: Path) -> None:
    """Two places left and sixteen new labels at once: never a 26th passcode."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous="NORMAL")
    mfa = make_mfa(store)
    trials: list[list[Call]] = []
    for number in range(4):
        account_id = f"ann-{number}"
        _, done = enroll(mfa, account_id)
        for place in range(23):
            mfa.create_passcode(account_id, label=f"phone {place}", proof=done.proof or "")
        trials.append(
            [
                ("create_passcode", (account_id,), {"label": f"new {one}", "proof": done.proof})
                for one in range(THREADS * PROCESSES)
            ]
        )
    for number, kinds in enumerate(race_in_processes(tmp_path / "mfa.db", trials)):
        refused = {"LimitReachedError", "ContentionError", "BusyError"}
        assert set(kinds) <= {"NewPasscode"} | refused
        assert 1 <= kinds["NewPasscode"] <= 2
        assert mfa.status(f"ann-{number}").passcodes == 23 + kinds["NewPasscode"]
    store.close()


def _record(store: Store, account_id: str) -> Any:
    from mfakit.core.record import decode_record

    row = store.load(account_id)
    assert row is not None
    return decode_record(row, make_mfa(store)._env.vault)


# ------------------------------------------------------------------------------------ fork and kill


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_connections_of_its_own(tmp_path: Path) -> None:
    """A preforking server: the parent has used the store, the children go on with it."""
    store = SQLiteStore(tmp_path / "mfa.db")
    store.create(row(revision=1))
    idle_before = list(store._idle)
    with warnings.catch_warnings(), store._writing:  # as if another thread were writing
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads
        child = os.fork()
    if child == 0:
        try:
            won = store.replace(row(revision=2), expected=1)
            is_own = not set(map(id, store._idle)) & set(map(id, idle_before))
            os._exit(0 if won and is_own else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.replace(row(revision=3), expected=1) is False
    assert store.replace(row(revision=3), expected=2) is True
    store.close()


def test_a_write_that_does_not_get_its_turn_is_unavailable(tmp_path: Path) -> None:
    """Another thread of this process writes for too long; reading goes on."""
    store = SQLiteStore(tmp_path / "mfa.db", busy_seconds=0.05)
    store.create(row(revision=1))
    with store._writing:
        with pytest.raises(StoreUnavailableError):
            store.replace(row(revision=2), expected=1)
        assert store.load("ann") == row(revision=1)
    assert store.replace(row(revision=2), expected=1) is True
    store.close()


WRITER = """
import sys
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.sqlite import SQLiteStore

store = SQLiteStore(sys.argv[1])
revision = store.load("ann").revision
while True:
    new = StoredRecord(account_id="ann", revision=revision + 1,
                       document=b"%d" % (revision + 1) * 2000, summary=Summary(state="enrolled"))
    assert store.replace(new, expected=revision)
    revision += 1
    sys.stdout.write(f"{revision}\\n")
    sys.stdout.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_what_was_answered_survives_the_death_of_its_writer(tmp_path: Path) -> None:
    """Killed in the middle of writing: each answer given is in the file, and the file is whole."""
    path = tmp_path / "mfa.db"
    first = SQLiteStore(path)
    first.create(row(revision=1))
    first.close()
    for trial in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            answered = int(writer.stdout.readline())
            time.sleep(0.02 + 0.013 * trial)
            writer.kill()
            answered = max([answered, *map(int, writer.stdout.read().split())])
        store = SQLiteStore(path)
        loaded = store.load("ann")
        assert loaded is not None
        assert loaded.revision in (answered, answered + 1)
        assert loaded.document == b"%d" % loaded.revision * 2000
        assert store.replace(row(revision=loaded.revision + 1), expected=loaded.revision)
        store.close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


# ------------------------------------------------------------------------------------- SQLiteStore


def row(account_id: str = "ann", revision: int = 1, document: bytes = b"{}") -> StoredRecord:
    summary = Summary(state="enrolled")
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=summary
    )


@pytest.mark.parametrize("path", ["", ":memory:", "file:mfa.db", "file::memory:?cache=shared"])
def test_a_database_that_connections_cannot_share_is_refused(path: str) -> None:
    with pytest.raises(StoreConfigurationError, match="MemoryStore"):
        SQLiteStore(path)


def test_an_unknown_synchronous_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreConfigurationError, match="FULL"):
        SQLiteStore(tmp_path / "mfa.db", synchronous="OFF")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_durability_is_what_was_asked_for(tmp_path: Path, synchronous: Any, level: int) -> None:
    """SQLite's PRAGMA synchronous: 1 is NORMAL, 2 is FULL."""
    store = SQLiteStore(tmp_path / "mfa.db", synchronous=synchronous)
    connection = store._connect()
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_missing_directory_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "nowhere" / "mfa.db")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "mfa.db").write_bytes(b"not a database, whatever its name says\n" * 100)
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "mfa.db")


def test_a_file_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mfa.db"
    SQLiteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE mfakit_schema SET version = 2")
    connection.commit()
    for _ in range(2):
        with pytest.raises(StoreConfigurationError, match="another version"):
            SQLiteStore(path)
    assert connection.execute("SELECT version FROM mfakit_schema").fetchall() == [(2,)]
    connection.close()


def test_a_file_that_was_torn_while_in_use_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "mfa.db"
    store = SQLiteStore(path)
    store.create(row(document=b"x" * 60_000))
    store.close()
    size = path.stat().st_size
    path.write_bytes(b"\xff" * size)
    with pytest.raises(StoreUnavailableError):
        store.load("ann")
    with pytest.raises(StoreUnavailableError):
        store.replace(row(revision=2), expected=1)


def test_a_lock_held_longer_than_busy_seconds_is_unavailable(tmp_path: Path) -> None:
    """Not a lost race: another process holds the file, and nothing is known of the row."""
    store = SQLiteStore(tmp_path / "mfa.db", busy_seconds=0.05)
    store.create(row())
    other = sqlite3.connect(tmp_path / "mfa.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError):
        store.replace(row(revision=2), expected=1)
    assert store.load("ann") == row()  # readers do not wait for a writer
    other.execute("ROLLBACK")
    other.close()
    assert store.replace(row(revision=2), expected=1) is True
    store.close()


def test_a_lock_held_shorter_is_waited_for(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "mfa.db", busy_seconds=20)
    store.create(row())
    other = sqlite3.connect(tmp_path / "mfa.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(store.replace, row(revision=2), expected=1)
        time.sleep(0.1)
        assert not writing.done()
        other.execute("ROLLBACK")
        assert writing.result(20) is True
    other.close()
    store.close()


def test_a_closed_store_can_be_used_again(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "mfa.db")
    store.create(row())
    store.close()
    store.close()
    assert store.load("ann") == row()
    store.close()
    assert repr(store) == f"SQLiteStore({str(tmp_path / 'mfa.db')!r})"


def test_two_stores_may_be_made_on_one_file_at_once(tmp_path: Path) -> None:
    """Sixteen workers start together on a new file: all of them come up, on one table."""
    with ThreadPoolExecutor(16) as threads:
        stores = list(threads.map(lambda _: SQLiteStore(tmp_path / "mfa.db"), range(16)))
    assert sum(store.create(row(revision=place + 1)) for place, store in enumerate(stores)) == 1
    for store in stores:
        store.close()


@pytest.mark.parametrize("summary", ["", "not json", "{}", '{"state":1}', "[1]"])
def test_a_torn_summary_keeps_nobody_out(tmp_path: Path, summary: str) -> None:
    """It is for reports; a decision never looks at it."""
    store = SQLiteStore(tmp_path / "mfa.db")
    store.create(row())
    connection = sqlite3.connect(tmp_path / "mfa.db")
    connection.execute("UPDATE mfakit_account SET summary = ?", (summary,))
    connection.commit()
    connection.close()
    loaded = store.load("ann")
    assert loaded is not None
    assert (loaded.document, loaded.summary) == (b"{}", Summary(state="unknown"))
    store.close()


class BrokenConnection:
    """A connection whose statements fail."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.closed = error, False

    def execute(self, *_: Any) -> Any:
        raise self.error

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("attempt to write a readonly database"),
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.OperationalError("database or disk is full"),
        sqlite3.DatabaseError("database disk image is malformed"),
        sqlite3.InterfaceError("bad parameter"),
    ],
    ids=str,
)
def test_every_error_of_sqlite_is_unavailable_and_its_connection_dropped(
    tmp_path: Path, error: sqlite3.Error
) -> None:
    store = SQLiteStore(tmp_path / "mfa.db")
    store.create(row())
    calls: list[Callable[[], object]] = [
        lambda: store.load("ann"),
        lambda: store.create(row("bob")),
        lambda: store.replace(row(revision=2), expected=1),
        lambda: store.delete("ann", expected=1),
        lambda: store.scan(cursor=None, limit=1),
    ]
    for call in calls:
        store.close()
        broken = BrokenConnection(error)
        store._idle.append(broken)  # type: ignore[arg-type]
        with pytest.raises(StoreUnavailableError) as caught:
            call()
        assert caught.value.__cause__ is error
        assert str(error) not in str(caught.value)
        assert broken.closed
        assert store._idle == []
    assert store.load("ann") == row()
    store.close()


def test_an_interruption_goes_through_and_drops_its_connection(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a statement: the connection may be in any state."""
    store = SQLiteStore(tmp_path / "mfa.db")
    broken = BrokenConnection(KeyboardInterrupt())
    store._idle.append(broken)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        store.load("ann")
    assert broken.closed
    assert store._idle == []


# ---------------------------------------------------------------------------------- stores that fail


class FailingStore(MemoryStore):
    """Fail as told, and count the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.on_load: Exception | None = None
        self.on_write: Exception | None = None
        self.loses = False

    def load(self, account_id: str) -> StoredRecord | None:
        self.calls["load"] += 1
        if self.on_load:
            raise self.on_load
        return super().load(account_id)

    def create(self, new: StoredRecord) -> bool:
        return self._write(lambda: super(FailingStore, self).create(new))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return self._write(lambda: super(FailingStore, self).replace(new, expected=expected))

    def delete(self, account_id: str, *, expected: int) -> bool:
        return self._write(lambda: super(FailingStore, self).delete(account_id, expected=expected))

    def _write(self, write: Callable[[], bool]) -> bool:
        self.calls["write"] += 1
        if self.on_write:
            raise self.on_write
        return False if self.loses else write()


UNKNOWN_ERRORS = [
    RuntimeError("a secret of the driver"),
    OSError(5, "a secret of the driver"),
    KeyError("a secret of the driver"),
    AttributeError("a secret of the driver"),
]


@pytest.mark.parametrize("error", [*UNKNOWN_ERRORS, StoreUnavailableError()], ids=repr)
def test_a_load_that_fails_is_unavailable_whatever_is_asked(error: Exception) -> None:
    """Never "not enrolled", never "wrong code", never a sign-in."""
    store = FailingStore()
    mfa = make_mfa(store)
    app, done = enroll(mfa, "ann")
    token = challenge(mfa, "ann")
    store.on_load = error
    calls: list[Callable[[], object]] = [
        lambda: mfa.begin_login("ann", password_verified=True),
        lambda: mfa.complete_login(token, app.code(NOW + 30)),
        lambda: mfa.verify_code("ann", app.code(NOW + 30)),
        lambda: mfa.status("ann"),
        lambda: mfa.session_is_current("ann", done.epoch),
        lambda: mfa.password_changed("ann"),
        lambda: mfa.reset("ann", actor="o", reason="r"),
        lambda: mfa.forget("ann", actor="o", reason="r"),
        lambda: mfa.authenticate_client(
            "ann", "pw", protocol="imap", check_password=lambda _: "ann"
        ),
    ]
    for call in calls:
        store.calls.clear()
        with pytest.raises(StoreUnavailableError) as caught:
            call()
        assert "secret" not in str(caught.value)
        assert store.calls == {"load": 1}


@pytest.mark.parametrize("error", [*UNKNOWN_ERRORS, StoreUnavailableError()], ids=repr)
def test_a_write_that_fails_is_never_tried_again(error: Exception) -> None:
    """Its outcome is unknown: it may have won, and a second one could spend or count twice."""
    store = FailingStore()
    mfa = make_mfa(store)
    app, _ = enroll(mfa, "ann")
    token, later = challenge(mfa, "ann"), make_mfa(store, NOW + 60)
    store.on_write = error
    calls: list[Callable[[], object]] = [
        lambda: later.complete_login(token, app.code(NOW + 60)),
        lambda: later.password_changed("ann"),
        lambda: later.reset("ann", actor="o", reason="r"),
        lambda: later.forget("ann", actor="o", reason="r"),
        lambda: later.password_proof("bob", password_verified=True),
    ]
    for call in calls:
        store.calls.clear()
        with pytest.raises(StoreUnavailableError):
            call()
        assert store.calls == {"load": 1, "write": 1}
    store.on_write = None
    assert later.complete_login(token, app.code(NOW + 60)).method == "totp"


def test_a_write_that_wins_and_then_fails_to_say_so_is_not_won_twice() -> None:
    """The connection breaks after the commit: the code is spent, and stays refused."""

    class LateStore(FailingStore):
        def _write(self, write: Callable[[], bool]) -> bool:
            self.calls["write"] += 1
            won = write()
            if self.on_write:
                raise self.on_write
            return won

    store = LateStore()
    mfa, later = make_mfa(store), make_mfa(store, NOW + 60)
    app, _ = enroll(mfa, "ann")
    first, second = challenge(later, "ann"), challenge(later, "ann")
    store.on_write = ConnectionResetError()
    with pytest.raises(StoreUnavailableError):
        later.complete_login(first, app.code(NOW + 60))
    store.on_write = None
    with pytest.raises(WrongCodeError):
        later.complete_login(second, app.code(NOW + 60))


@pytest.mark.parametrize("says", [None, 1, "true", b"", 0])
def test_a_write_says_true_or_false(says: object) -> None:
    """A store that answers with a row count, or forgets to answer, has not won: it is mended first."""

    class Talker(MemoryStore):
        def create(self, new: StoredRecord) -> bool:
            return says  # type: ignore[return-value]

    with pytest.raises(StoreConfigurationError, match="True or False"):
        make_mfa(Talker()).open_account("ann")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_eight_lost_writes_are_contention(pauses: list[float]) -> None:
    """Each operation gives up after the eighth, after pauses that are random and grow."""
    store = FailingStore()
    hasher = CheapHasher()
    mfa = make_mfa(store, NOW, hasher)
    app, done = enroll(mfa, "ann")
    later = make_mfa(store, NOW + 60, hasher)
    token = challenge(later, "ann")
    recovery = done.recovery_codes[0]
    store.loses = True
    calls: list[Callable[[], object]] = [
        lambda: later.complete_login(token, app.code(NOW + 60)),
        lambda: later.complete_login(token, recovery, method="recovery"),
        lambda: later.verify_code("ann", app.code(NOW + 60)),
        lambda: later.password_changed("ann"),
        lambda: later.forget("ann", actor="o", reason="r"),
        lambda: later.open_account("bob"),
        lambda: later.regenerate_recovery_codes("ann", proof=done.proof or ""),
    ]
    for call in calls:
        store.calls.clear()
        pauses.clear()
        hashes = hasher.hashed + hasher.verified
        with pytest.raises(ContentionError):
            call()
        assert store.calls["write"] == 8
        assert len(pauses) == 8
        assert all(0 <= one < 0.001 * 2**place for place, one in enumerate(pauses))
        # One verdict a time, however many writes were lost: one check, or ten new codes.
        assert hasher.hashed + hasher.verified - hashes in (0, 1, 10)
    store.loses = False
    assert later.complete_login(token, app.code(NOW + 60)).recovery_codes_left == 10


# ----------------------------------------------------------------------------- the contract finds it


class DeafStore(MemoryStore):
    """Replaces whatever revision is there."""

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        found = self.load(new.account_id)
        return found is not None and super().replace(new, expected=found.revision)


class OverwritingStore(MemoryStore):
    def create(self, new: StoredRecord) -> bool:
        self._rows[new.account_id] = new
        return True


class QuietlyOverwritingStore(MemoryStore):
    def create(self, new: StoredRecord) -> bool:
        is_new = new.account_id not in self._rows
        self._rows[new.account_id] = new
        return is_new


class UpsertingStore(MemoryStore):
    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        if self.load(new.account_id) is None:
            return self.create(new)
        return super().replace(new, expected=expected)


class FoldingStore(MemoryStore):
    """The id is a key of a case-insensitive column."""

    fold: Callable[[str], str] = staticmethod(str.casefold)

    def load(self, account_id: str) -> StoredRecord | None:
        return super().load(self.fold(account_id))

    def create(self, new: StoredRecord) -> bool:
        with self._lock:
            return self._rows.setdefault(self.fold(new.account_id), new) is new


class TrimmingStore(FoldingStore):
    fold = staticmethod(str.rstrip)


class TruncatingStore(MemoryStore):
    """A column that is too small."""

    def create(self, new: StoredRecord) -> bool:
        document = new.document[:4000]
        return super().create(
            StoredRecord(
                account_id=new.account_id,
                revision=new.revision,
                document=document,
                summary=new.summary,
            )
        )


class TextStore(MemoryStore):
    """A document is not text."""

    def create(self, new: StoredRecord) -> bool:
        document = new.document.decode("utf-8", "replace").encode()
        return super().create(
            StoredRecord(
                account_id=new.account_id,
                revision=new.revision,
                document=document,
                summary=new.summary,
            )
        )


class FloatStore(MemoryStore):
    """Compares revisions as doubles."""

    def _has(self, account_id: str, revision: int) -> bool:
        found = self._rows.get(account_id)
        return found is not None and float(found.revision) == float(revision)


class ForgetfulStore(MemoryStore):
    """Leaves the old summary."""

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        old = self.load(new.account_id)
        if old is None:
            return False
        kept = StoredRecord(
            account_id=new.account_id,
            revision=new.revision,
            document=new.document,
            summary=old.summary,
        )
        return super().replace(kept, expected=expected)


class Racing(MemoryStore):
    """Looks first and writes then: the first to look waits until another has written."""

    def __init__(self) -> None:
        super().__init__()
        self._first = threading.Lock()  # taken once, never given back

    def _wait(self, is_written: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + 30
        if self._first.acquire(blocking=False):
            while not is_written() and time.monotonic() < give_up_at:
                time.sleep(0.0005)


class RacingStore(Racing):
    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        found = self._has(new.account_id, expected)
        if found:
            self._wait(lambda: not self._has(new.account_id, expected))
            self._rows[new.account_id] = new
        return found


class RacingCreator(Racing):
    def create(self, new: StoredRecord) -> bool:
        is_new = new.account_id not in self._rows
        if is_new:
            self._wait(lambda: new.account_id in self._rows)
            self._rows[new.account_id] = new
        return is_new


class RacingDeleter(Racing):
    def delete(self, account_id: str, *, expected: int) -> bool:
        found = self._has(account_id, expected)
        if found:
            self._wait(lambda: account_id not in self._rows)
            self._rows.pop(account_id, None)
        return found


class DeafDeleter(MemoryStore):
    def delete(self, account_id: str, *, expected: int) -> bool:
        return self._rows.pop(account_id, None) is not None


class UnchangedIsZero(MemoryStore):
    """Counts changed rows as MySQL does: a write of equal content is "no row"."""

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        old = self.load(new.account_id)
        won = super().replace(new, expected=expected)
        return won and (old is None or old.document != new.document)


class SkippingScan(MemoryStore):
    """Walks by offset: what is deleted before the cursor moves the rest."""

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        ids = sorted(one for one in self._rows if one.startswith(prefix))
        start = int(cursor or 0)
        rows = tuple(self._rows[one] for one in ids[start : start + limit])
        return Page(rows, str(start + limit) if start + limit < len(ids) else None)


class LikeScan(MemoryStore):
    """Takes the prefix for a pattern without regard to case."""

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        ids = [one for one in sorted(self._rows) if one.lower().startswith(prefix.lower())]
        after = [one for one in ids if one > (cursor or "")]
        rows = tuple(self._rows[one] for one in after[:limit])
        return Page(rows, rows[-1].account_id if len(after) > limit else None)


class GreedyScan(MemoryStore):
    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        return super().scan(cursor=cursor, limit=limit + 1, prefix=prefix)


BROKEN_STORES = [
    (DeafStore, "test_replace_needs_the_expected_revision", "another revision"),
    (DeafStore, "test_stale_writer_loses_after_delete_and_create", "deleted row must lose"),
    (DeafStore, "test_one_replacer_wins", "writers won; exactly one must"),
    (OverwritingStore, "test_create_never_overwrites", "must return False"),
    (QuietlyOverwritingStore, "test_create_never_overwrites", "came back changed"),
    (UpsertingStore, "test_replace_does_not_create", "must not create a row"),
    (
        FoldingStore,
        "test_ids_that_differ_in_case_are_different",
        "two ids were taken for one: 'Ann'",
    ),
    (
        TrimmingStore,
        "test_ids_that_differ_in_trailing_space_are_different",
        "two ids were taken for one: 'ann '",
    ),
    (TruncatingStore, "test_documents_are_bytes", "the document came back changed"),
    (TextStore, "test_documents_are_bytes", "the document came back changed"),
    (FloatStore, "test_revisions_of_63_bits", "compared exactly"),
    (ForgetfulStore, "test_replace_writes_everything", "the summary came back changed"),
    (RacingStore, "test_one_replacer_wins", "writers won; exactly one must"),
    (RacingStore, "test_counter_counts_exactly", "lost between threads"),
    (RacingCreator, "test_one_creator_wins", "writers won; exactly one must"),
    (RacingDeleter, "test_one_deleter_wins", "writers won; exactly one must"),
    (DeafDeleter, "test_delete_needs_the_expected_revision", "another revision must lose"),
    (UnchangedIsZero, "test_replace_with_equal_content_wins", "replace must return True"),
    (SkippingScan, "test_scan_survives_writes", "missed an account"),
    (LikeScan, "test_scan_meets_every_account_once", "and no other"),
    (GreedyScan, "test_scan_meets_every_account_once", "more than `limit`"),
]


@pytest.mark.parametrize(
    ("store", "test", "words"),
    BROKEN_STORES,
    ids=[f"{s.__name__}-{t}" for s, t, _ in BROKEN_STORES],
)
def test_the_contract_finds_a_broken_store(store: type[MemoryStore], test: str, words: str) -> None:
    """Each breach fails, and the failure says in words what is wrong."""

    class Contract(StoreContract):
        def make_store(self) -> Store:
            return store()

    with pytest.raises(AssertionError, match=words):
        getattr(Contract(), test)()


class FarStore(MemoryStore):
    """Right, and slow: a tenth of a second on the way to each row."""

    def load(self, account_id: str) -> StoredRecord | None:
        time.sleep(0.1)
        return super().load(account_id)

    def create(self, new: StoredRecord) -> bool:
        time.sleep(0.1)
        return super().create(new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        time.sleep(0.1)
        return super().replace(new, expected=expected)


@pytest.mark.slow
def test_the_contract_accepts_a_slow_store() -> None:
    """However few calls fit into the time of a race, a right store passes."""

    class Contract(StoreContract):
        def make_store(self) -> Store:
            return FarStore()

    for check in ("one_winner_among_threads", "counter_counts_exactly"):
        assert run_check(Contract(), check).text == ""


def test_the_contract_asks_for_a_store() -> None:
    with pytest.raises(TypeError, match="make_store"):
        StoreContract().make_store()


def test_a_store_that_cannot_be_walked_keeps_the_contract() -> None:
    class Plain:
        def __init__(self) -> None:
            rows = MemoryStore()
            self.load, self.create = rows.load, rows.create
            self.replace, self.delete = rows.replace, rows.delete

    class Contract(StoreContract):
        def make_store(self) -> Store:
            return Plain()

    for check in ("scan_meets_every_account_once", "scan_survives_writes", "scan_beside_writers"):
        assert run_check(Contract(), check).outcome == "not tested"
    with pytest.raises(StoreConfigurationError, match="cannot be walked"):
        make_mfa(Plain()).accounts()


# ------------------------------------------------------------------------------------- the phone


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.com",
        "otpauth://hotp/Example:ann?secret=JBSWY3DPEHPK3PXP&issuer=Example&counter=1",
        "otpauth://totp/Example:ann",
        "JBSWY3DPEHPK3PXP",
    ],
)
def test_a_phone_takes_totp_uris_only(uri: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        VirtualAuthenticator(uri)


def test_a_phone_shows_what_rfc_6238_says() -> None:
    """Appendix B: at 59 s, SHA-1, eight digits, the secret "12345678901234567890"."""
    phone = VirtualAuthenticator(
        "otpauth://totp/Example:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=Example&digits=8&period=30"
    )
    assert phone.code(59) == "94287082"
    assert phone.code(29, steps=1) == "94287082"
    assert phone.code(1111111109.9) == "07081804"
    assert phone.code(1111111139, steps=-1) == "07081804"
    assert (phone.issuer, phone.account_name, phone.period_seconds) == ("Example", "ann", 30)


def test_the_clock_stands_still() -> None:
    clock = FixedClock(5)
    assert (clock(), clock()) == (5, 5)
    clock.advance(2.5)
    clock.advance(-10)
    assert clock() == -2.5
