"""`mfakit import` and `export`: rehearsed first, repeatable, resumable, and private."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

import pyotp

from cli_world import STORES, Platform, on_sqlite, platforms, run
from mfakit import MFA, CodeRequired, KeyRing, SignedIn
from mfakit.migration import rehearsal_of
from mfakit.testing import CheapHasher

SECRETS = {
    "ann": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    "bob": "4SJHB4GSD43FZBAI7C2HLRJGPQ",
    "carl": "5OM4WOOGPLQEF6UGN3CPEOOLWU",
}
WEAK = "JBSWY3DPEHPK3PXP"
AUTHORITY = ["--reason", "moving", "--actor", "ops"]
posix = pytest.mark.skipif(os.name != "posix", reason="file modes and signals of POSIX")


@pytest.fixture(params=STORES)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    for one in platforms(request.param, tmp_path):
        write(tmp_path, "old.csv", [(name, "", secret) for name, secret in SECRETS.items()])
        yield one


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    write(tmp_path, "old.csv", [(name, "", secret) for name, secret in SECRETS.items()])
    return on_sqlite(tmp_path)


def write(directory: Path, name: str, rows: list[tuple[str, str, str]]) -> None:
    with (directory / name).open("w", newline="") as file:
        csv.writer(file).writerows([("account_id", "label", "secret_or_uri"), *rows])


def told(platform: Platform, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = run(*arguments, *platform.options, "--json")
    assert done.exit_code == status, done.output
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def counts(data: dict[str, Any]) -> tuple[int, int, int, int]:
    return data["imported"], data["unchanged"], data["skipped"], len(data["failed"])


def sign_in(mfa: MFA, account_id: str, code: str) -> None:
    step = mfa.begin_login(account_id, password_verified=True)
    assert isinstance(step, CodeRequired)
    assert isinstance(mfa.complete_login(step.challenge, code, method="totp"), SignedIn)


# ------------------------------------------------------------------------- as processes, on each store


def test_import_and_export_as_processes(platform: Platform) -> None:
    """A rehearsal writes nothing; the import writes; again it changes nothing; out and in again."""
    importing = ["import", "csv", "old.csv", *AUTHORITY]
    rehearsed = platform.told(*importing)
    assert (rehearsed["rehearsal"], counts(rehearsed)) == (True, (3, 0, 0, 0))
    assert platform.mfa.accounts().accounts == ()
    assert counts(platform.told(*importing, "--apply")) == (3, 0, 0, 0)
    before = {
        one.account_id: one.revision for one in platform.store.scan(cursor=None, limit=9).records
    }
    for apply in ([], ["--apply"]):
        assert counts(platform.told(*importing, *apply)) == (0, 3, 0, 0)
    after = {
        one.account_id: one.revision for one in platform.store.scan(cursor=None, limit=9).records
    }
    assert after == before
    sign_in(platform.mfa, "bob", pyotp.TOTP(SECRETS["bob"]).now())

    exported = platform.told("export", "out.csv", "--yes")
    assert (exported["done"], exported["failed"]) == (3, [])
    elsewhere = platform.directory / "elsewhere"
    elsewhere.mkdir()
    other = on_sqlite(elsewhere)
    moved = other.told("import", "csv", "../out.csv", *AUTHORITY, "--apply")
    assert counts(moved) == (3, 0, 0, 0)
    sign_in(other.mfa, "carl", pyotp.TOTP(SECRETS["carl"]).now())


# ------------------------------------------------------------------------------------------------ import


def test_a_rehearsal_decides_as_the_import_will(local: Platform, tmp_path: Path) -> None:
    """The sixth authenticator and the second of one secret are told before anything is written."""
    rows = [("ann", f"Phone {n}", pyotp.random_base32()) for n in range(5)]
    write(tmp_path, "many.csv", [*rows[:1], *rows, ("ann", "Sixth", pyotp.random_base32())])
    rehearsed = told(local, "import", "csv", "many.csv", *AUTHORITY, status=1)
    applied = told(local, "import", "csv", "many.csv", *AUTHORITY, "--apply", status=1)
    assert counts(rehearsed) == counts(applied) == (5, 1, 0, 1)
    assert rehearsed["failed"] == applied["failed"]
    assert len(local.mfa.status("ann").authenticators) == 5


def test_a_rehearsal_reads_the_store_and_tells_nobody(local: Platform) -> None:
    """It sees accounts that are there, changes them in memory only, and sends no event."""
    seen: list[Any] = []
    mfa = MFA(local.store, KeyRing.from_file("keys"), hasher=CheapHasher(), events=seen.append)
    mfa.import_authenticator("ann", SECRETS["ann"], actor="o", reason="r")
    seen.clear()
    rehearsal = rehearsal_of(mfa)
    rehearsal.import_authenticator("ann", SECRETS["bob"], actor="o", reason="r")
    rehearsal.import_authenticator("ann", SECRETS["carl"], actor="o", reason="r")
    rehearsal.import_authenticator("bob", SECRETS["bob"], actor="o", reason="r")
    assert len(rehearsal.status("ann").authenticators) == 3
    assert len(mfa.status("ann").authenticators) == 1
    assert not mfa.status("bob").is_on
    assert seen == []
    assert not rehearsal.forget("nobody", actor="o", reason="r")


def test_weak_secrets_only_when_asked_for(local: Platform, tmp_path: Path) -> None:
    """They are listed by the import, shown by status and counted by the report, until replaced."""
    write(tmp_path, "weak.csv", [("dora", "Old", WEAK), ("ann", "", SECRETS["ann"])])
    refused = told(local, "import", "csv", "weak.csv", *AUTHORITY, "--apply", status=1)
    assert counts(refused) == (1, 0, 0, 1)
    assert "--allow-weak" in refused["failed"][0]["reason"]
    taken = told(local, "import", "csv", "weak.csv", *AUTHORITY, "--apply", "--allow-weak")
    assert (counts(taken), taken["weak"]) == ((1, 1, 0, 0), ["dora"])
    assert "Weak secrets, to be replaced: dora." in run(
        "import", "csv", "weak.csv", *AUTHORITY, "--allow-weak", *local.options
    ).stdout.replace("\n", " ")
    assert told(local, "report")["counts"]["weak"] == 1
    old, new = local.mfa.status("dora").authenticators[0].authenticator_id, SECRETS["carl"]
    local.mfa.import_authenticator("dora", new, actor="o", reason="r", label="New")
    proof = local.mfa.verify_code("dora", pyotp.TOTP(new).now())
    local.mfa.remove_authenticator("dora", old, proof=proof)
    assert told(local, "report")["counts"]["weak"] == 0


def test_whose_a_row_is(local: Platform, tmp_path: Path) -> None:
    """By a list of names, by a prefix, or all of one account; other issuers are left out."""
    uri = "otpauth://totp/{0}:{1}?secret={2}&issuer={0}"
    lines = [
        uri.format("Mail", "ann@x", SECRETS["ann"]),
        uri.format("Shop", "bob@x", SECRETS["bob"]),
    ]
    (tmp_path / "uris").write_text("\n".join(lines))
    (tmp_path / "names.csv").write_text("ann@x, acct-1\n\nzoe@x,acct-2\n")
    by_name = ["import", "otpauth", "uris", *AUTHORITY, "--accounts", "names.csv"]
    done = told(local, *by_name, "--prefix", "tenant/", "--apply", status=1)
    assert counts(done) == (1, 0, 0, 1)
    assert done["failed"][0]["reason"] == "No such name in --accounts."
    assert local.mfa.status("tenant/acct-1").is_on
    one = ["import", "otpauth", "uris", *AUTHORITY, "--account", "acct-9", "--issuer", "Shop"]
    assert counts(told(local, *one, "--apply")) == (1, 0, 1, 0)
    sign_in(local.mfa, "acct-9", pyotp.TOTP(SECRETS["bob"]).now())
    (tmp_path / "names.csv").write_text("ann@x\n")
    assert run(*by_name, *local.options).exit_code == 2
    assert run(*by_name, "--account", "x", *local.options).exit_code == 2


def test_an_account_that_cannot_be_opened_stops_no_other(local: Platform) -> None:
    told(local, "import", "csv", "old.csv", *AUTHORITY, "--apply")
    with sqlite3.connect("mfa.db") as connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b' WHERE account_id = 'bob'")
    connection.close()
    done = told(local, "import", "csv", "old.csv", *AUTHORITY, "--apply", status=1)
    assert counts(done) == (0, 2, 0, 1)
    assert done["failed"][0]["account"] == "bob"
    seen = run("import", "csv", "old.csv", *AUTHORITY, *local.options)
    assert "This was a rehearsal: nothing was written." in seen.stdout
    assert "not imported because" in seen.stdout


STORES_TO_FAIL = """
    import os
    from mfakit.errors import StoreUnavailableError
    from mfakit.storage.sqlite import SQLiteStore

    class Failing(SQLiteStore):
        '''Gone, or stopped by Ctrl-C, after so many writes.'''

        def __init__(self):
            super().__init__("mfa.db", synchronous="NORMAL")
            self.writes = int(os.environ["WRITES"])

        def create(self, new):
            self.writes -= 1
            if self.writes < 0:
                raise {"store": StoreUnavailableError, "person": KeyboardInterrupt}[os.environ["BY"]]
            return super().create(new)
"""


@pytest.mark.parametrize(("by", "status"), [("store", 1), ("person", 130)])
def test_an_import_goes_on_where_it_stopped(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, status: int
) -> None:
    (tmp_path / f"stopped_by_{by}.py").write_text(dedent(STORES_TO_FAIL))
    monkeypatch.setenv("WRITES", "2")
    monkeypatch.setenv("BY", by)
    importing = ["import", "csv", "old.csv", *AUTHORITY, "--apply"]
    failing = ["--store", f"stopped_by_{by}:Failing", "--keys", "keys"]
    stopped = run(*importing, *failing, "--json")
    assert stopped.exit_code == status
    data = json.loads(stopped.stdout)
    assert (data["imported"], data["next_row"]) == (2, 3)
    monkeypatch.setenv("WRITES", "0")
    again = run(*importing, *failing)
    assert (again.exit_code, "Go on with --from-row 3" in again.stdout) == (status, True)
    rest = told(local, *importing, "--from-row", "3")
    assert counts(rest) == (1, 0, 0, 0)
    assert counts(told(local, *importing)) == (0, 3, 0, 0)


def test_progress_is_shown_at_a_terminal(local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = run("import", "csv", "old.csv", *AUTHORITY, *local.options, "--json")
    assert "Importing: 3 imported, 0 unchanged, 0 skipped, 0 failed" in done.stderr


def test_a_missing_extra_is_told(local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what needs it: a line with a plain URI is read without."""
    from mfakit.migration import rows

    monkeypatch.setattr(rows, "find_spec", lambda name: None)
    done = run("import", "qr", "x.png", *AUTHORITY, *local.options)
    assert done.exit_code == 2
    assert "pip install 'mfakit[import]'" in done.stderr
    Path("uris").write_text(f"otpauth://totp/zoe?secret={SECRETS['ann']}\n", encoding="utf-8")
    assert counts(told(local, "import", "otpauth", "uris", *AUTHORITY)) == (1, 0, 0, 0)
    with Path("uris").open("a", encoding="utf-8") as file:
        file.write("otpauth-migration://offline?data=AAAA\n")
    done = run("import", "otpauth", "uris", *AUTHORITY, *local.options)
    assert done.exit_code == 2
    assert "pip install 'mfakit[import]'" in done.stderr


@pytest.mark.parametrize("format_name", ["otpauth", "google", "csv", "qr", "pskc"])
def test_a_uri_in_place_of_a_file_is_not_told_again(local: Platform, format_name: str) -> None:
    """It is a secret; the shell's history has it already."""
    uri = f"otpauth://totp/zoe?secret={SECRETS['ann']}"
    done = run("import", format_name, uri, *AUTHORITY, *local.options)
    assert done.exit_code == 2
    assert "SOURCE is a file" in done.stderr
    assert SECRETS["ann"] not in done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------ export


@posix
def test_an_export_is_private_and_asked_for(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing without a yes, never over another file, readable by its owner only."""
    local.mfa.import_authenticator("t:ann", SECRETS["ann"], actor="o", reason="r", label="Phone: 1")
    local.mfa.import_authenticator("bob", WEAK, actor="o", reason="r", allow_weak=True)
    local.mfa.open_account("carl")
    assert run("export", "out.csv", *local.options).exit_code == 2
    monkeypatch.setattr("mfakit.cli.options.is_terminal", lambda: True)
    assert run("export", "out.csv", *local.options, typed="n\n").exit_code == 1
    assert not (tmp_path / "out.csv").exists()
    done = run("export", "out.csv", *local.options, typed="y\n")
    assert done.exit_code == 0
    assert "in clear" in done.stderr
    assert "Complete: 2 done, 1 unchanged, 0 failed." in done.stdout
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert run("export", "out.csv", "--yes", *local.options).exit_code == 2
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["account_id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"t:ann", "bob"}
    assert rows["t:ann"]["label"] == "Phone: 1"
    phone = pyotp.parse_uri(rows["t:ann"]["secret_or_uri"])
    assert isinstance(phone, pyotp.TOTP)
    assert phone.secret == SECRETS["ann"]
    again = told(local, "import", "csv", "out.csv", *AUTHORITY, "--allow-weak")
    assert counts(again) == (0, 2, 0, 0)


def test_an_export_to_a_pipe_lists_what_fails(local: Platform) -> None:
    """The codes that go in come out; the tool of others reads them; a torn record is told."""
    told(local, "import", "csv", "old.csv", *AUTHORITY, "--apply")
    with sqlite3.connect("mfa.db") as connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b' WHERE account_id = 'bob'")
    connection.close()
    done = run("export", "-", "--yes", *local.options)
    assert done.exit_code == 1
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["account_id"] for row in rows] == ["ann", "carl"]
    secret = pyotp.parse_uri(rows[1]["secret_or_uri"]).secret
    assert secret == SECRETS["carl"]
    rest = run("export", "-", "--yes", "--prefix", "carl", *local.options)
    assert len(rest.stdout.splitlines()) == 2
    try:
        shown = subprocess.run(
            ["oathtool", "--totp", "-b", "-N", "@59", secret],
            capture_output=True,
            encoding="ascii",
            timeout=30,
            check=True,
        )
    except FileNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("apt-get install oathtool")
    assert shown.stdout.strip() == pyotp.TOTP(SECRETS["carl"]).at(59)
