"""What a platform decides: every limit, its unit in its name; profiles named after standards.

A `Policy` is checked when it is made, so a contradiction shows at start-up. A platform gives `MFA`
one policy, or a callable from account id to policy (class of service, domain, account). Limits are
applied again at use: of a stored limit and the present one the smaller counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import ceil
from typing import Literal

from attrs import evolve, fields, frozen

from mfakit.errors import PolicyError

__all__ = ["ASVS_5", "DEFAULT", "LIMITS", "NIST_800_63B", "Policy", "SECRET_BYTES"]

# RFC 4226 §4 R6 (128 bits at least), RFC 6238 §5.1 (the length of the HMAC output).
SECRET_BYTES = {"SHA1": 20, "SHA256": 32, "SHA512": 64}

# field: (lowest, highest, where the bound comes from)
LIMITS: dict[str, tuple[int, int, str]] = {
    "digits": (6, 8, "RFC 4226 §5.3"),
    "period_seconds": (15, 120, "SP 800-63B-4 §3.1.4.1"),
    "secret_bits_min": (80, 512, "RFC 4226 §4 R6"),
    "period_seconds_max": (15, 120, "SP 800-63B-4 §3.1.4.1"),
    "window_past_steps": (0, 2, "RFC 6238 §5.2"),
    "window_future_steps": (0, 2, "RFC 6238 §6"),
    "authenticators_max": (1, 5, "mfakit"),
    "offer_seconds": (60, 600, "SP 800-63B-4 §4.1.2.2"),
    "offer_wrong_codes_max": (1, 10, "mfakit"),
    "challenge_seconds": (30, 600, "ASVS 6.5.5"),
    "proof_seconds": (30, 600, "ASVS 7.5.1"),
    "throttle_free_failures": (0, 10, "RFC 4226 §7.3"),
    "throttle_first_wait_seconds": (5, 3600, "SP 800-63B-4 §3.2.2"),
    "throttle_longest_wait_seconds": (30, 86_400, "SP 800-63B-4 §3.2.2"),
    "code_failures_max": (5, 100, "SP 800-63B-4 §3.2.2"),
    "code_failures_in_30_days_max": (5, 1000, "mfakit"),
    "recovery_codes": (1, 32, "one slot symbol of five bits"),
    "recovery_codes_low": (0, 31, "mfakit"),
    "recovery_failures_max": (5, 100, "SP 800-63B-4 §3.2.2"),
    "passcodes_max": (1, 25, "mfakit"),
    "passcode_last_used_seconds": (60, 86_400, "mfakit"),
    "passcode_memory_seconds": (0, 600, "mfakit"),
    "passcode_days_max": (1, 3650, "mfakit"),
    "trusted_devices_max": (1, 20, "mfakit"),
    "trusted_device_days": (1, 30, "SP 800-63B-4 §2.1.3"),
    "argon2_time_cost": (1, 20, "RFC 9106 §3.1"),
    "argon2_memory_kib": (8, 4_194_304, "RFC 9106 §3.1"),
    "argon2_parallelism": (1, 16, "RFC 9106 §3.1"),
}


@frozen(kw_only=True)
class Policy:
    """Every choice that a platform makes about two-step verification.

    Args:
        issuer: Name shown in the authenticator app, 1-64 characters, no colon.
        available: May accounts enrol? Never turns a live factor off.
        required: Must accounts enrol?
        required_from: With `required`: aware datetime until which password-only sign-in goes on.
        reset_enrolled_before: Aware datetime; accounts enrolled before it are reset at next use.
        unknown_account: "refuse" (every account has been opened; a missing record is an operational
            error) or "not_enrolled" (for adopting mfakit on existing accounts).
        algorithm: HMAC hash of new authenticators. Many apps silently ignore all but "SHA1".
        digits: Length of the codes of new authenticators, 6-8. Many apps know only 6.
        period_seconds: Time step of new authenticators, seconds. Many apps know only 30.
        secret_bits_min: Shortest secret of new and imported authenticators, bits.
        weak_imports: May `import_authenticator(…, allow_weak=True)` take a shorter one, of 80 bits
            at least?
        period_seconds_max: Longest time step of new and imported authenticators, seconds.
        window_past_steps: Time steps before the present one that are accepted, 0-2.
        window_future_steps: Time steps after the present one that are accepted, 0-2.
        authenticators_max: Authenticators an account may hold.
        offer_seconds: Life of an offered authenticator, seconds.
        offer_wrong_codes_max: Wrong codes that drop an offer.
        challenge_seconds: Life of a sign-in between password and code, seconds.
        proof_seconds: Life of a proof, seconds.
        throttle_free_failures: Wrong codes in a row without a wait.
        throttle_first_wait_seconds: First wait; doubles with each further wrong code.
        throttle_longest_wait_seconds: Longest wait.
        code_failures_max: Wrong codes in a row that lock every authenticator.
        code_failures_in_30_days_max: Wrong codes in 30 days, whatever the successes, that do so.
        recovery_codes: Recovery codes in a set.
        recovery_codes_low: Number left at which the owner is told.
        recovery_failures_max: Wrong recovery codes in a row that lock the set, or None for no lock.
        passcodes: May application passcodes be made and used?
        passcodes_max: Application passcodes an account may hold.
        passcode_last_used_seconds: How often the last use of a passcode is written.
        passcode_memory_seconds: How long a verified passcode skips Argon2 in this process; 0 never.
        passcode_days_max: Days after which an application passcode ends, counted from the day it was
            made, or None for no end. Also ends passcodes that were made before it was set.
        passcodes_end_with_password: Does a password change revoke application passcodes?
        password_with_code: Do mail clients that send password and code as one text sign in? Only
            while all authenticators of the account show codes of one length.
        trusted_devices: May devices be trusted?
        trusted_devices_max: Trusted devices an account may hold; one more evicts the oldest.
        trusted_device_days: Days for which a device is trusted, counted from the day it was.
        argon2_time_cost: Argon2id passes.
        argon2_memory_kib: Argon2id memory, KiB.
        argon2_parallelism: Argon2id lanes.

    Raises:
        PolicyError: A value is out of its range or contradicts another; the text names both.
    """

    issuer: str = "Mail"
    available: bool = True
    required: bool = False
    required_from: datetime | None = None
    reset_enrolled_before: datetime | None = None
    unknown_account: Literal["not_enrolled", "refuse"] = "not_enrolled"

    algorithm: Literal["SHA1", "SHA256", "SHA512"] = "SHA1"  # RFC 6238 §1.2
    digits: int = 6  # RFC 4226 §5.3
    period_seconds: int = 30  # RFC 6238 §5.2
    secret_bits_min: int = 128  # RFC 4226 §4 R6
    weak_imports: bool = True
    period_seconds_max: int = 120  # SP 800-63B-4 §3.1.4.1
    window_past_steps: int = 1  # RFC 6238 §5.2: at most one step of network delay
    window_future_steps: int = 1  # RFC 6238 §6: a client clock ahead
    authenticators_max: int = 5
    offer_seconds: int = 600
    offer_wrong_codes_max: int = 10
    challenge_seconds: int = 300
    proof_seconds: int = 300

    throttle_free_failures: int = 4
    throttle_first_wait_seconds: int = 30
    throttle_longest_wait_seconds: int = 3600
    code_failures_max: int = 50
    code_failures_in_30_days_max: int = 200

    recovery_codes: int = 10
    recovery_codes_low: int = 3
    recovery_failures_max: int | None = None

    passcodes: bool = True
    passcodes_max: int = 25
    passcode_last_used_seconds: int = 900
    passcode_memory_seconds: int = 600
    passcode_days_max: int | None = None
    passcodes_end_with_password: bool = True
    password_with_code: bool = False

    trusted_devices: bool = True
    trusted_devices_max: int = 20
    trusted_device_days: int = 30

    argon2_time_cost: int = 2
    argon2_memory_kib: int = 19_456
    argon2_parallelism: int = 1

    def __attrs_post_init__(self) -> None:
        _check_types(self)
        _check_ranges(self)
        _check_contradictions(self)

    @property
    def required_from_seconds(self) -> int | None:
        """The deadline in Unix seconds, None when not required; 0 when required at once."""
        if not self.required:
            return None
        return int(self.required_from.timestamp()) if self.required_from else 0

    @property
    def reset_before_seconds(self) -> int:
        """The first Unix second whose enrolments a group reset spares, 0 without a group reset."""
        return ceil(self.reset_enrolled_before.timestamp()) if self.reset_enrolled_before else 0


# The types of the fields that are not whole numbers; every other field is one.
_TYPES: dict[str, tuple[object, ...]] = {
    "unknown_account": ("not_enrolled", "refuse"),
    "algorithm": tuple(SECRET_BYTES),
    **dict.fromkeys(
        (
            "available",
            "required",
            "passcodes",
            "passcodes_end_with_password",
            "password_with_code",
            "weak_imports",
            "trusted_devices",
        ),
        (True, False),
    ),
}
_OPTIONAL = {"passcode_days_max", "recovery_failures_max", "required_from", "reset_enrolled_before"}


def _check_types(policy: Policy) -> None:
    for name, allowed in _TYPES.items():
        value = getattr(policy, name)
        if not any(value is one or (isinstance(one, str) and value == one) for one in allowed):
            raise PolicyError(f"{name} must be one of {', '.join(map(str, allowed))}.")
    for name in ("required_from", "reset_enrolled_before"):
        value = getattr(policy, name)
        if value is not None and not (isinstance(value, datetime) and value.tzinfo is not None):
            raise PolicyError(f"{name} must be a datetime with a time zone.")
    issuer = policy.issuer
    if (
        not isinstance(issuer, str)
        or not issuer.strip()
        or len(issuer) > 64
        or not issuer.isprintable()
    ):
        raise PolicyError("issuer must be a printable name of 1 to 64 characters.")
    if ":" in issuer:
        raise PolicyError("issuer must not contain a colon: authenticator apps split names there.")


def _check_ranges(policy: Policy) -> None:
    for name, (lowest, highest, source) in LIMITS.items():
        value = getattr(policy, name)
        if value is None and name in _OPTIONAL:
            continue
        if type(value) is not int or not lowest <= value <= highest:
            raise PolicyError(
                f"{name} must be a whole number from {lowest} to {highest} ({source})."
            )


# Whether two fields contradict each other, and the text that names both.
_CONTRADICTIONS: tuple[tuple[Callable[[Policy], object], str], ...] = (
    (lambda p: p.required and not p.available, "required contradicts available=False."),
    (lambda p: p.required_from and not p.required, "required_from needs required=True."),
    (
        lambda p: p.period_seconds > p.period_seconds_max,
        "period_seconds is above period_seconds_max.",
    ),
    (
        lambda p: 8 * SECRET_BYTES[p.algorithm] < p.secret_bits_min,
        "secret_bits_min is above the length of the secrets that `algorithm` has.",
    ),
    (
        lambda p: p.throttle_first_wait_seconds > p.throttle_longest_wait_seconds,
        "throttle_first_wait_seconds is above throttle_longest_wait_seconds.",
    ),
    (
        lambda p: p.throttle_free_failures >= p.code_failures_max,
        "throttle_free_failures reaches code_failures_max: no wait would ever happen.",
    ),
    (
        lambda p: p.code_failures_max > p.code_failures_in_30_days_max,
        "code_failures_max is above code_failures_in_30_days_max.",
    ),
    (
        lambda p: p.recovery_codes_low >= p.recovery_codes,
        "recovery_codes_low must be below recovery_codes: a new set would count as low.",
    ),
)


def _check_contradictions(policy: Policy) -> None:
    for is_wrong, text in _CONTRADICTIONS:
        if is_wrong(policy):
            raise PolicyError(text)


assert set(LIMITS) | set(_TYPES) | _OPTIONAL | {"issuer"} == {
    field.name for field in fields(Policy)
}

DEFAULT = Policy()

NIST_800_63B = evolve(
    DEFAULT,
    unknown_account="refuse",
    trusted_devices=False,  # §5.1: a remembered browser SHALL NOT replace authentication
    recovery_failures_max=100,  # §3.2.2: at most 100 consecutive failures of each authenticator
    weak_imports=False,
    passcode_days_max=365,
)

ASVS_5 = evolve(
    NIST_800_63B,
    period_seconds_max=30,  # 6.5.5: a code lives 30 seconds at most
    window_past_steps=0,
    window_future_steps=0,
)
