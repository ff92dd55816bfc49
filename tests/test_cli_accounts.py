"""`mfakit status|verify|passcodes|devices|reset`, `keys` and `report`, as processes on real stores."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")


from cli_world import STORES, Platform, on_sqlite, platforms, run
from mfakit import CodeRequired, KeyRing
from mfakit.hashing import Argon2Hasher

WEAK = "JBSWY3DPEHPK3PXP"  # 80 bits
posix = pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")


@pytest.fixture(params=STORES)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    yield from platforms(request.param, tmp_path)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The same on SQLite, for commands that run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    monkeypatch.setenv("COLUMNS", "250")
    return on_sqlite(tmp_path)


@pytest.mark.parametrize("what", ["passcodes", "devices"])
@pytest.mark.parametrize(
    "item", ["-6k4Si7kaDK9r1FHDyMqwQ", "-hhhhhhhhhhhhhhhhhhhhh", "--" + "A" * 20]
)
def test_an_id_may_begin_with_a_hyphen(local: Platform, what: str, item: str) -> None:
    """As one in 64 does: it is no option, and the help is not shown."""
    local.enroll("ann")
    done = run(what, "revoke", "ann", item, "--yes", *local.options)
    assert done.exit_code == 1
    assert "No such entry" in done.stderr
    assert run(what, "revoke", "ann", "-h", *local.options).exit_code == 0
    assert run(what, "revoke", "ann", "-6", *local.options).exit_code == 2


# ------------------------------------------------------------------------- as processes, on each store


def test_one_account_as_processes(platform: Platform) -> None:
    """What the commands say and do is what the library sees."""
    done, totp = platform.enroll("ann", hasher=Argon2Hasher())
    device = platform.sign_in("ann", totp.now(), device="Firefox").trusted_device
    passcode_id = platform.passcode("ann", totp, "Phone mail", time.time() + 30)
    status = platform.told("status", "ann", "--history")
    assert (status["state"], status["passcodes"], status["trusted_devices"]) == ("enrolled", 1, 1)
    assert status["authenticators"][0]["label"] == "Phone"
    assert status["history"][-1]["kind"] == "passcode_created"
    assert "epoch" not in status
    listed = platform.told("passcodes", "list", "ann")["passcodes"]
    assert [one["passcode_id"] for one in listed] == [passcode_id]
    trusted = platform.told("devices", "list", "ann")["devices"]
    assert [one["label"] for one in trusted] == ["Firefox"]

    gone = platform.told("passcodes", "revoke", "ann", passcode_id, "--yes")
    assert gone == {"account_id": "ann", "revoked": 1}
    assert platform.mfa.passcodes("ann") == ()
    platform.told("devices", "revoke", "ann", trusted[0]["device_id"], "--yes")
    again = platform.mfa.begin_login("ann", password_verified=True, trusted_device=device)
    assert isinstance(again, CodeRequired)

    code = done.recovery_codes[0]
    verify = ["verify", "ann", "--method", "recovery"]
    assert platform.told(*verify, typed=f"{code}\n")["verified"] is True
    assert platform.told(*verify, typed=f"{code}\n", status=1)["code"] == "wrong_code"

    reset = platform.told("reset", "ann", "--reason", "lost phone", "--actor", "eve", "--yes")
    assert reset["state"] == "not_enrolled"
    last = platform.mfa.history("ann")[-1]
    assert (last.kind, last.actor, last.reason) == ("reset", "eve", "lost phone")


def test_report_as_a_process(platform: Platform) -> None:
    """Who is enrolled, has stale passcodes, a weak secret, or is missing; in JSON and in CSV."""
    _, totp = platform.enroll("ann", hours_ago=24 * 300)
    platform.passcode("ann", totp, "old phone", time.time() - 3600 * 24 * 200)
    platform.mfa.open_account("bob")
    platform.mfa.import_authenticator("carl", WEAK, actor="ops", reason="moving", allow_weak=True)
    report = platform.told("report")
    assert report["counts"] == {
        "enrolled": 2,
        "missing": 0,
        "locked": 0,
        "stale": 1,
        "weak": 1,
        "no-codes": 1,
    }
    assert report["key_ids"] == {"first": 3}
    stale = platform.told("report", "--only", "stale", "--page-size", "1")
    assert [one["account_id"] for one in stale["accounts"]] == ["ann"]
    fresh = platform.told("report", "--only", "stale", "--stale-days", "250")
    assert fresh["accounts"] == []
    rows = list(
        csv.DictReader(StringIO(platform.process("report", "--csv", *platform.options).stdout))
    )
    assert {row["account_id"]: row["weak_authenticators"] for row in rows} == {
        "ann": "0",
        "bob": "0",
        "carl": "1",
    }


# --------------------------------------------------------------------------------- asking, refusing


def test_nothing_is_destroyed_unasked(local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    _, totp = local.enroll("ann")
    local.sign_in("ann", totp.now(), device="Firefox")
    local.passcode("ann", totp, "Phone mail", time.time() + 30)
    destroying = (
        ["reset", "ann", "--reason", "x"],
        ["passcodes", "revoke", "ann", "--all"],
        ["devices", "revoke", "ann", "--all"],
    )
    for command in destroying:
        assert run(*command, *local.options).exit_code == 2
    monkeypatch.setattr("mfakit.cli.options.is_terminal", lambda: True)
    for command in destroying:
        assert run(*command, *local.options, typed="n\n").exit_code == 1
    status = local.mfa.status("ann")
    assert (status.is_on, status.passcodes, status.trusted_devices) == (True, 1, 1)
    for command in destroying[1:]:
        done = run(*command, *local.options, typed="y\n")
        assert done.exit_code == 0
        assert "1 revoked" in done.stdout
    status = local.mfa.status("ann")
    assert (status.is_on, status.passcodes, status.trusted_devices) == (True, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["reset", "--reason", "x"], 2, "Name an account, or a group"),
        (["reset", "ann", "--reason", "x", "--group-before", "now"], 2, "Name an account, or a"),
        (["passcodes", "revoke", "ann", "--yes"], 2, "Name a passcode by its id, or say --all"),
        (["devices", "revoke", "ann", "x", "--all", "--yes"], 2, "Name a trusted device"),
        (["passcodes", "revoke", "ann", "x", "--yes"], 1, "No such entry"),
        (["status", ""], 2, "account_id"),
    ],
)
def test_wrong_usage(local: Platform, arguments: list[str], status: int, words: str) -> None:
    done = run(*arguments, *local.options)
    assert done.exit_code == status
    assert words in " ".join(done.stderr.split())


def test_an_account_without_a_record_is_told(local: Platform) -> None:
    """Else an operator who types the address, and not the id, believes that the reset is done."""
    local.enroll("ann")
    reset = ("reset", "--reason", "x", "--yes", *local.options)
    assert "not enrolled, no record" in run("status", "ann@example.com", *local.options).stdout
    assert "Is that its id, and not its address?" in run(*reset, "ann@example.com").stderr
    assert local.mfa.status("ann").is_on
    assert run(*reset, "ann").stderr == ""
    assert not local.mfa.status("ann@example.com").key_ids  # no record was made
    config = local.directory / "mfakit.toml"
    config.write_text('[policy]\nunknown_account = "refuse"\n')
    refusing = ("--config", str(config), *reset)
    assert "Is that its id" in run(*refusing, "nobody").stderr
    with sqlite3.connect(local.directory / "mfa.db") as connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b' WHERE account_id = 'ann'")
    connection.close()
    forced = run(*refusing, "ann", "--force", "--keys-are-lost")
    assert (forced.exit_code, forced.stderr) == (0, "")


def test_what_people_see(local: Platform) -> None:
    _, totp = local.enroll("ann")
    local.mfa.import_authenticator("bob", WEAK, actor="o", reason="r", allow_weak=True)
    local.passcode("ann", totp, "Phone mail", time.time())
    status = run("status", "ann", "--history", *local.options)
    assert "recovery codes left" in status.stdout
    assert "passcode_created" in status.stdout
    assert "weak: have it replaced" in " ".join(
        run("status", "bob", *local.options).stdout.replace("│", " ").split()
    )
    assert "Phone mail" in run("passcodes", "list", "ann", *local.options).stdout
    assert "trusted since" in run("devices", "list", "ann", *local.options).stdout
    report = run("report", *local.options)
    assert "2 enrolled, 0 missing, 0 locked, 0 stale, 1 weak, 1 no-codes." in report.stdout
    assert "Key ids in use: first (2)." in report.stdout
    assert "codes left" in report.stdout
    assert "devices" not in report.stdout  # nobody has one
    assert "account" not in run("report", "--only", "locked", *local.options).stdout
    verified = run("verify", "ann", *local.options, typed="000000x\n")
    assert verified.exit_code == 1
    assert "That code is not valid" in verified.stdout


def test_a_report_tells_records_that_do_not_open(local: Platform) -> None:
    local.enroll("ann")
    local.enroll("bob")
    with sqlite3.connect(local.directory / "mfa.db") as connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b' WHERE account_id = 'bob'")
    connection.close()
    done = run("report", *local.options, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["failed"] == [{"account_id": "bob", "code": "record_integrity"}]
    assert [one["account_id"] for one in told["accounts"]] == ["ann"]
    assert "Restore these from a backup" in " ".join(run("report", *local.options).stdout.split())


# ---------------------------------------------------------------------------------------- configuration


def test_a_configuration_file_says_what_options_do_not(local: Platform) -> None:
    """Options come first, then variables, then the file; the policy makes accounts required."""
    local.enroll("ann")
    local.mfa.open_account("bob")
    config = local.directory / "mfakit.toml"
    config.write_text(
        'store = "sqlite:///mfa.db"\nkeys = "keys"\n[policy]\nrequired = true\n', encoding="utf-8"
    )
    done = run("--config", str(config), "report", "--only", "missing", "--json")
    assert done.exit_code == 0, done.stderr
    assert [one["account_id"] for one in json.loads(done.stdout)["accounts"]] == ["bob"]
    later = run("--config", str(config), "status", "bob", "--store", "sqlite:///none.db")
    assert "There is no file none.db" in later.stderr
    deadline = datetime(2999, 1, 1, tzinfo=UTC)
    config.write_text(
        'store = "sqlite:///mfa.db"\nkeys = "keys"\n[policy]\nrequired = true\n'
        f"required_from = {deadline.isoformat()}\n",
        encoding="utf-8",
    )
    assert "from 2999-01-01" in run("--config", str(config), "status", "bob").stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("store = [", "cannot be read as TOML"),
        ('shop = "x"', "unknown key: shop"),
        ('keys = "keys"\n[policy]\nprofile = "LAX"', "profile must be one of"),
        ('keys = "keys"\n[policy]\ndigit = 6', "A policy has no digit"),
        ('keys = "keys"\n[policy]\nrequired = true\navailable = false', "required contradicts"),
    ],
)
def test_a_wrong_configuration_is_wrong_usage(local: Platform, text: str, words: str) -> None:
    local.enroll("ann")
    config = local.directory / "mfakit.toml"
    config.write_text(text, encoding="utf-8")
    done = run("--config", str(config), "status", "ann", "--store", "sqlite:///mfa.db")
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://[host/x", "no connection string"),
        ("mariadb://host:port/x", "no URL of a database"),
        ("mysql+nothing://x", "give MODULE:FACTORY"),
    ],
)
def test_a_wrong_url(local: Platform, url: str, words: str) -> None:
    done = run("status", "ann", "--store", url, "--keys", "keys")
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("postgresql://x", "psycopg_pool", "mfakit[postgres]"),
        ("postgresql+psycopg://x", "psycopg", "mfakit[postgres]"),
        ("mariadb://x", "pymysql", "mfakit[mariadb]"),
    ],
)
def test_a_driver_that_is_missing(
    local: Platform, monkeypatch: pytest.MonkeyPatch, url: str, missing: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, "mfakit.storage.postgres", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    done = run("status", "ann", "--store", url, "--keys", "keys")
    assert done.exit_code == 2
    assert extra in " ".join(done.stderr.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert f"_MFAKIT_COMPLETE={shell}_complete" in done.stdout


def test_completion_completes() -> None:
    """As bash asks for it."""
    asked = {"_MFAKIT_COMPLETE": "bash_complete", "COMP_WORDS": "mfakit rep", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from mfakit.cli import main; main()"],
        env={**os.environ, **asked},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.stdout.split(",")[-1].strip() == "report"


# ------------------------------------------------------------------------------------------------- keys


def test_a_key_is_made_as_the_ring_reads_it(local: Platform) -> None:
    told = json.loads(run("keys", "generate", "2027", "--json").stdout)
    assert KeyRing.from_text(told["entry"]).key_ids == ("2027",)
    assert run("keys", "generate", "no good").exit_code == 2


@posix
def test_keys_go_into_a_private_file(local: Platform) -> None:
    """A new file is the owner's alone; the next key opens first and seals later."""
    path = local.directory / "new.keys"
    assert json.loads(run("keys", "generate", "a", "--into", "new.keys", "--json").stdout)["seals"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)  # the service's group may read it
    assert "does not seal yet" in run("keys", "generate", "b", "--into", "new.keys").stdout
    assert KeyRing.from_file(path).key_ids == ("a", "b")
    assert run("keys", "generate", "c", "--into", "new.keys", "--first").exit_code == 0
    assert KeyRing.from_file(path).key_ids == ("c", "a", "b")
    assert path.stat().st_mode & 0o777 == 0o640
    listed = json.loads(run("keys", "list", "--keys", "new.keys", "--json").stdout)["keys"]
    assert [one["key_id"] for one in listed if one["seals"]] == ["c"]
    assert len(listed) == 3


def test_a_key_file_is_never_harmed(local: Platform) -> None:
    """A second key of one id, or a file of something else, is refused and left as it is."""
    before = (local.directory / "keys").read_text()
    assert run("keys", "generate", "first", "--into", "keys").exit_code == 2
    assert (local.directory / "keys").read_text() == before
    (local.directory / "notes").write_text("buy milk")
    assert run("keys", "generate", "x", "--into", "notes").exit_code == 2
    assert (local.directory / "notes").read_text() == "buy milk"
    assert run("keys", "generate", "x", "--into", "missing/keys").exit_code == 2
    assert sorted(path.name for path in local.directory.iterdir() if path.name[0] == ".") == []
