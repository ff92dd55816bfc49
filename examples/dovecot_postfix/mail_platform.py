"""The platform of the example: accounts in a passwd file, two-step verification in SQLite."""

from __future__ import annotations

import os
from pathlib import Path

from mfakit import KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from mfakit.mail import PasswdFile, Platform, log_event
from mfakit.storage.sqlite import SQLiteStore

BASE = Path(os.environ["MFAKIT_EXAMPLE"])
POLICY = Policy(issuer="Example Mail")


def make_platform() -> Platform:
    """Called by `mfakit serve-auth` at its start and at each reload."""
    users = PasswdFile(BASE / "users")  # read again whenever it changes
    store = InThreads(SQLiteStore(BASE / "mfa.db"))
    mfa = AsyncMFA(store, KeyRing.from_file(BASE / "mfa.key"), policy=POLICY, events=log_event)

    async def aclose() -> None:
        await mfa.aclose()
        await store.aclose()

    return Platform(
        mfa=mfa,
        resolve_account=users.resolve_account,
        check_password=users.check_password,
        aclose=aclose,
    )
