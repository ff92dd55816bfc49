"""How an account is shown in lists and reports. Decides nothing; holds no secret."""

from __future__ import annotations

from datetime import datetime

from mfakit.core.decision import Case
from mfakit.core.devices import expires_at, find_device, living_devices
from mfakit.core.encoding import to_datetime
from mfakit.core.guards import is_required_now
from mfakit.core.lifecycle import Ability
from mfakit.core.passcode import find_passcode, parse_passcode
from mfakit.core.record import Authenticator, Passcode, Record, key_ids_of
from mfakit.core.sealing import NONCE_BYTES
from mfakit.core.secret import Secret
from mfakit.core.throttle import retry_at
from mfakit.provisioning import SECRET_BYTES_LEAST
from mfakit.results import (
    AccountSummary,
    AuthenticatorInfo,
    HistoryItem,
    PasscodeInfo,
    Status,
    TrustedDeviceInfo,
)
from mfakit.rows import StoredRecord

__all__ = [
    "account_summary",
    "described_passcode",
    "history_items",
    "passcode_infos",
    "status",
    "trusted_device_infos",
]

TAG_BYTES = 16  # of AES-GCM


def status(case: Case, document_key_id: str | None) -> Status:
    """Return where an account stands."""
    record, policy = case.record, case.policy
    return Status(
        account_id=record.account_id,
        state=record.state.value,
        is_on=not record.is_off,
        is_locked=not record.is_off and not case.allows(Ability.USE_CODE),
        is_available=policy.available,
        is_required=policy.required or record.reenroll,
        required_from=None if is_required_now(case) else policy.required_from,
        password_change_required=record.is_off and record.password_suspect,
        enrolled_at=_moment(record.enrolled_at),
        last_login_at=_moment(record.last_login_at),
        retry_at=_moment(retry_at(record.code_throttle, policy, case.now)),
        recovery_codes_left=record.recovery_codes_left,
        authenticators=tuple(map(_authenticator_info, record.authenticators)),
        passcodes=len(record.passcodes),
        trusted_devices=len(living_devices(case)),
        epoch=record.epoch,
        key_ids=key_ids_of(record, document_key_id) if document_key_id else (),
    )


def _authenticator_info(one: Authenticator) -> AuthenticatorInfo:
    return AuthenticatorInfo(
        authenticator_id=one.id,
        label=one.label,
        created_at=to_datetime(one.created_at),
        last_used_at=_moment(one.last_used_at),
        is_weak=_secret_bytes(one) < SECRET_BYTES_LEAST,
    )


def _secret_bytes(one: Authenticator) -> int:
    """Return the length of a sealed secret: sealing hides what it is, not how long."""
    encoded = one.sealed_secret.partition(".")[2]
    return 3 * len(encoded) // 4 - NONCE_BYTES - TAG_BYTES


def passcode_infos(record: Record) -> tuple[PasscodeInfo, ...]:
    """Return the application passcodes."""
    return tuple(map(_passcode_info, record.passcodes))


def described_passcode(record: Record, text: Secret | None) -> PasscodeInfo | None:
    """Return the passcode whose public first group a text begins with; the rest is not checked."""
    parsed = parse_passcode(text)
    found = find_passcode(record, parsed[0]) if parsed else None
    return None if found is None else _passcode_info(found)


def _passcode_info(passcode: Passcode) -> PasscodeInfo:
    return PasscodeInfo(
        passcode_id=passcode.id,
        label=passcode.label,
        hint=passcode.selector,
        created_at=to_datetime(passcode.created_at),
        protocols=passcode.protocols,
        networks=passcode.networks,
        expires_at=_moment(passcode.expires_at),
        last_used_at=_moment(passcode.last_used_at),
        last_used_ip=passcode.last_used_ip,
        last_used_protocol=passcode.last_used_protocol,
    )


def trusted_device_infos(
    case: Case, token: Secret | None, device_id: Secret | None
) -> tuple[TrustedDeviceInfo, ...]:
    """Return the trusted devices, saying which one the token is of."""
    this = find_device(case, token, device_id)
    return tuple(
        TrustedDeviceInfo(
            device_id=device.id,
            label=device.label,
            created_at=to_datetime(device.created_at),
            expires_at=to_datetime(expires_at(case, device)),
            last_used_at=_moment(device.last_used_at),
            is_this=this is not None and device.id == this.id,
        )
        for device in living_devices(case)
    )


def history_items(record: Record) -> tuple[HistoryItem, ...]:
    """Return the last lifecycle changes, the oldest first."""
    return tuple(
        HistoryItem(
            kind=entry.kind,
            at=to_datetime(entry.at),
            revision=entry.revision,
            actor=entry.actor,
            reason=entry.reason,
            item_id=entry.item_id,
            label=entry.label,
        )
        for entry in record.history
    )


def account_summary(stored: StoredRecord) -> AccountSummary:
    """Return a row of a report from the store's summary."""
    summary = stored.summary
    return AccountSummary(
        account_id=stored.account_id,
        state=summary.state,
        enrolled_at=_moment(summary.enrolled_at),
        last_login_at=_moment(summary.last_login_at),
        authenticators=summary.authenticators,
        recovery_codes_left=summary.recovery_codes_left,
        passcodes=summary.passcodes,
        trusted_devices=summary.trusted_devices,
        key_ids=summary.key_ids,
    )


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else to_datetime(seconds)
