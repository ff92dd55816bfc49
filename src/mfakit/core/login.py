"""Web sign-in: password first (the platform's), then a code, unless the device is trusted.

Step-up in a signed-in session and proofs live here too.
"""

from __future__ import annotations

from typing import Any

from mfakit import errors, results
from mfakit.arguments import GivenPassword, LoginRequest
from mfakit.core.decision import PASSWORD, Case, CheckHash, CheckPassword, Decision, note
from mfakit.core.devices import find_device, trust_device
from mfakit.core.encoding import generate_id
from mfakit.core.factors import TOTP, Accepted, judge, usable_methods
from mfakit.core.guards import is_required_now, is_unknown
from mfakit.core.lifecycle import Ability
from mfakit.core.password import ask_password
from mfakit.core.record import Record, with_item
from mfakit.core.sealing import Challenge, Proof
from mfakit.core.secret import Secret
from mfakit.events import EventKind, to_datetime

SPENT_CHALLENGES_MAX = 32
TRUSTED_DEVICE = "trusted_device"


def issue_proof(
    case: Case, record: Record, earned_by: str, bound_to: Secret | None
) -> results.ProofToken:
    """Return a proof for changes in the next minutes."""
    issued = case.of(record).issue(Proof, case.policy.proof_seconds, bound_to, earned_by=earned_by)
    return results.ProofToken(issued)


def sign_in_fields(case: Case, record: Record, method: str) -> dict[str, Any]:
    """Return what every sign-in says, of the record as it will be written."""
    return {
        "account_id": record.account_id,
        "amr": results.AMR[method],
        "method": method,
        "epoch": record.epoch,
        "authenticated_at": to_datetime(case.now),
        "recovery_codes_left": record.recovery_codes_left,
        "failed_since_last": case.record.failed_since_last,
    }


def signed_in_now(case: Case) -> dict[str, Any]:
    """Return what every sign-in changes, except by password alone."""
    return {"last_login_at": case.now, "failed_since_last": 0}


def decide_password_proof(
    case: Case, password: GivenPassword, bound_to: Secret | None
) -> Decision[results.ProofToken] | CheckPassword:
    """Give a proof for a right password."""
    if against := _check_password(case, password):
        return against
    if case.record.is_off and case.record.password_suspect:
        return case.refuse(errors.PasswordChangeRequiredError())
    return case.answer_from_record(lambda own: issue_proof(case, own, PASSWORD, bound_to))


# --------------------------------------------------------------------------------------- begin_login


def _check_password(case: Case, given: GivenPassword) -> CheckPassword | Decision[Any] | None:
    """Return what speaks against the first step, None if nothing does.

    SECURITY: that an account is unknown is said only after a right password.
    """
    if not given.is_vouched:
        refused = case.refuse(errors.PasswordRefusedError(), note(EventKind.PASSWORD_REFUSED))
        if against := ask_password(case, given.text, refused):
            return against
    is_lost = is_unknown(case.record, case.policy)
    return case.refuse(errors.UnknownAccountError()) if is_lost else None


def decide_begin_login(
    case: Case, password: GivenPassword, request: LoginRequest
) -> Decision[Any] | CheckPassword:
    """Decide what follows a right password: a sign-in, a question for a code, or set-up first."""
    if against := _check_password(case, password):
        return against
    if case.record.is_off:
        return _begin_without_factor(case, request)
    device = find_device(case, request.device_token, request.device_id)
    if device is not None:
        return _sign_in_by_device(case, device.id)
    methods = usable_methods(case)
    if not methods:
        return case.refuse(errors.SecondFactorLockedError())
    lifetime, challenge_id = case.policy.challenge_seconds, generate_id(case.vault.random)
    token = case.issue(Challenge, lifetime, request.bound_to, id=challenge_id)
    required = results.CodeRequired(
        challenge=results.ChallengeToken(token),
        methods=methods,
        expires_at=to_datetime(case.now + lifetime),
    )
    return case.answer(required, note(EventKind.CODE_REQUIRED))


def _begin_without_factor(case: Case, request: LoginRequest) -> Decision[Any]:
    record, policy = case.record, case.policy
    if record.password_suspect:
        return case.refuse(errors.PasswordChangeRequiredError())
    if is_required_now(case):

        def answer(own: Record) -> results.EnrollmentRequired:
            proof = issue_proof(case, own, PASSWORD, request.bound_to)
            return results.EnrollmentRequired(proof=proof, deadline=policy.required_from)

        return case.answer_from_record(answer, note(EventKind.ENROLLMENT_REQUIRED))
    enroll_by = policy.required_from if policy.required else None
    result = results.SignedIn(**sign_in_fields(case, record, PASSWORD), enroll_by=enroll_by)
    return case.answer(result, note(EventKind.SIGNED_IN, method=PASSWORD))


def _sign_in_by_device(case: Case, device_id: str) -> Decision[results.SignedIn]:
    signed_in = note(EventKind.SIGNED_IN, method=TRUSTED_DEVICE, item_id=device_id)
    return case.write(
        lambda new: results.SignedIn(**sign_in_fields(case, new, TRUSTED_DEVICE)),
        signed_in,
        devices=with_item(case.record.devices, device_id, last_used_at=case.now),
        **signed_in_now(case),
    )


# ------------------------------------------------------------------------------------ complete_login


def decide_complete_login(
    case: Case, challenge: Challenge, method: str, code: Secret | None, request: LoginRequest
) -> Decision[results.SignedIn] | CheckHash:
    """Judge the code of a sign-in.

    Order: the challenge (so that a double click costs nothing), then all that `judge` does.
    """
    if not _is_open(case, challenge):
        return case.refuse(errors.ChallengeError())
    judged = judge(case, method, code)
    if not isinstance(judged, Accepted):
        return judged
    notes = [*judged.notes, note(EventKind.SIGNED_IN, method=method, item_id=judged.earned_by)]
    changes = judged.changes | _spend(case, challenge) | signed_in_now(case)
    cookie: results.DeviceToken | None = None
    may_trust = case.policy.trusted_devices and case.allows(Ability.TRUST_DEVICE)
    # SECURITY: a recovery sign-in trusts nothing: the one who recovers may not be the owner.
    if request.trust_label is not None and method == TOTP and may_trust:
        token, device, devices = trust_device(case, request.trust_label, request.device_id)
        cookie, changes["devices"] = results.DeviceToken(token.reveal().decode()), devices
        notes.append(note(EventKind.DEVICE_TRUSTED, device))

    def answer(new: Record) -> results.SignedIn:
        proof = issue_proof(case, new, judged.earned_by, request.bound_to)
        fields = sign_in_fields(case, new, method)
        return results.SignedIn(**fields, proof=proof, trusted_device=cookie)

    return case.write(answer, *notes, **changes)


def _is_open(case: Case, challenge: Challenge) -> bool:
    record = case.record
    return (
        case.is_current(challenge, case.policy.challenge_seconds)
        and challenge.expires_at > record.challenge_floor
        and all(spent != challenge.id for spent, _ in record.spent_challenges)
    )


def _spend(case: Case, challenge: Challenge) -> dict[str, Any]:
    """Remember a challenge until it expires; whatever is forgotten raises the floor."""
    record = case.record
    spent = [*record.spent_challenges, (challenge.id, challenge.expires_at)]
    spent.sort(key=lambda one: one[1])
    kept = [one for one in spent if one[1] > case.now][-SPENT_CHALLENGES_MAX:]
    forgotten = spent[: len(spent) - len(kept)]
    floor = max([record.challenge_floor, *[expiry for _, expiry in forgotten]])
    return {"spent_challenges": tuple(kept), "challenge_floor": floor}


# --------------------------------------------------------------------------------------- verify_code


def decide_verify_code(
    case: Case, method: str, code: Secret | None, bound_to: Secret | None
) -> Decision[results.ProofToken] | CheckHash:
    """Judge a code in a session that is signed in already; earns a proof."""
    judged = judge(case, method, code, in_session=True)
    if not isinstance(judged, Accepted):
        return judged
    accepted = note(EventKind.CODE_ACCEPTED, method=method, item_id=judged.earned_by)

    def answer(new: Record) -> results.ProofToken:
        return issue_proof(case, new, judged.earned_by, bound_to)

    return case.write(answer, *judged.notes, accepted, session_failures=0, **judged.changes)
