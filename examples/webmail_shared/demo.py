"""Demo accounts, the policies they stand for, and the mail they find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from mfakit import Policy

PASSWORD = "correct horse battery"
DAYS_TO_SET_UP = 14

# Class of service: what differs from the default policy.
PLANS: dict[str, dict[str, bool]] = {
    "optional": {},
    "required": {"required": True},
    "required soon": {"required": True},
    "no trusted devices": {"trusted_devices": False},
    "no passcodes": {"passcodes": False},
    "unavailable": {"available": False},
}


class DemoAccount(NamedTuple):
    """An account to make at the start."""

    address: str
    plan: str = "optional"
    is_admin: bool = False


ACCOUNTS = (
    DemoAccount("ann@example.com"),
    DemoAccount("ben@example.com", "required"),
    DemoAccount("cleo@example.com", "required soon"),
    DemoAccount("dan@example.com", "no trusted devices"),
    DemoAccount("operator@example.com", "required", is_admin=True),
)

# (from, subject, text)
MESSAGES = (
    (
        "Example Mail <welcome@example.com>",
        "Welcome to Example Mail",
        (
            "Your mailbox is ready.\n\nTo make it safer, go to Preferences > Accounts and set up"
            " two-step authentication: a sign-in then needs your password and a code from your phone."
        ),
    ),
    (
        "Mira Okafor <mira@example.net>",
        "Minutes of Tuesday's meeting",
        "Hello,\n\nthe minutes are in the shared folder. Please send corrections by Friday.\n\nMira",
    ),
    (
        "City Library <no-reply@library.example.org>",
        "A book you reserved has arrived",
        "“The Code Book” is waiting for you at the desk until the end of the month.",
    ),
)


@lru_cache(256)
def policy_for(plan: str, opened_at: int) -> Policy:
    """Return the policy of an account: its plan, and 14 days for those who must set up soon."""
    deadline = datetime.fromtimestamp(opened_at, UTC) + timedelta(days=DAYS_TO_SET_UP)
    return Policy(
        issuer="Example Mail",
        required_from=deadline if plan == "required soon" else None,
        **PLANS[plan],
    )


def announce(url: str) -> str:
    """Return what the terminal shows when an example has started."""
    rows = [f"  {one.address:<22} two-step: {one.plan}" for one in ACCOUNTS]
    return "\n".join(
        [
            f"Example Mail is at {url}  (Ctrl+C stops it)",
            f"Every account has the password: {PASSWORD}",
            *rows,
            "Use Chrome, Edge or Firefox: Safari keeps no Secure cookies without https.",
        ]
    )
