"""The command: the demo runs without a terminal, goes on with what it stored, and fails loudly."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest


def _mfakit(cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mfakit", *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_demo_shows_every_step_in_seconds(tmp_path: Path) -> None:
    """One command, no terminal: set-up to status, and the secrets' files are the owner's alone."""
    began = time.monotonic()
    done = _mfakit(tmp_path, "demo", "--auto")
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 15
    for said in ("Two-step is on", "A code works once", "A second time: refused", "IMAP"):
        assert said in done.stdout
    for name in ("mfakit-demo.key", "mfakit-demo.phone"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.slow
def test_demo_goes_on_with_what_it_stored(tmp_path: Path) -> None:
    """A second run finds the account on, and waits for a fresh code if it must."""
    assert _mfakit(tmp_path, "demo", "--auto").returncode == 0
    second = _mfakit(tmp_path, "demo", "--auto")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "since an earlier run" in second.stdout


def test_demo_needs_a_terminal_or_auto(tmp_path: Path) -> None:
    """Without a terminal nobody can type a code: it says what to do."""
    done = _mfakit(tmp_path, "demo")
    assert (done.returncode, "--auto" in done.stderr) == (2, True)


def test_demo_fails_loudly_on_a_record_that_was_altered(tmp_path: Path) -> None:
    """A document that does not verify stops the demo, in words."""
    assert _mfakit(tmp_path, "demo", "--auto").returncode == 0
    with sqlite3.connect(tmp_path / "mfakit-demo.db") as database:
        database.execute("UPDATE mfakit_account SET revision = revision + 1")
    done = _mfakit(tmp_path, "demo", "--auto")
    assert done.returncode == 1
    assert "does not verify" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_version_and_help(tmp_path: Path) -> None:
    """The command says what it is."""
    assert "mfakit, version" in _mfakit(tmp_path, "--version").stdout
    assert "--auto" in _mfakit(tmp_path, "demo", "--help").stdout
