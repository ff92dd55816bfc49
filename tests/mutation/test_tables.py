"""Tables that stand at the level of a module: each entry altered, each alteration noticed.

Tools for mutation testing alter functions only. So every table of the audited code stands here once
more, written by hand; a table that is missing here fails. The lifecycle and the policy have
hand-written tables in their own tests: there each alteration is made in the library, and the test
that owns the entry must fail.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, fields
from tests.unit import test_policy as policy

import mfakit.core
import test_lifecycle as lifecycle
from mfakit import ASVS_5, DEFAULT, NIST_800_63B, Policy
from mfakit.core.lifecycle import ALLOWED, TRANSITIONS, Ability, Event, State
from mfakit.core.record import Throttle
from mfakit.core.sealing import Challenge, OfferPayload, Proof
from mfakit.errors import PolicyError
from mfakit.policy import LIMITS

MODULES = [
    *(f"core.{one.name}" for one in pkgutil.iter_modules(mfakit.core.__path__)),
    *(
        "operations",
        "service",
        "arguments",
        "events",
        "hashing",
        "keyring",
        "provisioning",
        "results",
    ),
    *("mail.logins", "mail.http"),
]
ELSEWHERE = {"core.lifecycle"}  # TRANSITIONS, ALLOWED and the groups of states: below


def _translation(**pairs: str) -> bytes:
    return bytes(
        ord(pairs.get(chr(code), chr(code))) if code < 128 else code for code in range(256)
    )


# Nothing that a stranger can cause is for the owner.
OWNER = (
    "authenticator_added", "authenticator_imported", "authenticator_removed",
    "authenticator_resynced", "device_revoked", "device_trusted", "disabled", "enrolled",
    "forgotten", "locked", "passcode_created", "passcode_first_used", "passcode_revoked",
    "password_changed", "recovery_codes_low", "recovery_codes_regenerated", "recovery_code_used",
    "reset", "sessions_ended",
)  # fmt: skip
AUDIT = (
    "account_opened", "authenticator_renamed", "client_refused", "client_signed_in",
    "code_accepted", "code_refused", "code_replayed", "code_required", "code_throttled",
    "device_renamed", "enrollment_required", "keys_rotated", "offered", "offer_dropped",
    "passcode_renamed", "password_refused", "signed_in",
)  # fmt: skip
NOTHING = {
    "authenticators": (), "passcodes": (), "devices": (), "recovery": None, "enrolled_at": None,
    "combined_steps": (),
}  # fmt: skip
TABLES: dict[str, dict[str, Any]] = {
    "core.decision": {
        "PASSWORD": "password",
        "NEW": "new",
        "NOTHING_HELD": NOTHING,
        "NO_FAILURES": {
            "code_throttle": Throttle(failures=0, last_failure_at=0, days=()),
            "recovery_throttle": Throttle(failures=0, last_failure_at=0, days=()),
        },
    },
    "core.devices": {"ID_BYTES": 16, "SECRET_BYTES": 32},
    "core.encoding": {
        "TYPED_BYTES_MAX": 64,
        "_SEPARATORS": {0x20: None, 0x2D: None, 0xA0: None, 0x202F: None},
        "_DIGITS": {
            0x20: None,
            0x2D: None,
            0xA0: None,
            0x202F: None,
            0xFF10: 0x30,
            0xFF11: 0x31,
            0xFF12: 0x32,
            0xFF13: 0x33,
            0xFF14: 0x34,
            0xFF15: 0x35,
            0xFF16: 0x36,
            0xFF17: 0x37,
            0xFF18: 0x38,
            0xFF19: 0x39,
        },
        "_TO_URL_SAFE": _translation(**{"+": "-", "/": "_"}),
        "_FROM_URL_SAFE": _translation(**{"-": "+", "_": "/", "+": "!", "/": "!"}),
    },
    "core.factors": {
        "TOTP": "totp",
        "RECOVERY": "recovery",
        "SESSION_FAILURES_MAX": 5,
        "_THROTTLES": {"totp": "code_throttle", "recovery": "recovery_throttle"},
        "_ABILITIES": {"totp": "use_code", "recovery": "use_recovery_code"},
    },
    "core.login": {"SPENT_CHALLENGES_MAX": 32, "TRUSTED_DEVICE": "trusted_device"},
    "core.mail_login": {
        "PASSCODE": "passcode",
        "PASSWORD_AND_CODE": "password+code",
        "COMBINED_STEPS_MAX": 16,
    },
    "core.administration": {
        "RESYNC_STEPS": 20,
        "AUTHENTICATORS": "authenticators",
        "PASSCODES": "passcodes",
        "DEVICES": "devices",
        "_RENAMED": {
            "authenticators": "authenticator_renamed",
            "passcodes": "passcode_renamed",
            "devices": "device_renamed",
        },
        "_REVOKED": {"passcodes": "passcode_revoked", "devices": "device_revoked"},
    },
    "core.passcode": {
        "ALPHABET": "abcdefghjkmnpqrstuvwxyz",
        "SELECTOR_LETTERS": 4,
        "VERIFIER_LETTERS": 16,
        "PURPOSE": "passcode",
        "_LETTERS": 20,
    },
    "core.record": {
        "SCHEMA_VERSION": 1,
        "DOCUMENT_BYTES_MAX": 64 * 1024,
        "HISTORY_ENTRIES_MAX": 32,
        "FACTOR_ENTRIES_MAX": 16,
        "NO_EPOCH": "none",
        "_HEAD": re.compile(
            rb'{"v":1,"key_id":"([A-Za-z0-9_-]{1,24})","tag":"([0-9a-f]{64})","body":', re.ASCII
        ),
        "_VERSION": re.compile(rb'{"v":(-?\d{1,9})[,}]', re.ASCII),
    },
    "core.recovery": {
        "ALPHABET": "0123456789ABCDEFGHJKMNPQRSTVWXYZ",  # Crockford's base 32: no I, L, O, U
        "SYMBOLS": 16,
        "PURPOSE": "recovery",
        "_READ_AS": _translation(O="0", I="1", L="1"),
    },
    "core.sealing": {
        "KEY_BYTES": 32,
        "SALT_BYTES": 16,
        "NONCE_BYTES": 12,
        "SEAL_TAG_BYTES": 16,
        "TOKEN_CHARACTERS_MAX": 512,
        "_CIPHERS_REMEMBERED": 1024,
        "_TOKEN_VERSION": 1,
        "CLOCK_SKEW_SECONDS": 60,
        "_KINDS": {Challenge: b"challenge", Proof: b"proof", OfferPayload: b"offer"},
    },
    "core.throttle": {"DAY_SECONDS": 86_400, "DAYS_COUNTED": 30},
    "core.totp": {
        "_HASHES": {"SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"},
        "_MODULUS": {6: 1_000_000, 7: 10_000_000, 8: 100_000_000},
        "_FORMAT": {6: b"%06d", 7: b"%07d", 8: b"%08d"},
    },
    "operations": {"CLOCK_END": 253_000_000_000, "LOST_WRITES_MAX": 8, "REVISION_MAX": 2**63 - 1},
    "results": {
        "AMR": {  # RFC 8176 §2
            "password": ("pwd",),
            "trusted_device": ("pwd",),
            "totp": ("pwd", "otp", "mfa"),
            "recovery": ("pwd", "mfa"),
        }
    },
    "arguments": {
        "PROTOCOLS": ("imap", "pop3", "smtp", "sieve", "dav", "eas"),
        "TEXT_CHARACTERS_MAX": 4096,
        "ACTOR_CHARACTERS_MAX": 64,
        "REASON_CHARACTERS_MAX": 200,
        "PAGE_LIMIT_MAX": 10_000,
        "NETWORKS_MAX": 20,
        "ACCOUNT_ID_BYTES_MAX": 255,
        "LABEL_CHARACTERS_MAX": 64,
        # Unicode 15 PropList.txt, Bidi_Control
        "_BIDI_CONTROLS": {
            chr(code)
            for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
        },
        "_LAST_SECOND": 253_402_300_799,
        "_REFUSED_CATEGORIES": {"Cc", "Cs", "Zl", "Zp"},
    },
    "events": {
        "USER_AGENT_CHARACTERS_MAX": 256,
        "_KINDS": (*OWNER, *AUDIT),
        "OWNER_KINDS": set(OWNER),
        "FACTOR_KINDS": {
            "authenticator_added",
            "authenticator_imported",
            "authenticator_removed",
            "disabled",
            "enrolled",
            "recovery_codes_regenerated",
            "reset",
        },
    },
    "hashing": {"_FLOORS": {1: 47_104, 2: 19_456, 3: 12_288, 4: 9_216, 5: 7_168}},
    "keyring": {
        "_KEY_ID": re.compile("[A-Za-z0-9_-]{1,24}", re.ASCII),
        "_BAD_KEY_ID": "A key id must be 1 to 24 letters, digits, hyphens or underscores.",
        "_BAD_NUMBER": "A key ring needs at least one key, and each key id once.",
        "KEY_BYTES_MOST": 64,
    },
    "provisioning": {
        "SECRET_BYTES_LEAST": 16,
        "WEAK_SECRET_BYTES_LEAST": 10,
        "SECRET_BYTES_MOST": 64,
        "ACCOUNT_NAME_CHARACTERS_MAX": 255,
        "_BASE32_SYMBOLS": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        "_TOTP": "otpauth://totp/",
        "_DIGITS": {"6": 6, "7": 7, "8": 8},
        "_PERIODS": {str(seconds): seconds for seconds in range(15, 121)},
        "_PARAMETERS": {"secret", "issuer", "algorithm", "digits", "period", "image"},
    },
    "mail.logins": {
        "LOGIN_CHARACTERS_MAX": 320,
        "_PROTOCOLS": {
            "imap": "imap",
            "pop3": "pop3",
            "smtp": "smtp",
            "submission": "smtp",
            "sieve": "sieve",
            "managesieve": "sieve",
            "dav": "dav",
            "eas": "eas",
        },
    },
    "mail.http": {
        "BODY_BYTES_MAX": 16_384,
        "KEY_HEADER": "X-Mfakit-Key",
        "REALM_HEADER": {"WWW-Authenticate": 'Basic realm="Mail", charset="UTF-8"'},
        "_STATUS": {"accepted": 200, "refused": 401, "unavailable": 503},
        "_FIELDS": ("user", "password", "service", "remote_ip"),
    },
}
ENTRIES = [(module, name) for module, table in TABLES.items() for name in table]
KEPT_AS_DATA = (int, str, bytes, tuple, list, dict, set, frozenset, re.Pattern)


def _in_the_code(module: str) -> Any:
    return importlib.import_module(f"mfakit.{module}")


def _assigned(module: Any) -> Iterator[str]:
    """Yield the names that a module gives a value at its top level."""
    for node in ast.parse(Path(module.__file__).read_text("utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


def _altered(value: Any) -> Iterator[Any]:
    """Yield the value with one entry changed, missing or added, in every way."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value - 1, value + 1)
        case str():
            yield from (value[:-1], value + "x", value.swapcase() + "x")
        case bytes():
            yield from (value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
                        for place in range(len(value)))  # fmt: skip
        case re.Pattern():
            yield re.compile(value.pattern, value.flags ^ re.IGNORECASE)
            yield re.compile(value.pattern * 2, value.flags)
        case tuple() | list():
            items = list(value)
            yield from (tuple(items[:at] + items[at + 1 :]) for at in range(len(items)))
            yield from ((*items[:at], one, *items[at + 1 :])
                        for at in range(len(items)) for one in _altered(items[at]))  # fmt: skip
            yield (*items, "another")
        case set() | frozenset():
            yield from (value - {one} for one in value)
            yield value | {"another"}
        case dict():
            yield from ({key: value[key] for key in value if key != gone} for gone in value)
            yield from ({**value, key: one} for key in value for one in _altered(value[key]))
            yield {**value, "another": None}
        case _:
            yield object()


def test_every_table_is_here() -> None:
    """A new table needs its copy, written by hand."""
    for name in set(MODULES) - ELSEWHERE:
        module = _in_the_code(name)
        found = {
            one
            for one in _assigned(module)
            if one != "__all__" and isinstance(getattr(module, one), KEPT_AS_DATA)
        }
        assert found == set(TABLES.get(name, {})), name


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_each_table_is_the_one_written_here(module: str, name: str) -> None:
    """And each of its entries, altered, is another table."""
    expected = TABLES[module][name]
    found = getattr(_in_the_code(module), name)
    assert found == expected
    alterations = list(_altered(found))
    assert alterations
    assert expected not in alterations


# ------------------------------------------------- the lifecycle, judged by its own hand-written table

CELLS = [(State(state), Event(event)) for state in lifecycle.STORED.values() for event in Event]


def _fails(check: Any, *arguments: Any) -> bool:
    try:
        check(*arguments)
    except (AssertionError, KeyError, PolicyError):
        return True
    return False


def _letter(state: State) -> str:
    return next(letter for letter, one in lifecycle.STATES.items() if one is state)


def _cell_test_fails(state: State, event: Event) -> bool:
    cell = next(one for one in lifecycle.CELLS if one[:2] == (_letter(state), event.value))
    return _fails(lifecycle.test_the_matrix_is_the_one_designed, *cell)


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_each_altered_transition_fails_its_cell(
    state: State, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other state and epoch in each of the 54 cells; a cell emptied or filled."""
    row = TRANSITIONS[state]
    designed = row.get(event)
    assert not _cell_test_fails(state, event)
    for another in [(following, rises) for following in State for rises in (True, False)]:
        if another != designed:
            monkeypatch.setitem(row, event, another)
            assert _cell_test_fails(state, event)
    if designed is not None:
        monkeypatch.delitem(row, event)
        assert _cell_test_fails(state, event)


@pytest.mark.parametrize("ability", Ability)
def test_each_altered_ability_fails_its_row(
    ability: Ability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state more or a state less in each row of what is allowed."""
    check = lifecycle.test_the_abilities_are_those_designed
    designed = ALLOWED[ability]
    assert not _fails(check, ability.value)
    for state in State:
        monkeypatch.setitem(ALLOWED, ability, designed ^ {state})
        assert _fails(check, ability.value)


@pytest.mark.parametrize("group", ["OFF", "ON", "OFFERING"])
def test_each_altered_group_of_states_fails(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state more or a state less in what is off, on, offering."""
    designed = getattr(lifecycle, group)
    for state in State:
        monkeypatch.setattr(lifecycle, group, designed ^ {state})
        assert _fails(lifecycle.test_the_tables_name_every_state_event_and_ability)


# ---------------------------------------------------- the policy, judged by its own hand-written tables


@pytest.mark.parametrize("name", policy.BOUNDS)
@pytest.mark.parametrize(("end", "by"), [(0, -1), (0, 1), (1, -1), (1, 1)])
def test_each_altered_bound_fails(
    name: str, end: int, by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more or one less at either end of each limit."""
    limits = list(LIMITS[name])
    limits[end] += by
    monkeypatch.setitem(LIMITS, name, tuple(limits))
    with pytest.raises((AssertionError, PolicyError, pytest.fail.Exception)):
        policy.test_bounds(name)


@pytest.mark.parametrize("name", [*policy.BOUNDS, *policy.SWITCHES, *policy.CHOICES])
def test_each_altered_default_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another default of each field."""
    check = next(
        test
        for test, table in (
            (policy.test_bounds, policy.BOUNDS),
            (policy.test_switches, policy.SWITCHES),
            (policy.test_choices, policy.CHOICES),
        )
        if name in table
    )
    assert _other_values(name)
    for other in _other_values(name):
        monkeypatch.setattr(policy, "Policy", lambda **set_: Policy(**{name: other} | set_))  # noqa: B023
        with pytest.raises(AssertionError):
            check(name)


def _other_values(name: str) -> list[Any]:
    if name in policy.SWITCHES:
        return [not policy.SWITCHES[name]] if name != "available" else [False]
    if name in policy.CHOICES:
        return [one for one in policy.CHOICES[name][1] if one != policy.CHOICES[name][0]]
    default, lowest, highest = policy.BOUNDS[name]
    tried = lowest, highest, highest - 1
    return [one for one in tried if one != default and _stands({name: one})][:1]


def _stands(changes: dict[str, Any]) -> bool:
    try:
        Policy(**changes)
    except PolicyError:
        return False
    return True


@pytest.mark.parametrize("profile", [DEFAULT, NIST_800_63B, ASVS_5])
@pytest.mark.parametrize("name", [one.name for one in fields(Policy) if one.name in {
    *policy.BOUNDS, *policy.SWITCHES, *policy.CHOICES}])  # fmt: skip
def test_each_altered_field_of_a_profile_fails(
    profile: Policy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of profiles names every difference, and nothing else may differ."""
    title = next(one for one, row in policy.PROFILES.items() if row[0] is profile)
    row = policy.PROFILES[title]
    for other in _other_values(name):
        if other == getattr(profile, name):
            continue
        monkeypatch.setitem(policy.PROFILES, title, (evolve(profile, **{name: other}), *row[1:]))
        with pytest.raises(AssertionError):
            policy.test_profiles(title)
