"""What the views of one app share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from examples.flask_webmail.mailboxes import Mailboxes
from examples.webmail_shared.notices import OwnerNotices, Send
from flask import Flask, current_app
from jinja2 import Template

from mfakit import MFA, KeyRing
from mfakit.storage.sqlite import SQLiteStore


def add_mfakit(app: Flask, data: Path, boxes: Mailboxes, send: Send, keys: KeyRing) -> None:
    """Make the one `MFA` of the process."""
    app.extensions["mfakit"] = MFA(
        SQLiteStore(data / "mfa.db"),
        keys,
        policy=boxes.policy_of,
        events=OwnerNotices(send, boxes.address_of),
        realm="flask-webmail",
        clock=app.extensions["clock"],
    )


def mfa() -> MFA:
    """Return it."""
    return current_app.extensions["mfakit"]


def mailboxes() -> Mailboxes:
    """Return the webmail's own data."""
    return current_app.extensions["mailboxes"]


def template(name: str) -> Template:
    """Return a page to render without what context processors add."""
    return current_app.jinja_env.get_template(name)


def clock() -> float:
    """Return Unix seconds."""
    clock: Callable[[], float] = current_app.extensions["clock"]
    return clock()
