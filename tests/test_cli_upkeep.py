"""`mfakit keys rotate` and `mfakit reset`: counted, resumable, and safe beside sign-ins."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

from click.testing import CliRunner

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, RefusedError, SignedIn
from mfakit.cli.commands import commands
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher, VirtualAuthenticator

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
OLD, NEW = KeyRing.generate_entry("old"), KeyRing.generate_entry("new")
STORES = """
    import asyncio
    import os
    import time
    from mfakit import MFA, KeyRing
    from mfakit.errors import StoreUnavailableError
    from mfakit.storage.sqlite import SQLiteStore

    def sqlite():
        return SQLiteStore("mfa.db", synchronous="NORMAL")

    class Failing(SQLiteStore):
        '''Unavailable after so many pages.'''

        def __init__(self):
            super().__init__("mfa.db", synchronous="NORMAL")
            self.pages = int(os.environ["PAGES"])

        def scan(self, **asked):
            self.pages -= 1
            if self.pages < 0:
                raise StoreUnavailableError
            return super().scan(**asked)

    class Slow(SQLiteStore):
        def __init__(self):
            super().__init__("mfa.db", synchronous="NORMAL")

        def scan(self, **asked):
            time.sleep(0.3)
            return super().scan(**asked)

    class Asynchronous:
        def __init__(self):
            self._store = sqlite()

        async def load(self, account_id):
            return self._store.load(account_id)

        async def create(self, new):
            return self._store.create(new)

        async def replace(self, new, *, expected):
            return self._store.replace(new, expected=expected)

        async def delete(self, account_id, *, expected):
            return self._store.delete(account_id, expected=expected)

        async def scan(self, **asked):
            return self._store.scan(**asked)

    class Unwalkable:
        def __init__(self):
            store = sqlite()
            self.load, self.create = store.load, store.create
            self.replace, self.delete = store.replace, store.delete

    def platform():
        return MFA(sqlite(), KeyRing.from_file("keys"), events=lambda event: print(event.kind.value))
"""
ROTATE = ["keys", "rotate", "--store", "sqlite:///mfa.db", "--keys", "keys"]
RESET = ["reset", "--store", "sqlite:///mfa.db", "--keys", "keys", "--reason", "stolen list"]


class Platform:
    """Accounts in a SQLite file, set up an hour ago under the old key."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mfa.db"
        self.keys = directory / "keys"
        self.store = SQLiteStore(self.path, synchronous="NORMAL")
        self.mfa = self.with_keys(OLD)
        self.codes: dict[str, list[str]] = {}

    def with_keys(self, *entries: str) -> MFA:
        """Write the key file, newest first, and return an `MFA` with these keys."""
        self.keys.write_text("\n".join(entries), encoding="utf-8")
        return MFA(self.store, KeyRing.from_file(self.keys), hasher=CheapHasher())

    def enroll(self, *account_ids: str) -> None:
        then = time.time() - 3600
        mfa = MFA(self.store, KeyRing.from_text(OLD), hasher=CheapHasher(), clock=lambda: then)
        for account_id in account_ids:
            proof = mfa.password_proof(account_id, password_verified=True)
            offer = mfa.begin_enrollment(account_id, account_name="a", proof=proof)
            done = mfa.confirm_enrollment(offer.token, VirtualAuthenticator(offer.uri).code(then))
            assert isinstance(done, Enrolled)
            self.codes[account_id] = list(done.recovery_codes)

    def sign_in(self, mfa: MFA, account_id: str) -> str:
        """Sign in with the next recovery code; return the method that it took."""
        step = mfa.begin_login(account_id, password_verified=True)
        if isinstance(step, CodeRequired):
            step = mfa.complete_login(
                step.challenge, self.codes[account_id].pop(), method="recovery"
            )
        assert isinstance(step, SignedIn)
        return step.method


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    (tmp_path / "stores_to_keep.py").write_text(dedent(STORES), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stores_to_keep", raising=False)
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    return Platform(tmp_path)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(commands, arguments)


def result(*arguments: str, status: int = 0) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == status, done.output
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def counts(data: dict[str, Any]) -> tuple[str, int, int, int]:
    return data["status"], data["done"], data["unchanged"], len(data["failed"])


# ------------------------------------------------------------------------------------ key rotation


def test_rotation_as_a_process(platform: Platform) -> None:
    """Every account is sealed anew; a second run meets the new key only, and the old may go."""
    platform.enroll(*[f"user-{number:02}" for number in range(30)])
    platform.with_keys(NEW, OLD)
    command = [sys.executable, "-m", "mfakit", *ROTATE, "--json"]
    told = [
        json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
        for _ in range(2)
    ]
    assert [counts(one) for one in told] == [("complete", 30, 0, 0), ("complete", 0, 30, 0)]
    assert [one["key_ids"] for one in told] == [["old"], ["new"]]
    assert [one["cursor"] for one in told] == [None, None]
    assert platform.sign_in(platform.with_keys(NEW), "user-17") == "recovery"


def test_s18_rotation_beside_sign_ins(platform: Platform) -> None:
    """Scenario 18: four threads sign in all the while; each gets in, and each code is spent once."""
    accounts = [f"user-{number:03}" for number in range(120)]
    platform.enroll(*accounts)
    used = beside(platform, platform.with_keys(NEW, OLD), accounts, lambda: counts(result(*ROTATE)))
    assert used.answer == ("complete", 120, 0, 0)
    assert used.refused == Counter()
    assert sum(used.methods.values()) >= 4
    assert set(used.methods) == {"recovery"}
    only_new = platform.with_keys(NEW)
    for account_id in accounts:
        status = only_new.status(account_id)
        assert status.key_ids == ("new",)
        assert status.recovery_codes_left == len(platform.codes[account_id])


def test_rotation_goes_on_where_it_stopped(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store fails the counts so far are told, and the cursor with which to go on."""
    platform.enroll(*[f"user-{number:02}" for number in range(25)])
    platform.with_keys(NEW, OLD)
    failing = ["keys", "rotate", "--store", "stores_to_keep:Failing", "--keys", "keys"]
    monkeypatch.setenv("PAGES", "2")
    first = result(*failing, "--page-size", "10", status=1)
    assert counts(first) == ("stopped", 20, 0, 0)
    assert first["reason"] == "The account store did not answer. Try again later."
    monkeypatch.setenv("PAGES", "9")
    second = result(*failing, "--page-size", "10", "--cursor", first["cursor"])
    assert counts(second) == ("complete", 5, 0, 0)
    monkeypatch.setenv("PAGES", "0")
    third = run(*failing)
    assert third.exit_code == 1
    assert "Go on with the same command" in " ".join(third.stdout.split())


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_rotation_says_where_it_was(platform: Platform, number: int) -> None:
    process = slow_rotation(platform)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    told = json.loads(out)
    assert told["status"] == "interrupted"
    rest = result(*ROTATE, "--cursor", told["cursor"])
    assert told["done"] + rest["done"] in (19, 20)  # one may be done and not told
    assert counts(result(*ROTATE)) == ("complete", 0, 20, 0)


@posix
@pytest.mark.usefixtures("background")
def test_ctrl_c_is_not_for_a_rotation_in_the_background(platform: Platform) -> None:
    """A shell starts `mfakit keys rotate &` with SIGINT ignored, and it stays ignored."""
    process = slow_rotation(platform)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["status"]) == (0, "complete")


def slow_rotation(platform: Platform) -> subprocess.Popen[bytes]:
    """Start to rotate the keys of 20 accounts, and return when the first one is done."""
    platform.enroll(*[f"user-{number:02}" for number in range(20)])
    platform.with_keys(NEW, OLD)
    command = [sys.executable, "-m", "mfakit", "keys", "rotate", "--json", "--page-size", "1"]
    process = subprocess.Popen(
        [*command, "--store", "stores_to_keep:Slow", "--keys", "keys"], stdout=subprocess.PIPE
    )
    wait_until(lambda: b"new" in platform.store.scan(cursor=None, limit=1).records[0].document)
    return process


def test_accounts_that_fail_are_listed(platform: Platform) -> None:
    """A torn record stops nobody else; it is listed by its id and code, and the status says so."""
    platform.enroll("ann", "bob", "eve\x1b[2J")
    with sqlite3.connect(platform.path) as connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b' WHERE account_id > 'bob'")
    connection.close()
    platform.with_keys(NEW, OLD)
    told = result(*ROTATE, status=1)
    assert counts(told) == ("complete", 2, 0, 1)
    assert told["failed"] == [{"account_id": "eve\x1b[2J", "code": "record_integrity"}]
    done = run(*ROTATE)
    assert done.exit_code == 1
    assert "Complete: 0 done, 2 unchanged, 1 failed." in done.stdout
    assert "record_integrity" in done.stdout
    assert "\x1b[2J" not in done.stdout  # an id is no command to the terminal


def test_progress_is_shown_at_a_terminal(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.enroll("ann", "bob")
    monkeypatch.setenv("FORCE_COLOR", "1")
    platform.with_keys(NEW, OLD)
    done = run(*ROTATE, "--json")
    assert "Rotating: 2 done, 0 unchanged, 0 failed" in done.stderr
    assert json.loads(done.stdout)["done"] == 2


# -------------------------------------------------------------------------------------- group reset


def test_s18_group_reset_beside_sign_ins(platform: Platform) -> None:
    """Scenario 18: one group is off, the other untouched, and nobody is let in by a spent code."""
    group = [f"a/user-{number:02}" for number in range(60)]
    others = [f"b/user-{number:02}" for number in range(60)]
    platform.enroll(*group, *others)
    reset = [*RESET, "--group-before", "now", "--prefix", "a/", "--yes"]
    used = beside(platform, platform.mfa, group + others, lambda: counts(result(*reset)))
    assert used.answer == ("complete", 60, 0, 0)
    assert set(used.refused) <= {"ChallengeError", "NotEnrolledError"}
    assert {platform.mfa.status(one).state for one in group} == {"not_enrolled"}
    for account_id in others:
        left = platform.mfa.status(account_id).recovery_codes_left
        assert left == len(platform.codes[account_id])
    assert counts(result(*reset)) == ("complete", 0, 60, 0)
    last = platform.mfa.history(group[0])[-1]
    assert (last.kind, last.reason) == ("reset", "stolen list")


def test_group_reset_keeps_who_enrolled_later(platform: Platform) -> None:
    platform.enroll("ann")
    reset = [*RESET, "--group-before", "2026-01-01T00:00:00+01:00", "--yes", "--actor", "eve"]
    assert counts(result(*reset)) == ("complete", 0, 1, 0)
    assert platform.mfa.status("ann").is_on
    reset[-4] = "now"
    assert counts(result(*reset, "--reenroll")) == ("complete", 1, 0, 0)
    assert platform.mfa.status("ann").is_required
    assert platform.mfa.history("ann")[-1].actor == "eve"


def test_group_reset_asks_first(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal it needs --yes; at one, no is no."""
    platform.enroll("ann")
    reset = [*RESET, "--group-before", "now"]
    assert run(*reset).exit_code == 2
    monkeypatch.setattr("mfakit.cli.options.is_terminal", lambda: True)
    refused = CliRunner().invoke(commands, [*reset, "--prefix", "a"], input="n\n")
    assert refused.exit_code == 1
    assert "every account that begins with 'a' and enrolled before" in refused.stderr
    assert platform.mfa.status("ann").is_on
    assert CliRunner().invoke(commands, reset, input="y\n").exit_code == 0
    assert not platform.mfa.status("ann").is_on


@pytest.mark.parametrize("moment", ["yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_a_moment_needs_a_zone(platform: Platform, moment: str) -> None:
    done = run(*RESET, "--group-before", moment, "--yes")
    assert done.exit_code == 2
    assert "2027-01-31T18:00:00Z" in done.stderr


# ------------------------------------------------------------------------------------ which platform


def test_any_store_will_do(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store from a module, an asynchronous one, the keys from the environment."""
    platform.enroll("ann")
    platform.with_keys(NEW, OLD)
    monkeypatch.setenv("MFAKIT_KEYS", platform.keys.read_text())
    monkeypatch.setenv("MFAKIT_STORE", "stores_to_keep:Asynchronous")
    assert counts(result("keys", "rotate")) == ("complete", 1, 0, 0)
    again = result("keys", "rotate", "--store", "stores_to_keep:sqlite")
    assert counts(again) == ("complete", 0, 1, 0)
    absolute = result("keys", "rotate", "--store", f"sqlite:///{platform.path}")
    assert counts(absolute) == ("complete", 0, 1, 0)


def test_the_platforms_own_mfa_tells_its_events(platform: Platform) -> None:
    platform.enroll("ann")
    platform.with_keys(NEW, OLD)
    done = run("keys", "rotate", "--store", "stores_to_keep:platform")
    assert done.exit_code == 0
    assert "keys_rotated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--keys", "keys"], "Missing option '--store'"),
        (["--store", "sqlite:///missing.db", "--keys", "keys"], "no file missing.db"),
        (["--store", "oracle://x", "--keys", "keys"], "give MODULE:FACTORY"),
        (["--store", "sqlite:///mfa.db"], "environment variable"),
        (["--store", "stores_to_keep:platform", "--keys", "keys"], "leave --keys out"),
        (["--store", "stores_to_keep:Unwalkable", "--keys", "keys"], "cannot be walked"),
        (["--store", "stores_to_keep:dedent", "--keys", "keys"], "no attribute 'dedent'"),
        (["--store", "sqlite:///mfa.db", "--keys", "keys", "--page-size", "0"], "page-size"),
    ],
)
def test_wrong_usage_is_status_2(platform: Platform, arguments: list[str], words: str) -> None:
    done = run("keys", "rotate", *arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_another_realm_opens_nothing(platform: Platform) -> None:
    """The wrong --realm is told for each account, and changes none."""
    platform.enroll("ann")
    told = result(*ROTATE, "--realm", "web", status=1)
    assert told["failed"] == [{"account_id": "ann", "code": "record_integrity"}]
    assert platform.mfa.status("ann").is_on
    for command in ("status", "ann"), ("report",), ("keys", "rotate"):
        done = run(*command, *ROTATE[2:], "--realm", "web")
        assert done.exit_code == 1
        assert "Check --realm and --keys" in " ".join(done.output.split())


# ------------------------------------------------------------------------------------------ helpers


class Beside:
    """What sign-ins did while something else was going on."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.methods: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()


def beside(platform: Platform, mfa: MFA, accounts: list[str], work: Callable[[], Any]) -> Beside:
    """Sign in to the accounts in four threads, over and over, while `work` runs."""
    used, done, started = Beside(), threading.Event(), threading.Barrier(5)

    def sign_in(mine: list[str]) -> None:
        started.wait(30)
        for account_id in mine * 9:
            if done.is_set():
                return
            try:
                used.methods[platform.sign_in(mfa, account_id)] += 1
            except RefusedError as error:
                used.refused[type(error).__name__] += 1

    with ThreadPoolExecutor(4) as threads:
        shares = [threads.submit(sign_in, accounts[place::4]) for place in range(4)]
        started.wait(30)
        used.answer = work()
        done.set()
    for share in shares:
        share.result()
    return used


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
