"""No value that mfakit makes shows a secret by accident: repr, format, pickle, copy, asdict, logging."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import pytest
from unit_world import KEY, World, vault_of

from mfakit import ClientInfo
from mfakit.arguments import Authority, EnrollmentRequest, LoginRequest
from mfakit.core.decision import Case, CheckHash, CheckPassword, Decision, NewHashes
from mfakit.core.factors import Accepted
from mfakit.core.sealing import Challenge, OfferPayload, Proof
from mfakit.core.secret import Secret
from mfakit.operations import Answer, GetPolicy, Load, Verdict, Write
from mfakit.policy import DEFAULT
from mfakit.provisioning import ImportedSecret
from mfakit.storage import StoredRecord, Summary

PLANTED = "hunter2-planted"
SECRET = Secret(PLANTED.encode())

# Made to be shown once, or to travel: the class, and the fields that `asdict` gives on purpose.
SHOWN_ON_PURPOSE = {
    "SignedIn": {"proof", "trusted_device"},
    "Enrolled": {"proof", "recovery_codes"},
    "CodeRequired": {"challenge"},
    "EnrollmentRequired": {"proof"},
    "AuthenticatorOffer": {"token", "secret_text"},
    "NewPasscode": {"passcode"},
}


def _texts(value: Any) -> list[str]:
    """Every way in which a value becomes text by accident."""
    record = logging.LogRecord("mfakit", logging.INFO, "", 0, "%r %s %(x)s", None, None)
    record.msg, record.args = "%r %s", (value, value)
    nested = [value], {"a": value}, (value,)
    return [
        repr(value),
        str(value),
        f"{value}",
        f"{value!r:>9}",
        f"{value}",
        record.getMessage(),
        repr(nested),
    ]


def _assert_silent(value: Any, *secrets: str) -> None:
    for text in _texts(value):
        for secret in secrets:
            assert secret not in text


# --------------------------------------------------------------------------------------- Secret


@pytest.mark.parametrize("spec", ["", ">40", "x", "s", "%Y", "!r"])
def test_a_secret_formats_to_one_text(spec: str) -> None:
    """Whatever the format says."""
    assert format(SECRET, spec) == "<Secret>"


@pytest.mark.parametrize(
    "attempt",
    [
        copy.copy,
        copy.deepcopy,
        hash,
        json.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        bytes,
        vars,
        len,
        iter,
        lambda one: one == SECRET,
        lambda one: one != SECRET,
        lambda one: one == PLANTED,
        lambda one: one in [Secret(b"x"), None],
        lambda one: {one},
        lambda one: {one: 1},
        *[lambda one, n=n: pickle.dumps(one, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)],
    ],
)
def test_a_secret_can_do_nothing(attempt: Callable[[Secret], Any]) -> None:
    """No copy, no serialiser, no comparison (it would leak by timing), no set, no bytes."""
    with pytest.raises(TypeError) as caught:
        attempt(SECRET)
    assert PLANTED not in str(caught.value)


def test_a_secret_is_silent_and_reveals() -> None:
    """Except by `reveal`."""
    _assert_silent(SECRET, PLANTED)
    assert SECRET.reveal() == PLANTED.encode()
    assert not hasattr(SECRET, "__dict__")
    assert not attrs.has(Secret)


# ------------------------------------------------------------------- questions, effects, requests


def _values() -> dict[str, Any]:
    world = World()
    world.owner()
    record, vault = world.record(), vault_of(world.mfa)
    check = CheckHash(
        account_id="ann", item_id="i", sealed=PLANTED, unseal=lambda: SECRET, secret=SECRET
    )
    new = NewHashes(account_id="ann", purpose="p", secrets=(SECRET,), policy=DEFAULT)
    row = StoredRecord(
        account_id="ann", revision=1, document=PLANTED.encode(), summary=Summary(state="enrolled")
    )
    return {
        "Case": Case(record=record, now=0, policy=DEFAULT, vault=vault),
        "CheckHash": check,
        "CheckPassword": CheckPassword(
            account_id="ann", password=SECRET, epoch="e", fingerprint=PLANTED
        ),
        "NewHashes": new,
        "Decision": Decision(outcome=(PLANTED,), record=record),
        "Accepted": Accepted(earned_by="i", changes={"authenticators": record.authenticators}),
        "LoginRequest": LoginRequest(bound_to=SECRET, device_token=SECRET, device_id=SECRET),
        "EnrollmentRequest": EnrollmentRequest(account_name="a", label="l", bound_to=SECRET),
        "ImportedSecret": ImportedSecret(secret=SECRET),
        "Authority": Authority(actor="a", reason="r"),
        "Load": Load("ann"),
        "GetPolicy": GetPolicy("ann"),
        "Write": Write(account_id="ann", row=row, expected=1, events=(), lost=0),
        "StoredRecord": row,
        "Verdict": Verdict(value=((SECRET, "x"),)),
        "Answer": Answer(outcome=None),
        "Record": record,
        "Challenge": Challenge(
            account_id="a", epoch=PLANTED, issued_at=0, lifetime_seconds=1, id=PLANTED
        ),
        "Proof": Proof(
            account_id="a", epoch=PLANTED, issued_at=0, lifetime_seconds=1, earned_by=PLANTED
        ),
        "OfferPayload": OfferPayload(
            account_id="a", epoch=PLANTED, issued_at=0, lifetime_seconds=1, offer_id=PLANTED
        ),
        "KeyRing": world.keys,
        "Vault": vault,
        "MFA": world.mfa,
        "Gate": world.mfa._gate,
        "Environment": world.mfa._env,
        "ClientInfo": ClientInfo(remote_ip="192.0.2.1", user_agent="x"),
    }


VALUES = _values()
KEY_TEXTS = (repr(KEY)[2:-1], KEY.hex(), "ZGVmZ2hpamts")  # raw, hexadecimal, base64


@pytest.mark.parametrize("name", VALUES)
def test_inner_values_are_silent(name: str) -> None:
    """Requests, questions, effects, decisions, the record, the ring, the vault and `MFA` itself."""
    value = VALUES[name]
    _assert_silent(value, PLANTED, *KEY_TEXTS)
    if attrs.has(type(value)):
        dumped = attrs.asdict(value)
        if name == "Decision":
            assert dumped.pop("outcome") == (PLANTED,)  # what the caller is about to get
        if name == "CheckHash":
            dumped.pop("sealed")  # a ciphertext
        _assert_silent(dumped, PLANTED, *KEY_TEXTS)


@pytest.mark.parametrize("name", ["Case", "CheckHash", "CheckPassword", "NewHashes", "LoginRequest",
                                  "EnrollmentRequest", "ImportedSecret", "KeyRing", "Vault", "MFA",
                                  "Gate", "Environment", "Verdict"])  # fmt: skip
def test_what_holds_secrets_does_not_leave_the_process(name: str) -> None:
    """No pickle and no copy, so no task queue and no cache either."""
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
            attempt(VALUES[name])
        assert PLANTED not in str(caught.value)


def test_parts_of_the_record_are_silent() -> None:
    """Their repr is their name; sealed texts, hashes, labels and addresses are not in it."""
    record = World().owner and VALUES["Record"]
    parts = [record, *record.authenticators, *record.passcodes, *record.devices, record.recovery,
             record.code_throttle, *record.history]  # fmt: skip
    for part in parts:
        assert set(_texts(part)[:3]) == {f"<{type(part).__name__}>"}


# ---------------------------------------------------------------------------------------- results


def _results() -> dict[str, tuple[Any, set[str]]]:
    """Each kind of result from a real account, with the secrets that it carries."""
    world = World()
    enrolled, phone, seed = world.enroll()
    world.clock.advance(60)
    step = world.mfa.begin_login("ann", password_verified=True)
    done = world.mfa.complete_login(
        step.challenge,
        phone.code(world.clock.now),
        trust_device="Firefox",  # type: ignore[union-attr]
    )
    new = world.mfa.create_passcode("ann", label="Phone", proof=done.proof or "")
    offer = world.mfa.begin_enrollment("ann", account_name="ann", proof=done.proof or "")
    added = world.mfa.confirm_enrollment(offer.token, type(phone)(offer.uri).code(world.clock.now))
    ok = world.mfa.authenticate_client("ann", new.passcode, protocol="imap", check_password=str)
    from mfakit import Policy

    strict = World(policy=Policy(required=True))
    required = strict.mfa.begin_login("bob", password_verified=True)
    mfa = world.mfa
    return {
        "Enrolled": (enrolled, {*enrolled.recovery_codes, enrolled.proof or ""}),
        "SignedIn": (done, {done.proof or "", done.trusted_device or ""}),
        "CodeRequired": (step, {step.challenge}),  # type: ignore[union-attr]
        "EnrollmentRequired": (required, {required.proof}),  # type: ignore[union-attr]
        "AuthenticatorOffer": (offer, {offer.token, offer.secret_text, offer.secret_groups}),
        "AuthenticatorAdded": (added, {offer.token}),
        "NewPasscode": (new, {new.passcode, new.passcode[5:]}),
        "ClientSignedIn": (ok, {new.passcode}),
        "Status": (mfa.status("ann"), {seed, offer.secret_text}),
        "PasscodeInfo": (mfa.passcodes("ann")[0], {new.passcode, new.passcode[5:]}),
        "TrustedDeviceInfo": (mfa.trusted_devices("ann")[0], {done.trusted_device or ""}),
        "HistoryItem": (mfa.history("ann")[0], {seed}),
        "AuthenticatorInfo": (mfa.status("ann").authenticators[0], {seed}),
        "AccountPage": (mfa.accounts(), {seed}),
        "AccountSummary": (mfa.accounts().accounts[0], {seed}),
        "MaintenancePage": (mfa.rotate_keys(), {seed}),
        "AuditEvent": (world.events[-1], {seed, new.passcode}),
    }


RESULTS = _results()


def test_every_result_is_here() -> None:
    """A new result needs a place in these tests."""
    from mfakit import results

    classes = {
        name
        for name, value in vars(results).items()
        if attrs.has(value) and not name.startswith("_")
    }
    assert classes <= set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_silent(name: str) -> None:
    """What is shown once is in no repr; `asdict` gives the fields named above and no others."""
    result, secrets = RESULTS[name]
    assert all(len(secret) > 8 for secret in secrets)
    _assert_silent(result, *secrets)
    dumped = attrs.asdict(result)
    for field in SHOWN_ON_PURPOSE.get(name, set()):
        assert dumped.pop(field)
    _assert_silent(dumped, *secrets)


@pytest.mark.parametrize("name", ["CodeRequired", "EnrollmentRequired", "AuthenticatorAdded"])
def test_what_is_no_sign_in_is_no_truth_value(name: str) -> None:
    """`if mfa.begin_login(…):` lets nobody in."""
    with pytest.raises(TypeError, match="not a sign-in"):
        bool(RESULTS[name][0])


def test_what_a_secret_says_of_itself() -> None:
    secret = Secret(b"seed")
    assert (repr(secret), str(secret), f"{secret}", f"{secret:>9}") == ("<Secret>",) * 4
    with pytest.raises(TypeError, match=r"^A Secret cannot be compared\.$"):
        secret == secret  # noqa: B015
    with pytest.raises(TypeError, match=r"^A Secret cannot be pickled or copied\.$"):
        pickle.dumps(secret)
