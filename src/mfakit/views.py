"""How an account is shown: its row beside the document, lists, reports. Decides nothing."""

from __future__ import annotations

from datetime import datetime

from mfakit.core.decision import Case
from mfakit.core.devices import expires_at, find_device, living_devices
from mfakit.core.guards import is_required_now
from mfakit.core.lifecycle import Ability
from mfakit.core.passcode import find_passcode, parse_passcode
from mfakit.core.record import Authenticator, Passcode, Record, document_key_id, encode_record
from mfakit.core.sealing import NONCE_BYTES, Vault
from mfakit.core.secret import Secret
from mfakit.core.throttle import retry_at
from mfakit.events import to_datetime
from mfakit.provisioning import SECRET_BYTES_LEAST
from mfakit.results import (
    AccountSummary,
    AuthenticatorInfo,
    HistoryItem,
    PasscodeInfo,
    Status,
    TrustedDeviceInfo,
)
from mfakit.rows import StoredRecord, Summary

__all__ = [
    "account_summaries",
    "described_passcode",
    "history_items",
    "key_ids_of",
    "passcode_infos",
    "row_of",
    "status",
    "trusted_device_infos",
]

TAG_BYTES = 16  # of AES-GCM
FORGOTTEN = "forgotten"  # in the summary of what `forget` leaves


def row_of(record: Record, vault: Vault) -> StoredRecord:
    """Return the row of a record, the summary for reports in it. Raises as `encode_record` does."""
    document = encode_record(record, vault)
    summary = Summary(
        state=FORGOTTEN if record.forgotten else record.state.value,
        enrolled_at=record.enrolled_at,
        authenticators=len(record.authenticators),
        recovery_codes_left=record.recovery_codes_left,
        passcodes=len(record.passcodes),
        trusted_devices=len(record.devices),
        last_login_at=record.last_login_at,
        key_ids=key_ids_of(record, document),
    )
    return StoredRecord(
        account_id=record.account_id, revision=record.revision, document=document, summary=summary
    )


def key_ids_of(record: Record, document: bytes) -> tuple[str, ...]:
    """Return the ids of all keys that sealed a part of a record, its document's own included."""
    sealed = [part.sealed_secret for part in record.authenticators]
    sealed += [part.sealed_hash for part in record.passcodes]
    sealed += [record.offer.authenticator.sealed_secret] if record.offer else []
    sealed += [one for one in record.recovery.sealed_hashes if one] if record.recovery else []
    tagged_by = document_key_id(document)
    own = f"{tagged_by}."
    others = {one.partition(".")[0] for one in sealed if not one.startswith(own)}
    return tuple(sorted({tagged_by, *others}))


def status(case: Case, stored: StoredRecord | None) -> Status:
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
        key_ids=key_ids_of(record, stored.document) if stored else (),
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


def account_summaries(rows: tuple[StoredRecord, ...]) -> tuple[AccountSummary, ...]:
    """Return the rows of a report from the store's summaries; forgotten accounts are left out."""
    return tuple([_account_summary(one) for one in rows if one.summary.state != FORGOTTEN])


def _account_summary(stored: StoredRecord) -> AccountSummary:
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
