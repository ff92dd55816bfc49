"""No secret in a repr, a pickle, an exception, an event or a traceback with locals."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import pytest

import mfakit
from mfakit import ClientInfo
from mfakit.core.decision import CheckHash, CheckPassword
from mfakit.core.secret import Secret
from mfakit.errors import MFAKitError
from world import World

PACKAGE = str(Path(mfakit.__file__).parent)
PLANTED = "planted-text-4711"

# Every value that an attacker, a form or a client may put where text is expected.
HOSTILE: list[Any] = [
    None, 0, 123456, -1.5, True, b"123456", [], {}, object, "", " ", "\0", "\ud800", "x" * 10_000_000,
    "１２３４５６", "²²²²²²", "+12345", "-12345", "12_456", "123456\n", "a" * 64, "é" * 300,
]  # fmt: skip


def _calls(world: World) -> dict[str, Callable[[Any], Any]]:
    m = world.mfa
    return {
        "password_proof": lambda x: m.password_proof(x, password_verified=True),
        "password_verified": lambda x: m.password_proof("ann", password_verified=x),
        "proof_bound": lambda x: m.password_proof("ann", password_verified=True, bound_to=x),
        "verify_code": lambda x: m.verify_code("ann", x),
        "verify_recovery": lambda x: m.verify_code("ann", x, method="recovery"),
        "verify_method": lambda x: m.verify_code("ann", "123456", method=x),
        "verify_account": lambda x: m.verify_code(x, "123456"),
        "begin_enrollment": lambda x: m.begin_enrollment("ann", account_name="a", proof=x),
        "account_name": lambda x: m.begin_enrollment("ann", account_name=x, proof="p"),
        "label": lambda x: m.begin_enrollment("ann", account_name="a", label=x, proof="p"),
        "replaces": lambda x: m.begin_enrollment("ann", account_name="a", proof="p", replaces=x),
        "show_offer": lambda x: m.show_offer(x),
        "confirm_token": lambda x: m.confirm_enrollment(x, "123456"),
        "confirm_code": lambda x: m.confirm_enrollment("t", x),
        "cancel": lambda x: m.cancel_enrollment(x),
        "remove": lambda x: m.remove_authenticator("ann", x, proof="p"),
        "remove_proof": lambda x: m.remove_authenticator("ann", "i", proof=x),
        "rename": lambda x: m.rename_authenticator("ann", x, "n"),
        "rename_label": lambda x: m.rename_authenticator("ann", "i", x),
        "resync": lambda x: m.resync("ann", "i", x, x, proof="p"),
        "disable": lambda x: m.disable("ann", proof=x),
        "regenerate": lambda x: m.regenerate_recovery_codes("ann", proof=x),
        "begin_login": lambda x: m.begin_login(x, password_verified=True),
        "device": lambda x: m.begin_login("ann", password_verified=True, trusted_device=x),
        "device_id": lambda x: m.begin_login("ann", password_verified=True, device_id=x),
        "complete_challenge": lambda x: m.complete_login(x, "123456"),
        "complete_code": lambda x: m.complete_login("c", x),
        "trust_label": lambda x: m.complete_login("c", "123456", trust_device=x),
        "session": lambda x: m.session_is_current("ann", x),
        "passcode_label": lambda x: m.create_passcode("ann", label=x, proof="p"),
        "passcode_proof": lambda x: m.create_passcode("ann", label="l", proof=x),
        "protocols": lambda x: m.create_passcode("ann", label="l", proof="p", protocols=x),
        "networks": lambda x: m.create_passcode("ann", label="l", proof="p", networks=x),
        "expires": lambda x: m.create_passcode("ann", label="l", proof="p", expires_at=x),
        "describe": lambda x: m.describe_passcode("ann", x),
        "rename_passcode": lambda x: m.rename_passcode("ann", x, "n"),
        "revoke_passcode": lambda x: m.revoke_passcode("ann", x),
        "client": lambda x: m.authenticate_client(
            "ann", x, protocol="imap", check_password=lambda _: None
        ),
        "client_protocol": lambda x: m.authenticate_client(
            "ann", "c", protocol=x, check_password=lambda _: None
        ),
        "devices": lambda x: m.trusted_devices("ann", token=x),
        "rename_device": lambda x: m.rename_trusted_device("ann", x, "n"),
        "revoke_device": lambda x: m.revoke_trusted_device("ann", x),
        "keep": lambda x: m.revoke_other_devices("ann", keep=x),
        "status": lambda x: m.status(x),
        "reset": lambda x: m.reset(x, actor="a", reason="r"),
        "actor": lambda x: m.reset("zoe", actor=x, reason="r"),
        "reason": lambda x: m.reset("zoe", actor="a", reason=x),
        "import": lambda x: m.import_authenticator("zoe", x, actor="a", reason="r"),
        "limit": lambda x: m.accounts(limit=x),
        "ip": lambda x: ClientInfo(remote_ip=x),
        "agent": lambda x: ClientInfo(user_agent=x),
    }


def test_hostile_input_gets_a_typed_error(world: World) -> None:
    """Each text argument with each hostile value: it works, or raises an `MFAKitError`."""
    world.enroll()
    for name, call in _calls(world).items():
        for value in HOSTILE:
            try:
                call(value)
            except MFAKitError as error:
                assert error.args, name


def _own_locals(raised: BaseException) -> Iterator[tuple[str, str]]:
    seen: list[BaseException] = [raised]
    while seen:
        error = seen.pop()
        seen += [one for one in (error.__cause__, error.__context__) if one is not None]
        walk: TracebackType | None = error.__traceback__
        while walk is not None:
            code = walk.tb_frame.f_code
            if code.co_filename.startswith(PACKAGE):
                for name, value in walk.tb_frame.f_locals.items():
                    yield f"{code.co_name}:{name}", repr(value)
            walk = walk.tb_next


def test_no_traceback_shows_what_was_typed(world: World) -> None:
    """Whatever is refused, no local of an mfakit frame holds the typed text in sight."""
    world.enroll()
    kept_in_sight = {
        "password_proof", "verify_account", "begin_login", "status", "reset", "account_name", "label",
        "rename_label", "passcode_label", "trust_label", "actor", "reason", "session", "rename",
        "remove", "rename_passcode", "revoke_passcode", "rename_device", "revoke_device", "replaces",
        "protocols", "networks", "expires", "limit", "ip", "agent", "verify_method", "client_protocol",
        "password_verified",
    }  # fmt: skip
    for name, call in _calls(world).items():
        if name in kept_in_sight:
            continue
        try:
            call(PLANTED)
        except MFAKitError as error:
            assert PLANTED not in "".join(traceback.format_exception(error)).replace(
                f"call({PLANTED}", ""
            )
            for where, shown in _own_locals(error):
                assert PLANTED not in shown, (name, where)


def test_right_secrets_are_not_shown_either(world: World) -> None:
    """A spent code, a passcode in the wrong place, a recovery code used twice: hidden as well."""
    person = world.enroll()
    made = world.passcode(person, protocols=["smtp"])
    code = world.code(person.app)
    world.recover(person, person.recovery_codes[0])
    challenge = world.challenge(person)
    tries: list[tuple[str, Callable[[], Any]]] = [
        (code, lambda: world.mfa.complete_login(challenge, code)),
        (challenge, lambda: world.mfa.complete_login(challenge, code)),
        (made.passcode, lambda: world.client(person, made.passcode)),
        (
            person.recovery_codes[0],
            lambda: world.mfa.verify_code("ann", person.recovery_codes[0], method="recovery"),
        ),
    ]
    for secret, call in tries:
        with pytest.raises(MFAKitError) as caught:
            call()
        for where, shown in _own_locals(caught.value):
            assert secret not in shown, where


def test_events_and_rows_hold_no_secret(world: World) -> None:
    """Nothing shown once, and no seed, is in an event, a document or a summary."""
    person = world.enroll()
    made = world.passcode(person)
    token = world.trust(person)
    offer = world.mfa.begin_enrollment("ann", account_name="a", proof=world.proof(person))
    world.recover(person, person.recovery_codes[0])
    row = world.row("ann")
    assert row
    shown = repr(world.events) + row.document.decode() + repr(row.summary) + repr(row)
    secrets = [made.passcode, made.passcode.replace(" ", ""), token, offer.secret_text, offer.token]
    secrets += [code for one in person.recovery_codes for code in (one, one.replace("-", ""))]
    assert not [one for one in secrets if one in shown]


def test_results_hide_what_is_shown_once(world: World) -> None:
    """A repr of a result shows no code, passcode, key or token; only `asdict` gives them."""
    person = world.enroll()
    done = world.sign_in(person, trust_device="Firefox")
    offer = world.mfa.begin_enrollment("ann", account_name="a", proof=done.proof)
    made = world.mfa.create_passcode("ann", label="l", proof=done.proof)
    step: Any = world.mfa.begin_login("ann", password_verified=True)
    exempt = {"proof", "trusted_device", "recovery_codes", "token", "secret_text", "passcode"}
    exempt |= {"challenge", "epoch"}
    for result in (person.enrolled, done, offer, made, step, world.mfa.status("ann")):
        for name, value in attrs.asdict(result).items():
            if name in exempt and value and name != "epoch":
                texts = value if isinstance(value, (list, tuple)) else [value]
                assert not [one for one in texts if str(one) in f"{result!r}{result!s}{result}"]


def test_a_secret_is_opaque() -> None:
    """No text, no copy, no pickle, no comparison."""
    secret = Secret(b"hunter2")
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>9}", f"{secret!s}"} == {"<Secret>"}
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            attempt(secret)
    with pytest.raises(TypeError):
        secret == secret  # noqa: B015
    assert not hasattr(secret, "__dict__")


def test_questions_hide_their_secrets() -> None:
    """The core's questions can be logged."""
    hidden = Secret(b"hunter2")
    check = CheckHash(
        account_id="a", item_id="i", sealed="hunter2", unseal=lambda: hidden, secret=hidden
    )
    assert "hunter2" not in repr(check) + repr(
        CheckPassword(account_id="a", password=hidden, epoch="e", fingerprint="hunter2")
    )
