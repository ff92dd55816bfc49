"""Argon2id for what people keep and type: application passcodes and recovery codes.

The stored text names its scheme and cost (`$argon2id$v=19$m=…`), so costs can rise and another scheme
can be added without touching what is stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from mfakit.core.secret import Secret
from mfakit.errors import HashingError, PolicyError
from mfakit.policy import Policy

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# ASVS 5.0 App. C and the OWASP Password Storage Cheat Sheet: passes -> least memory in KiB.
_FLOORS = {1: 47_104, 2: 19_456, 3: 12_288, 4: 9_216, 5: 7_168}


class Hasher(Protocol):
    """Hash and verify; `Argon2Hasher` in production, a cheap one in `mfakit.testing`."""

    def check_cost(self, policy: Policy) -> None:
        """Raise `PolicyError` if the policy's cost is too low to use."""

    def hash(self, secret: Secret, policy: Policy) -> str:
        """Return the hash of a secret as text that names its scheme, with a salt of its own."""

    def verify(self, stored: str, secret: Secret) -> bool:
        """Say whether the secret is the one that was hashed.

        Raises:
            HashingError: It could not be found out.
        """


class Argon2Hasher:
    """Argon2id (RFC 9106): 16 bytes of salt, 32 bytes of hash, cost from the policy."""

    def check_cost(self, policy: Policy) -> None:
        """Refuse a cost below the floor.

        Raises:
            PolicyError: Raise `argon2_memory_kib` or `argon2_time_cost`.

        Reference: ASVS 11.4.2.
        """
        if policy.argon2_memory_kib < _FLOORS[min(policy.argon2_time_cost, 5)]:
            raise PolicyError(
                "The Argon2 cost is below the floor. Use argon2_time_cost=2 with"
                " argon2_memory_kib=19456, or more of either."
            )

    def hash(self, secret: Secret, policy: Policy) -> str:
        """Return `$argon2id$…` for a secret. Takes tens of milliseconds and the policy's memory.

        Raises:
            PolicyError: The cost is below the floor.
            HashingError: Argon2 could not run.
        """
        self.check_cost(policy)
        hashed = _try_hash(
            _argon2(policy.argon2_time_cost, policy.argon2_memory_kib, policy.argon2_parallelism),
            secret,
        )
        if hashed is None:
            raise HashingError
        return hashed

    def verify(self, stored: str, secret: Secret) -> bool:
        """Say whether a secret is the one that was hashed. Takes as long as its stored cost says.

        Raises:
            HashingError: Argon2 could not run; nothing is known about the secret.
        """
        matches = _try_verify(_argon2(2, 19_456, 1), stored, secret)
        if matches is None:
            raise HashingError
        return matches


@lru_cache(16)
def _argon2(time_cost: int, memory_kib: int, parallelism: int) -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(
        time_cost=time_cost,
        memory_cost=memory_kib,
        parallelism=parallelism,
        hash_len=32,
        salt_len=16,
    )


def _try_hash(argon2: PasswordHasher, secret: Secret) -> str | None:
    from argon2.exceptions import HashingError as Argon2Error

    try:
        return argon2.hash(secret.reveal())
    except Argon2Error:
        return None


def _try_verify(argon2: PasswordHasher, stored: str, secret: Secret) -> bool | None:
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    try:
        return argon2.verify(stored, secret.reveal())
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError):
        return None
