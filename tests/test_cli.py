"""The command line does what the documentation promises, and says so when it cannot."""

from __future__ import annotations

import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

import pyotp
from click.testing import CliRunner
from rich.console import Console

from mfakit.cli import demo as demo_module
from mfakit.cli import main
from mfakit.cli.commands import commands
from mfakit.cli.demo import STEPS, run_demo
from mfakit.cli.files import DemoFiles

posix = pytest.mark.skipif(os.name != "posix", reason="file modes, terminals and signals of POSIX")
DEMO = [sys.executable, "-m", "mfakit", "demo"]
START = 1_700_000_010.0  # ten seconds into a time step
OUTCOMES = [
    "1. The password opened the set-up",
    "2. A code confirmed it",
    "3. Password and code sign in (pwd, otp, mfa)",
    "is refused the second time",
    "signs in once, not twice; 9 are left",
    "6. Application passcode for “Phone mail 1”",
    "7. An IMAP client signs in with the passcode",
    "8. The right password is refused over IMAP, without even being checked",
    "9. The passcode is revoked and refused at once",
    "10. This is where the account stands",
]


def environment():
    return {**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}


def run(directory, *arguments):
    return subprocess.run(
        [*DEMO, *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


class Person:
    """Someone at a terminal, with a phone, in time that passes only while waiting."""

    def __init__(self, directory: Path) -> None:
        self.files = DemoFiles(directory / "mfakit-demo.db")
        self.now = START
        self.waited = 0.0
        self.typed: list[str] = []  # what to type before codes of the phone
        self.key = ""
        self.output = StringIO()

    def sleep(self, seconds):
        self.now += seconds
        self.waited += seconds

    def ask(self, prompt):
        if found := re.search(r"type the key +([A-Z2-7 ]+)", self.output.getvalue()):
            self.key = found[1].replace(" ", "")
        return self.typed.pop(0) if self.typed else pyotp.TOTP(self.key).at(int(self.now))

    def run(self, *, auto=False):
        self.output = StringIO()
        console = Console(file=self.output, width=200, highlight=False)
        return run_demo(
            self.files, console, auto=auto, ask=self.ask, clock=lambda: self.now, sleep=self.sleep
        )

    @property
    def seen(self):
        return self.output.getvalue()


@pytest.fixture
def person(tmp_path):
    return Person(tmp_path)


# ------------------------------------------------------------------------------ as a user runs it


def test_first_run_shows_every_outcome(tmp_path):
    done = run(tmp_path, "--auto")
    assert (done.returncode, done.stderr) == (0, "")
    places = [done.stdout.index(text) for text in OUTCOMES]
    assert places == sorted(places)
    assert done.stdout.count("✔") == 10


@posix
def test_files_are_private(tmp_path):
    assert run(tmp_path, "--auto").returncode == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    names = ["mfakit-demo.db", "mfakit-demo.key", "mfakit-demo.phone"]
    assert modes == dict.fromkeys(names, 0o600)


@pytest.mark.slow
def test_second_run_goes_on_with_what_was_stored(tmp_path):
    assert run(tmp_path, "--auto").returncode == 0
    done = run(tmp_path, "--auto")
    assert (done.returncode, done.stderr) == (0, "")
    assert "on since an earlier run" in done.stdout
    assert "Of a new set" in done.stdout
    assert done.stdout.count("✔") == 10


def test_store_can_be_elsewhere(tmp_path):
    assert run(tmp_path, "--auto", "--store", "other.db").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"other.db", "other.key", "other.phone"}


def test_ascii_output_does_not_end_the_run(tmp_path):
    done = subprocess.run(
        [*DEMO, "--auto"],
        cwd=tmp_path,
        env={**environment(), "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


def test_without_terminal_auto_is_needed(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 2
    assert "mfakit demo --auto" in done.stderr
    assert not list(tmp_path.iterdir())


def test_altered_document_is_reported_without_traceback(tmp_path):
    assert run(tmp_path, "--auto").returncode == 0
    with closing(sqlite3.connect(tmp_path / "mfakit-demo.db")) as connection, connection:
        connection.execute("UPDATE mfakit_account SET document = x'7b7d'")
    done = run(tmp_path, "--auto")
    assert done.returncode == 1
    assert "✘ Step 1 (begin set-up) failed." in done.stdout
    assert "delete mfakit-demo.db, mfakit-demo.key and mfakit-demo.phone" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


class Terminal:
    """A real pseudo-terminal with the demo in it."""

    def __init__(self, directory: Path) -> None:
        import pty

        self.seen = ""
        self._end, terminal = pty.openpty()
        self.process = subprocess.Popen(
            DEMO, cwd=directory, env=environment(), stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)

    def read_until(self, text: str, *, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        start = len(self.seen)
        while text not in self.seen[start:]:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._end], [], [], 1)[0]:
                self.seen += os.read(self._end, 65536).decode(errors="replace")
        return self.seen

    def type(self, line: str) -> None:
        os.write(self._end, line.encode() + b"\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.fixture
def terminal(tmp_path, interruptible):
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


@posix
@pytest.mark.slow
def test_person_with_a_phone_at_a_terminal(terminal, tmp_path):
    seen = terminal.read_until("The code that the app shows")
    key = re.search(r"type the key +([A-Z2-7 ]+)", seen)[1].replace(" ", "")
    terminal.type(pyotp.TOTP(key).now())
    terminal.read_until("Sign in with the code shown now")
    terminal.type(pyotp.TOTP(key).now())
    terminal.read_until("passcode_revoked")
    assert terminal.process.wait(timeout=20) == 0
    assert not (tmp_path / "mfakit-demo.phone").exists()


@posix
def test_interrupt_ends_tidily(terminal):
    terminal.read_until("The code that the app shows")
    terminal.process.send_signal(signal.SIGINT)
    assert "Traceback" not in terminal.read_until("Stopped. Run it again to go on.")
    assert terminal.process.wait(timeout=20) == 130


# ---------------------------------------------------------------------------- in time that we turn


def test_first_run_takes_seconds(person):
    """It waits for no code, and what it computes is little, however busy the machine is."""
    started = time.process_time()
    assert person.run(auto=True)
    assert time.process_time() - started < 15
    assert person.waited == 0


def test_person_waits_for_the_next_code(person):
    assert person.run()
    assert person.seen.count("✔") == 10
    assert person.waited == pytest.approx(30 - START % 30)
    assert f"waiting for the next one, {round(30 - START % 30)} s." in person.seen


def test_person_goes_on_later_without_waiting(person):
    assert person.run()
    person.now += 3600
    person.waited = 0
    assert person.run()
    assert person.waited == 0
    assert "1. Two-step is on since an earlier run" in person.seen
    assert "type the key" not in person.seen


def test_typing_errors_are_forgiven(person):
    person.typed = ["", "no code", "12345"]
    assert person.run()
    assert person.seen.count("Take another: an app shows the next soon") == 3


def test_typing_errors_without_end_fail_the_step(person):
    person.typed = ["no code"] * 5
    assert not person.run()
    assert "✘ Step 2 (confirm set-up) failed. No code was accepted." in person.seen


def test_set_up_broken_off_begins_again(person):
    person.typed = ["no code"] * 5
    assert not person.run()
    assert person.run()


def test_wrong_codes_at_sign_in_are_waited_out(person):
    assert person.run()
    person.now += 60
    present = int(person.now) // 30
    person.typed = [pyotp.TOTP(person.key).at((present - 100 - n) * 30) for n in range(4)]
    assert person.run()
    assert "Too many wrong codes: waiting" in person.seen


def test_many_quick_runs_lock_nothing(person):
    for _ in range(12):
        assert person.run(auto=True), person.seen
    assert "retry" not in person.seen


def test_auto_cannot_play_a_real_phone(person):
    assert person.run()
    assert not person.run(auto=True)
    assert "run it without --auto" in person.seen


def test_played_phone_needs_auto(person):
    assert person.run(auto=True)
    assert not person.run()
    assert "must be run again with --auto" in person.seen


def test_lost_key_is_not_replaced(person):
    assert person.run(auto=True)
    person.files.key.unlink()
    assert not person.run(auto=True)
    assert "mfakit-demo.key is missing" in person.seen
    assert not person.files.key.exists()


def test_other_phone_is_told(person):
    assert person.run(auto=True)
    person.now += 60
    person.files.keep_phone("otpauth://totp/Other:demo?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    assert not person.run(auto=True)
    assert "✘ Step 3 (sign in) failed." in person.seen


@pytest.mark.parametrize("text", ["", "otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ", "nonsense"])
def test_torn_phone_is_told(person, text):
    assert person.run(auto=True)
    person.files.phone.write_text(text)
    assert not person.run(auto=True)
    assert "mfakit-demo.phone cannot be read" in person.seen


def test_file_that_is_no_store_is_told(person):
    assert person.run(auto=True)
    person.files.store.write_bytes(b"no SQLite file" * 100)
    assert not person.run(auto=True)
    assert "✘ Opening the files failed." in person.seen


def test_missing_directory_is_told(tmp_path):
    person = Person(tmp_path / "none")
    assert not person.run(auto=True)
    assert "cannot be written" in person.seen


# -------------------------------------------------------- steps that would not show what they claim


@pytest.mark.parametrize(
    ("method", "answer", "step"),
    [
        ("complete_login", None, "Step 4 (replay a code)"),
        ("complete_login", "recovery", "Step 5 (recovery code)"),
        ("authenticate_client", None, "Step 8 (mail client with password)"),
        ("revoke_passcode", None, "Step 9 (revoke the passcode)"),
    ],
)
def test_refusal_that_does_not_come_fails_the_step(person, monkeypatch, method, answer, step):
    """The platform is made to accept what it must refuse: the demo must notice."""
    real = getattr(demo_module.MFA, method)
    kept = {}

    def forgiving(mfa, *arguments, **options):
        kind = options.get("method", "totp") if answer else None
        if kind == answer and method != "revoke_passcode":
            kept.setdefault(kind, None)
            kept[kind] = kept[kind] or real(mfa, *arguments, **options)
            return kept[kind]
        return None if method == "revoke_passcode" else real(mfa, *arguments, **options)

    monkeypatch.setattr(demo_module.MFA, method, forgiving)
    assert not person.run(auto=True)
    assert f"✘ {step} failed. What had to be refused was accepted." in person.seen


def test_password_that_is_checked_fails_the_step(person, monkeypatch):
    real = demo_module.MFA.authenticate_client

    def curious(mfa, account_id, credential, *, check_password, **options):
        check_password(credential)
        return real(mfa, account_id, credential, check_password=check_password, **options)

    monkeypatch.setattr(demo_module.MFA, "authenticate_client", curious)
    assert not person.run(auto=True)
    assert "✘ Step 8 (mail client with password) failed. The password was checked" in person.seen


# ---------------------------------------------------------------------------------------- the rest


def test_there_are_ten_steps_with_names_of_their_own():
    assert len({name for name, _ in STEPS}) == len(STEPS) == 10


def test_version():
    done = CliRunner().invoke(commands, ["--version"])
    assert done.exit_code == 0
    assert version("mfakit") in done.output


@pytest.mark.parametrize("name", ["a.key", "a.phone"])
def test_names_of_the_other_files_are_refused(name):
    done = CliRunner().invoke(commands, ["demo", "--auto", "--store", name])
    assert done.exit_code == 2


def test_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("mfakit.cli.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "pip install 'mfakit[cli]'" in capsys.readouterr().err


def test_missing_extra_is_named_where_nothing_of_it_is_installed():
    """Neither `mfakit.cli` nor what it imports may need what it reports as missing."""
    code = (
        "import sys; sys.modules.update(click=None, rich=None, segno=None)\n"
        "from mfakit.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "click, rich, segno not found: pip install 'mfakit[cli]'\n"
