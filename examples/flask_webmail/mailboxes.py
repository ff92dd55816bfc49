"""The webmail's own data in SQLite: accounts with passwords, sessions, messages. No second factor."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

from examples.webmail_shared.demo import MESSAGES, DemoAccount, policy_for
from werkzeug.security import check_password_hash, generate_password_hash

from mfakit import Policy

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY, address TEXT UNIQUE COLLATE NOCASE, password_hash TEXT, plan TEXT,
    is_admin INTEGER, opened_at INTEGER
);
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, account_id TEXT);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, account_id TEXT, sender TEXT, subject TEXT, text TEXT, at INTEGER
);
"""
_STORE = "INSERT INTO messages (account_id, sender, subject, text, at) VALUES (?, ?, ?, ?, ?)"
_ACCOUNT = "SELECT accounts.id, address, password_hash, plan, is_admin, opened_at FROM accounts"


class Account(NamedTuple):
    """A mailbox and its owner. `id` never changes; the address may."""

    id: str
    address: str
    password_hash: str
    plan: str
    is_admin: bool
    opened_at: int

    @property
    def policy(self) -> Policy:
        """What this account may and must do about two-step verification."""
        return policy_for(self.plan, self.opened_at)

    def check_password(self, password: str) -> bool:
        """Say whether this is the password."""
        return check_password_hash(self.password_hash, password)


class Message(NamedTuple):
    """A stored message; `at` is Unix seconds."""

    id: int
    sender: str
    subject: str
    text: str
    at: int


class Mailboxes:
    """The tables. A connection for each call, so that any thread may call."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        # An unknown address costs as much time as a wrong password.
        self._nobody = generate_password_hash(secrets.token_hex())
        with closing(self._connect()) as connection:
            connection.executescript(_SCHEMA)

    def open(self, accounts: Iterable[DemoAccount], password: str) -> None:
        """Make the accounts that are not there yet, with a few messages each."""
        hashed, now = generate_password_hash(password), int(self._clock())
        new = [(secrets.token_hex(8), one) for one in accounts if not self.by_address(one.address)]
        rows = [(key, one.address, hashed, one.plan, one.is_admin, now) for key, one in new]
        mails = [(key, *mail, now) for key, _ in new for mail in MESSAGES]
        with closing(self._connect()) as connection, connection:
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.executemany(_STORE, mails)

    def by_address(self, address: str) -> Account | None:
        """Return an account, None if there is none."""
        return self._one(f"{_ACCOUNT} WHERE address = ?", address)

    def by_id(self, account_id: str | None) -> Account | None:
        """Return an account, None if there is none."""
        return self._one(f"{_ACCOUNT} WHERE accounts.id = ?", account_id)

    def find(self, address: str, limit: int = 20) -> list[Account]:
        """Return accounts whose address begins so, in order."""
        query = f"{_ACCOUNT} WHERE substr(address, 1, ?) = ? ORDER BY address LIMIT ?"
        return [Account(*row) for row in self._run(query, len(address), address, limit)]

    def policy_of(self, account_id: str) -> Policy:
        """Return the policy of an account, for mfakit."""
        account = self.by_id(account_id)
        if account is None:
            raise LookupError("no such account")
        return account.policy

    def address_of(self, account_id: str) -> str | None:
        """Return where notices go."""
        account = self.by_id(account_id)
        return account and account.address

    def password_is_right(self, account: Account | None, password: str) -> bool:
        """Check a password, taking as long for nobody as for somebody."""
        if account is None:
            check_password_hash(self._nobody, password)
            return False
        return account.check_password(password)

    def change_password(self, account: Account, password: str) -> None:
        """Store a new password."""
        hashed = generate_password_hash(password)
        self._run("UPDATE accounts SET password_hash = ? WHERE id = ?", hashed, account.id)

    # Sessions are rows, so that signing out ends them: a cookie alone could be kept and sent again.

    def open_session(self, account_id: str) -> str:
        """Begin a session and return its new id."""
        session_id = secrets.token_urlsafe(32)
        self._run("INSERT INTO sessions VALUES (?, ?)", session_id, account_id)
        return session_id

    def by_session(self, session_id: str | None) -> Account | None:
        """Return whose session it is, None if it has ended."""
        join = "JOIN sessions ON account_id = accounts.id WHERE sessions.id = ?"
        return self._one(f"{_ACCOUNT} {join}", session_id)

    def close_session(self, session_id: str | None) -> None:
        """End a session."""
        self._run("DELETE FROM sessions WHERE id = ?", session_id)

    def messages(self, account: Account) -> list[Message]:
        """Return the messages of an account, the newest first."""
        query = "SELECT id, sender, subject, text, at FROM messages WHERE account_id = ?"
        return [Message(*row) for row in self._run(f"{query} ORDER BY id DESC", account.id)]

    def deliver(self, mail: EmailMessage) -> None:
        """Put a mail into the inbox of its recipient."""
        account = self.by_address(mail["To"])
        if account:
            row = (mail["From"], mail["Subject"], mail.get_content(), int(self._clock()))
            self._run(_STORE, account.id, *row)

    def _one(self, query: str, *values: Any) -> Account | None:
        rows = self._run(query, *values)
        return Account(*rows[0]) if rows else None

    def _run(self, query: str, *values: Any) -> list[Any]:
        with closing(self._connect()) as connection:
            return connection.execute(query, values).fetchall()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)
