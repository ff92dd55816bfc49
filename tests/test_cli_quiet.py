"""A secret that is typed at the wrong place is not repeated by an error, a finding or a completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

from cli_world import Platform, on_sqlite, run

KEY = "T45FDQD34JGWNCGR6AFLHRD6KUJO3GQH"
URI = f"otpauth://totp/Example:ann?secret={KEY}&issuer=Example"
RING = "2026:n3pRwHviTWaI0fAKs8R-VRLtmgdDq0xYb2LwPzEzNTA"
URL = "postgresql://mfakit:hunter2@127.0.0.1:1/db"
SECRETS = ("T45FDQD34JGW", "t45fdqd34jgw", "n3pRwHviTWaI", "hunter2", "123456", "7XK2-MMQP")
KEYS = ["--keys", "keys"]
AUTHORITY = ["--reason", "x", "--yes"]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    return on_sqlite(tmp_path)


def told(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code in (1, 2), done.output
    assert not isinstance(done.exception, Exception), done.exception
    assert done.stdout + done.stderr
    return str(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        [URI],
        [KEY],
        [f"--secret={KEY}"],
        ["--config", URI],
        ["--config", RING],
        ["import", URI],
        ["import", KEY, "file"],
        ["import", "csv", "file", URI, *AUTHORITY[:2]],
        ["import", "csv", "file", f"--secret={KEY}"],
        ["import", "csv", "file", "--from-row", KEY],
        ["import", "csv", "file", "--accounts", URI],
        ["import", "csv", "file", "--passphrase-file", RING],
        ["import", "csv", "file", *AUTHORITY[:2], "--decrypt", f"{URI}:x"],
        ["verify", "ann", "123456"],
        ["verify", "ann", "7XK2-MMQP"],
        ["verify", "ann", "--method", KEY],
        ["status", URI],
        ["status", f" {URI}", "--json"],
        ["reset", URI, *AUTHORITY],
        ["passcodes", "list", URI],
        ["passcodes", "revoke", "ann", URI, KEY],
        ["report", "--only", KEY],
        ["keys", "generate", RING],
        ["keys", "generate", "2027", RING],
        ["keys", "generate", "2027", "--into", URI],
        ["keys", "list", "--keys", RING],
        ["export", URI, "--yes"],
        ["completion", KEY],
        ["serve-auth", "--config", RING],
        ["serve-auth", KEY],
        ["check-store", URL],
    ],
)
def test_an_argument_that_is_a_secret_is_not_repeated(
    local: Platform, arguments: list[str]
) -> None:
    on_it = [] if arguments[0] in ("completion", "serve-auth", "check-store") else local.options
    on_it = [] if arguments[0][0] == "-" or arguments[0] in (URI, KEY) else on_it
    on_it = [] if arguments[0] == "keys" else on_it
    text = told(*arguments, *on_it)
    assert not [one for one in SECRETS if one in text], text


@pytest.mark.parametrize("command", [["status", "ann"], ["doctor", "--json"]])
@pytest.mark.parametrize(
    "url",
    [
        URL,
        URL.replace(":1/", ":port/"),
        f"{URL}?no_such_option=1&%zz=2",
        URL.replace("postgresql", "postgresql+psycopg"),
        URL.replace("postgresql", "postgresql+asyncpg"),
        URL.replace("postgresql", "oracle"),
        URL.replace("postgresql", "mariadb"),
        URL.replace("postgresql", "mysql") + "?no_such_option=1",
        "mariadb://mfakit:hunter2@[host/db",
        "mfakit:hunter2@host/db",
        "host=/x password=hunter2",
        "sqlite://:hunter2@/missing.db",
        "sqlite:///missing.db?password=hunter2",
    ],
)
def test_the_password_of_a_store_is_not_repeated(
    local: Platform, command: list[str], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert "hunter2" not in told(*command, "--store", url, *KEYS)
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        RING,
        f'"{RING}" = 1',
        f"{KEY} = 1",
        f'store = "{URL}',
        f'[policy]\n"{RING}" = 1',
        f'[policy]\nprofile = "{KEY}"',
        f'[policy]\nrequired = "{URL}"',
        f'[policy]\nissuer = 7\nrequired = "{KEY}"',
    ],
)
def test_a_line_of_a_configuration_is_not_repeated(local: Platform, text: str) -> None:
    (local.directory / "mfakit.toml").write_text(text)
    for command in (["status", "ann"], ["doctor"], ["doctor", "--json"]):
        seen = told("--config", "mfakit.toml", *command, *local.options)
        assert not [one for one in SECRETS if one in seen], seen


@pytest.mark.parametrize("text", [KEY, f"{RING}x{RING}", f"{RING},{RING}", RING[5:], f"a b {URI}"])
def test_a_line_of_a_key_file_is_not_repeated(
    local: Platform, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (local.directory / "keys").write_text(text)
    commands = [["status", "ann", *local.options], ["doctor", "--json", *local.options]]
    commands += [["keys", "list", *KEYS], ["keys", "generate", "b", "--into", "keys"]]
    for command in commands:
        seen = told(*command)
        assert not [one for one in SECRETS if one in seen], seen
    monkeypatch.setenv("MFAKIT_KEYS", text)
    assert not [one for one in SECRETS if one in told("status", "ann", *local.options[:2])]


def test_completion_repeats_nothing(local: Platform) -> None:
    """As bash asks for it, in the middle of a line that holds secrets."""
    for words in (f"mfakit import csv {URI} --iss", f"mfakit status {URI} --h", f"mfakit {KEY} "):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        done = subprocess.run(
            [sys.executable, "-c", "from mfakit.cli import main; main()"],
            env={**os.environ, **asked, "_MFAKIT_COMPLETE": "bash_complete", "MFAKIT_STORE": URL},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        seen = done.stdout + done.stderr
        assert not [one for one in SECRETS if one in seen], seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reprot"], "reprot"),
        (["report", "--onyl", "weak"], "--onyl"),
        (["--config", "/etc/Mail_2026/Config-File1.toml"], "/etc/Mail_2026/Config-File1.toml"),
        (["status", "ann", "--store", "sqlite:////var/lib/Mail2/mfa.db", *KEYS], "/var/lib/Mail2/"),
        (["status", "ann", "--store", "sqlite:///none.db", *KEYS], "There is no file none.db"),
        (["keys", "rotate", "--store", "sqlite:///mfa.db", "--page-size", "0"], "--page-size"),
    ],
)
def test_what_is_no_secret_is_named(local: Platform, arguments: list[str], words: str) -> None:
    """Errors still say which option, command or file."""
    assert words in told(*arguments)


def test_the_help_is_whole(local: Platform) -> None:
    done = run()
    assert "not shown" not in done.stdout + done.stderr
    assert "check-store" in done.stdout + done.stderr
    assert "not shown" not in told("keys")
