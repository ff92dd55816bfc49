"""The platform's own data in SQLite: accounts with passwords, and sessions. No second factor.

A session is a random token that its client sends as `Authorization: Bearer`; the table has its hash
only. Every method is quick or hashes a password, and blocks: call it in a thread.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from examples.webmail_shared.demo import DemoAccount, policy_for

from mfakit import Policy

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY, address TEXT UNIQUE COLLATE NOCASE, password_hash TEXT, plan TEXT,
    opened_at INTEGER
);
CREATE TABLE IF NOT EXISTS sessions (
    token_hash TEXT PRIMARY KEY, account_id TEXT, epoch TEXT, is_full INTEGER
);
CREATE TABLE IF NOT EXISTS offers (offer_hash TEXT PRIMARY KEY, token_hash TEXT);
"""
_HASHER = PasswordHasher()


class Account(NamedTuple):
    """An account and its owner. `id` never changes; the address may."""

    id: str
    address: str
    password_hash: str
    plan: str
    opened_at: int


class Session(NamedTuple):
    """Who sends a request. One that is not full may do nothing but set two-step up."""

    token_hash: str
    account_id: str
    epoch: str
    is_full: bool


class Platform:
    """The tables. A connection for each call, so that any thread may call."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        # An unknown address costs as much time as a wrong password.
        self._nobody = _HASHER.hash(secrets.token_hex())
        with closing(self._connect()) as connection:
            connection.executescript(_SCHEMA)

    def open(self, accounts: Iterable[DemoAccount], password: str) -> None:
        """Make the accounts that are not there yet."""
        for one in accounts:
            row = (secrets.token_hex(8), one.address, _HASHER.hash(password), one.plan)
            query = "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?)"
            self._run(query, *row, int(self._clock()))

    def by_password(self, address: str, password: str) -> Account | None:
        """Return the account that this is the password of."""
        rows = self._run("SELECT * FROM accounts WHERE address = ?", address)
        is_right = _matches(rows[0][2] if rows else self._nobody, password)
        return Account(*rows[0]) if rows and is_right else None

    def by_id(self, account_id: str) -> Account:
        """Return an account."""
        [row] = self._run("SELECT * FROM accounts WHERE id = ?", account_id)
        return Account(*row)

    def policy_of(self, account_id: str) -> Policy:
        """Return the policy of an account, for mfakit."""
        account = self.by_id(account_id)
        return policy_for(account.plan, account.opened_at)

    def begin_session(self, account_id: str, epoch: str, *, is_full: bool) -> str:
        """Return the token of a new session."""
        token = secrets.token_urlsafe(32)
        row = (_hash(token), account_id, epoch, is_full)
        self._run("INSERT INTO sessions VALUES (?, ?, ?, ?)", *row)
        return token

    def session(self, token: str) -> Session | None:
        """Return the session of a token, None if it has ended."""
        rows = self._run("SELECT * FROM sessions WHERE token_hash = ?", _hash(token))
        return Session(*rows[0]) if rows else None

    def keep_epoch(self, session: Session, epoch: str) -> None:
        """Let this session go on after a change that ended the others."""
        query = "UPDATE sessions SET epoch = ? WHERE token_hash = ?"
        self._run(query, epoch, session.token_hash)

    def keep_offer(self, session: Session, offer: str) -> None:
        """Remember which session began a set-up; a newer one takes the place of an older."""
        self._run("DELETE FROM offers WHERE token_hash = ?", session.token_hash)
        self._run("INSERT INTO offers VALUES (?, ?)", _hash(offer), session.token_hash)

    def is_offer_of(self, session: Session, offer: str) -> bool:
        """Say whether this session began that set-up."""
        query = "SELECT 1 FROM offers WHERE offer_hash = ? AND token_hash = ?"
        return bool(self._run(query, _hash(offer), session.token_hash))

    def end_session(self, session: Session) -> None:
        """End a session, and the set-up that it began."""
        self._run("DELETE FROM offers WHERE token_hash = ?", session.token_hash)
        self._run("DELETE FROM sessions WHERE token_hash = ?", session.token_hash)

    def _run(self, query: str, *values: Any) -> list[Any]:
        with closing(self._connect()) as connection:
            return connection.execute(query, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)


def _matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except VerifyMismatchError:
        return False


def _hash(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()
