"""What docs/faults.md promises when something around mfakit breaks, one fault after another.

In every fault: nobody gets in who should not, nobody is told "wrong code" or "not enrolled" who is
neither, and what was answered before is there afterwards.
"""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pyotp
import pytest
from msgspec.structs import replace

import mfakit
from mfakit.errors import (
    ClockError,
    KeyUnavailableError,
    MFAKitError,
    RecordIntegrityError,
    RecordSchemaError,
    SessionEndedError,
    StoreConfigurationError,
    StoreUnavailableError,
    ThrottledError,
    UnknownAccountError,
    WrongCodeError,
)
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, Person, World

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(mfakit.__file__).parent  # not src/: the wheel is tested without it
PAGE = ROOT / "docs" / "faults.md"
BY = {"actor": "operator", "reason": "fault"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory for a store alone."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def on_disk(data: Path) -> Iterator[World]:
    """A platform on a SQLite file."""
    with closing(SQLiteStore(data / "mfa.db", busy_seconds=0.2)) as store:
        yield World(store)


def ways_in(world: World, ann: Person, passcode: str) -> list[Callable[[], Any]]:
    """Every way into an account, each with what is right."""
    mfa = world.mfa
    return [
        lambda: mfa.begin_login("ann", password_verified=True),
        lambda: mfa.verify_code("ann", world.code(ann.app)),
        lambda: mfa.verify_code("ann", ann.recovery_codes[0], method="recovery"),
        lambda: world.client(ann, passcode),
        lambda: world.client(ann, PASSWORD),
        lambda: mfa.session_is_current("ann", ann.enrolled.epoch),
        lambda: mfa.password_changed("ann"),
        lambda: mfa.status("ann"),
    ]


def assert_closed(world: World, ann: Person, passcode: str, error: type[MFAKitError]) -> None:
    """Each way in answers with this error and no other, and the row stays as it is."""
    before = world.row("ann") if error is not StoreUnavailableError else None
    for enter in ways_in(world, ann, passcode):
        with pytest.raises(error):
            enter()
    assert before is None or world.row("ann") == before


# ------------------------------------------------------------------------------------- the disk


class Quota:
    """Files may not grow any more: what the kernel says at a quota."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._before = directory, resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        logs = [path.stat().st_size for path in self._directory.glob("*-wal")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(logs, default=0), self._before[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    close = free


class SmallDisk:
    """A file system of 2 MB, which can be filled to the last byte or made read-only."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._filler = directory, directory / "filler"
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
        if (
            os.geteuid() != 0
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("Nothing may be mounted here. Run it as root, with CAP_SYS_ADMIN.")

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()

    def turn(self, mode: str) -> None:
        """Make it "ro" or "rw"."""
        command = ["mount", "-o", f"remount,{mode}", str(self._directory)]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self._directory)], check=True)


@pytest.mark.parametrize("make_disk", [Quota, SmallDisk])
def test_a_full_disk_lets_nobody_in_and_loses_nothing(data: Path, make_disk: Any) -> None:
    """A write that finds no room is unavailable; when there is room again, all is as before."""
    with closing(make_disk(data)) as disk, closing(SQLiteStore(data / "mfa.db")) as store:
        world = World(store)
        ann = world.enroll()
        passcode = world.passcode(ann).passcode
        challenge = world.challenge(ann)
        before = store.load("ann")
        world.pass_time(seconds=30)
        for attempt in (
            lambda: world.mfa.complete_login(challenge, world.code(ann.app)),
            lambda: world.mfa.complete_login(challenge, world.wrong_code(ann.app)),
            lambda: world.client(ann, passcode),  # its first use is to be written
            lambda: world.mfa.open_account("bob"),
        ):
            disk.fill()  # again: SQLite gives room back when its last connection closes
            with pytest.raises(StoreUnavailableError):
                attempt()
        disk.free()
        assert (store.load("ann"), store.load("bob")) == (before, None)
        assert world.mfa.complete_login(challenge, world.code(ann.app)).failed_since_last == 0
        assert world.client(ann, passcode).via == "passcode"


@contextmanager
def read_only(data: Path) -> Iterator[Callable[[str], object]]:
    """Give what turns a directory "ro" and "rw": by its mode, or as root by its mount."""
    if os.geteuid() == 0:
        with closing(SmallDisk(data)) as disk:
            yield disk.turn
        return
    yield lambda mode: data.chmod(0o500 if mode == "ro" else 0o700)
    data.chmod(0o700)


def test_a_disk_that_turns_read_only_lets_nobody_in(data: Path) -> None:
    """As after a failed disk: unavailable, not "not enrolled"; writable again, it works by itself."""
    with read_only(data) as turn, closing(SQLiteStore(data / "mfa.db")) as store:
        world = World(store)
        ann = world.enroll()
        passcode = world.passcode(ann).passcode
        world.pass_time(seconds=30)
        store.close()  # a mount with a file open for writing cannot be turned
        turn("ro")
        for enter in ways_in(world, ann, passcode)[1:4]:
            with pytest.raises(StoreUnavailableError):
                enter()
        with pytest.raises(StoreUnavailableError):
            world.mfa.verify_code("ann", world.wrong_code(ann.app))
        with pytest.raises(StoreUnavailableError):
            SQLiteStore(data / "mfa.db")
        store.close()
        turn("rw")
        assert world.sign_in(ann).failed_since_last == 0
        assert world.client(ann, passcode).via == "passcode"


def test_a_damaged_database_file_is_unavailable(data: Path) -> None:
    """Overwritten pages are a failure of the store, never an account without two-step."""
    with closing(SQLiteStore(data / "mfa.db")) as store:
        world = World(store)
        ann = world.enroll()
        passcode = world.passcode(ann).passcode
    size = (data / "mfa.db").stat().st_size
    with (data / "mfa.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    assert_closed(world, ann, passcode, StoreUnavailableError)


def test_a_connection_that_fails_at_once_is_closed(data: Path) -> None:
    """A store that is asked again and again while its file is damaged uses up no file descriptors."""
    (data / "mfa.db").write_bytes(b"\xa5" * 8192)
    kept = []  # an error holds the frames that it came through, and what these hold
    for _ in range(3):
        with pytest.raises(StoreUnavailableError) as caught:
            SQLiteStore(data / "mfa.db")
        kept.append(caught)
    assert [file.path for file in psutil.Process().open_files() if str(data) in file.path] == []


def test_a_database_file_that_is_gone_is_noticed_where_accounts_are_opened(data: Path) -> None:
    """An empty file in its place has no rows: with `unknown_account="refuse"` nobody gets in."""
    with closing(SQLiteStore(data / "mfa.db")) as store:
        World(store).enroll()
    for path in data.iterdir():
        path.unlink()
    with closing(SQLiteStore(data / "mfa.db")) as store:
        world = World(store)
        world.set_policy(unknown_account="refuse")
        with pytest.raises(UnknownAccountError):
            world.mfa.begin_login("ann", password_verified=True)
        with pytest.raises(UnknownAccountError):
            world.client("ann", PASSWORD)


# ------------------------------------------------------------------------------------- the clock


def test_a_clock_that_was_ahead_burns_no_authenticator_of_true_time(world: World) -> None:
    """The server is a year ahead, the phone is right: its codes are wrong then, and good again after."""
    ann = world.enroll()
    world.pass_time(days=365)
    for _ in range(5):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", ann.app.code(world.clock.now - 365 * 86_400))
    world.pass_time(days=-365, minutes=5)
    with pytest.raises(ThrottledError) as wait:
        world.mfa.verify_code("ann", world.code(ann.app))
    assert wait.value.retry_after_seconds <= 30
    world.clock.now = wait.value.retry_at.timestamp()
    assert world.mfa.verify_code("ann", world.code(ann.app))


def test_a_clock_that_was_ahead_with_the_phone_is_healed_by_a_recovery_code(world: World) -> None:
    """Both were a year ahead and are right now: no call takes spent codes back, another app is good."""
    ann = world.enroll()
    world.pass_time(days=365)
    world.sign_in(ann)
    world.pass_time(days=-365, minutes=5)
    for code in (world.code(ann.app), world.wrong_code(ann.app)):
        with pytest.raises(ClockError):
            world.mfa.verify_code("ann", code)
    pair = [world.code(ann.app, steps) for steps in (-1, 0)]
    proof = world.recovery_proof(ann)
    before = world.row("ann")
    with pytest.raises(ClockError):
        world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)
    assert world.row("ann") == before
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@example.com", proof=proof, replaces=ann.authenticator_id
    )
    ann.app = VirtualAuthenticator(offer.uri)
    world.mfa.confirm_enrollment(offer.token, world.code(ann.app))
    for _ in range(3):
        assert world.sign_in(ann).method == "totp"
    world.pass_time(minutes=20)
    world.sign_in(ann)
    world.pass_time(minutes=-10)
    with pytest.raises(ClockError):
        world.mfa.verify_code("ann", world.code(ann.app))
    world.pass_time(minutes=10)  # what was spent is past, and nothing else was needed
    assert world.sign_in(ann).method == "totp"


def test_a_clock_one_step_ahead_costs_a_minute_at_most(world: World) -> None:
    """A code of the next step was accepted; set right, the one after it is good."""
    ann = world.enroll()
    world.sign_in(ann)  # at the true time
    world.pass_time(seconds=30)
    assert world.mfa.verify_code("ann", world.code(ann.app))
    world.pass_time(seconds=-30)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.code(ann.app))
    world.pass_time(seconds=60)
    assert world.mfa.verify_code("ann", world.code(ann.app))


def test_a_trust_given_under_a_clock_that_was_ahead_ends_in_30_days(world: World) -> None:
    """A year ahead does not make a trusted device last for a year and a month."""
    ann = world.enroll()
    world.pass_time(days=365)
    token = world.trust(ann)
    world.pass_time(days=-365)
    assert world.is_trusted(ann, token)
    world.pass_time(days=29)
    assert world.is_trusted(ann, token)
    world.pass_time(days=2)
    assert not world.is_trusted(ann, token)


# ------------------------------------------------------------------------ documents, versions, keys


def alter(world: World, document: bytes) -> StoredRecord:
    """Put another document into Ann's row, as a restore or another program would."""
    row = world.row("ann")
    assert row is not None
    altered = replace(row, document=document)
    assert world.store.replace(altered, expected=row.revision)
    return altered


@pytest.mark.parametrize("length", [0, 1, 60, 150, -1])
def test_a_torn_document_lets_nobody_in_and_is_not_written_over(world: World, length: int) -> None:
    """Cut anywhere: an operational error for the right and the wrong code; a forced `reset` helps."""
    ann = world.enroll()
    passcode = world.passcode(ann).passcode
    row = world.row("ann")
    assert row is not None
    torn = alter(world, row.document[:length])
    assert_closed(world, ann, passcode, RecordIntegrityError)
    assert world.mfa.rotate_keys().failed == (("ann", "record_integrity"),)
    for give_up in (world.mfa.reset, world.mfa.forget):
        with pytest.raises(RecordIntegrityError):
            give_up("ann", **BY)
    assert world.row("ann") == torn
    world.mfa.reset("ann", **BY, force=True)
    assert world.mfa.status("ann").state == "not_enrolled"


def test_a_document_of_a_newer_version_is_never_written_over(world: World) -> None:
    """A process that was not upgraded yet: "upgrade", for every call, and the row stays as it is."""
    ann = world.enroll()
    passcode = world.passcode(ann).passcode
    row = world.row("ann")
    assert row is not None
    newer = alter(world, row.document.replace(b'{"v":1,', b'{"v":2,', 1))
    assert_closed(world, ann, passcode, RecordSchemaError)
    for force in (False, True):  # it would throw away what a newer process reads
        for give_up in (world.mfa.reset, world.mfa.forget):
            with pytest.raises(RecordSchemaError):
                give_up("ann", **BY, force=force)
    assert world.mfa.rotate_keys().failed == (("ann", "record_schema"),)
    world.set_policy(reset_enrolled_before=world.later(days=-1))
    with pytest.raises(RecordSchemaError):
        world.mfa.begin_login("ann", password_verified=True)
    assert world.row("ann") == newer


def test_a_field_of_a_newer_version_is_no_field_to_ignore(world: World) -> None:
    """Even tagged and of this schema, a field that is not known stops the account, and stays."""
    ann = world.enroll()
    passcode = world.passcode(ann).passcode
    row, vault = world.row("ann"), world.mfa._env.vault
    assert row is not None
    body = b'{"hardware_key":"x",' + row.document.split(b'"body":{', 1)[1][:-1]
    tag = vault.tag("k1", account_id="ann", revision=row.revision, body=body)
    alter(world, b'{"v":1,"key_id":"k1","tag":"%s","body":%s}' % (tag.encode(), body))
    assert_closed(world, ann, passcode, RecordIntegrityError)


def test_a_file_of_a_newer_version_is_not_opened(data: Path) -> None:
    """The table's own version: refused at start, before anything is written."""
    SQLiteStore(data / "mfa.db").close()
    with closing(sqlite3.connect(data / "mfa.db", isolation_level=None)) as connection:
        connection.execute("UPDATE mfakit_schema SET version = 2")
    with pytest.raises(StoreConfigurationError, match="version"):
        SQLiteStore(data / "mfa.db")


def test_a_summary_of_a_newer_version_keeps_nobody_out(on_disk: World, data: Path) -> None:
    """It is for reports: what cannot be read of it is "unknown" there, and nothing else suffers."""
    ann = on_disk.enroll()
    with closing(sqlite3.connect(data / "mfa.db", isolation_level=None)) as connection:
        connection.execute("""UPDATE mfakit_account SET summary = '{"state":1,"more":2}'""")
    assert [one.state for one in on_disk.mfa.accounts().accounts] == ["unknown"]
    assert on_disk.sign_in(ann).method == "totp"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/documents").glob("*.json")), ids=lambda p: p.stem
)
def test_a_document_of_each_released_version_opens(path: Path) -> None:
    """Written by that release, with codes by pyotp: everything that the owner holds still works."""
    old = json.loads(path.read_text(encoding="utf-8"))
    world = World(MemoryStore())
    row = StoredRecord(
        account_id=old["account_id"],
        revision=old["revision"],
        document=old["document"].encode(),
        summary=old_summary(),
    )
    assert world.store.create(row)
    world.clock.now = old["unix_seconds"] + 30
    from mfakit import Argon2Hasher, ClientInfo

    mfa = world.make_mfa(hasher=Argon2Hasher())
    status = mfa.status("ann")
    assert (status.state, status.recovery_codes_left) == (old["state"], old["recovery_codes_left"])
    assert [one.label for one in status.authenticators] == old["authenticators"]
    assert [one.label for one in mfa.passcodes("ann")] == old["passcodes"]
    assert mfa.show_offer(old["offer_token"]).account_name == "ann@example.com"
    step = mfa.begin_login("ann", password_verified=True, trusted_device=old["trusted_device"])
    assert step.method == "trusted_device"  # type: ignore[union-attr]
    client = ClientInfo(remote_ip="192.0.2.7")
    done = mfa.authenticate_client(
        "ann", old["passcode"], protocol="imap", check_password=lambda _: None, client=client
    )
    assert done.via == "passcode"
    with pytest.raises(WrongCodeError):
        mfa.verify_code("ann", old["used_recovery_code"], method="recovery")
    assert mfa.verify_code("ann", old["recovery_code"], method="recovery")
    assert mfa.verify_code("ann", pyotp.TOTP(old["totp_secret"]).at(int(world.clock.now)))


def old_summary() -> Any:
    from mfakit.storage import Summary

    return Summary(state="enrolled")


def test_a_lost_key_lets_nobody_in_and_comes_back(world: World) -> None:
    """One process without the key: unavailable there, nothing written; with the key all is as before."""
    ann = world.enroll()
    passcode = world.passcode(ann).passcode
    key = world.keys
    world.keys = {"k2": bytes(range(32, 64))}
    world.mfa = world.make_mfa()
    assert_closed(world, ann, passcode, KeyUnavailableError)
    world.keys = {"k2": bytes(range(32, 64)), **key}
    world.mfa = world.make_mfa()
    assert world.sign_in(ann).failed_since_last == 0
    assert world.client(ann, passcode).via == "passcode"


# ------------------------------------------------------------------------------- a store that is slow


def test_a_database_that_others_hold_is_unavailable_after_its_time(
    on_disk: World, data: Path
) -> None:
    """A lock that lasts longer than `busy_seconds`: no answer but "later", and then it works."""
    ann = on_disk.enroll()
    on_disk.pass_time(seconds=30)
    with closing(sqlite3.connect(data / "mfa.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            on_disk.mfa.verify_code("ann", on_disk.code(ann.app))
        assert 0.2 <= time.monotonic() - began < 5
        other.execute("ROLLBACK")
    assert on_disk.mfa.verify_code("ann", on_disk.code(ann.app))


class StuckStore(MemoryStore):
    """Every call about one account waits."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck: str | None = None
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)

    def load(self, account_id: str) -> StoredRecord | None:
        if account_id == self.stuck:
            self.waiting.release()
            assert self.go.wait(10)
        return super().load(account_id)


def test_a_store_that_is_stuck_for_one_account_holds_up_no_other() -> None:
    """Nothing is locked while a store is asked, and no place before Argon2 is held."""
    store = StuckStore()
    world = World(store)
    world.mfa = world.make_mfa(hash_concurrency=1, hash_queue=0)
    ann, bob = world.enroll("ann"), world.enroll("bob")
    passcode = world.passcode(bob).passcode
    store.stuck = "ann"
    with ThreadPoolExecutor(8) as threads:
        code = world.fresh_code(ann.app)
        stuck = [threads.submit(world.mfa.verify_code, "ann", code) for _ in range(8)]
        for _ in stuck:
            assert store.waiting.acquire(timeout=10)
        assert world.client(bob, passcode).via == "passcode"
        assert world.mfa.verify_code("bob", world.code(bob.app))
        store.go.set()
    # The code is good once, however long all waited; of seven replays the fifth ends the sessions.
    assert Counter(type(one.exception()) for one in stuck) == {
        type(None): 1,
        WrongCodeError: 4,
        SessionEndedError: 1,
        ThrottledError: 2,
    }


# ------------------------------------------------------------------------------------- event sinks


def test_a_sink_that_hangs_holds_its_caller_alone(world: World) -> None:
    """The write has won before; others sign in meanwhile, and the outcome comes when the sink is back."""
    ann, bob = world.enroll("ann"), world.enroll("bob")
    begun, go = threading.Event(), threading.Event()

    def sink(event: Any) -> None:
        if event.account_id == "ann":
            begun.set()
            assert go.wait(10)

    mfa = world.make_mfa(events=sink)
    world.pass_time(seconds=30)
    code = world.code(ann.app)
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(mfa.verify_code, "ann", code)
        assert begun.wait(10)
        assert mfa.verify_code("bob", world.code(bob.app))
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", code)  # another process: the code is spent already
        assert not hanging.done()
        go.set()
        assert hanging.result(10)


@pytest.mark.parametrize(
    "error", [OSError("no route"), RecursionError(), MemoryError(), KeyError("x")]
)
def test_a_sink_that_raises_changes_no_outcome(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Right stays right and wrong stays wrong, whatever the sink raises; the history has the change."""

    def sink(_: Any) -> None:
        raise error

    world.mfa = world.make_mfa(events=sink)
    ann = world.enroll()
    assert world.sign_in(ann).method == "totp"
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(ann.app))
    assert [one.kind for one in world.mfa.history("ann")] == ["enrolled"]
    assert {record.name for record in caplog.records} == {"mfakit"}


# ------------------------------------------------------------------------------------- kill -9


# Each store that ships, and the file whose contract opens it in other processes and kills them.
# MemoryStore promises nothing beyond its process.
KILLED = {
    "SQLiteStore": "tests/test_store_contract.py",
    "SQLAlchemyStore": "tests/stores/test_sqlalchemy_contract.py",
    "AsyncSQLAlchemyStore": "tests/stores/test_sqlalchemy_contract.py",
    "PostgresStore": "tests/stores/test_postgres_contract.py",
    "AsyncPostgresStore": "tests/stores/test_postgres_contract.py",
    "DjangoStore": "tests/stores/django/test_django_contract.py",
    "AsyncDjangoStore": "tests/stores/django/test_django_contract.py",
    "ValkeyStore": "tests/stores/test_valkey.py",
    "AsyncValkeyStore": "tests/stores/test_valkey_async.py",
}


def classes(path: Path) -> list[ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def functions(node: ast.AST) -> set[str]:
    return {
        one.name
        for one in ast.walk(node)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_store_is_killed_in_mid_write() -> None:
    """The check of the contract needs the hook `opener`: each store's contract has it."""
    shipped = {
        node.name
        for path in (PACKAGE / "storage").rglob("*.py")
        for node in classes(path)
        if node.name.endswith("Store") and not any("Protocol" in ast.unparse(b) for b in node.bases)
    }
    assert shipped - {"MemoryStore"} == set(KILLED)
    for store, name in KILLED.items():
        contract = "AsyncStoreContract" if store.startswith("Async") else "StoreContract"
        here = classes(ROOT / name)
        with_opener = [node for node in here if "opener" in functions(node)]
        assert any(contract in ancestors(node, here) for node in with_opener), store


@cache
def functions_of(path: str) -> set[str]:
    """Return the names of the functions of a file of the repository."""
    inside = path.removeprefix("src/mfakit/")
    file = ROOT / path if inside == path else PACKAGE / inside
    return functions(ast.parse(file.read_text(encoding="utf-8")))


def ancestors(node: ast.ClassDef, here: list[ast.ClassDef]) -> set[str]:
    """Return the names of the bases of a class, and of those of its own file theirs too."""
    names = {ast.unparse(base) for base in node.bases}
    return names.union(*[ancestors(one, here) for one in here if one.name in names])


def test_a_process_killed_between_write_and_answer_leaves_the_code_spent(data: Path) -> None:
    """What was written counts although nobody was told: the code is not good again."""
    import multiprocessing

    with closing(SQLiteStore(data / "mfa.db")) as store:
        world = World(store)
        ann = world.enroll()
        code = world.fresh_code(ann.app)
        store.close()  # no connection crosses the fork
        child = multiprocessing.get_context("fork").Process(
            target=_die_before_the_answer, args=(world, code)
        )
        child.start()
        child.join(20)
        assert child.exitcode == -9
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", code)
        assert world.sign_in(ann).method == "totp"


def _die_before_the_answer(world: World, code: str) -> None:
    """Be killed when the write has won and its first event is told."""
    mfa = world.make_mfa(events=lambda _: os.kill(os.getpid(), 9))
    with suppress(BaseException):
        mfa.verify_code("ann", code)
    os._exit(0)


# ------------------------------------------------------------------------------------- the page


def test_the_page_names_tests_that_exist_and_all_of_these() -> None:
    """Each row of docs/faults.md has a promise and tests; each test here is a row's."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith(("| fault", "|--"))
    ]
    named: set[str] = set()
    for row in rows:
        assert len(row) == 3, row
        assert row[1], row
        mentioned = re.findall(r"`([\w/]+\.py)::(\w+)`", row[2])
        assert mentioned, row
        for path, name in mentioned:
            assert name in functions_of(path), name
            named |= {name} if path == "tests/test_faults.py" else set()
    mine = {
        name
        for name in functions(ast.parse(Path(__file__).read_text(encoding="utf-8")))
        if name.startswith("test_")
    }
    assert mine - named == {"test_the_page_names_tests_that_exist_and_all_of_these"}
