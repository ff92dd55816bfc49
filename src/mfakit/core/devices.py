"""Trusted devices: the password is still asked, the code is not, for thirty days at most.

A token is a 128-bit id and a 256-bit secret; the record keeps a hash. With a device id that the
platform keeps (say, in the operating system's key store) the token alone is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from attrs import frozen
from msgspec.structs import replace

from mfakit.core.decision import Context, Decision, conclude, note, refuse
from mfakit.core.encoding import decode_base64, encode_base64, frame, to_datetime
from mfakit.core.events import EventKind
from mfakit.core.lifecycle import ALLOWED, Ability
from mfakit.core.record import Record, TrustedDevice
from mfakit.core.results import TrustedDeviceInfo
from mfakit.core.secret import Secret
from mfakit.core.tokens import DeviceToken
from mfakit.errors import NotFoundError

ID_BYTES = 16
SECRET_BYTES = 32
DAY_SECONDS = 86_400
LAST_USED_SECONDS = 900


@frozen(kw_only=True)
class NewDevice:
    """A device to trust: its token, and the devices with it."""

    token: DeviceToken
    device: TrustedDevice
    devices: tuple[TrustedDevice, ...]


def trust_device(record: Record, label: str, device_id: Secret | None, at: Context) -> NewDevice:
    """Return a new trusted device; beyond the limit the oldest goes."""
    raw = Secret(at.vault.random(ID_BYTES + SECRET_BYTES))
    device = TrustedDevice(
        id=encode_base64(raw.reveal()[:ID_BYTES]),
        label=label,
        secret_hash=_hash(record, raw, device_id),
        created_at=at.now,
        lifetime_days=at.policy.trusted_device_days,
        last_used_at=at.now,
    )
    alive = [one for one in record.devices if _is_alive(one, at)]
    devices = (*alive, device)[-at.policy.trusted_devices_max :]
    return NewDevice(token=DeviceToken(encode_base64(raw.reveal())), device=device, devices=devices)


def find_device(
    record: Record, token: Secret | None, device_id: Secret | None, at: Context
) -> TrustedDevice | None:
    """Return the living device of a token, or None: garbage and expiry just mean that a code is due."""
    is_open = at.policy.trusted_devices and record.state in ALLOWED[Ability.USE_TRUSTED_DEVICE]
    raw = _parse(token) if is_open else None
    if raw is None:
        return None
    found_id = encode_base64(raw.reveal()[:ID_BYTES])
    for device in record.devices:
        if device.id == found_id and _is_alive(device, at):
            # SECURITY: the hash covers the device id, so a bound token does not work without it.
            expected = _hash(record, raw, device_id)
            return (
                device if compare_digest(expected.encode(), device.secret_hash.encode()) else None
            )
    return None


def touch_device(record: Record, device_id: str, at: Context) -> tuple[TrustedDevice, ...]:
    """Return the devices with one used now."""
    return _with_device(record, device_id, lambda device: replace(device, last_used_at=at.now))


def device_infos(
    record: Record, token: Secret | None, device_id: Secret | None, at: Context
) -> tuple[TrustedDeviceInfo, ...]:
    """Return the living devices for a list, saying which one the token is."""
    this = find_device(record, token, device_id, at)
    return tuple(
        TrustedDeviceInfo(
            device_id=device.id,
            label=device.label,
            created_at=to_datetime(device.created_at),
            expires_at=to_datetime(_expires_at(device, at)),
            last_used_at=None if device.last_used_at is None else to_datetime(device.last_used_at),
            is_this=this is not None and device.id == this.id,
        )
        for device in record.devices
        if at.policy.trusted_devices and _is_alive(device, at)
    )


def decide_rename_device(record: Record, device_id: str, label: str, at: Context) -> Decision[None]:
    """Give a device another name."""
    if all(device.id != device_id for device in record.devices):
        return refuse(record, at, NotFoundError())
    notes = [note(EventKind.DEVICE_RENAMED, item_id=device_id, label=label)]
    renamed = _with_device(record, device_id, lambda device: replace(device, label=label))
    return conclude(record, at, lambda _: None, notes, devices=renamed)


def decide_revoke_devices(
    record: Record, is_meant: Callable[[TrustedDevice], bool], at: Context
) -> Decision[int]:
    """Stop trusting the devices that are meant; answers how many."""
    gone = [device for device in record.devices if is_meant(device)]
    kept = tuple([device for device in record.devices if not is_meant(device)])
    notes = [
        note(EventKind.DEVICE_REVOKED, item_id=device.id, label=device.label) for device in gone
    ]
    if not gone:
        return Decision(outcome=0)
    return conclude(record, at, lambda _: len(gone), notes, devices=kept)


def _with_device(
    record: Record, device_id: str, change: Callable[[TrustedDevice], Any]
) -> tuple[Any, ...]:
    return tuple(
        [change(device) if device.id == device_id else device for device in record.devices]
    )


def _expires_at(device: TrustedDevice, at: Context) -> int:
    days = min(device.lifetime_days, at.policy.trusted_device_days)
    return min(device.created_at, at.now) + days * DAY_SECONDS


def _is_alive(device: TrustedDevice, at: Context) -> bool:
    return at.now < _expires_at(device, at)


def _parse(token: Secret | None) -> Secret | None:
    if token is None or len(token.reveal()) != 64:
        return None
    raw = decode_base64(token.reveal().decode())
    return None if raw is None else Secret(raw)


def _hash(record: Record, raw: Secret, device_id: Secret | None) -> str:
    # A plain hash is enough for 256 random bits (ASVS 6.5.2).
    from hashlib import sha256

    binding = b"" if device_id is None else b"\1" + device_id.reveal()
    content = frame(b"mfakit/v1/device", record.account_id.encode(), raw.reveal(), binding)
    return encode_base64(sha256(content).digest())
