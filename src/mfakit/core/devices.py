"""Trusted devices: the password is still asked, the code is not, for thirty days at most.

A token is a 128-bit id and a 256-bit secret; the record keeps a hash. With a device id that the
platform keeps (say, in the operating system's key store) the token alone is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import Case, Decision, note
from mfakit.core.encoding import decode_base64, encode_base64, frame
from mfakit.core.lifecycle import ALLOWED, Ability
from mfakit.core.record import Record, TrustedDevice
from mfakit.core.secret import Secret
from mfakit.events import EventKind

ID_BYTES = 16
SECRET_BYTES = 32
DAY_SECONDS = 86_400


def trust_device(
    case: Case, label: str, device_id: Secret | None
) -> tuple[Secret, TrustedDevice, tuple[TrustedDevice, ...]]:
    """Return a new device's token, the device, and all devices with it; the oldest may go."""
    raw = Secret(case.vault.random(ID_BYTES + SECRET_BYTES))
    device = TrustedDevice(
        id=encode_base64(raw.reveal()[:ID_BYTES]),
        label=label,
        secret_hash=_hash(case.record, raw, device_id),
        created_at=case.now,
        lifetime_days=case.policy.trusted_device_days,
        last_used_at=case.now,
    )
    kept = (*living_devices(case), device)[-case.policy.trusted_devices_max :]
    return Secret(encode_base64(raw.reveal()).encode()), device, kept


def find_device(case: Case, token: Secret | None, device_id: Secret | None) -> TrustedDevice | None:
    """Return the living device of a token, or None: garbage just means that a code is due."""
    raw = _parse(token) if case.record.state in ALLOWED[Ability.USE_TRUSTED_DEVICE] else None
    if raw is None:
        return None
    found_id = encode_base64(raw.reveal()[:ID_BYTES])
    for device in living_devices(case):
        if device.id == found_id:
            # SECURITY: the hash covers the device id: a bound token does not work without it.
            expected = _hash(case.record, raw, device_id).encode()
            return device if compare_digest(expected, device.secret_hash.encode()) else None
    return None


def living_devices(case: Case) -> tuple[TrustedDevice, ...]:
    """Return the devices that are trusted at this moment."""
    alive = [one for one in case.record.devices if case.now < expires_at(case, one)]
    return tuple(alive) if case.policy.trusted_devices else ()


def expires_at(case: Case, device: TrustedDevice) -> int:
    """Return the Unix second until which a device is trusted: absolute, never pushed back."""
    days = min(device.lifetime_days, case.policy.trusted_device_days)
    return min(device.created_at, case.now) + days * DAY_SECONDS


def touch_device(case: Case, device_id: str) -> tuple[TrustedDevice, ...]:
    """Return the devices with one used now."""
    return _with_device(
        case.record, device_id, lambda device: replace(device, last_used_at=case.now)
    )


def decide_rename_device(case: Case, device_id: str, label: str) -> Decision[None]:
    """Give a device another name."""
    if all(device.id != device_id for device in case.record.devices):
        return case.refuse(errors.NotFoundError())
    renamed = _with_device(case.record, device_id, lambda device: replace(device, label=label))
    renamed_note = note(EventKind.DEVICE_RENAMED, item_id=device_id, label=label)
    return case.write(lambda _: None, renamed_note, devices=renamed)


def decide_revoke_device(case: Case, device_id: str) -> Decision[int]:
    """Stop trusting one device."""
    if all(device.id != device_id for device in case.record.devices):
        return case.refuse(errors.NotFoundError())
    return _revoke(case, lambda device: device.id == device_id)


def decide_revoke_other_devices(
    case: Case, keep: Secret | None, device_id: Secret | None
) -> Decision[int]:
    """Stop trusting all devices but the one whose token is given; answers how many."""
    this = find_device(case, keep, device_id)
    return _revoke(case, lambda device: this is None or device.id != this.id)


def _revoke(case: Case, is_meant: Callable[[TrustedDevice], bool]) -> Decision[int]:
    gone = [device for device in case.record.devices if is_meant(device)]
    if not gone:
        return case.answer(0)
    notes = [note(EventKind.DEVICE_REVOKED, item_id=one.id, label=one.label) for one in gone]
    kept = tuple([device for device in case.record.devices if not is_meant(device)])
    return case.write(lambda _: len(gone), *notes, devices=kept)


def _with_device(
    record: Record, device_id: str, change: Callable[[TrustedDevice], TrustedDevice]
) -> tuple[TrustedDevice, ...]:
    return tuple([change(one) if one.id == device_id else one for one in record.devices])


def _parse(token: Secret | None) -> Secret | None:
    if token is None or len(token.reveal()) != 4 * (ID_BYTES + SECRET_BYTES) // 3:
        return None
    raw = decode_base64(token.reveal().decode())
    return None if raw is None else Secret(raw)


def _hash(record: Record, raw: Secret, device_id: Secret | None) -> str:
    # A plain hash is enough for 256 random bits (ASVS 6.5.2).
    from hashlib import sha256

    binding = b"" if device_id is None else b"\1" + device_id.reveal()
    content = frame(b"mfakit/v1/device", record.account_id.encode(), raw.reveal(), binding)
    return encode_base64(sha256(content).digest())
