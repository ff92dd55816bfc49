"""Judging one code of a person who has the password: an authenticator's, or a recovery code.

The caller names the method; it is never guessed. Every path is: may this be tried, must it wait, is
it well formed, is it right. A malformed code costs nothing and sounds like a wrong one; a replay
counts.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import Case, CheckHash, Decision, Note, check_allowed, note
from mfakit.core.encoding import parse_digits
from mfakit.core.lifecycle import ALLOWED, Ability, Event
from mfakit.core.record import Authenticator, Record
from mfakit.core.recovery import parse_recovery_code, question_of, without_slot
from mfakit.core.secret import Secret, Value
from mfakit.core.throttle import cleared, is_exhausted, retry_at, with_failure
from mfakit.core.totp import match_time_steps, time_step
from mfakit.events import EventKind

TOTP, RECOVERY = "totp", "recovery"


class Accepted(Value, frozen=True, kw_only=True):
    """A right code: what it changes, and the id of what earned it."""

    earned_by: str
    changes: dict[str, Any]
    notes: tuple[Note, ...] = ()


Judgement = Accepted | CheckHash | Decision[Any]


def judge(case: Case, method: str, code: Secret | None) -> Judgement:
    """Judge a code by the method that the caller names.

    Returns:
        `Accepted`, a question for the hash, or the refusal as a decision.
    """
    if method == TOTP:
        return _judge_totp(case, code)
    if method == RECOVERY:
        return _judge_recovery(case, code)
    return case.refuse(errors.InvalidInputError("method"))


def usable_methods(case: Case) -> tuple[str, ...]:
    """Return the methods that could still succeed, waits aside."""
    has_recovery = case.record.recovery_codes_left > 0 and not _is_recovery_locked(case)
    usable = {TOTP: case.record.state in ALLOWED[Ability.USE_CODE], RECOVERY: has_recovery}
    return tuple([method for method, is_usable in usable.items() if is_usable])


def wait_refusal(case: Case, method: str) -> Decision[Any] | None:
    """Return the refusal of a code that came too soon: not evaluated, not counted."""
    record = case.record
    throttle = record.code_throttle if method == TOTP else record.recovery_throttle
    until = retry_at(throttle, case.policy, case.now)
    if until is None:
        return None
    error = errors.ThrottledError(until, until - case.now)
    return case.refuse(error, note(EventKind.CODE_THROTTLED, method=method))


# ------------------------------------------------------------------------------ authenticator codes


def secret_context(record: Record, one: Authenticator) -> tuple[str, ...]:
    """Return what an authenticator's secret is bound to, its OTP parameters included."""
    parameters = one.algorithm, str(one.digits), str(one.period_seconds)
    return "totp", record.account_id, one.id, *parameters


def seal_authenticator(case: Case, bare: Authenticator, secret: Secret) -> Authenticator:
    """Return an authenticator with its secret sealed to account, id and parameters."""
    context = secret_context(case.record, bare)
    sealed = case.vault.seal_value(secret, salt=case.record.salt, context=context)
    return replace(bare, sealed_secret=sealed)


def open_secret(case: Case, one: Authenticator) -> Secret:
    """Open one authenticator's secret. Raises as `Vault.open_value` does."""
    context = secret_context(case.record, one)
    return case.vault.open_value(one.sealed_secret, salt=case.record.salt, context=context)


def window_of(case: Case, one: Authenticator) -> range:
    """Return the candidate steps, around the authenticator's offset (RFC 6238 §5.2, §6)."""
    step = time_step(case.now, one.period_seconds) + one.offset_steps
    return range(step - case.policy.window_past_steps, step + case.policy.window_future_steps + 1)


def match_steps(case: Case, one: Authenticator, digits: Secret, steps: range) -> list[int]:
    """Return those of `steps` whose code on this authenticator is `digits`."""
    secret = open_secret(case, one).reveal()
    return match_time_steps(
        secret, digits.reveal(), steps, algorithm=one.algorithm, digits=one.digits
    )


class Match(Value, frozen=True, kw_only=True):
    """Where a code fits: authenticator id -> lowest fresh step; replay if only spent steps fit."""

    steps: dict[str, int]
    is_replay: bool
    is_clock_right: bool


def match_authenticators(case: Case, digits: Secret) -> Match:
    """Compare a code with every candidate of every authenticator; no early exit (CWE-208).

    Reference: RFC 6238 §5.2 (window, no second acceptance of a step).
    """
    steps: dict[str, int] = {}
    is_replay = is_clock_right = False
    for one in case.record.authenticators:
        window = window_of(case, one)
        if one.digits != len(digits.reveal()) or one.last_step >= window.stop:
            continue  # another app's code, or the clock is behind what this one accepted
        is_clock_right = True
        matched = match_steps(case, one, digits, window)
        # SECURITY: only a step above the last accepted one; the lowest, so that none is skipped.
        fresh = [step for step in matched if step > one.last_step]
        if fresh:
            steps[one.id] = fresh[0]
        is_replay = is_replay or bool(matched)
    return Match(steps=steps, is_replay=is_replay and not steps, is_clock_right=is_clock_right)


def _judge_totp(case: Case, code: Secret | None) -> Judgement:
    record = case.record
    if error := check_allowed(record, Ability.USE_CODE):
        return case.refuse(error if record.is_off else errors.SecondFactorLockedError())
    if waiting := wait_refusal(case, TOTP):
        return waiting
    digits = parse_digits(code, {one.digits for one in record.authenticators})
    if digits is None:
        return case.refuse(errors.WrongCodeError(), _malformed(TOTP))
    match = match_authenticators(case, digits)
    if not match.is_clock_right:
        return case.refuse(errors.ClockError())
    if not match.steps:
        return count_wrong_code(case, is_replay=match.is_replay)
    return Accepted(earned_by=next(iter(match.steps)), changes=_spend_steps(case, match.steps))


def _spend_steps(case: Case, steps: dict[str, int]) -> dict[str, Any]:
    advanced = [
        replace(one, last_step=steps[one.id], last_used_at=case.now) if one.id in steps else one
        for one in case.record.authenticators
    ]
    cleared_run = cleared(case.record.code_throttle)
    return {"authenticators": tuple(advanced), "code_throttle": cleared_run}


def count_wrong_code(case: Case, *, is_replay: bool = False) -> Decision[Any]:
    """Return the refusal of an evaluated code, counted, with the lock at the cap.

    Reference: SP 800-63B-4 §3.2.2. Only who has the password gets here, so it is suspect then.
    """
    record, policy = case.record, case.policy
    throttle = with_failure(record.code_throttle, case.now)
    changes = {"code_throttle": throttle, "failed_since_last": record.failed_since_last + 1}
    kind = EventKind.CODE_REPLAYED if is_replay else EventKind.CODE_REFUSED
    notes = [note(kind, method=TOTP, count=throttle.failures)]
    in_a_row, in_30_days = policy.code_failures_max, policy.code_failures_in_30_days_max
    if is_exhausted(throttle, in_a_row=in_a_row, in_30_days=in_30_days, now=case.now):
        changes |= (case.move(Event.EXHAUSTED) or {}) | {"password_suspect": True}
        notes.append(note(EventKind.LOCKED, method=TOTP))
    return case.refuse(errors.WrongCodeError(), *notes, **changes)


# ------------------------------------------------------------------------------------ recovery codes


def _judge_recovery(case: Case, code: Secret | None) -> Judgement:
    codes = case.record.recovery
    if error := check_allowed(case.record, Ability.USE_RECOVERY_CODE):
        return case.refuse(error)
    if _is_recovery_locked(case):
        return case.refuse(errors.SecondFactorLockedError())
    if waiting := wait_refusal(case, RECOVERY):
        return waiting
    parsed = parse_recovery_code(code)
    if parsed is None or codes is None:
        return case.refuse(errors.WrongCodeError(), _malformed(RECOVERY))
    slot, secret = parsed
    question = question_of(case, codes, slot, secret)
    verdict = False if question is None else case.evidence.get(question.key)
    if question is not None and verdict is None:
        return question
    if not verdict:
        return _count_wrong_recovery_code(case)
    spent = without_slot(codes, slot)
    notes = [note(EventKind.RECOVERY_CODE_USED, method=RECOVERY, count=spent.left)]
    if spent.left <= case.policy.recovery_codes_low:
        notes.append(note(EventKind.RECOVERY_CODES_LOW, count=spent.left))
    changes = {"recovery": spent, "recovery_throttle": cleared(case.record.recovery_throttle)}
    # Whoever recovers may have lost the trusted device too.
    return Accepted(earned_by=codes.id, notes=tuple(notes), changes=changes | {"devices": ()})


def _count_wrong_recovery_code(case: Case) -> Decision[Any]:
    throttle = with_failure(case.record.recovery_throttle, case.now)
    refused = note(EventKind.CODE_REFUSED, method=RECOVERY, count=throttle.failures)
    failed = case.record.failed_since_last + 1
    changes = {"recovery_throttle": throttle, "failed_since_last": failed}
    return case.refuse(errors.WrongCodeError(), refused, **changes)


def _is_recovery_locked(case: Case) -> bool:
    most = case.policy.recovery_failures_max
    throttle = case.record.recovery_throttle
    return is_exhausted(throttle, in_a_row=most, in_30_days=None, now=case.now)


def _malformed(method: str) -> Note:
    return note(EventKind.CODE_REFUSED, method=method, reason="malformed")
