"""What operators and the platform's own events do to an account, and how an account is shown."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

from msgspec.structs import replace

from mfakit.core.decision import (
    NO_FAILURES,
    Context,
    Decision,
    conclude,
    is_required_now,
    move,
    note,
    refuse,
    unchanged,
)
from mfakit.core.encoding import generate_id, to_datetime
from mfakit.core.enrollment import check_new_authenticator, seal_authenticator
from mfakit.core.events import AuditEvent, EventKind
from mfakit.core.factors import open_secret, recovery_context, secret_context
from mfakit.core.lifecycle import ALLOWED, Ability, Event
from mfakit.core.mail_login import passcode_context
from mfakit.core.provisioning import ImportedSecret
from mfakit.core.record import Authenticator, Record, blank_record, key_ids_of
from mfakit.core.results import AuthenticatorAdded, AuthenticatorInfo, HistoryItem, Status
from mfakit.core.throttle import retry_at
from mfakit.errors import DuplicateSecretError, NotAllowedNowError, PasswordChangeRequiredError


def decide_open_account(record: Record, at: Context) -> Decision[bool]:
    """Make the account's record; answers whether it was new."""
    if record.revision > 0:
        return Decision(outcome=False)
    return conclude(record, at, lambda _: True, [note(EventKind.ACCOUNT_OPENED)])


def decide_reset(
    record: Record, actor: str, reason: str, reenroll: bool, at: Context
) -> Decision[str]:
    """Take two-step off an account as its operator; answers the new epoch."""
    changes = move(record, Event.RESET, at) or {}
    changes |= NO_FAILURES | {"reenroll": reenroll}
    notes = [note(EventKind.RESET, actor=actor, reason=reason)]
    return conclude(record, at, lambda new: new.epoch, notes, **changes)


def forgotten_events(
    account_id: str, revision: int, actor: str, reason: str, at: Context
) -> tuple[AuditEvent, ...]:
    """Return the events of a record that is deleted, which may be one that does not open."""
    gone = replace(blank_record(account_id, ""), revision=revision)
    forgotten = note(EventKind.FORGOTTEN, actor=actor, reason=reason)
    return unchanged(gone, at, None, [forgotten]).events


def decide_password_changed(record: Record, at: Context) -> Decision[str]:
    """The password is a new one: sessions and trusted devices end, passcodes too if policy says so."""
    changes = move(record, Event.PASSWORD_CHANGED, at) or {}
    changes["password_suspect"] = False
    if at.policy.passcodes_end_with_password:
        changes["passcodes"] = ()
    notes = [note(EventKind.PASSWORD_CHANGED)]
    return conclude(record, at, lambda new: new.epoch, notes, **changes)


def decide_import(
    record: Record, imported: ImportedSecret, label: str, actor: str, reason: str, at: Context
) -> Decision[AuthenticatorAdded]:
    """Take over an authenticator that the owner uses elsewhere already."""
    if record.is_off and record.password_suspect:
        return refuse(record, at, PasswordChangeRequiredError())
    changes = move(record, Event.IMPORTED, at)
    if changes is None:
        return refuse(record, at, NotAllowedNowError())
    if error := check_new_authenticator(record, None, at):
        return refuse(record, at, error)
    if _has_secret(record, imported, at):
        return refuse(record, at, DuplicateSecretError())
    bare = Authenticator(
        id=generate_id(at.vault.random),
        label=label,
        sealed_secret="",
        created_at=at.now,
        algorithm=imported.algorithm,
        digits=imported.digits,
        period_seconds=imported.period_seconds,
    )
    live = seal_authenticator(record, bare, imported.secret, at)
    changes |= {"authenticators": (*record.authenticators, live), "reenroll": False}
    if record.is_off:
        changes |= NO_FAILURES | {"enrolled_at": at.now}
    imported_note = note(
        EventKind.AUTHENTICATOR_IMPORTED, item_id=live.id, label=label, actor=actor, reason=reason
    )
    return conclude(
        record,
        at,
        lambda new: AuthenticatorAdded(
            account_id=new.account_id, authenticator_id=live.id, epoch=new.epoch
        ),
        [imported_note],
        **changes,
    )


def _has_secret(record: Record, imported: ImportedSecret, at: Context) -> bool:
    secrets = [open_secret(record, one, at) for one in record.authenticators]
    return any([compare_digest(one.reveal(), imported.secret.reveal()) for one in secrets])


# ------------------------------------------------------------------------------------ key rotation


def decide_rotate(record: Record, key_ids: tuple[str, ...], at: Context) -> Decision[bool]:
    """Seal everything anew under the newest key; answers whether anything had to be."""
    if key_ids == (at.vault.keys.newest,):
        return Decision(outcome=False)
    offer = record.offer and replace(
        record.offer, authenticator=_resealed_authenticator(record, record.offer.authenticator, at)
    )
    changes: dict[str, Any] = {
        "authenticators": tuple(
            [_resealed_authenticator(record, one, at) for one in record.authenticators]
        ),
        "offer": offer,
        "passcodes": tuple(
            [
                replace(
                    one,
                    sealed_hash=_reseal(
                        record, one.sealed_hash, passcode_context(record, one.id, one.selector), at
                    ),
                )
                for one in record.passcodes
            ]
        ),
        "recovery": record.recovery
        and replace(
            record.recovery,
            sealed_hashes=tuple(
                [
                    sealed
                    and _reseal(
                        record, sealed, recovery_context(record, record.recovery.id, slot), at
                    )
                    for slot, sealed in enumerate(record.recovery.sealed_hashes)
                ]
            ),
        ),
    }
    return conclude(record, at, lambda _: True, [note(EventKind.KEYS_ROTATED)], **changes)


def _resealed_authenticator(record: Record, one: Authenticator, at: Context) -> Authenticator:
    return replace(
        one, sealed_secret=_reseal(record, one.sealed_secret, secret_context(record, one), at)
    )


def _reseal(record: Record, sealed: str, context: tuple[str, ...], at: Context) -> str:
    value = at.vault.open_value(sealed, salt=record.salt, context=context)
    return at.vault.seal_value(value, salt=record.salt, context=context)


# --------------------------------------------------------------------------------------- showing it


def status_of(record: Record, document_key_id: str | None, at: Context) -> Status:
    """Return where an account stands."""
    policy = at.policy
    is_locked = not record.is_off and record.state not in ALLOWED[Ability.USE_CODE]
    until = retry_at(record.code_throttle, policy, at.now)
    return Status(
        account_id=record.account_id,
        state=record.state.value,
        is_on=not record.is_off,
        is_locked=is_locked,
        is_available=policy.available,
        is_required=policy.required or record.reenroll,
        required_from=None if is_required_now(record, at) else policy.required_from,
        password_change_required=record.is_off and record.password_suspect,
        enrolled_at=_moment(record.enrolled_at),
        last_login_at=_moment(record.last_login_at),
        retry_at=_moment(until),
        recovery_codes_left=record.recovery_codes_left,
        authenticators=tuple(
            AuthenticatorInfo(
                authenticator_id=one.id,
                label=one.label,
                created_at=to_datetime(one.created_at),
                last_used_at=_moment(one.last_used_at),
            )
            for one in record.authenticators
        ),
        passcodes=len(record.passcodes),
        trusted_devices=len(record.devices),
        epoch=record.epoch,
        key_ids=key_ids_of(record, document_key_id) if document_key_id else (),
    )


def history_of(record: Record) -> tuple[HistoryItem, ...]:
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


def _moment(seconds: int | None) -> Any:
    return None if seconds is None else to_datetime(seconds)
