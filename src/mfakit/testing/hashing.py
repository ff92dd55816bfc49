"""A hasher that costs nothing, for tests only: it protects nothing."""

from __future__ import annotations

import os
from hashlib import sha256
from hmac import compare_digest

from mfakit.core.secret import Secret
from mfakit.policy import Policy

__all__ = ["CheapHasher"]


class CheapHasher:
    """Hash with one salted SHA-256, and count.

    Attributes:
        hashed: How many secrets were hashed.
        verified: How many checks were run.
    """

    def __init__(self) -> None:
        self.hashed: int = 0
        self.verified: int = 0

    def check_cost(self, policy: Policy) -> None:
        """Accept every cost."""

    def hash(self, secret: Secret, policy: Policy) -> str:
        """Return `$cheap$salt$hash`."""
        self.hashed += 1
        salt = os.urandom(4).hex()
        return f"$cheap${salt}${_digest(salt, secret)}"

    def verify(self, stored: str, secret: Secret) -> bool:
        """Say whether the secret is the one that was hashed."""
        self.verified += 1
        _, _, salt, expected = stored.split("$")
        return compare_digest(expected, _digest(salt, secret))


def _digest(salt: str, secret: Secret) -> str:
    return sha256(salt.encode() + secret.reveal()).hexdigest()
