"""Changing what is live: remove, rename, resynchronise an authenticator; turn two-step off.

Factors change only on a proof of the highest level that the account can give (ASVS 7.5.1).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import Case, Decision, check_allowed, check_change, note
from mfakit.core.encoding import parse_digits
from mfakit.core.factors import TOTP, count_wrong_code, match_steps, wait_refusal
from mfakit.core.lifecycle import Ability, Event
from mfakit.core.record import Authenticator, Record
from mfakit.core.secret import Secret
from mfakit.core.throttle import cleared
from mfakit.core.tokens import Proof
from mfakit.core.totp import time_step
from mfakit.events import EventKind

RESYNC_STEPS = 20


def decide_remove_authenticator(
    case: Case, authenticator_id: str, proof: Proof | None
) -> Decision[str]:
    """Remove one of several authenticators; answers the new epoch."""
    record = case.record
    if error := check_change(case, proof):
        return case.refuse(error)
    kept = tuple([one for one in record.authenticators if one.id != authenticator_id])
    if len(kept) == len(record.authenticators):
        return case.refuse(errors.NotFoundError())
    if not kept:
        return case.refuse(errors.LastAuthenticatorError())
    changes = case.move(Event.REMOVED)
    if changes is None:
        return case.refuse(errors.NotAllowedNowError())
    removed = note(EventKind.AUTHENTICATOR_REMOVED, item_id=authenticator_id)
    return case.write(lambda new: new.epoch, removed, **changes, authenticators=kept)


def decide_rename_authenticator(case: Case, authenticator_id: str, label: str) -> Decision[None]:
    """Give an authenticator another name."""
    renamed = _with_authenticator(case.record, authenticator_id, label=label)
    if renamed is None:
        return case.refuse(errors.NotFoundError())
    kind = EventKind.AUTHENTICATOR_RENAMED
    renamed_note = note(kind, item_id=authenticator_id, label=label)
    return case.write(lambda _: None, renamed_note, authenticators=renamed)


def decide_resync(
    case: Case,
    authenticator_id: str,
    codes: tuple[Secret | None, Secret | None],
    proof: Proof | None,
) -> Decision[None]:
    """Learn how far an app's clock is off, from two codes in a row within twenty steps.

    The only decision that lowers a `last_step`. Reference: RFC 6238 §6, RFC 4226 §7.4.
    """
    error = check_change(case, proof) or check_allowed(case.record, Ability.RESYNC)
    if error:
        return case.refuse(error)
    found = [one for one in case.record.authenticators if one.id == authenticator_id]
    if not found:
        return case.refuse(errors.NotFoundError())
    if waiting := wait_refusal(case, TOTP):
        return waiting
    first, second = (parse_digits(code, {found[0].digits}) for code in codes)
    if first is None or second is None:
        return case.refuse(errors.WrongCodeError())
    middle = time_step(case.now, found[0].period_seconds)
    step = _second_of_pair(case, found[0], first, second, middle)
    if step is None:
        return count_wrong_code(case)
    learned = {"last_step": step, "last_used_at": case.now, "offset_steps": step - middle}
    return case.write(
        lambda _: None,
        note(EventKind.AUTHENTICATOR_RESYNCED, item_id=authenticator_id, label=found[0].label),
        authenticators=_with_authenticator(case.record, authenticator_id, **learned),
        code_throttle=cleared(case.record.code_throttle),
    )


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
    error = check_change(case, proof)
    changes = case.move(Event.TURNED_OFF)
    if error or changes is None:
        return case.refuse(error or errors.NotAllowedNowError())
    if case.policy.required or case.record.reenroll:
        return case.refuse(errors.TwoStepRequiredError())
    return case.write(lambda new: new.epoch, note(EventKind.DISABLED), **changes)


def _with_authenticator(
    record: Record, authenticator_id: str, **changes: Any
) -> tuple[Authenticator, ...] | None:
    owned = record.authenticators
    if all(one.id != authenticator_id for one in owned):
        return None
    changed = [replace(one, **changes) if one.id == authenticator_id else one for one in owned]
    return tuple(changed)
