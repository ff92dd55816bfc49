"""Policy: each bound from a table written by hand, types, contradictions, profiles, Argon2 floors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve, exceptions, fields

from mfakit import ASVS_5, DEFAULT, MFA, NIST_800_63B, Argon2Hasher, KeyRing, Policy
from mfakit.core.secret import Secret
from mfakit.errors import HashingError, PolicyError
from mfakit.storage.memory import MemoryStore

# field: (default, lowest, highest), and what must be set with the extremes to stay consistent.
BOUNDS: dict[str, tuple[Any, int, int]] = {
    "digits": (6, 6, 8),
    "period_seconds": (30, 15, 120),
    "secret_bits_min": (128, 80, 512),
    "period_seconds_max": (120, 15, 120),
    "window_past_steps": (1, 0, 2),
    "window_future_steps": (1, 0, 2),
    "authenticators_max": (5, 1, 5),
    "offer_seconds": (600, 60, 600),
    "offer_wrong_codes_max": (10, 1, 10),
    "challenge_seconds": (300, 30, 600),
    "proof_seconds": (300, 30, 600),
    "throttle_free_failures": (4, 0, 10),
    "throttle_first_wait_seconds": (30, 5, 3600),
    "throttle_longest_wait_seconds": (3600, 30, 86_400),
    "code_failures_max": (50, 5, 100),
    "code_failures_in_30_days_max": (200, 5, 1000),
    "recovery_codes": (10, 1, 32),
    "recovery_codes_low": (3, 0, 31),
    "recovery_failures_max": (None, 5, 100),
    "passcodes_max": (25, 1, 25),
    "passcode_last_used_seconds": (900, 60, 86_400),
    "passcode_memory_seconds": (600, 0, 600),
    "passcode_days_max": (None, 1, 3650),
    "trusted_devices_max": (20, 1, 20),
    "trusted_device_days": (30, 1, 30),
    "argon2_time_cost": (2, 1, 20),
    "argon2_memory_kib": (19_456, 8, 4_194_304),
    "argon2_parallelism": (1, 1, 16),
}
SWITCHES = {
    "available": True,
    "required": False,
    "passcodes": True,
    "passcodes_end_with_password": True,
    "password_with_code": False,
    "trusted_devices": True,
    "weak_imports": True,
}
CHOICES = {
    "algorithm": ("SHA1", ["SHA1", "SHA256", "SHA512"]),
    "unknown_account": ("not_enrolled", ["not_enrolled", "refuse"]),
}
# Set with a bound so that no other rule is broken.
WITH: dict[tuple[str, int], dict[str, Any]] = {
    ("secret_bits_min", 512): {"algorithm": "SHA512"},
    ("period_seconds_max", 15): {"period_seconds": 15},
    ("code_failures_max", 5): {"throttle_free_failures": 4},
    ("code_failures_in_30_days_max", 5): {"code_failures_max": 5},
    ("recovery_codes", 1): {"recovery_codes_low": 0},
    ("recovery_codes_low", 31): {"recovery_codes": 32},
    ("throttle_longest_wait_seconds", 30): {},
}


def test_every_field_is_in_a_table_here() -> None:
    """A new field needs its bounds written down by hand."""
    named = {*BOUNDS, *SWITCHES, *CHOICES, "issuer", "required_from", "reset_enrolled_before"}
    assert named == {one.name for one in fields(Policy)}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(name: str) -> None:
    """The default, both ends, and one beyond each."""
    default, lowest, highest = BOUNDS[name]
    assert getattr(Policy(), name) == default
    for value in (lowest, highest):
        changes = {name: value, **WITH.get((name, value), {})}
        assert getattr(Policy(**changes), name) == value
    for value in (lowest - 1, highest + 1, -(2**63), 2**63):
        with pytest.raises(PolicyError, match=f"{name} must be a whole number from {lowest} to"):
            Policy(**{name: value})


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [True, "6", 6.0, b"6", [6], float("nan")], ids=str)
def test_numbers_are_whole_numbers(name: str, value: object) -> None:
    """`True` is no 1 and "6" from a settings file is no 6."""
    with pytest.raises(PolicyError, match=name):
        Policy(**{name: value})  # type: ignore[arg-type]


def test_only_two_limits_may_be_absent() -> None:
    """None is "no lock" and "no end" there, and an error everywhere else."""
    assert Policy(recovery_failures_max=None).recovery_failures_max is None
    assert Policy(passcode_days_max=None).passcode_days_max is None
    for name in set(BOUNDS) - {"recovery_failures_max", "passcode_days_max"}:
        with pytest.raises(PolicyError, match=name):
            Policy(**{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name: str) -> None:
    """True or False and nothing else: "false" from a settings file is no switch."""
    assert getattr(Policy(), name) is SWITCHES[name]
    for value in (None, 0, 1, "false", "", [], object()):
        with pytest.raises(PolicyError, match=name):
            Policy(**{name: value})  # type: ignore[arg-type]
    if name != "available":
        assert getattr(Policy(**{name: not SWITCHES[name]}), name) is not SWITCHES[name]


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    """One of the texts."""
    default, allowed = CHOICES[name]
    assert getattr(Policy(), name) == default
    for value in allowed:
        assert getattr(Policy(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in (None, "", allowed[0].swapcase(), allowed[0] + " ", "MD5", 1, [allowed[0]]):
        with pytest.raises(PolicyError, match=name):
            Policy(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("issuer", ["Mail", "Example Mail & Söhne", "x" * 64, "日本"])
def test_issuers(issuer: str) -> None:
    """A printable name."""
    assert Policy(issuer=issuer).issuer == issuer


@pytest.mark.parametrize(
    "issuer",
    ["", "  ", "x" * 65, "a:b", "a\nb", "a\0", "\u202ea", "\ud800", None, 7, b"Mail"],
    ids=ascii,
)
def test_what_is_no_issuer(issuer: object) -> None:
    """Apps split at a colon; control and direction characters would lie."""
    with pytest.raises(PolicyError, match="issuer"):
        Policy(issuer=issuer)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["required_from", "reset_enrolled_before"])
@pytest.mark.parametrize("value", [datetime(2027, 1, 1), 1_800_000_000, "2027-01-01", False])
def test_dates_are_aware(name: str, value: object) -> None:
    """A naive datetime would be another moment on each server."""
    with pytest.raises(PolicyError, match=f"{name} must be a datetime with a time zone"):
        Policy(required=True, **{name: value})  # type: ignore[arg-type]


def test_deadline_in_seconds() -> None:
    """None when not required, 0 when at once, else the moment."""
    at = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
    assert Policy().required_from_seconds is None
    assert Policy(required=True).required_from_seconds == 0
    assert Policy(required=True, required_from=at).required_from_seconds == 1_800_000_000
    assert Policy(reset_enrolled_before=at).reset_enrolled_before == at


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"required": True, "available": False}, ["required", "available"]),
        ({"required_from": datetime(2027, 1, 1, tzinfo=UTC)}, ["required_from", "required"]),
        (
            {"period_seconds": 60, "period_seconds_max": 59},
            ["period_seconds", "period_seconds_max"],
        ),
        ({"secret_bits_min": 161}, ["secret_bits_min", "algorithm"]),
        (
            {"throttle_first_wait_seconds": 61, "throttle_longest_wait_seconds": 60},
            ["throttle_first_wait_seconds", "throttle_longest_wait_seconds"],
        ),
        (
            {"throttle_free_failures": 5, "code_failures_max": 5},
            ["throttle_free_failures", "code_failures_max"],
        ),
        (
            {"code_failures_max": 51, "code_failures_in_30_days_max": 50},
            ["code_failures_max", "code_failures_in_30_days_max"],
        ),
        ({"recovery_codes": 3, "recovery_codes_low": 3}, ["recovery_codes", "recovery_codes_low"]),
    ],
)
def test_contradictions(changes: dict[str, Any], named: list[str]) -> None:
    """Refused when the policy is made, and the text names both sides."""
    with pytest.raises(PolicyError) as caught:
        Policy(**changes)
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    "changes",
    [
        {"throttle_first_wait_seconds": 60, "throttle_longest_wait_seconds": 60},
        {"period_seconds": 60, "period_seconds_max": 60},
        {"secret_bits_min": 160},
        {"secret_bits_min": 512, "algorithm": "SHA512"},
        {"throttle_free_failures": 4, "code_failures_max": 5},
        {"code_failures_max": 50, "code_failures_in_30_days_max": 50},
        {"recovery_codes": 4, "recovery_codes_low": 3},
        {"required": True, "required_from": datetime(2027, 1, 1, tzinfo=UTC)},
        {"available": False},
    ],
)
def test_just_consistent(changes: dict[str, Any]) -> None:
    """The nearest values that do not contradict each other."""
    assert Policy(**changes)


# The profile table of the design, by hand.
PROFILES = {
    "DEFAULT": (DEFAULT, 1, 1, "not_enrolled", True, None, 128, 120, None),
    "NIST_800_63B": (NIST_800_63B, 1, 1, "refuse", False, 100, 128, 120, 365),
    "ASVS_5": (ASVS_5, 0, 0, "refuse", False, 100, 128, 30, 365),
}


@pytest.mark.parametrize("name", PROFILES)
def test_profiles(name: str) -> None:
    """Windows, unknown accounts, trusted devices, recovery lock, what is bound, Argon2."""
    policy, past, future, unknown, devices, lock, bits, period, days = PROFILES[name]
    bound = policy.secret_bits_min, policy.period_seconds_max, policy.passcode_days_max
    assert bound == (bits, period, days)
    assert policy.weak_imports is (name == "DEFAULT")
    assert (policy.window_past_steps, policy.window_future_steps) == (past, future)
    assert policy.unknown_account == unknown
    assert policy.trusted_devices is devices
    assert policy.recovery_failures_max == lock
    assert policy.trusted_device_days == 30
    argon2 = policy.argon2_time_cost, policy.argon2_memory_kib, policy.argon2_parallelism
    assert argon2 == (2, 19_456, 1)
    # Nothing else differs from the default.
    same = evolve(
        policy, window_past_steps=1, window_future_steps=1, unknown_account="not_enrolled",
        trusted_devices=True, recovery_failures_max=None, weak_imports=True, passcode_days_max=None,
        period_seconds_max=120,
    )  # fmt: skip
    assert same == Policy()


def test_a_policy_does_not_change() -> None:
    """Frozen; another one is made with `attrs.evolve`, and checked again."""
    with pytest.raises(exceptions.FrozenInstanceError):
        DEFAULT.digits = 8  # type: ignore[misc]
    with pytest.raises(PolicyError):
        evolve(DEFAULT, digits=9)
    with pytest.raises(TypeError):
        Policy("Mail")  # type: ignore[misc]


# ASVS 5.0 App. C / OWASP Password Storage Cheat Sheet: passes, least memory in KiB (p = 1).
FLOORS = [(1, 47_104), (2, 19_456), (3, 12_288), (4, 9_216), (5, 7_168), (6, 7_168), (20, 7_168)]


@pytest.mark.parametrize(("time_cost", "memory_kib"), FLOORS)
def test_argon2_floors(time_cost: int, memory_kib: int) -> None:
    """At the floor it is taken, one KiB less is refused, at start-up and at use."""
    hasher = Argon2Hasher()
    hasher.check_cost(Policy(argon2_time_cost=time_cost, argon2_memory_kib=memory_kib))
    low = Policy(argon2_time_cost=time_cost, argon2_memory_kib=memory_kib - 1)
    with pytest.raises(PolicyError, match="below the floor"):
        hasher.check_cost(low)
    with pytest.raises(PolicyError, match="below the floor"):
        hasher.hash(Secret(b"x"), low)
    with pytest.raises(PolicyError, match="below the floor"):
        MFA(MemoryStore(), KeyRing({"a": bytes(32)}), policy=low)


def test_argon2_hash_names_its_cost_and_verifies() -> None:
    """Argon2id, version 19, the policy's cost, 16 bytes of salt and 32 of hash."""
    hasher, secret = Argon2Hasher(), Secret(b"abcdefghjkmnpqrs")
    stored = hasher.hash(secret, DEFAULT)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    salt, digest = stored.split("$")[-2:]
    assert (len(salt), len(digest)) == (22, 43)
    assert hasher.verify(stored, secret) is True
    assert hasher.verify(stored, Secret(b"abcdefghjkmnpqrt")) is False
    assert hasher.hash(secret, DEFAULT) != stored


def test_argon2_reads_a_foreign_vector() -> None:
    """A hash made by the reference program (argon2, -id -t 2 -m 16 -p 1) verifies."""
    stored = (
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
    )
    assert Argon2Hasher().verify(stored, Secret(b"password")) is True
    assert Argon2Hasher().verify(stored, Secret(b"Password")) is False


@pytest.mark.parametrize(
    "stored", ["", "x", "$argon2id$", "$scrypt$x", "$argon2id$v=19$m=8,t=1,p=9$AA$AA"]
)
def test_a_hash_that_does_not_parse_is_operational(stored: str) -> None:
    """Never "wrong code": nothing is known about the secret."""
    with pytest.raises(HashingError) as caught:
        Argon2Hasher().verify(stored, Secret(b"x"))
    assert caught.value.__context__ is None


def test_argon2_that_cannot_run_is_operational() -> None:
    """Memory that the machine does not have: retry later, and nothing is decided."""

    class Failing:
        def hash(self, _: bytes) -> str:
            from argon2.exceptions import HashingError as Argon2Error

            raise Argon2Error("out of memory")

    import mfakit.hashing as hashing

    original = hashing._argon2
    hashing._argon2 = lambda *_: Failing()  # type: ignore[assignment]
    try:
        with pytest.raises(HashingError):
            Argon2Hasher().hash(Secret(b"x"), DEFAULT)
    finally:
        hashing._argon2 = original
