"""What operators and the platform's own events do to an account."""

from __future__ import annotations

from hmac import compare_digest

from msgspec.structs import asdict, replace

from mfakit import errors
from mfakit.arguments import Authority
from mfakit.core import passcode, recovery
from mfakit.core.decision import NO_FAILURES, Case, Decision, note
from mfakit.core.enrollment import added, check_new_authenticator
from mfakit.core.factors import new_authenticator, open_secret, secret_context
from mfakit.core.lifecycle import Event, next_state
from mfakit.core.record import Authenticator, Passcode, RecoverySet
from mfakit.events import AuditEvent, EventKind
from mfakit.provisioning import ImportedSecret
from mfakit.results import AuthenticatorAdded


def decide_open_account(case: Case) -> Decision[bool]:
    """Make the account's record; answers whether it was new."""
    if case.record.revision > 0:
        return case.answer(False)
    return case.write(lambda _: True, note(EventKind.ACCOUNT_OPENED))


def decide_reset(case: Case, by: Authority, *, reenroll: bool) -> Decision[str]:
    """Take two-step off an account as its operator; answers the new epoch."""
    changes = case.move(Event.RESET) | NO_FAILURES | {"reenroll": bool(reenroll)}
    return case.write(lambda new: new.epoch, note(EventKind.RESET, **asdict(by)), **changes)


def decide_group_reset(
    case: Case, by: Authority, enrolled_before: int | None, *, reenroll: bool
) -> Decision[bool]:
    """Reset an account of a group unless it is off or enrolled later; answers whether it was due."""
    record = case.record
    enrolled_at = record.enrolled_at or 0
    if record.is_off or (enrolled_before is not None and enrolled_at >= enrolled_before):
        return case.answer(False)
    reset = decide_reset(case, by, reenroll=reenroll)
    return Decision(outcome=True, record=reset.record, events=reset.events)


def forgotten_events(case: Case, by: Authority) -> tuple[AuditEvent, ...]:
    """Return the events of a record that is deleted, which may be one that does not open."""
    return case.answer(None, note(EventKind.FORGOTTEN, **asdict(by))).events


def decide_password_changed(case: Case) -> Decision[str]:
    """Take note of a new password: sessions, devices and (if policy says so) passcodes end."""
    changes = case.move(Event.PASSWORD_CHANGED) | {"password_suspect": False}
    if case.policy.passcodes_end_with_password:
        changes["passcodes"] = ()
    return case.write(lambda new: new.epoch, note(EventKind.PASSWORD_CHANGED), **changes)


def decide_import(
    case: Case, imported: ImportedSecret, label: str, by: Authority
) -> Decision[AuthenticatorAdded]:
    """Take over an authenticator that the owner uses elsewhere already."""
    if error := _check_import(case, imported):
        return case.refuse(error)
    record = case.record
    live = new_authenticator(case, label, imported.secret, imported)
    changes = case.move(Event.IMPORTED) | {"authenticators": (*record.authenticators, live)}
    if record.is_off:
        changes |= {"enrolled_at": case.now, "reenroll": False}
    taken_over = note(EventKind.AUTHENTICATOR_IMPORTED, live, **asdict(by))
    return case.write(lambda new: added(new, live), taken_over, **changes)


def _check_import(case: Case, imported: ImportedSecret) -> errors.MFAKitError | None:
    record = case.record
    if record.is_off and record.password_suspect:
        return errors.PasswordChangeRequiredError()
    if next_state(record.state, Event.IMPORTED) is None:
        return errors.NotAllowedNowError()
    held = [open_secret(case, one).reveal() for one in record.authenticators]
    if any([compare_digest(one, imported.secret.reveal()) for one in held]):
        return errors.DuplicateSecretError()
    return check_new_authenticator(case, None)


# ---------------------------------------------------------------------------------- key rotation


def decide_rotate(case: Case, key_ids: tuple[str, ...]) -> Decision[bool]:
    """Seal everything anew under the newest key; answers whether anything had to be."""
    record = case.record
    if key_ids == (case.vault.newest,):
        return case.answer(False)
    offer, codes = record.offer, record.recovery
    changes = {
        "authenticators": tuple([_authenticator(case, one) for one in record.authenticators]),
        "offer": offer and replace(offer, authenticator=_authenticator(case, offer.authenticator)),
        "recovery": codes and _recovery_set(case, codes),
        "passcodes": tuple([_passcode(case, one) for one in record.passcodes]),
    }
    return case.write(lambda _: True, note(EventKind.KEYS_ROTATED), **changes)


def _authenticator(case: Case, one: Authenticator) -> Authenticator:
    context = secret_context(case.record, one)
    return replace(one, sealed_secret=_reseal(case, one.sealed_secret, context))


def _passcode(case: Case, one: Passcode) -> Passcode:
    context = passcode.hash_context(case.record, one)
    return replace(one, sealed_hash=_reseal(case, one.sealed_hash, context))


def _recovery_set(case: Case, codes: RecoverySet) -> RecoverySet:
    resealed = [
        sealed and _reseal(case, sealed, recovery.hash_context(case.record, codes.id, slot))
        for slot, sealed in enumerate(codes.sealed_hashes)
    ]
    return replace(codes, sealed_hashes=tuple(resealed))


def _reseal(case: Case, sealed: str, context: tuple[str, ...]) -> str:
    return case.seal(case.open(sealed, context), context)
