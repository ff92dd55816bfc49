"""`mfakit check-store` says in words what a store does not keep, and in its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

from click.testing import CliRunner

from mfakit.cli import main
from mfakit.cli.commands import commands
from mfakit.storage import StoredRecord, Summary
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import AsyncStoreContract, StoreContract
from mfakit.testing.contract import check_names

STORES = """
    import asyncio
    from functools import partial
    from mfakit.storage.memory import MemoryStore
    from mfakit.storage.sqlite import SQLiteStore
    from mfakit.testing import StoreContract

    def sqlite():
        return SQLiteStore("test.db", synchronous="NORMAL")

    class Overwriting(SQLiteStore):
        def __init__(self):
            super().__init__("test.db", synchronous="NORMAL")

        def create(self, new):
            row = self.load(new.account_id)
            return self.replace(new, expected=row.revision) if row else super().create(new)

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

    async def awaited():
        return Asynchronous()

    class Contract(StoreContract):
        PROCESSES = KILLS = 2

        def make_store(self):
            return sqlite()

        def opener(self, store):
            return sqlite

    contract = Contract()
    memory = MemoryStore
    a_number = 7

    def nothing():
        return None
"""
TESTED = {"opener()", "cut_connections()", "caller_transaction()", "scan()"}


@pytest.fixture(autouse=True)
def _stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stores_to_check.py").write_text(dedent(STORES), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stores_to_check", raising=False)


def check(name: str, *options: str):
    return CliRunner().invoke(commands, ["check-store", f"stores_to_check:{name}", *options])


def outcomes(name: str, *only: str) -> dict[str, dict[str, str]]:
    """Return what JSON says of each check, and hold its counts against it."""
    done = check(name, "--json", *[f"--only={one}" for one in only])
    data = json.loads(done.stdout)
    told = [one["outcome"] for one in data["checks"]]
    counts = [data["passed"], data["failed"], data["not_tested"]]
    assert counts == [told.count("passed"), told.count("failed"), told.count("not tested")]
    assert done.exit_code == (1 if data["failed"] else 0)
    assert data["store"] == f"stores_to_check:{name}"
    return {one["name"]: one for one in data["checks"]}


def needs(checks: dict[str, dict[str, str]]) -> set[str]:
    return {one["needs"] for one in checks.values() if one["outcome"] == "not tested"}


def test_a_store_that_keeps_its_promises(tmp_path: Path) -> None:
    """As a user runs it: a table with every check, what is not tested and why, status 0."""
    done = subprocess.run(
        [sys.executable, "-m", "mfakit", "check-store", "stores_to_check:sqlite"],
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "begin with mfakit-check/" in done.stderr
    assert "never one in use" in done.stderr
    for name in check_names(StoreContract):
        assert name in done.stdout
    assert "cut_connections()" in done.stdout
    assert "30 passed, 0 failed, 4 not tested." in done.stdout
    rows = SQLiteStore(tmp_path / "test.db").scan(cursor=None, limit=10_000).records
    assert rows
    assert {row.account_id.strip()[:13] for row in rows} == {"mfakit-check/"}


def test_a_broken_store_is_told_in_words() -> None:
    """The failure names the promise, what was seen, what follows and where to look; status 1."""
    done = check("Overwriting", "--only=create_never_overwrites", "--only=missing_row_is_none")
    assert done.exit_code == 1
    words = " ".join(done.stdout.split())
    assert "Promise create_never_overwrites is broken: A second create loses" in words
    assert "Seen: create of an existing row must return False." in words
    assert "Harm: Of two requests that make a record" in words
    assert "Look: create(): INSERT only" in words
    assert "1 passed, 1 failed, 0 not tested." in words


def test_a_store_that_each_call_makes_anew_cannot_be_opened_again() -> None:
    """What needs another process is not tested, and said so, when the data is not shared."""
    checks = outcomes("memory")
    assert needs(checks) == TESTED - {"scan()"}
    assert checks["created_row_is_loaded_whole"]["outcome"] == "passed"


@pytest.mark.slow
def test_an_asynchronous_store() -> None:
    """A factory may return an asynchronous store: all its checks are run."""
    checks = outcomes("Asynchronous")
    assert tuple(checks) == check_names(AsyncStoreContract)
    assert needs(checks) == TESTED - {"opener()"}
    assert [one["text"] for one in checks.values() if one["outcome"] == "failed"] == []


def test_a_factory_may_be_awaited() -> None:
    only = ["one_coroutine_wins", "answered_writes_survive_kill"]
    checks = outcomes("awaited", *only)
    assert {name: one["outcome"] for name, one in checks.items()} == dict.fromkeys(only, "passed")


@pytest.mark.parametrize("name", ["Contract", "contract"])
def test_a_contract_gives_its_hooks(name: str) -> None:
    """The class or an instance of it stands for the store."""
    only = ["one_winner_among_processes", "caller_rollback_loses_nothing"]
    checks = outcomes(name, *only)
    assert [checks[one]["outcome"] for one in only] == ["passed", "not tested"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_here:sqlite", "No module named"),
        ("stores_to_check:missing", "no attribute 'missing'"),
        ("stores_to_check", "cannot be imported"),
        ("stores_to_check:a_number", "neither a callable nor a StoreContract"),
        ("stores_to_check:nothing", "this has no load()"),
        ("mfakit.storage.sqlite:SQLiteStore", "missing a required argument: 'path'"),
    ],
)
def test_a_wrong_target_is_status_2(target: str, words: str) -> None:
    done = CliRunner().invoke(commands, ["check-store", target])
    assert done.exit_code == 2
    assert words in done.stderr


def test_an_unknown_check_is_status_2() -> None:
    done = check("sqlite", "--only=one_coroutine_wins")
    assert done.exit_code == 2
    assert "There is no check one_coroutine_wins" in done.stderr


def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    """Accounts of a platform are no place for tests."""
    row = StoredRecord(account_id="ann", revision=1, document=b"", summary=Summary(state="x"))
    SQLiteStore(tmp_path / "test.db").create(row)
    done = check("sqlite")
    assert done.exit_code == 2
    assert "Give it an empty test database" in done.stderr
    assert len(SQLiteStore(tmp_path / "test.db").scan(cursor=None, limit=10).records) == 1


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mfakit.cli.find_spec", lambda _: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "mfakit[cli]" in capsys.readouterr().err
