"""What comes before a decision: what must be written first, what is required, what is proven."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import NO_FAILURES, PASSWORD, Case, Decision, T, note
from mfakit.core.lifecycle import Ability, Event
from mfakit.core.record import NO_EPOCH, Offer, Record
from mfakit.core.sealing import CLOCK_SKEW_SECONDS, Proof
from mfakit.events import EventKind
from mfakit.policy import LIMITS


def settle(case: Case) -> Decision[None] | None:
    """Return what must be written before anything else is decided, None if nothing.

    A clock that went back, a group reset by policy, an offer that ran out: one at a time.
    """
    record, now = case.record, case.now
    if record.updated_at > now + CLOCK_SKEW_SECONDS:
        return case.write(lambda _: None, **_rewound(case), updated_at=now)
    if _is_due_for_reset(case):
        reset = note(EventKind.RESET, actor="policy", reason="reset_enrolled_before")
        return case.write(lambda _: None, reset, **case.move(Event.RESET), **NO_FAILURES)
    if record.offer and now >= offer_expires_at(case, record.offer):
        return drop_offer(case, record.offer, "expired", None)
    return None


def drop_offer(case: Case, offer: Offer, reason: str, outcome: T) -> Decision[T]:
    """Drop an offer, saying why to the log."""
    dropped = note(EventKind.OFFER_DROPPED, item_id=offer.authenticator.id, reason=reason)
    return case.write(lambda _: outcome, dropped, **case.move(Event.OFFER_DROPPED))


def offer_expires_at(case: Case, offer: Offer) -> int:
    """Return the Unix second at which an offer ends: of its own life and the policy's, the less."""
    lifetime = min(offer.lifetime_seconds, case.policy.offer_seconds)
    return min(offer.offered_at, case.now) + lifetime


def _is_due_for_reset(case: Case) -> bool:
    at, before = case.record.enrolled_at, case.policy.reset_before_seconds
    # A watermark in the future is not reached yet: enrolling until then would be reset for ever.
    return at is not None and at < before <= case.now


def _rewound(case: Case) -> dict[str, Any]:
    """Return the record's times, none later than now: a stored future time counts as now."""
    record, now, policy = case.record, case.now, case.policy
    latest_spent = now + LIMITS["challenge_seconds"][1]
    spent = [(one, min(expiry, latest_spent)) for one, expiry in record.spent_challenges]
    return {
        "offer": record.offer and _not_after(record.offer, "offered_at", now),
        "devices": tuple([_not_after(one, "created_at", now) for one in record.devices]),
        "passcodes": tuple([_not_after(one, "last_used_at", now) for one in record.passcodes]),
        "code_throttle": _not_after(record.code_throttle, "last_failure_at", now),
        "recovery_throttle": _not_after(record.recovery_throttle, "last_failure_at", now),
        # SECURITY: a group reset that spared an account must not take it when the clock is right again.
        "enrolled_at": record.enrolled_at
        and min(record.enrolled_at, max(now, policy.reset_before_seconds)),
        "last_login_at": record.last_login_at and min(record.last_login_at, now),
        "spent_challenges": tuple(spent),
        # SECURITY: a challenge that was spent, and forgotten when the clock was ahead, stays spent.
        "challenge_floor": min(record.challenge_floor, now + policy.challenge_seconds - 1),
    }


def _not_after(part: Any, name: str, now: int) -> Any:
    at = getattr(part, name)
    return part if at is None or at <= now else replace(part, **{name: now})


# ---------------------------------------------------------------------------------- guards


def check_known(case: Case) -> errors.MFAKitError | None:
    """Return the error of an account without a record, where every account has been opened."""
    is_missing = case.record.revision == 0 or case.record.forgotten
    # SECURITY: a lost row must not mean "two-step is off".
    is_refused = is_missing and case.policy.unknown_account == "refuse"
    return errors.UnknownAccountError() if is_refused else None


def is_required_now(case: Case) -> bool:
    """Say whether sign-in without a second factor is over."""
    deadline = case.policy.required_from_seconds
    return case.record.reenroll or (deadline is not None and case.now >= deadline)


def is_current_epoch(record: Record, epoch: str) -> bool:
    """Say whether a session or verdict of an epoch still holds."""
    return epoch == record.epoch or (epoch == NO_EPOCH and record.epoch_is_first)


def check_proof(case: Case, proof: Proof | None) -> errors.MFAKitError | None:
    """Return the error of a proof that is not of the highest level the account can give.

    Reference: SP 800-63B-4 §4.1.2.1, ASVS 7.5.1.
    """
    record = case.record
    if record.is_off and record.password_suspect:
        return errors.PasswordChangeRequiredError()
    is_good = (
        proof is not None
        and case.is_current(proof, case.policy.proof_seconds)
        # SECURITY: a proof dies with what earned it: a removed or locked authenticator, an old set.
        and proof.earned_by in _live_factors(case)
    )
    return None if is_good else errors.ProofError()


def check_change(
    case: Case, proof: Proof | None, ability: Ability | None = None
) -> errors.MFAKitError | None:
    """Return the error of changing live factors: two-step must be on, the proof good, it allowed."""
    if case.record.is_off:
        return errors.NotEnrolledError()
    is_allowed = ability is None or case.allows(ability)
    return check_proof(case, proof) or (None if is_allowed else errors.NotAllowedNowError())


def _live_factors(case: Case) -> set[str]:
    record = case.record
    if record.is_off:
        return {PASSWORD}
    factors = {record.recovery.id} if record.recovery else set()
    if case.allows(Ability.USE_CODE):
        factors |= {one.id for one in record.authenticators}
    return factors
