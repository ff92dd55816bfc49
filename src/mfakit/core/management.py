"""What an owner does to what the account has: rename, revoke, resynchronise, remove, turn off.

Authenticators change only on a proof of the highest level that the account can give (ASVS 7.5.1).
"""

from __future__ import annotations

from typing import Any

from mfakit import errors
from mfakit.core.decision import Case, Decision, note
from mfakit.core.devices import find_device
from mfakit.core.encoding import parse_digits
from mfakit.core.factors import TOTP, count_wrong_code, match_steps, wait_refusal
from mfakit.core.guards import check_change
from mfakit.core.items import Item, find_item, with_item, without_item
from mfakit.core.lifecycle import Ability, Event, next_state
from mfakit.core.record import Authenticator
from mfakit.core.secret import Secret
from mfakit.core.throttle import cleared
from mfakit.core.tokens import Proof
from mfakit.core.totp import time_step
from mfakit.events import EventKind

RESYNC_STEPS = 20
AUTHENTICATORS, PASSCODES, DEVICES = "authenticators", "passcodes", "devices"

_RENAMED = {
    AUTHENTICATORS: EventKind.AUTHENTICATOR_RENAMED,
    PASSCODES: EventKind.PASSCODE_RENAMED,
    DEVICES: EventKind.DEVICE_RENAMED,
}
_REVOKED = {PASSCODES: EventKind.PASSCODE_REVOKED, DEVICES: EventKind.DEVICE_REVOKED}


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
    """Learn how far an app's clock is off, from two codes in a row within twenty steps.

    The only decision that lowers a `last_step`. Reference: RFC 6238 §6, RFC 4226 §7.4.
    """
    if error := check_change(case, proof, Ability.RESYNC):
        return case.refuse(error)
    one = find_item(case.record.authenticators, authenticator_id)
    if one is None:
        return case.refuse(errors.NotFoundError())
    if waiting := wait_refusal(case, TOTP):
        return waiting
    first, second = [parse_digits(code, {one.digits}) for code in codes]
    if first is None or second is None:
        return case.refuse(errors.WrongCodeError())
    middle = time_step(case.now, one.period_seconds)
    step = _second_of_pair(case, one, first, second, middle)
    if step is None:
        return count_wrong_code(case, TOTP)
    learned = {"last_step": step, "last_used_at": case.now, "offset_steps": step - middle}
    changes: dict[str, Any] = {"code_throttle": cleared(case.record.code_throttle)}
    changes[AUTHENTICATORS] = with_item(case.record.authenticators, one.id, **learned)
    return case.write(lambda _: None, note(EventKind.AUTHENTICATOR_RESYNCED, one), **changes)


def _second_of_pair(
    case: Case, one: Authenticator, first: Secret, second: Secret, middle: int
) -> int | None:
    """Return the step of the second of two codes in a row, the nearest to now if several fit."""
    around = range(middle - RESYNC_STEPS, middle + RESYNC_STEPS + 1)
    firsts = match_steps(case, one, first, around)
    seconds = match_steps(case, one, second, around)
    pairs = [step for step in seconds if step - 1 in firsts]
    return min(pairs, key=lambda step: abs(step - middle), default=None)


def decide_disable(case: Case, proof: Proof | None) -> Decision[str]:
    """Turn two-step off: everything goes; answers the new epoch."""
    if error := check_change(case, proof):
        return case.refuse(error)
    if case.policy.required or case.record.reenroll:
        return case.refuse(errors.TwoStepRequiredError())
    disabled = note(EventKind.DISABLED)
    return case.write(lambda new: new.epoch, disabled, **case.move(Event.TURNED_OFF))
