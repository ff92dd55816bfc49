"""Web sign-in: password first (the platform's), then a code, unless the device is trusted.

Step-up in a signed-in session and the question whether a session still holds live here too.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from mfakit.core.decision import (
    PASSWORD,
    CheckHash,
    Context,
    Decision,
    Evidence,
    check_allowed,
    conclude,
    is_current_epoch,
    is_required_now,
    note,
    refuse,
    unchanged,
)
from mfakit.core.devices import NewDevice, find_device, touch_device, trust_device
from mfakit.core.encoding import generate_id, to_datetime
from mfakit.core.events import EventKind
from mfakit.core.factors import Accepted, judge, usable_methods
from mfakit.core.lifecycle import Ability
from mfakit.core.record import Record
from mfakit.core.results import CodeRequired, EnrollmentRequired, SignedIn
from mfakit.core.secret import Secret
from mfakit.core.tokens import Challenge, ChallengeToken, Proof, ProofToken, is_alive, seal_token
from mfakit.errors import (
    ChallengeError,
    MFAKitError,
    PasswordChangeRequiredError,
    SecondFactorLockedError,
)

SPENT_CHALLENGES_MAX = 32

# RFC 8176. A trusted device is no factor of its own; a recovery code is no "otp".
_AMR = {
    "password": ("pwd",),
    "trusted_device": ("pwd",),
    "totp": ("pwd", "otp", "mfa"),
    "recovery": ("pwd", "mfa"),
}


@frozen(kw_only=True)
class LoginRequest:
    """What a sign-in brings beside the code.

    Args:
        bound_to: Session value that tokens are bound to, or None.
        device_token: Cookie of a trusted device, or None.
        device_id: Id that the platform keeps for the device, or None.
        trust_label: Name under which the device becomes trusted, or None.
    """

    bound_to: Secret | None = None
    device_token: Secret | None = None
    device_id: Secret | None = None
    trust_label: str | None = None


def issue_proof(record: Record, earned_by: str, at: Context, bound_to: Secret | None) -> ProofToken:
    """Return a proof for changes in the next minutes."""
    proof = Proof(
        account_id=record.account_id,
        epoch=record.epoch,
        issued_at=at.now,
        lifetime_seconds=at.policy.proof_seconds,
        earned_by=earned_by,
    )
    return ProofToken(seal_token(proof, at.vault, bound_to))


def signed_in(record: Record, method: str, at: Context, **details: Any) -> SignedIn:
    """Return the sign-in of a record as it will be written."""
    return SignedIn(
        account_id=record.account_id,
        amr=_AMR[method],
        method=method,
        epoch=record.epoch,
        authenticated_at=to_datetime(at.now),
        recovery_codes_left=record.recovery_codes_left,
        **details,
    )


def decide_session(record: Record, epoch: str) -> bool:
    """Say whether a session of this epoch still holds."""
    return is_current_epoch(record, epoch)


def decide_password_proof(
    record: Record, at: Context, bound_to: Secret | None
) -> Decision[ProofToken]:
    """Give a proof for a password that the platform has just checked."""
    if record.is_off and record.password_suspect:
        return refuse(record, at, PasswordChangeRequiredError())
    if record.revision > 0:
        return unchanged(record, at, issue_proof(record, PASSWORD, at, bound_to))
    # The proof needs an epoch of this account's own, or it could outlive a `forget`.
    return conclude(record, at, lambda new: issue_proof(new, PASSWORD, at, bound_to))


# ------------------------------------------------------------------------------------- begin_login


def decide_begin_login(record: Record, request: LoginRequest, at: Context) -> Decision[Any]:
    """Decide what a right password is worth: a sign-in, a question for a code, or set-up first."""
    if record.is_off:
        return _begin_without_factor(record, request, at)
    device = find_device(record, request.device_token, request.device_id, at)
    if device is not None:
        return _sign_in_by_device(record, device.id, at)
    methods = usable_methods(record, at)
    if not methods:
        return refuse(record, at, SecondFactorLockedError())
    challenge = Challenge(
        account_id=record.account_id,
        epoch=record.epoch,
        issued_at=at.now,
        lifetime_seconds=at.policy.challenge_seconds,
        id=generate_id(at.vault.random),
    )
    required = CodeRequired(
        challenge=ChallengeToken(seal_token(challenge, at.vault, request.bound_to)),
        methods=methods,
        expires_at=to_datetime(at.now + at.policy.challenge_seconds),
    )
    return unchanged(record, at, required, [note(EventKind.CODE_REQUIRED)])


def _begin_without_factor(record: Record, request: LoginRequest, at: Context) -> Decision[Any]:
    if record.password_suspect:
        return refuse(record, at, PasswordChangeRequiredError())
    required_from = at.policy.required_from
    if not is_required_now(record, at):
        enroll_by = required_from if at.policy.required else None
        result = signed_in(record, PASSWORD, at, enroll_by=enroll_by)
        return unchanged(record, at, result, [note(EventKind.SIGNED_IN, method=PASSWORD)])

    def require(owner: Record) -> EnrollmentRequired:
        proof = issue_proof(owner, PASSWORD, at, request.bound_to)
        return EnrollmentRequired(proof=proof, deadline=required_from)

    notes = [note(EventKind.ENROLLMENT_REQUIRED)]
    if record.revision > 0:
        return unchanged(record, at, require(record), notes)
    return conclude(record, at, require, notes)


def _sign_in_by_device(record: Record, device_id: str, at: Context) -> Decision[SignedIn]:
    details = {"failed_since_last": record.failed_since_last}
    notes = [note(EventKind.SIGNED_IN, method="trusted_device", item_id=device_id)]
    return conclude(
        record,
        at,
        lambda new: signed_in(new, "trusted_device", at, **details),
        notes,
        devices=touch_device(record, device_id, at),
        last_login_at=at.now,
        failed_since_last=0,
    )


# ---------------------------------------------------------------------------------- complete_login


def decide_complete_login(
    record: Record,
    challenge: Challenge,
    method: str,
    code: Secret | None,
    request: LoginRequest,
    evidence: Evidence,
    at: Context,
) -> Decision[SignedIn] | CheckHash:
    """Judge the code of a sign-in.

    Order: the challenge (so that a double click costs nothing), then all that `judge` does.
    """
    if error := _check_challenge(record, challenge, at):
        return refuse(record, at, error)
    judged = judge(method, record, code, evidence, at)
    if not isinstance(judged, Accepted):
        return judged
    device = _newly_trusted(record, judged, request, at)
    notes = [*judged.notes, note(EventKind.SIGNED_IN, method=method, item_id=judged.earned_by)]
    changes = judged.changes | _spend(record, challenge, at)
    if device:
        notes.append(
            note(EventKind.DEVICE_TRUSTED, item_id=device.device.id, label=device.device.label)
        )
        changes["devices"] = device.devices
    details = {
        "failed_since_last": record.failed_since_last,
        "trusted_device": device.token if device else None,
    }
    return conclude(
        record,
        at,
        lambda new: signed_in(
            new,
            method,
            at,
            proof=issue_proof(new, judged.earned_by, at, request.bound_to),
            **details,
        ),
        notes,
        **changes,
        last_login_at=at.now,
        failed_since_last=0,
    )


def _newly_trusted(
    record: Record, judged: Accepted, request: LoginRequest, at: Context
) -> NewDevice | None:
    is_open = at.policy.trusted_devices and check_allowed(record, Ability.TRUST_DEVICE) is None
    # SECURITY: a recovery sign-in trusts nothing: the one who recovers may not be the owner.
    if request.trust_label is None or judged.method != "totp" or not is_open:
        return None
    return trust_device(record, request.trust_label, request.device_id, at)


def _check_challenge(record: Record, challenge: Challenge, at: Context) -> MFAKitError | None:
    expires_at = challenge.issued_at + challenge.lifetime_seconds
    is_good = (
        challenge.epoch == record.epoch
        and is_alive(challenge, lifetime_seconds=at.policy.challenge_seconds, now=at.now)
        and expires_at > record.challenge_floor
        and all(spent != challenge.id for spent, _ in record.spent_challenges)
    )
    return None if is_good else ChallengeError()


def _spend(record: Record, challenge: Challenge, at: Context) -> dict[str, Any]:
    """Remember a challenge until it expires; whatever is forgotten raises the floor."""
    expires_at = challenge.issued_at + challenge.lifetime_seconds
    spent = sorted([*record.spent_challenges, (challenge.id, expires_at)], key=lambda one: one[1])
    kept = [one for one in spent if one[1] > at.now][-SPENT_CHALLENGES_MAX:]
    forgotten = spent[: len(spent) - len(kept)]
    floor = max([record.challenge_floor, *[expiry for _, expiry in forgotten]])
    return {"spent_challenges": tuple(kept), "challenge_floor": floor}


# ------------------------------------------------------------------------------------- verify_code


def decide_verify_code(
    record: Record,
    method: str,
    code: Secret | None,
    evidence: Evidence,
    at: Context,
    bound_to: Secret | None,
) -> Decision[ProofToken] | CheckHash:
    """Judge a code in a session that is signed in already; earns a proof."""
    judged = judge(method, record, code, evidence, at)
    if not isinstance(judged, Accepted):
        return judged
    notes = [*judged.notes, note(EventKind.CODE_ACCEPTED, method=method, item_id=judged.earned_by)]
    return conclude(
        record,
        at,
        lambda new: issue_proof(new, judged.earned_by, at, bound_to),
        notes,
        **judged.changes,
    )
