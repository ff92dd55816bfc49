"""Judging one code of a person who has the password: a code of an authenticator, or a recovery code.

The caller names the method; it is never guessed. Every path is: may this be tried, must it wait, is it
well formed, is it right. A malformed code costs nothing and sounds like a wrong one; a replay counts.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from msgspec.structs import replace

from mfakit.core.decision import (
    CheckHash,
    Context,
    Decision,
    Evidence,
    Note,
    check_allowed,
    move,
    note,
    refuse,
)
from mfakit.core.encoding import parse_digits
from mfakit.core.events import EventKind
from mfakit.core.lifecycle import ALLOWED, Ability, Event
from mfakit.core.record import Authenticator, Record, RecoverySet
from mfakit.core.recovery import parse_recovery_code
from mfakit.core.secret import Secret
from mfakit.core.throttle import cleared, is_exhausted, retry_at, with_failure
from mfakit.core.totp import match_time_steps, time_step
from mfakit.errors import (
    ClockError,
    InvalidInputError,
    SecondFactorLockedError,
    ThrottledError,
    WrongCodeError,
)

TOTP = "totp"
RECOVERY = "recovery"
METHODS = (TOTP, RECOVERY)


@frozen(kw_only=True)
class Accepted:
    """A right code: what it changes, and the id of what earned it."""

    method: str
    earned_by: str
    changes: dict[str, Any]
    notes: tuple[Note, ...] = ()
    step: int | None = None


Judgement = Accepted | CheckHash | Decision[Any]


def judge(
    method: str, record: Record, code: Secret | None, evidence: Evidence, at: Context
) -> Judgement:
    """Judge a code by the method that the caller names.

    Returns:
        `Accepted`, a question for the hash, or the refusal as a decision.
    """
    if method == TOTP:
        return _judge_totp(record, code, at)
    if method == RECOVERY:
        return _judge_recovery(record, code, evidence, at)
    return refuse(record, at, InvalidInputError("method"))


def usable_methods(record: Record, at: Context) -> tuple[str, ...]:
    """Return the methods that could still succeed, waits aside."""
    usable = (
        (TOTP, record.state in ALLOWED[Ability.USE_CODE]),
        (RECOVERY, record.recovery_codes_left > 0 and not _is_recovery_locked(record, at)),
    )
    return tuple([method for method, is_usable in usable if is_usable])


# ------------------------------------------------------------------------------ authenticator codes


def secret_context(record: Record, authenticator: Authenticator) -> tuple[str, ...]:
    """Return what an authenticator's secret is bound to, its OTP parameters included."""
    return (
        "totp",
        record.account_id,
        authenticator.id,
        authenticator.algorithm,
        str(authenticator.digits),
        str(authenticator.period_seconds),
    )


def open_secret(record: Record, authenticator: Authenticator, at: Context) -> Secret:
    """Open one authenticator's secret. Raises as `Vault.open_value` does."""
    return at.vault.open_value(
        authenticator.sealed_secret, salt=record.salt, context=secret_context(record, authenticator)
    )


def _judge_totp(record: Record, code: Secret | None, at: Context) -> Judgement:
    locked = record.state not in ALLOWED[Ability.USE_CODE] and not record.is_off
    error = SecondFactorLockedError() if locked else check_allowed(record, Ability.USE_CODE)
    if error:
        return refuse(record, at, error)
    if waiting := wait_refusal(record, at, TOTP):
        return waiting
    lengths = {authenticator.digits for authenticator in record.authenticators}
    digits = parse_digits(code, lengths)
    if digits is None:
        return refuse(record, at, WrongCodeError(), [_refused(TOTP, "malformed")])
    match = match_authenticators(record, digits, at)
    if not match.is_clock_right:
        return refuse(record, at, ClockError())
    if not match.steps:
        return with_code_failure(record, at, is_replay=match.is_replay)
    return _accept_totp(record, match, at)


@frozen(kw_only=True)
class Match:
    """Where a code fits: authenticator id -> lowest fresh step; replayed if only spent steps fit."""

    steps: dict[str, int]
    is_replay: bool
    is_clock_right: bool


def match_authenticators(record: Record, digits: Secret, at: Context) -> Match:
    """Compare a code with every candidate of every authenticator; no early exit (CWE-208).

    Reference: RFC 6238 §5.2 (window, no second acceptance of a step).
    """
    steps: dict[str, int] = {}
    is_replay = is_clock_right = False
    for authenticator in record.authenticators:
        window = window_of(authenticator, at)
        last_step = authenticator.last_step
        if authenticator.digits != len(digits.reveal()) or last_step >= window.stop:
            continue  # another app's code, or the clock is behind what this one accepted
        is_clock_right = True
        matched = match_steps(record, authenticator, digits, window, at)
        # SECURITY: only a step above the last accepted one; the lowest, so that none is skipped.
        fresh = [step for step in matched if step > last_step]
        if fresh:
            steps[authenticator.id] = fresh[0]
        is_replay = is_replay or bool(matched)
    return Match(steps=steps, is_replay=is_replay and not steps, is_clock_right=is_clock_right)


def match_steps(
    record: Record, authenticator: Authenticator, digits: Secret, steps: range, at: Context
) -> list[int]:
    """Return those of `steps` whose code on this authenticator is `digits`."""
    return match_time_steps(
        open_secret(record, authenticator, at).reveal(),
        digits.reveal(),
        steps,
        algorithm=authenticator.algorithm,
        digits=authenticator.digits,
    )


def window_of(authenticator: Authenticator, at: Context) -> range:
    """Return the candidate steps, around the authenticator's offset."""
    step = time_step(at.now, authenticator.period_seconds) + authenticator.offset_steps
    return range(step - at.policy.window_past_steps, step + at.policy.window_future_steps + 1)


def advance_authenticators(
    record: Record, steps: dict[str, int], at: Context
) -> tuple[Authenticator, ...]:
    """Return the authenticators with the matched steps spent."""
    return tuple(
        [
            replace(authenticator, last_step=steps[authenticator.id], last_used_at=at.now)
            if authenticator.id in steps
            else authenticator
            for authenticator in record.authenticators
        ]
    )


def _accept_totp(record: Record, match: Match, at: Context) -> Accepted:
    earned_by, step = next(iter(match.steps.items()))
    return Accepted(
        method=TOTP,
        earned_by=earned_by,
        step=step,
        changes={
            "authenticators": advance_authenticators(record, match.steps, at),
            "code_throttle": cleared(record.code_throttle),
        },
    )


def with_code_failure(record: Record, at: Context, *, is_replay: bool = False) -> Decision[Any]:
    """Return the refusal of an evaluated code of an authenticator, counted, with the lock at the cap.

    Reference: SP 800-63B-4 §3.2.2. Only who has the password gets here, so the password is suspect.
    """
    throttle = with_failure(record.code_throttle, at.now)
    changes: dict[str, Any] = {
        "code_throttle": throttle,
        "failed_since_last": record.failed_since_last + 1,
    }
    kind = EventKind.CODE_REPLAYED if is_replay else EventKind.CODE_REFUSED
    notes = [note(kind, method=TOTP, count=throttle.failures)]
    policy = at.policy
    if is_exhausted(
        throttle,
        in_a_row=policy.code_failures_max,
        in_30_days=policy.code_failures_in_30_days_max,
        now=at.now,
    ):
        changes |= move(record, Event.EXHAUSTED, at) or {}
        changes["password_suspect"] = True
        notes.append(note(EventKind.LOCKED, method=TOTP))
    return refuse(record, at, WrongCodeError(), notes, **changes)


# ---------------------------------------------------------------------------------- recovery codes


def recovery_context(record: Record, set_id: str, slot: int) -> tuple[str, ...]:
    """Return what the hash of one recovery code is bound to."""
    return "recovery", record.account_id, set_id, str(slot)


def _judge_recovery(
    record: Record, code: Secret | None, evidence: Evidence, at: Context
) -> Judgement:
    if error := check_allowed(record, Ability.USE_RECOVERY_CODE):
        return refuse(record, at, error)
    if _is_recovery_locked(record, at):
        return refuse(record, at, SecondFactorLockedError(), [_refused(RECOVERY, "locked")])
    if waiting := wait_refusal(record, at, RECOVERY):
        return waiting
    parsed = parse_recovery_code(code)
    if parsed is None or record.recovery is None:
        return refuse(record, at, WrongCodeError(), [_refused(RECOVERY, "malformed")])
    slot, secret = parsed
    question = _question(record, record.recovery, slot, secret, at)
    if question is None:  # no such slot, or used already: nothing to hash
        return _with_recovery_failure(record, at)
    verdict = evidence.get(question.key)
    if verdict is None:
        return question
    if not verdict:
        return _with_recovery_failure(record, at)
    return _accept_recovery(record, record.recovery, slot, at)


def _question(
    record: Record, codes: RecoverySet, slot: int, secret: Secret, at: Context
) -> CheckHash | None:
    sealed = codes.sealed_hashes[slot] if slot < len(codes.sealed_hashes) else None
    if sealed is None:
        return None
    context = recovery_context(record, codes.id, slot)
    stored = at.vault.open_value(sealed, salt=record.salt, context=context)
    return CheckHash(
        account_id=record.account_id,
        item_id=f"{codes.id}/{slot}",
        stored=stored.reveal().decode(),
        secret=secret,
    )


def _accept_recovery(record: Record, codes: RecoverySet, slot: int, at: Context) -> Accepted:
    hashes = tuple(
        [None if place == slot else one for place, one in enumerate(codes.sealed_hashes)]
    )
    spent = replace(codes, sealed_hashes=hashes)
    notes = [note(EventKind.RECOVERY_CODE_USED, method=RECOVERY, count=spent.left)]
    if spent.left <= at.policy.recovery_codes_low:
        notes.append(note(EventKind.RECOVERY_CODES_LOW, count=spent.left))
    return Accepted(
        method=RECOVERY,
        earned_by=codes.id,
        notes=tuple(notes),
        changes={
            "recovery": spent,
            "recovery_throttle": cleared(record.recovery_throttle),
            "devices": (),  # whoever recovers may have lost the trusted device too
        },
    )


def _with_recovery_failure(record: Record, at: Context) -> Decision[Any]:
    throttle = with_failure(record.recovery_throttle, at.now)
    notes = [note(EventKind.CODE_REFUSED, method=RECOVERY, count=throttle.failures)]
    changes = {"recovery_throttle": throttle, "failed_since_last": record.failed_since_last + 1}
    return refuse(record, at, WrongCodeError(), notes, **changes)


def _is_recovery_locked(record: Record, at: Context) -> bool:
    most = at.policy.recovery_failures_max
    return is_exhausted(record.recovery_throttle, in_a_row=most, in_30_days=None, now=at.now)


# -------------------------------------------------------------------------------------------- both


def wait_refusal(record: Record, at: Context, method: str) -> Decision[Any] | None:
    """Return the refusal of a code that came too soon: not evaluated, not counted."""
    throttle = record.code_throttle if method == TOTP else record.recovery_throttle
    until = retry_at(throttle, at.policy, at.now)
    if until is None:
        return None
    error = ThrottledError(until, until - at.now)
    return refuse(record, at, error, [note(EventKind.CODE_THROTTLED, method=method)])


def _refused(method: str, reason: str) -> Note:
    return note(EventKind.CODE_REFUSED, method=method, reason=reason)
