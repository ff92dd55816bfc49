"""A hasher that waits, for tests of the gates before the hasher."""

from __future__ import annotations

import threading

from mfakit import Policy
from mfakit.core.decision import CheckHash
from mfakit.core.secret import Secret
from mfakit.errors import HashingError


class SlowHasher:
    """Each run waits until it is let go; counts runs, and how many ran at once."""

    def __init__(self) -> None:
        self.lock, self.go = threading.Lock(), threading.Event()
        self.runs = self.running = self.most = 0

    def check_cost(self, policy: Policy) -> None:
        """Any."""

    def verify(self, stored: str, secret: Secret) -> bool:
        with self.lock:
            self.runs += 1
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(60)
        with self.lock:
            self.running -= 1
        if stored == "broken":
            raise HashingError
        return secret.reveal() == b"right"

    def hash(self, secret: Secret, policy: Policy) -> str:
        self.verify("", secret)
        return f"hash-{secret.reveal().decode()}"


def check(
    secret: bytes = b"right",
    account: str = "ann",
    stored: str = "s",
    remember: int = 60,
    *,
    is_mail: bool = True,
) -> CheckHash:
    """Return a question of one account's one item."""
    return CheckHash(
        account_id=account,
        is_mail=is_mail,
        item_id="i",
        sealed=stored,
        unseal=lambda: Secret(stored.encode()),
        secret=Secret(secret),
        remember_seconds=remember,
    )
