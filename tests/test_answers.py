"""What each call answers, whole: every field of every result, written by hand from the design."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import asdict

from mfakit import ClientInfo
from world import PASSWORD, World


def fields(result: Any, *opaque: str) -> dict[str, Any]:
    """Return the fields of a result; of those that are opaque only that they are text."""
    found = asdict(result)
    assert all(isinstance(found[name], str) and found[name] for name in opaque)
    return {name: value for name, value in found.items() if name not in opaque}


def test_an_offer_and_being_enrolled(world: World) -> None:
    """What the app needs, until when, and a sign-in with the codes."""
    world.set_policy(issuer="Example", digits=8, period_seconds=60, algorithm="SHA256")
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment("ann", account_name="ann@x", proof=proof, label="Phone")
    parameters = {"algorithm": "SHA256", "digits": 8, "period_seconds": 60}
    names = {"issuer": "Example", "account_name": "ann@x"}
    until = {"expires_at": world.later(minutes=10)}
    assert fields(offer, "token", "secret_text") == parameters | names | until
    world.pass_time(minutes=1)
    assert world.mfa.show_offer(offer.token) == offer


def test_signing_in(world: World) -> None:
    """Off, required, by code, by device, by recovery code."""
    common = {"account_id": "ann", "trusted_device": None, "enroll_by": None}
    nothing = {"recovery_codes_left": 0, "failed_since_last": 0}
    by_password = {"amr": ("pwd",), "method": "password", "proof": None}
    off = world.mfa.begin_login("ann", password_verified=True)
    expected = common | nothing | by_password | {"authenticated_at": world.now, "epoch": "none"}
    assert fields(off) == expected
    deadline = world.later(days=7)
    world.set_policy(required=True, required_from=deadline)
    off = world.mfa.begin_login("ann", password_verified=True)
    assert fields(off) == expected | {"enroll_by": deadline}
    world.clock.now = deadline.timestamp()
    wanted = world.mfa.begin_login("ann", password_verified=True)
    assert fields(wanted, "proof") == {"deadline": deadline}
    world.set_policy(required=False, required_from=None)
    ann = world.enroll()
    on = common | {"recovery_codes_left": 10, "failed_since_last": 0}
    by_code = {"amr": ("pwd", "otp", "mfa"), "method": "totp", "authenticated_at": world.now}
    assert fields(ann.enrolled, "epoch", "proof", "authenticator_id") == on | by_code | {
        "recovery_codes": tuple(ann.recovery_codes)
    }
    step = world.mfa.begin_login("ann", password_verified=True)
    assert fields(step, "challenge") == {
        "methods": ("totp", "recovery"),
        "expires_at": world.now + timedelta(minutes=5),
    }
    world.fail(ann, 2)
    done = world.mfa.complete_login(
        world.challenge(ann), world.fresh_code(ann.app), trust_device="Firefox"
    )
    by_code["authenticated_at"] = world.now
    assert fields(done, "epoch", "proof", "trusted_device") == {
        name: value for name, value in (on | by_code).items() if name != "trusted_device"
    } | {"failed_since_last": 2}
    assert done.epoch == ann.enrolled.epoch
    trusted = world.mfa.begin_login(
        "ann", password_verified=True, trusted_device=done.trusted_device
    )
    by_device = {"amr": ("pwd",), "method": "trusted_device", "proof": None}
    assert fields(trusted, "epoch") == on | by_device | {"authenticated_at": world.now}
    recovered = world.recover(ann, ann.recovery_codes[0])
    by_recovery = {"amr": ("pwd", "mfa"), "method": "recovery", "recovery_codes_left": 9}
    assert fields(recovered, "epoch", "proof") == on | by_recovery | {"authenticated_at": world.now}


def test_lists(world: World) -> None:
    """Authenticators, passcodes, devices, history and status as the owner sees them."""
    ann = world.enroll()
    enrolled_at = world.now
    made = world.passcode(
        ann, "Phone", protocols=["imap"], networks=["192.0.2.0/24"], expires_at=world.later(days=9)
    )
    assert fields(made, "passcode", "passcode_id") == {
        "hint": made.passcode[:4],
        "label": "Phone",
        "expires_at": enrolled_at + timedelta(days=9),
    }
    created_at, inside = world.now, ClientInfo(remote_ip="192.0.2.7")
    world.pass_time(hours=1)
    mail = world.client(ann, made.passcode, client=inside)
    assert fields(mail) == {"account_id": "ann", "via": "passcode", "passcode_id": made.passcode_id}
    (info,) = world.mfa.passcodes("ann")
    assert asdict(info) == {
        "passcode_id": made.passcode_id,
        "label": "Phone",
        "hint": made.hint,
        "created_at": created_at,
        "protocols": ("imap",),
        "networks": ("192.0.2.0/24",),
        "expires_at": enrolled_at + timedelta(days=9),
        "last_used_at": world.now,
        "last_used_ip": "192.0.2.7",
        "last_used_protocol": "imap",
    }
    assert world.mfa.describe_passcode("ann", made.passcode) == info
    token = world.trust(ann, "Firefox")
    trusted_at = world.now
    (device,) = world.mfa.trusted_devices("ann", token=token)
    assert fields(device, "device_id") == {
        "label": "Firefox",
        "created_at": trusted_at,
        "expires_at": trusted_at + timedelta(days=30),
        "last_used_at": trusted_at,
        "is_this": True,
    }
    status = world.mfa.status("ann")
    (phone,) = status.authenticators
    assert asdict(phone) == {
        "authenticator_id": ann.authenticator_id,
        "label": "Phone",
        "created_at": enrolled_at,
        "last_used_at": trusted_at,
        "is_weak": False,
    }
    kinds = [item.kind for item in world.mfa.history("ann")]
    assert kinds == ["enrolled", "passcode_created", "passcode_first_used", "device_trusted"]


def test_mail_by_password(world: World) -> None:
    """No passcode is named where none was used."""
    off = {"account_id": "ann", "via": "password", "passcode_id": None}
    assert fields(world.client("ann", PASSWORD)) == off
    world.set_policy(password_with_code=True)
    ann = world.enroll()
    with_code = world.client(ann, PASSWORD + world.fresh_code(ann.app))
    assert fields(with_code) == off | {"via": "password+code"}


def test_a_cookie_of_the_right_length_that_is_garbage_asks_for_a_code(world: World) -> None:
    """As any other cookie that is no device's."""
    ann = world.enroll()
    assert not world.is_trusted(ann, "!" * 64)


def test_what_answers_nothing(world: World) -> None:
    """A change that has nothing to tell answers None, so nobody comes to rely on more."""
    ann = world.enroll()
    made, phone = world.passcode(ann), ann.authenticator_id
    assert world.mfa.rename_passcode("ann", made.passcode_id, "New") is None
    assert world.mfa.rename_authenticator("ann", phone, "New") is None
    assert world.mfa.revoke_passcode("ann", made.passcode_id) is None
    codes = world.code(ann.app, 3), world.code(ann.app, 4)
    assert world.mfa.resync("ann", phone, *codes, proof=world.recovery_proof(ann)) is None
