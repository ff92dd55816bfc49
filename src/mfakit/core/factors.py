"""Judging one code of a person who has the password: an authenticator's, or a recovery code.

The caller names the method; it is never guessed. Every path is: may this be tried, must it wait, is
it well formed, is it right. A malformed code costs nothing and sounds like a wrong one; a replay
counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import Case, CheckHash, Decision, Note, note
from mfakit.core.encoding import generate_id, parse_digits
from mfakit.core.lifecycle import Ability, Event
from mfakit.core.record import Authenticator, Record, Throttle
from mfakit.core.recovery import parse_recovery_code, question_of, without_slot
from mfakit.core.sealing import NONCE_BYTES, SEAL_TAG_BYTES
from mfakit.core.secret import Secret, Value
from mfakit.core.throttle import cleared, is_exhausted, retry_at, with_failure
from mfakit.core.totp import match_time_steps, time_step
from mfakit.events import EventKind
from mfakit.policy import Policy
from mfakit.provisioning import WEAK_SECRET_BYTES_LEAST, ImportedSecret

TOTP, RECOVERY = "totp", "recovery"
SESSION_FAILURES_MAX = 5
# Where the failures of a method are counted, and what the state must allow.
_THROTTLES = {TOTP: "code_throttle", RECOVERY: "recovery_throttle"}
_ABILITIES = {TOTP: Ability.USE_CODE, RECOVERY: Ability.USE_RECOVERY_CODE}


class Accepted(Value, frozen=True, kw_only=True):
    """A right code: what it changes, and the id of what earned it."""

    earned_by: str
    changes: dict[str, Any]
    notes: tuple[Note, ...] = ()


Judgement = Accepted | CheckHash | Decision[Any]


def judge(case: Case, method: str, code: Secret | None, *, in_session: bool = False) -> Judgement:
    """Judge a code by the method that the caller names.

    Args:
        case: The account at this moment.
        method: "totp" or "recovery".
        code: What was typed, None if it is no text.
        in_session: No password came first: a session is signed in already.

    Returns:
        `Accepted`, a question for the hash, or the refusal as a decision.
    """
    if method not in (TOTP, RECOVERY):
        return case.refuse(errors.InvalidInputError("method"))
    if case.record.is_off:
        return case.refuse(errors.NotEnrolledError())
    if not _is_open(case, method):
        return case.refuse(errors.SecondFactorLockedError())
    if method == TOTP and (waiting := wait_refusal(case)):
        return waiting
    judge_one = {TOTP: _judge_totp, RECOVERY: _judge_recovery}[method]
    return judge_one(case, code, in_session=in_session)


def usable_methods(case: Case) -> tuple[str, ...]:
    """Return the methods that could still succeed, waits aside."""
    held = {TOTP: True, RECOVERY: case.record.recovery_codes_left > 0}
    return tuple([method for method in held if held[method] and _is_open(case, method)])


def _is_open(case: Case, method: str) -> bool:
    """Say whether state and caps let a method be tried. The cap on codes is in the state."""
    is_capped = method == RECOVERY and _is_at_cap(case, method, _throttle(case, method))
    return case.allows(_ABILITIES[method]) and not is_capped


def _is_at_cap(case: Case, method: str, throttle: Throttle) -> bool:
    policy = case.policy
    in_a_row = {TOTP: policy.code_failures_max, RECOVERY: policy.recovery_failures_max}[method]
    in_30_days = policy.code_failures_in_30_days_max if method == TOTP else None
    return is_exhausted(throttle, in_a_row=in_a_row, in_30_days=in_30_days, now=case.now)


def _throttle(case: Case, method: str) -> Throttle:
    return {TOTP: case.record.code_throttle, RECOVERY: case.record.recovery_throttle}[method]


def wait_refusal(case: Case) -> Decision[Any] | None:
    """Return the refusal of an authenticator's code that came too soon: not evaluated, not counted.

    SECURITY: recovery codes have no waits: somebody with the password could keep the owner out, and
    75 bits need none.
    """
    until = retry_at(case.record.code_throttle, case.policy, case.now)
    if until is None:
        return None
    error = errors.ThrottledError(until, until - case.now)
    return case.refuse(error, note(EventKind.CODE_THROTTLED, method=TOTP))


def _refuse_malformed(case: Case, method: str) -> Decision[Any]:
    malformed = note(EventKind.CODE_REFUSED, method=method, reason="malformed")
    return case.refuse(errors.WrongCodeError(), malformed)


def count_wrong_code(
    case: Case, method: str, kind: EventKind = EventKind.CODE_REFUSED, *, in_session: bool = False
) -> Decision[Any]:
    """Return the refusal of an evaluated code, counted, with the lock at the cap.

    Reference: SP 800-63B-4 §3.2.2. Failures after a password make it suspect at the cap.
    """
    throttle = with_failure(_throttle(case, method), case.now, in_session=in_session)
    changes: dict[str, Any] = {_THROTTLES[method]: throttle}
    changes["failed_since_last"] = case.record.failed_since_last + 1
    notes = [note(kind, method=method, count=throttle.failures)]
    if method == TOTP and _is_at_cap(case, method, throttle):
        changes |= case.move(Event.EXHAUSTED)
        if throttle.failures > throttle.failures_in_session:
            changes["password_suspect"] = True
        notes.append(note(EventKind.LOCKED, method=TOTP))
    if in_session:
        return _count_in_session(case, notes, changes)
    return case.refuse(errors.WrongCodeError(), *notes, **changes)


def _count_in_session(case: Case, notes: list[Note], changes: dict[str, Any]) -> Decision[Any]:
    """Count a wrong code of a session as well: a stolen session ends before it reaches the cap."""
    in_a_row = case.record.session_failures + 1
    if in_a_row < SESSION_FAILURES_MAX:
        changes["session_failures"] = in_a_row
        return case.refuse(errors.WrongCodeError(), *notes, **changes)
    ended = note(EventKind.SESSIONS_ENDED, reason="wrong_codes", count=in_a_row)
    changes |= case.of(replace(case.record, **changes)).move(Event.SESSIONS_ENDED)
    return case.refuse(errors.SessionEndedError(), *notes, ended, **changes)


# ------------------------------------------------------------------------------ authenticator codes


def new_authenticator(
    case: Case, label: str, secret: Secret, parameters: Policy | ImportedSecret
) -> Authenticator:
    """Return an authenticator with its secret sealed to account, id and parameters."""
    bare = Authenticator(
        id=generate_id(case.vault.random),
        label=label,
        sealed_secret="",
        created_at=case.now,
        algorithm=parameters.algorithm,
        digits=parameters.digits,
        period_seconds=parameters.period_seconds,
    )
    return replace(bare, sealed_secret=case.seal(secret, secret_context(case.record, bare)))


def secret_context(record: Record, one: Authenticator) -> tuple[str, ...]:
    """Return what an authenticator's secret is sealed to, its OTP parameters included."""
    parameters = one.algorithm, str(one.digits), str(one.period_seconds)
    return TOTP, record.account_id, one.id, *parameters


def check_strength(
    policy: Policy, one: Authenticator, *, allow_weak: bool = False
) -> errors.MFAKitError | None:
    """Return the error of an authenticator that is weaker than policy allows now.

    Reference: RFC 4226 §4 R6 (bits), ASVS 6.5.5 (period).
    """
    may_be_weak = allow_weak and policy.weak_imports
    bits_min = WEAK_SECRET_BYTES_LEAST * 8 if may_be_weak else policy.secret_bits_min
    is_weak = secret_bits(one) < bits_min or one.period_seconds > policy.period_seconds_max
    return errors.WeakAuthenticatorError() if is_weak else None


def secret_bits(one: Authenticator) -> int:
    """Return the length of a sealed secret: sealing hides the secret, not how long it is."""
    encoded = one.sealed_secret.partition(".")[2]
    return 8 * (3 * len(encoded) // 4 - NONCE_BYTES - SEAL_TAG_BYTES)


def open_secret(case: Case, one: Authenticator) -> Secret:
    """Open one authenticator's secret. Raises as `Vault.open_value` does."""
    return case.open(one.sealed_secret, secret_context(case.record, one))


def window_of(case: Case, one: Authenticator) -> range:
    """Return the candidate steps, around the authenticator's offset (RFC 6238 §5.2, §6)."""
    step = time_step(case.now, one.period_seconds) + one.offset_steps
    return range(step - case.policy.window_past_steps, step + case.policy.window_future_steps + 1)


def match_steps(case: Case, one: Authenticator, digits: Secret, steps: Iterable[int]) -> list[int]:
    """Return those of `steps` whose code on this authenticator is `digits`."""
    secret = open_secret(case, one).reveal()
    return match_time_steps(
        secret, digits.reveal(), steps, algorithm=one.algorithm, digits=one.digits
    )


def match_authenticators(case: Case, digits: Secret) -> dict[str, list[int]]:
    """Compare a code with every candidate of every authenticator; no early exit (CWE-208).

    Returns:
        Authenticator id -> steps that fit. Left out: apps with codes of another length, and where
        the clock is behind what was accepted already.

    Reference: RFC 6238 §5.2 (window, no second acceptance of a step).
    """
    fitting: dict[str, list[int]] = {}
    for one in case.record.authenticators:
        window = window_of(case, one)
        if one.last_step < window.stop and one.digits == len(digits.reveal()):
            fitting[one.id] = match_steps(case, one, digits, window)
    return fitting


def fresh_steps(case: Case, fitting: dict[str, list[int]]) -> dict[str, int]:
    """Return authenticator id -> its lowest fitting step that is not spent."""
    fresh: dict[str, int] = {}
    for one in case.record.authenticators:
        # SECURITY: only a step above the last accepted one; the lowest, so that none is skipped.
        above = [step for step in fitting.get(one.id, ()) if step > one.last_step]
        if above:
            fresh[one.id] = above[0]
    return fresh


def _judge_totp(case: Case, code: Secret | None, *, in_session: bool) -> Judgement:
    record = case.record
    digits = parse_digits(code, {one.digits for one in record.authenticators})
    if digits is None:
        return _refuse_malformed(case, TOTP)
    fitting = match_authenticators(case, digits)
    if not fitting:
        return case.refuse(errors.ClockError())
    fresh = fresh_steps(case, fitting)
    if not fresh:
        is_replay = any(fitting.values())
        kind = EventKind.CODE_REPLAYED if is_replay else EventKind.CODE_REFUSED
        return count_wrong_code(case, TOTP, kind, in_session=in_session)
    advanced = [
        replace(one, last_step=fresh[one.id], last_used_at=case.now) if one.id in fresh else one
        for one in record.authenticators
    ]
    changes = {"authenticators": tuple(advanced), "code_throttle": cleared(record.code_throttle)}
    return Accepted(earned_by=next(iter(fresh)), changes=changes)


# ------------------------------------------------------------------------------------ recovery codes


def _judge_recovery(case: Case, code: Secret | None, *, in_session: bool) -> Judgement:
    codes, parsed = case.record.recovery, parse_recovery_code(code)
    if parsed is None or codes is None:
        return _refuse_malformed(case, RECOVERY)
    slot, secret = parsed
    question = question_of(case, codes, slot, secret)
    verdict = False if question is None else case.evidence.get(question.key)
    if question is not None and verdict is None:
        return question
    if not verdict:
        return count_wrong_code(case, RECOVERY, in_session=in_session)
    spent = without_slot(codes, slot)
    notes = [note(EventKind.RECOVERY_CODE_USED, method=RECOVERY, count=spent.left)]
    if spent.left <= case.policy.recovery_codes_low:
        notes.append(note(EventKind.RECOVERY_CODES_LOW, count=spent.left))
    changes = {"recovery": spent, "recovery_throttle": cleared(case.record.recovery_throttle)}
    # Whoever recovers may have lost the trusted device too.
    return Accepted(earned_by=codes.id, notes=tuple(notes), changes=changes | {"devices": ()})
