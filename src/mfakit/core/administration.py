"""What changes an account beside sign-in and set-up: its owner, an operator, the platform's events.

Authenticators change only on a proof of the highest level that the account can give (ASVS 7.5.1).
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

from msgspec.structs import asdict, replace

from mfakit import errors
from mfakit.arguments import Authority
from mfakit.core import factors, passcode, recovery
from mfakit.core.decision import NO_FAILURES, Case, Decision, note
from mfakit.core.devices import find_device
from mfakit.core.encoding import generate_id, parse_digits
from mfakit.core.enrollment import added, check_new_authenticator
from mfakit.core.guards import check_change
from mfakit.core.lifecycle import Ability, Event, next_state
from mfakit.core.record import Authenticator, Item, Passcode, find_item, with_item, without_item
from mfakit.core.sealing import Proof
from mfakit.core.secret import Secret
from mfakit.core.throttle import cleared
from mfakit.core.totp import time_step
from mfakit.events import EventKind
from mfakit.provisioning import ImportedSecret
from mfakit.results import AuthenticatorAdded

RESYNC_STEPS = 20
AUTHENTICATORS, PASSCODES, DEVICES = "authenticators", "passcodes", "devices"

_RENAMED = {
    AUTHENTICATORS: EventKind.AUTHENTICATOR_RENAMED,
    PASSCODES: EventKind.PASSCODE_RENAMED,
    DEVICES: EventKind.DEVICE_RENAMED,
}
_REVOKED = {PASSCODES: EventKind.PASSCODE_REVOKED, DEVICES: EventKind.DEVICE_REVOKED}


# ----------------------------------------- what operators and the platform's own events do


def decide_open_account(case: Case) -> Decision[bool]:
    """Make the account's record; answers whether it was new."""
    record = case.record
    if record.revision > 0 and not record.forgotten:
        return case.answer(False)
    # SECURITY: an epoch of its own, or a session of the id's earlier owner would be current again.
    changes = {"epoch": generate_id(case.vault.random), "epoch_is_first": False, "forgotten": False}
    return case.write(lambda _: True, note(EventKind.ACCOUNT_OPENED), **changes)


def decide_reset(case: Case, by: Authority, *, reenroll: bool) -> Decision[str]:
    """Take two-step off an account as its operator; answers the new epoch."""
    if reenroll and not case.policy.available:  # nobody could follow
        return case.refuse(errors.AvailabilityError())
    changes = case.move(Event.RESET) | NO_FAILURES | {"reenroll": reenroll}
    return case.write(lambda new: new.epoch, note(EventKind.RESET, **asdict(by)), **changes)


def decide_group_reset(
    case: Case, by: Authority, enrolled_before: int | None, *, reenroll: bool
) -> Decision[Any]:
    """Reset an account of a group unless it is off or enrolled later; answers whether it was due."""
    record = case.record
    enrolled_at = record.enrolled_at or 0
    if record.is_off or (enrolled_before is not None and enrolled_at >= enrolled_before):
        return case.answer(False)
    reset = decide_reset(case, by, reenroll=reenroll)
    return reset if reset.record is None else replace(reset, outcome=True)


def decide_forget(case: Case, by: Authority) -> Decision[None]:
    """Write a record that holds a new epoch alone; the case has one that is blank."""
    forgotten = note(EventKind.FORGOTTEN, **asdict(by))
    epoch = generate_id(case.vault.random)
    changes = {"epoch": epoch, "epoch_is_first": False, "forgotten": True, "history": ()}
    return case.write(lambda _: None, forgotten, **changes)


def decide_password_changed(case: Case) -> Decision[str]:
    """Take note of a new password: sessions, devices and (if policy says so) passcodes end."""
    changes = case.move(Event.PASSWORD_CHANGED) | {"password_suspect": False}
    if case.policy.passcodes_end_with_password:
        changes["passcodes"] = ()
    return case.write(lambda new: new.epoch, note(EventKind.PASSWORD_CHANGED), **changes)


def decide_import(
    case: Case, imported: ImportedSecret, label: str, by: Authority, *, allow_weak: bool
) -> Decision[AuthenticatorAdded]:
    """Take over an authenticator that the owner uses elsewhere already."""
    record = case.record
    live = factors.new_authenticator(case, label, imported.secret, imported)
    weak = factors.check_strength(case.policy, live, allow_weak=allow_weak)
    if error := _check_import(case, imported) or weak:
        return case.refuse(error)
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
    held = [factors.open_secret(case, one).reveal() for one in record.authenticators]
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
    codes_anew = codes and tuple(
        [
            sealed and _anew(case, sealed, recovery.hash_context(record, codes.id, slot))
            for slot, sealed in enumerate(codes.sealed_hashes)
        ]
    )
    changes = {
        "authenticators": tuple([_authenticator(case, one) for one in record.authenticators]),
        "offer": offer and replace(offer, authenticator=_authenticator(case, offer.authenticator)),
        "recovery": codes and replace(codes, sealed_hashes=codes_anew or ()),
        "passcodes": tuple([_passcode(case, one) for one in record.passcodes]),
    }
    return case.write(lambda _: True, note(EventKind.KEYS_ROTATED), **changes)


def _authenticator(case: Case, one: Authenticator) -> Authenticator:
    context = factors.secret_context(case.record, one)
    return replace(one, sealed_secret=_anew(case, one.sealed_secret, context))


def _passcode(case: Case, one: Passcode) -> Passcode:
    context = passcode.hash_context(case.record, one)
    return replace(one, sealed_hash=_anew(case, one.sealed_hash, context))


def _anew(case: Case, sealed: str, context: tuple[str, ...]) -> str:
    return case.seal(case.open(sealed, context), context)


# -------------------------------------------------------------- what needs no more than the session


def decide_rename(case: Case, kind: str, item_id: str, label: str) -> Decision[None]:
    """Give an item of one kind another name; of passcodes each has one that no other has."""
    items: tuple[Item, ...] = getattr(case.record, kind)
    if find_item(items, item_id) is None:
        return case.refuse(errors.NotFoundError())
    if kind == PASSCODES and any(one.label == label and one.id != item_id for one in items):
        return case.refuse(errors.LabelTakenError())
    renamed = note(_RENAMED[kind], item_id=item_id, label=label)
    return case.write(lambda _: None, renamed, **{kind: with_item(items, item_id, label=label)})


def decide_revoke(case: Case, kind: str, item_id: str) -> Decision[int]:
    """Take one item away; it is gone at once."""
    item = find_item(getattr(case.record, kind), item_id)
    return case.refuse(errors.NotFoundError()) if item is None else _revoke(case, kind, [item])


def decide_revoke_all_passcodes(case: Case) -> Decision[int]:
    """Delete every passcode; answers how many."""
    return _revoke(case, PASSCODES, list(case.record.passcodes))


def decide_revoke_other_devices(
    case: Case, keep: Secret | None, device_id: Secret | None
) -> Decision[int]:
    """Stop trusting all devices but the one whose token is given; answers how many."""
    this = find_device(case, keep, device_id)
    return _revoke(case, DEVICES, [one for one in case.record.devices if one != this])


def _revoke(case: Case, kind: str, gone: list[Item]) -> Decision[int]:
    if not gone:
        return case.answer(0)
    kept = tuple([one for one in getattr(case.record, kind) if one not in gone])
    notes = [note(_REVOKED[kind], one) for one in gone]
    return case.write(lambda _: len(gone), *notes, **{kind: kept})


# ---------------------------------------------------------------------------- what needs a proof


def decide_remove_authenticator(
    case: Case, authenticator_id: str, proof: Proof | None
) -> Decision[str]:
    """Remove one of several authenticators; answers the new epoch."""
    if error := check_change(case, proof):
        return case.refuse(error)
    kept = without_item(case.record.authenticators, authenticator_id)
    if len(kept) == len(case.record.authenticators):
        return case.refuse(errors.NotFoundError())
    if not kept:
        return case.refuse(errors.LastAuthenticatorError())
    if next_state(case.record.state, Event.REMOVED) is None:
        return case.refuse(errors.NotAllowedNowError())
    removed = note(EventKind.AUTHENTICATOR_REMOVED, item_id=authenticator_id)
    changes = case.move(Event.REMOVED) | {AUTHENTICATORS: kept}
    return case.write(lambda new: new.epoch, removed, **changes)


def decide_resync(
    case: Case,
    authenticator_id: str,
    codes: tuple[Secret | None, Secret | None],
    proof: Proof | None,
) -> Decision[None]:
    """Learn how far an app's clock is off, from two codes in a row within twenty steps, both unspent.

    Reference: RFC 6238 §6, RFC 4226 §7.4; RFC 6238 §5.2: no step is accepted twice, here either.
    """
    if error := check_change(case, proof, Ability.RESYNC):
        return case.refuse(error)
    one = find_item(case.record.authenticators, authenticator_id)
    if one is None:
        return case.refuse(errors.NotFoundError())
    if waiting := factors.wait_refusal(case):
        return waiting
    first, second = [parse_digits(code, {one.digits}) for code in codes]
    if first is None or second is None:
        return case.refuse(errors.WrongCodeError())
    middle = time_step(case.now, one.period_seconds)
    if one.last_step + 2 > middle + RESYNC_STEPS:  # a wrong clock spent every step in reach
        return case.refuse(errors.ClockError())
    pairs = _seconds_of_pairs(case, one, first, second, middle)
    # SECURITY: both codes above the last accepted one, so nothing that was spent counts again.
    unspent = [step for step in pairs if step - 1 > one.last_step]
    if not unspent:
        kind = EventKind.CODE_REPLAYED if pairs else EventKind.CODE_REFUSED
        return factors.count_wrong_code(case, factors.TOTP, kind, in_session=True)
    return _learn_offset(case, one, min(unspent, key=lambda step: abs(step - middle)), middle)


def _learn_offset(case: Case, one: Authenticator, step: int, middle: int) -> Decision[None]:
    learned = {"last_step": step, "last_used_at": case.now, "offset_steps": step - middle}
    changes: dict[str, Any] = {"code_throttle": cleared(case.record.code_throttle)}
    changes["session_failures"] = 0
    changes[AUTHENTICATORS] = with_item(case.record.authenticators, one.id, **learned)
    return case.write(lambda _: None, note(EventKind.AUTHENTICATOR_RESYNCED, one), **changes)


def _seconds_of_pairs(
    case: Case, one: Authenticator, first: Secret, second: Secret, middle: int
) -> list[int]:
    """Return the steps that the second of two codes in a row may have."""
    around = range(middle - RESYNC_STEPS, middle + RESYNC_STEPS + 1)
    firsts = factors.match_steps(case, one, first, around)
    seconds = factors.match_steps(case, one, second, around)
    return [step for step in seconds if step - 1 in firsts]


def decide_disable(case: Case, proof: Proof | None) -> Decision[str]:
    """Turn two-step off: everything goes; answers the new epoch."""
    if error := check_change(case, proof):
        return case.refuse(error)
    if case.policy.required or case.record.reenroll:
        return case.refuse(errors.TwoStepRequiredError())
    disabled = note(EventKind.DISABLED)
    return case.write(lambda new: new.epoch, disabled, **case.move(Event.TURNED_OFF))
