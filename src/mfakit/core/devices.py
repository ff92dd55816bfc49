"""Trusted devices: the password is still asked, the code is not, for thirty days at most.

A token is a 128-bit id and a 256-bit secret; the record keeps a hash. With a device id that the
platform keeps (say, in the operating system's key store) the token alone is worth nothing.
"""

from __future__ import annotations

from hmac import compare_digest

from mfakit.core.decision import Case
from mfakit.core.encoding import decode_base64, encode_base64, frame
from mfakit.core.lifecycle import Ability
from mfakit.core.record import Record, TrustedDevice, find_item
from mfakit.core.secret import Secret
from mfakit.core.throttle import DAY_SECONDS

ID_BYTES = 16
SECRET_BYTES = 32


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
    raw = _parse(token) if case.allows(Ability.USE_TRUSTED_DEVICE) else None
    if raw is None:
        return None
    device = find_item(living_devices(case), encode_base64(raw.reveal()[:ID_BYTES]))
    if device is None:
        return None
    # SECURITY: the hash covers the device id: a bound token does not work without it.
    expected = _hash(case.record, raw, device_id).encode()
    return device if compare_digest(expected, device.secret_hash.encode()) else None


def living_devices(case: Case) -> tuple[TrustedDevice, ...]:
    """Return the devices that are trusted at this moment."""
    alive = [one for one in case.record.devices if case.now < expires_at(case, one)]
    return tuple(alive) if case.policy.trusted_devices else ()


def expires_at(case: Case, device: TrustedDevice) -> int:
    """Return the Unix second until which a device is trusted: absolute, never pushed back."""
    days = min(device.lifetime_days, case.policy.trusted_device_days)
    return min(device.created_at, case.now) + days * DAY_SECONDS


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
