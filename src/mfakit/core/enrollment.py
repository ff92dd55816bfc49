"""Setting two-step up, and everything that changes an account's authenticators and recovery codes.

An offer lives apart from the live authenticators and changes nothing about sign-in. Factors change
only on a proof of the highest level that the account can give (SP 800-63B-4 §4.1.2.1, ASVS 7.5.1).
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from msgspec.structs import replace

from mfakit.core.decision import (
    NEW,
    NO_FAILURES,
    Context,
    Decision,
    Evidence,
    NewHashes,
    check_allowed,
    check_proof,
    conclude,
    move,
    note,
    offer_expires_at,
    refuse,
    unchanged,
)
from mfakit.core.encoding import encode_base32, generate_id, parse_digits, to_datetime
from mfakit.core.events import EventKind
from mfakit.core.factors import (
    TOTP,
    match_steps,
    open_secret,
    recovery_context,
    secret_context,
    wait_refusal,
    window_of,
    with_code_failure,
)
from mfakit.core.lifecycle import ALLOWED, Ability, Event, State
from mfakit.core.login import issue_proof, signed_in
from mfakit.core.provisioning import build_uri
from mfakit.core.record import Authenticator, Offer, Record, RecoverySet, Throttle
from mfakit.core.recovery import format_recovery_code, generate_recovery_codes
from mfakit.core.results import AuthenticatorAdded, AuthenticatorOffer, Enrolled
from mfakit.core.secret import Secret
from mfakit.core.throttle import cleared
from mfakit.core.tokens import OfferPayload, OfferToken, Proof, seal_token
from mfakit.errors import (
    AvailabilityError,
    LastAuthenticatorError,
    LimitReachedError,
    MFAKitError,
    NotAllowedNowError,
    NotEnrolledError,
    NotFoundError,
    OfferError,
    PasswordChangeRequiredError,
    TwoStepRequiredError,
    WrongCodeError,
)
from mfakit.policy import SECRET_BYTES

RESYNC_STEPS = 20
RECOVERY = "recovery"


@frozen(kw_only=True)
class EnrollmentRequest:
    """What an enrolment brings: names for the app and the lists, and the authenticator it replaces."""

    account_name: str
    label: str
    replaces: str | None = None
    bound_to: Secret | None = None


# ---------------------------------------------------------------------------------------- the offer


def decide_begin_enrollment(
    record: Record, request: EnrollmentRequest, proof: Proof | None, at: Context
) -> Decision[AuthenticatorOffer]:
    """Offer a new authenticator; a newer offer replaces an older one."""
    error = check_proof(record, proof, at) or check_new_authenticator(record, request.replaces, at)
    changes = move(record, Event.OFFERED, at)
    if error or changes is None:
        return refuse(record, at, error or NotAllowedNowError())
    policy = at.policy
    secret = Secret(at.vault.random(SECRET_BYTES[policy.algorithm]))
    bare = Authenticator(
        id=generate_id(at.vault.random),
        label=request.label,
        sealed_secret="",
        created_at=at.now,
        algorithm=policy.algorithm,
        digits=policy.digits,
        period_seconds=policy.period_seconds,
    )
    offer = Offer(
        authenticator=seal_authenticator(record, bare, secret, at),
        account_name=request.account_name,
        offered_at=at.now,
        lifetime_seconds=policy.offer_seconds,
        replaces=request.replaces if record.state in ALLOWED[Ability.USE_CODE] else None,
    )
    notes = [note(EventKind.OFFERED, item_id=bare.id, label=bare.label)]
    token = _seal_offer(record, offer, at, request.bound_to)
    return conclude(
        record, at, lambda new: _show(new, offer, token, at), notes, **changes | {"offer": offer}
    )


def check_new_authenticator(
    record: Record, replaces: str | None, at: Context
) -> MFAKitError | None:
    """Return the error of one more authenticator, as policy and number stand now."""
    if record.is_off:
        return None if at.policy.available else AvailabilityError()
    if record.state not in ALLOWED[Ability.USE_CODE]:
        return None  # locked: the new one replaces every older one
    ids = [authenticator.id for authenticator in record.authenticators]
    if replaces is not None:
        return None if replaces in ids else NotFoundError()
    return LimitReachedError() if len(ids) >= at.policy.authenticators_max else None


def seal_authenticator(
    record: Record, bare: Authenticator, secret: Secret, at: Context
) -> Authenticator:
    """Return an authenticator with its secret sealed to account, id and parameters."""
    context = secret_context(record, bare)
    return replace(
        bare, sealed_secret=at.vault.seal_value(secret, salt=record.salt, context=context)
    )


def decide_show_offer(
    record: Record, payload: OfferPayload, token: Secret, at: Context
) -> Decision[AuthenticatorOffer]:
    """Show an offer again: the same secret, while it is open."""
    offer = _find_offer(record, payload)
    if offer is None:
        return refuse(record, at, OfferError())
    return unchanged(record, at, _show(record, offer, OfferToken(token.reveal().decode()), at))


def decide_cancel_enrollment(record: Record, payload: OfferPayload, at: Context) -> Decision[None]:
    """Drop an offer."""
    changes = move(record, Event.OFFER_DROPPED, at)
    offer = _find_offer(record, payload)
    if offer is None or changes is None:
        return refuse(record, at, OfferError())
    dropped = note(EventKind.OFFER_DROPPED, item_id=offer.authenticator.id, reason="cancelled")
    return conclude(record, at, lambda _: None, [dropped], **changes)


def _find_offer(record: Record, payload: OfferPayload) -> Offer | None:
    offer = record.offer
    is_this = offer is not None and offer.authenticator.id == payload.offer_id
    return offer if is_this and payload.epoch == record.epoch else None


def _seal_offer(record: Record, offer: Offer, at: Context, bound_to: Secret | None) -> OfferToken:
    payload = OfferPayload(
        account_id=record.account_id,
        epoch=record.epoch,
        issued_at=at.now,
        lifetime_seconds=offer.lifetime_seconds,
        offer_id=offer.authenticator.id,
    )
    return OfferToken(seal_token(payload, at.vault, bound_to))


def _show(record: Record, offer: Offer, token: OfferToken, at: Context) -> AuthenticatorOffer:
    authenticator = offer.authenticator
    secret = open_secret(record, authenticator, at)
    return AuthenticatorOffer(
        token=token,
        secret_text=encode_base32(secret),
        uri=build_uri(
            secret,
            account_name=offer.account_name,
            issuer=at.policy.issuer,
            algorithm=authenticator.algorithm,
            digits=authenticator.digits,
            period_seconds=authenticator.period_seconds,
        ),
        account_name=offer.account_name,
        expires_at=to_datetime(offer_expires_at(replace(record, offer=offer), at)),
    )


# ---------------------------------------------------------------------------------------- confirming


def decide_confirm_enrollment(
    record: Record,
    payload: OfferPayload,
    code: Secret | None,
    evidence: Evidence,
    at: Context,
    bound_to: Secret | None,
) -> Decision[Any] | NewHashes:
    """Make the offered authenticator live by a code of it; the code's step is spent."""
    offer = _find_offer(record, payload)
    if offer is None:
        return refuse(record, at, OfferError())
    if record.is_off and record.password_suspect:
        return refuse(record, at, PasswordChangeRequiredError())
    if error := check_new_authenticator(record, offer.replaces, at):
        return refuse(record, at, error)
    digits = parse_digits(code, {offer.authenticator.digits})
    if digits is None:
        return refuse(record, at, WrongCodeError())
    steps = match_steps(record, offer.authenticator, digits, window_of(offer.authenticator, at), at)
    if not steps:
        return _refuse_confirmation(record, offer, at)
    live = replace(offer.authenticator, last_step=steps[0], last_used_at=at.now)
    if record.state is State.ENROLLED_OFFER:
        return _add_authenticator(record, offer, live, at)
    hashed = evidence.get((NEW, RECOVERY))
    return (
        _ask_for_codes(record, at)
        if hashed is None
        else _enroll(record, live, hashed, at, bound_to)
    )


def _refuse_confirmation(record: Record, offer: Offer, at: Context) -> Decision[Any]:
    wrong_codes = offer.wrong_codes + 1
    if wrong_codes < at.policy.offer_wrong_codes_max:
        changed = replace(offer, wrong_codes=wrong_codes)
        refused = note(
            EventKind.CODE_REFUSED, method=TOTP, item_id=offer.authenticator.id, reason="offer"
        )
        return refuse(record, at, WrongCodeError(), [refused], offer=changed)
    dropped = note(EventKind.OFFER_DROPPED, item_id=offer.authenticator.id, reason="wrong_codes")
    return refuse(
        record, at, OfferError(), [dropped], **move(record, Event.OFFER_DROPPED, at) or {}
    )


def _add_authenticator(
    record: Record, offer: Offer, live: Authenticator, at: Context
) -> Decision[AuthenticatorAdded]:
    kept = [one for one in record.authenticators if one.id != offer.replaces]
    changes = move(record, Event.CONFIRMED, at, raises_epoch=offer.replaces is not None) or {}
    notes = [note(EventKind.AUTHENTICATOR_ADDED, item_id=live.id, label=live.label)]
    if offer.replaces is not None:
        notes.append(
            note(EventKind.AUTHENTICATOR_REMOVED, item_id=offer.replaces, reason="replaced")
        )
    return conclude(
        record,
        at,
        lambda new: AuthenticatorAdded(
            account_id=new.account_id, authenticator_id=live.id, epoch=new.epoch
        ),
        notes,
        **changes | {"authenticators": (*kept, live)},
    )


def _enroll(
    record: Record,
    live: Authenticator,
    hashed: tuple[tuple[Secret, str], ...],
    at: Context,
    bound_to: Secret | None,
) -> Decision[Enrolled]:
    """Turn two-step on, or (from locked) on again with this authenticator alone: a sign-in."""
    changes = move(record, Event.CONFIRMED, at) or {}
    changes |= NO_FAILURES | {
        "authenticators": (live,),
        "recovery": _recovery_set(record, hashed, at),
        "enrolled_at": at.now,
        "last_login_at": at.now,
        "failed_since_last": 0,
        "reenroll": False,
    }

    def answer(new: Record) -> Enrolled:
        return Enrolled(
            **_fields_of_sign_in(new, live, record.failed_since_last, at, bound_to),
            authenticator_id=live.id,
            recovery_codes=tuple(format_recovery_code(code) for code, _ in hashed),
        )

    notes = [note(EventKind.ENROLLED, method=TOTP, item_id=live.id, label=live.label)]
    return conclude(record, at, answer, notes, **changes)


def _fields_of_sign_in(
    new: Record, live: Authenticator, failed: int, at: Context, bound_to: Secret | None
) -> dict[str, Any]:
    from attrs import fields

    proof = issue_proof(new, live.id, at, bound_to)
    sign_in = signed_in(new, TOTP, at, proof=proof, failed_since_last=failed)
    return {one.name: getattr(sign_in, one.name) for one in fields(type(sign_in))}


def _ask_for_codes(record: Record, at: Context) -> NewHashes:
    codes = generate_recovery_codes(at.vault.random, at.policy.recovery_codes)
    return NewHashes(
        account_id=record.account_id, purpose=RECOVERY, secrets=tuple(codes), policy=at.policy
    )


def _recovery_set(
    record: Record, hashed: tuple[tuple[Secret, str], ...], at: Context
) -> RecoverySet:
    set_id = generate_id(at.vault.random)
    sealed = [
        at.vault.seal_value(
            Secret(stored.encode()),
            salt=record.salt,
            context=recovery_context(record, set_id, slot),
        )
        for slot, (_, stored) in enumerate(hashed)
    ]
    return RecoverySet(id=set_id, created_at=at.now, sealed_hashes=tuple(sealed))


# ---------------------------------------------------------------------------- what is live already


def decide_remove_authenticator(
    record: Record, authenticator_id: str, proof: Proof | None, at: Context
) -> Decision[str]:
    """Remove one of several authenticators; answers the new epoch."""
    if error := _check_change(record, proof, at):
        return refuse(record, at, error)
    kept = tuple([one for one in record.authenticators if one.id != authenticator_id])
    if len(kept) == len(record.authenticators):
        return refuse(record, at, NotFoundError())
    if not kept:
        return refuse(record, at, LastAuthenticatorError())
    changes = move(record, Event.REMOVED, at)
    if changes is None:
        return refuse(record, at, NotAllowedNowError())
    notes = [note(EventKind.AUTHENTICATOR_REMOVED, item_id=authenticator_id)]
    return conclude(record, at, lambda new: new.epoch, notes, **changes | {"authenticators": kept})


def decide_rename_authenticator(
    record: Record, authenticator_id: str, label: str, at: Context
) -> Decision[None]:
    """Give an authenticator another name."""
    renamed = _with_authenticator(record, authenticator_id, label=label)
    if renamed is None:
        return refuse(record, at, NotFoundError())
    notes = [note(EventKind.AUTHENTICATOR_RENAMED, item_id=authenticator_id, label=label)]
    return conclude(record, at, lambda _: None, notes, authenticators=renamed)


def decide_resync(
    record: Record,
    authenticator_id: str,
    codes: tuple[Secret | None, Secret | None],
    proof: Proof | None,
    at: Context,
) -> Decision[None]:
    """Learn how far an app's clock is off, from two codes in a row within twenty steps.

    The only decision that lowers a `last_step`. Reference: RFC 6238 §6, RFC 4226 §7.4.
    """
    error = _check_change(record, proof, at) or check_allowed(record, Ability.RESYNC)
    if error:
        return refuse(record, at, error)
    found = [one for one in record.authenticators if one.id == authenticator_id]
    if not found:
        return refuse(record, at, NotFoundError())
    if waiting := wait_refusal(record, at, TOTP):
        return waiting
    first, second = (parse_digits(code, {found[0].digits}) for code in codes)
    if first is None or second is None:
        return refuse(record, at, WrongCodeError())
    step = _second_of_pair(record, found[0], first, second, at)
    if step is None:
        return with_code_failure(record, at)
    changed = _with_authenticator(
        record,
        authenticator_id,
        last_step=step,
        last_used_at=at.now,
        offset_steps=step - _middle(found[0], at),
    )
    notes = [note(EventKind.AUTHENTICATOR_RESYNCED, item_id=authenticator_id, label=found[0].label)]
    throttle = cleared(record.code_throttle)
    return conclude(
        record, at, lambda _: None, notes, authenticators=changed, code_throttle=throttle
    )


def _second_of_pair(
    record: Record, authenticator: Authenticator, first: Secret, second: Secret, at: Context
) -> int | None:
    """Return the step of the second of two codes in a row, the nearest to now if several fit."""
    middle = _middle(authenticator, at)
    around = range(middle - RESYNC_STEPS, middle + RESYNC_STEPS + 1)
    firsts = match_steps(record, authenticator, first, around, at)
    seconds = match_steps(record, authenticator, second, around, at)
    pairs = [step for step in seconds if step - 1 in firsts]
    return min(pairs, key=lambda step: abs(step - middle), default=None)


def _middle(authenticator: Authenticator, at: Context) -> int:
    return at.now // authenticator.period_seconds


def decide_disable(record: Record, proof: Proof | None, at: Context) -> Decision[str]:
    """Turn two-step off: everything goes; answers the new epoch."""
    error = _check_change(record, proof, at)
    if not error and (at.policy.required or record.reenroll):
        error = TwoStepRequiredError()
    changes = move(record, Event.TURNED_OFF, at)
    if error or changes is None:
        return refuse(record, at, error or NotAllowedNowError())
    return conclude(record, at, lambda new: new.epoch, [note(EventKind.DISABLED)], **changes)


def decide_regenerate(
    record: Record, proof: Proof | None, evidence: Evidence, at: Context
) -> Decision[tuple[str, ...]] | NewHashes:
    """Replace the recovery codes; the older set is void and its failures with it."""
    error = _check_change(record, proof, at) or check_allowed(
        record, Ability.REGENERATE_RECOVERY_CODES
    )
    if error:
        return refuse(record, at, error)
    hashed = evidence.get((NEW, RECOVERY))
    if hashed is None:
        return _ask_for_codes(record, at)
    return conclude(
        record,
        at,
        lambda _: tuple(format_recovery_code(code) for code, _hash in hashed),
        [note(EventKind.RECOVERY_CODES_REGENERATED, count=len(hashed))],
        recovery=_recovery_set(record, hashed, at),
        recovery_throttle=Throttle(),
    )


def _check_change(record: Record, proof: Proof | None, at: Context) -> MFAKitError | None:
    """A change of live factors: two-step is on, and the proof is good."""
    return NotEnrolledError() if record.is_off else check_proof(record, proof, at)


def _with_authenticator(
    record: Record, authenticator_id: str, **changes: Any
) -> tuple[Authenticator, ...] | None:
    if all(one.id != authenticator_id for one in record.authenticators):
        return None
    return tuple(
        [
            replace(one, **changes) if one.id == authenticator_id else one
            for one in record.authenticators
        ]
    )
