"""A wrong realm or key file looks like damage: commands destroy nothing by it, and name the cause."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

from cli_world import Platform, on_sqlite, run
from mfakit import KeyRing
from mfakit.storage import StoredRecord

KEY = "4SJHB4GSD43FZBAI7C2HLRJGPQ"
RESET = ["reset", "--reason", "lost", "--actor", "eve", "--yes"]
WRONG_REALM = ["--realm", "web"]
CHECK = "Check --realm and --keys: a wrong one looks the same as damage."


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Three accounts, and files of keys: `other` has another id, `same` another key of one id."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    for name, key_id in (("other", "other"), ("same", "first")):
        (tmp_path / name).write_text(KeyRing.generate_entry(key_id), encoding="utf-8")
    one = on_sqlite(tmp_path)
    for account_id in ("ann", "bob", "carl"):
        one.enroll(account_id)
    return one


def rows(platform: Platform) -> dict[str, StoredRecord]:
    page = platform.store.scan(cursor=None, limit=500)
    return {row.account_id: row for row in page.records}


def documents(platform: Platform) -> dict[str, tuple[int, bytes]]:
    return {name: (row.revision, row.document) for name, row in rows(platform).items()}


def tear(platform: Platform, account_id: str, document: bytes = b"{") -> None:
    with sqlite3.connect(platform.directory / "mfa.db") as connection:
        connection.execute(
            "UPDATE mfakit_account SET document = ? WHERE account_id = ?", (document, account_id)
        )
    connection.close()


def words(done: Any) -> str:
    return " ".join((done.stdout + done.stderr).split())


def told(platform: Platform, *arguments: str, status: int = 0) -> dict[str, Any]:
    options = platform.options[:2] if "--keys" in arguments else platform.options
    done = run(*arguments, *options, "--json")
    assert done.exit_code == status, done.output
    data: dict[str, Any] = json.loads(done.stdout)
    return data


wrong_set_up = pytest.mark.parametrize(
    "wrong", [WRONG_REALM, ["--keys", "other"], ["--keys", "same"]], ids=["realm", "other", "same"]
)


# ---------------------------------------------------------------------------------------------- reset


@wrong_set_up
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_reset_under_a_wrong_realm_or_key_file_destroys_nothing(
    local: Platform, wrong: list[str], force: list[str]
) -> None:
    before = documents(local)
    done = run(*RESET, "ann", *local.options, *wrong, *force)
    assert done.exit_code == 1
    assert "None of 2 other records tried opens with this realm and these keys." in words(done)
    assert CHECK in words(done)
    assert "Nothing was written." in words(done)
    assert "is off" not in words(done)
    assert "restore" not in words(done).lower()
    assert documents(local) == before
    assert local.mfa.status("ann").is_on
    data = told(local, *RESET, "ann", *wrong, *force, status=1)
    assert (data["account_id"], data["state"]) == ("ann", None)
    assert data["code"] == ("key_unavailable" if "other" in wrong else "record_integrity")
    assert data["diagnosis"] == {
        "likely_cause": "realm_or_keys",
        "tried": 2,
        "opened": 0,
        "missing_key_ids": ["first"] if "other" in wrong else [],
    }
    assert documents(local) == before


def test_reset_names_the_keys_that_the_ring_lacks(local: Platform) -> None:
    done = run(*RESET, "ann", *local.options, "--keys", "other")
    assert "The key ring lacks keys that records ask for: first. Add these first." in words(done)


def test_a_torn_record_is_reset_with_force_alone(local: Platform) -> None:
    """The others open: this one is damaged. It is restored, or thrown away on demand."""
    tear(local, "bob")
    before = documents(local)
    done = run(*RESET, "bob", *local.options)
    assert done.exit_code == 1
    assert "2 of 2 other records tried open: this one is damaged" in words(done)
    assert "Restore it from a backup" in words(done)
    assert "--force" in words(done)
    data = told(local, *RESET, "bob", status=1)
    assert data["diagnosis"]["likely_cause"] == "record"
    assert documents(local) == before
    assert told(local, *RESET, "bob", "--force")["state"] == "not_enrolled"
    assert local.mfa.history("bob")[-1].actor == "eve"
    after = documents(local)
    assert {name for name in after if after[name] != before[name]} == {"bob"}


def test_force_changes_nothing_for_a_record_that_opens(local: Platform) -> None:
    assert told(local, *RESET, "ann", "--force")["state"] == "not_enrolled"
    assert [one.kind for one in local.mfa.history("ann")][-1] == "reset"
    assert len(local.mfa.history("ann")) > 1


def test_lost_keys_need_a_word_of_their_own(local: Platform) -> None:
    """When no other record opens, --force --yes is what a script says under a wrong realm, too."""
    before = documents(local)
    lost = [*RESET, "ann", "--force", "--keys", "other"]
    done = run(*lost, *local.options[:2])
    assert done.exit_code == 1
    assert "add --keys-are-lost" in words(done)
    assert documents(local) == before
    again = run(*lost, *local.options[:2], "--keys-are-lost")
    assert again.exit_code == 0
    assert rows(local)["ann"].summary.key_ids == ("other",)
    assert documents(local)["bob"] == before["bob"]


def test_one_record_that_opens_among_many_is_no_proof(local: Platform) -> None:
    """After one record was thrown away under a wrong realm, it opens there: the next is still safe."""
    for number in range(5):
        local.enroll(f"user-{number}")
    wrong = [*WRONG_REALM, *local.options]
    assert run(*RESET, "ann", "--force", "--keys-are-lost", *wrong).exit_code == 0
    before = documents(local)
    done = run(*RESET, "bob", "--force", *wrong)
    assert done.exit_code == 1
    assert "Only 1 of 7 other records tried opens" in words(done)
    assert documents(local) == before


def test_the_id_is_typed_at_a_terminal(local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of --keys-are-lost: a yes is no answer."""
    monkeypatch.setattr("mfakit.cli.options.is_terminal", lambda: True)
    monkeypatch.setattr("mfakit.cli.upkeep.is_terminal", lambda: True)
    before = documents(local)
    lost = [*RESET, "ann", "--force", *WRONG_REALM, *local.options]
    for typed in ("y\n", "\n", "bob\n"):
        done = run(*lost, typed=typed)
        assert done.exit_code == 1
        assert CHECK in words(done)
        assert "type the account's id" in words(done)
        assert documents(local) == before
    assert run(*lost, typed="ann\n").exit_code == 0
    assert documents(local)["ann"] != before["ann"]


def test_an_only_record_has_nothing_to_be_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = on_sqlite(tmp_path)
    alone.enroll("ann")
    before = documents(alone)
    done = run(*RESET, "ann", "--force", *WRONG_REALM, *alone.options)
    assert done.exit_code == 1
    assert "There is no other record to compare with. " + CHECK in words(done)
    assert documents(alone) == before


def test_a_record_of_a_newer_version_is_not_thrown_away(local: Platform) -> None:
    """Not by force, either: an upgrade opens it."""
    tear(local, "bob", b'{"v":99,"x":1}')
    before = documents(local)
    done = run(*RESET, "bob", "--force", "--keys-are-lost", *local.options)
    assert done.exit_code == 1
    assert "A newer mfakit wrote" in words(done)
    assert documents(local) == before


@pytest.mark.parametrize("more", [[], ["--force"], ["--force", "--keys-are-lost"], ["--reenroll"]])
def test_an_unknown_id_is_told_and_makes_no_record(local: Platform, more: list[str]) -> None:
    local.mfa.forget("carl", actor="o", reason="r")
    before = documents(local)
    for account_id in ("ann@example.com", "carl"):
        done = run(*RESET, account_id, *more, *local.options)
        assert done.exit_code == 1
        assert "There is no record of this account. Is that its id" in words(done)
        data = told(local, *RESET, account_id, *more, status=1)
        assert (data["code"], data["diagnosis"]) == ("unknown_account", None)
    assert documents(local) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ann", "--keys-are-lost"], "--keys-are-lost goes with --force"),
        (["--group-before", "now", "--force"], "--force is for one account"),
    ],
)
def test_force_is_used_rightly(local: Platform, arguments: list[str], text: str) -> None:
    before = documents(local)
    done = run(*RESET, *arguments, *local.options)
    assert done.exit_code == 2
    assert text in words(done)
    assert documents(local) == before


def test_without_a_terminal_nothing_hangs(local: Platform) -> None:
    """As a process with an empty standard input."""
    lost = ["reset", "ann", "--reason", "x", "--force", *WRONG_REALM, *local.options]
    for more in ([], ["--yes"], ["--json"], ["--yes", "--json"]):
        assert local.process(*lost, *more).returncode == 1
    assert local.mfa.status("ann").is_on


# ------------------------------------------------------------------------------------ the other commands


@wrong_set_up
@pytest.mark.parametrize(
    "command",
    [
        ["report"],
        ["keys", "rotate"],
        ["reset", "--group-before", "now", "--reason", "x", "--yes"],
        ["export", "-", "--yes"],
        ["export", "out.csv", "--yes"],
        ["doctor"],
    ],
    ids=lambda command: command[0] + command[1] if len(command) > 1 else command[0],
)
def test_walks_name_the_cause_and_change_nothing(
    local: Platform, wrong: list[str], command: list[str]
) -> None:
    """Each account that does not open is counted; none is written, and nobody is told to reset."""
    before = documents(local)
    done = run(*command, *local.options, *wrong)
    assert done.exit_code == 1
    assert documents(local) == before
    if command[:2] == ["export", "-"]:
        return  # the rows are all that it prints
    assert "None of 3 records tried opens with this realm and these keys." in words(done)
    assert CHECK in words(done)
    assert "Restore" not in words(done)
    assert "Reset none of these." in words(done)
    Path("out.csv").unlink(missing_ok=True)
    data = json.loads(run(*command, *local.options, *wrong, "--json").stdout)
    if command == ["doctor"]:
        return
    assert len(data["failed"]) == 3
    assert data["diagnosis"]["likely_cause"] == "realm_or_keys"
    assert data["diagnosis"]["opened"] == 0


@pytest.mark.parametrize("command", [["report"], ["keys", "rotate"], ["doctor"]])
def test_a_minority_is_restored_first(local: Platform, command: list[str]) -> None:
    tear(local, "bob")
    done = run(*command, *local.options)
    assert done.exit_code == 1
    text = words(done)
    assert "2 of 3 records tried open" in text.replace("│ ", "").replace("  ", " ")
    assert text.index("Restore these from a backup") < text.index("`mfakit reset` with --force")
    if command != ["doctor"]:
        assert told(local, *command, status=1)["diagnosis"]["likely_cause"] == "record"


def test_records_that_open_have_no_diagnosis(local: Platform) -> None:
    assert told(local, "report")["diagnosis"] is None


@wrong_set_up
@pytest.mark.parametrize(
    "command",
    [
        ["status", "ann"],
        ["verify", "ann"],
        ["passcodes", "list", "ann"],
        ["passcodes", "revoke", "ann", "--all", "--yes"],
        ["devices", "revoke", "ann", "--all", "--yes"],
    ],
)
def test_one_account_names_the_cause(local: Platform, wrong: list[str], command: list[str]) -> None:
    before = documents(local)
    done = run(*command, *local.options, *wrong, typed="123456\n")
    assert done.exit_code == 1
    assert "The account's record does not open. None of 2 other records" in words(done)
    assert "reset" not in words(done)
    assert documents(local) == before


@wrong_set_up
@pytest.mark.parametrize("apply", [[], ["--apply"]])
def test_an_import_writes_nothing_that_the_platform_could_not_open(
    local: Platform, wrong: list[str], apply: list[str]
) -> None:
    """New accounts would get records under another realm, or under other keys."""
    Path("old.csv").write_text(f"account_id,label,secret_or_uri\nzoe,,{KEY}\nann,,{KEY}\n")
    before = documents(local)
    done = run("import", "csv", "old.csv", "--reason", "x", *apply, *local.options, *wrong)
    assert done.exit_code == 1
    assert CHECK in words(done)
    assert documents(local) == before


def test_an_import_advises_no_reset(local: Platform) -> None:
    tear(local, "ann")
    Path("old.csv").write_text(f"account_id,label,secret_or_uri\nann,,{KEY}\n")
    data = told(local, "import", "csv", "old.csv", "--reason", "x", status=1)
    assert [one["reason"] for one in data["failed"]] == [
        "The account's record does not open with this realm and these keys."
    ]


def test_a_store_that_cannot_be_walked_is_diagnosed_as_an_only_record(
    local: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("unwalkable_store.py").write_text(
        "from mfakit.storage.sqlite import SQLiteStore\n\n\n"
        "class Unwalkable:\n"
        "    def __init__(self):\n"
        "        store = SQLiteStore('mfa.db')\n"
        "        self.load, self.create = store.load, store.create\n"
        "        self.replace, self.delete = store.replace, store.delete\n"
    )
    monkeypatch.syspath_prepend(local.directory)
    before = documents(local)
    store = ["--store", "unwalkable_store:Unwalkable", "--keys", "other"]
    done = run(*RESET, "ann", "--force", *store)
    assert done.exit_code == 1
    assert "There is no other record to compare with." in words(done)
    assert "ask for: first" in words(done)
    assert documents(local) == before
