"""The platform that the service of the tests asks: a process of its own, steered through files."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

from mfakit import KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from mfakit.hashing import Argon2Hasher
from mfakit.mail import Platform, log_event
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher

KEYS = {"k1": bytes(range(32))}
PASSWORD = "correct horse battery staple"
DOMAIN = "@example.com"


class SiteClock:
    """The true time and what the tests add to it; a file, because several processes need it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> float:
        return self.now

    @property
    def now(self) -> float:
        return time.time() + self._added()

    @now.setter
    def now(self, moment: float) -> None:
        self._path.write_text(str(moment - time.time()))

    def advance(self, seconds: float) -> None:
        self._path.write_text(str(self._added() + seconds))

    def _added(self) -> float:
        return float(self._path.read_text()) if self._path.exists() else 0.0


class BreakableStore(SQLiteStore):
    """Down for as long as a file says so."""

    def __init__(self, site: Path) -> None:
        super().__init__(site / "mfa.db", synchronous="NORMAL")
        self._down = site / "store-is-down"

    def load(self, account_id: str) -> Any:
        if self._down.exists():
            raise OSError("network is unreachable")
        return super().load(account_id)


def make_platform() -> Platform:
    site = Path(os.environ["MAIL_SITE"])
    store = InThreads(BreakableStore(site))
    mfa = AsyncMFA(
        store,
        KeyRing(KEYS),
        policy=lambda _: load_policy(site),
        clock=SiteClock(site / "clock"),
        hasher=Argon2Hasher() if (site / "argon2").exists() else CheapHasher(),
        events=log_event,
        hash_concurrency=1,  # leaves a processor to everything else
    )

    async def resolve_account(login: str) -> str | None:
        name, at, domain = login.lower().rpartition("@")
        is_suspended = (site / "suspended" / name).exists() if name.isalnum() else True
        return name if at + domain == DOMAIN and not is_suspended else None

    def check_password(login: str, password: str) -> str | None:
        with (site / "asked").open("a") as file:
            file.write(login + "\n")
        if (site / "directory-is-down").exists():
            raise OSError("no route to the directory")
        return login.lower().removesuffix(DOMAIN) if password == PASSWORD else None

    async def aclose() -> None:
        await mfa.aclose()
        await store.aclose()

    return Platform(
        mfa=mfa, resolve_account=resolve_account, check_password=check_password, aclose=aclose
    )


def load_policy(site: Path) -> Policy:
    try:
        return pickle.loads((site / "policy").read_bytes())
    except FileNotFoundError:
        return Policy(issuer="Example Mail")
