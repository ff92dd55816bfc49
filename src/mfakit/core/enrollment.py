"""Setting two-step up: an offer, shown as a QR code, and the code that confirms it.

An offer lives apart from the live authenticators and changes nothing about sign-in until it is
confirmed. Who may ask for one must prove as much as the account can (SP 800-63B-4 §4.1.2.1).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import (
    NO_FAILURES,
    Case,
    Decision,
    NewHashes,
    check_proof,
    note,
    offer_expires_at,
)
from mfakit.core.encoding import encode_base32, generate_id, parse_digits, to_datetime
from mfakit.core.factors import TOTP, match_steps, open_secret, seal_authenticator, window_of
from mfakit.core.lifecycle import ALLOWED, Ability, Event, State
from mfakit.core.login import issue_proof, sign_in_fields
from mfakit.core.record import Authenticator, Offer, Record
from mfakit.core.recovery import HashedCodes, format_recovery_codes, new_codes, seal_recovery_set
from mfakit.core.secret import Secret, Value
from mfakit.core.tokens import OfferPayload, Proof, seal_token
from mfakit.events import EventKind
from mfakit.policy import SECRET_BYTES
from mfakit.results import AuthenticatorAdded, AuthenticatorOffer, Enrolled, OfferToken


class EnrollmentRequest(Value, frozen=True, kw_only=True):
    """What an enrolment brings: names for app and lists, and the authenticator it replaces."""

    account_name: str
    label: str
    replaces: str | None = None
    bound_to: Secret | None = None


def decide_begin_enrollment(
    case: Case, request: EnrollmentRequest, proof: Proof | None
) -> Decision[AuthenticatorOffer]:
    """Offer a new authenticator; a newer offer replaces an older one."""
    record = case.record
    error = check_proof(case, proof) or check_new_authenticator(case, request.replaces)
    changes = case.move(Event.OFFERED)
    if error or changes is None:
        return case.refuse(error or errors.NotAllowedNowError())
    authenticator = _new_authenticator(case, request.label)
    is_replacing = record.state in ALLOWED[Ability.USE_CODE]  # when locked, it replaces them all
    offer = Offer(
        authenticator=authenticator,
        account_name=request.account_name,
        offered_at=case.now,
        lifetime_seconds=case.policy.offer_seconds,
        replaces=request.replaces if is_replacing else None,
    )
    token = Secret(_seal_offer(case, offer, request.bound_to).encode())
    return case.write(
        lambda _: _show(case, offer, token),
        note(EventKind.OFFERED, item_id=authenticator.id, label=authenticator.label),
        **changes | {"offer": offer},
    )


def check_new_authenticator(case: Case, replaces: str | None) -> errors.MFAKitError | None:
    """Return the error of one more authenticator, as policy and number stand now."""
    record, policy = case.record, case.policy
    if record.is_off:
        return None if policy.available else errors.AvailabilityError()
    if record.state not in ALLOWED[Ability.USE_CODE]:
        return None
    ids = [authenticator.id for authenticator in record.authenticators]
    if replaces is not None:
        return None if replaces in ids else errors.NotFoundError()
    return errors.LimitReachedError() if len(ids) >= policy.authenticators_max else None


def _new_authenticator(case: Case, label: str) -> Authenticator:
    policy, random = case.policy, case.vault.random
    bare = Authenticator(
        id=generate_id(random),
        label=label,
        sealed_secret="",
        created_at=case.now,
        algorithm=policy.algorithm,
        digits=policy.digits,
        period_seconds=policy.period_seconds,
    )
    return seal_authenticator(case, bare, Secret(random(SECRET_BYTES[policy.algorithm])))


def decide_show_offer(
    case: Case, payload: OfferPayload, token: Secret
) -> Decision[AuthenticatorOffer]:
    """Show an offer again: the same secret, while it is open."""
    offer = _find_offer(case, payload)
    if offer is None:
        return case.refuse(errors.OfferError())
    return case.answer(_show(case, offer, token))


def decide_cancel_enrollment(case: Case, payload: OfferPayload) -> Decision[None]:
    """Drop an offer."""
    offer, changes = _find_offer(case, payload), case.move(Event.OFFER_DROPPED)
    if offer is None or changes is None:
        return case.refuse(errors.OfferError())
    dropped = note(EventKind.OFFER_DROPPED, item_id=offer.authenticator.id, reason="cancelled")
    return case.write(lambda _: None, dropped, **changes)


def _find_offer(case: Case, payload: OfferPayload) -> Offer | None:
    offer = case.record.offer
    is_this = offer is not None and offer.authenticator.id == payload.offer_id
    return offer if is_this and payload.epoch == case.record.epoch else None


def _seal_offer(case: Case, offer: Offer, bound_to: Secret | None) -> OfferToken:
    payload = OfferPayload(
        account_id=case.record.account_id,
        epoch=case.record.epoch,
        issued_at=case.now,
        lifetime_seconds=offer.lifetime_seconds,
        offer_id=offer.authenticator.id,
    )
    return OfferToken(seal_token(payload, case.vault, bound_to))


def _show(case: Case, offer: Offer, token: Secret) -> AuthenticatorOffer:
    authenticator = offer.authenticator
    return AuthenticatorOffer(
        token=OfferToken(token.reveal().decode()),
        secret_text=encode_base32(open_secret(case, authenticator)),
        issuer=case.policy.issuer,
        account_name=offer.account_name,
        algorithm=authenticator.algorithm,
        digits=authenticator.digits,
        period_seconds=authenticator.period_seconds,
        expires_at=to_datetime(offer_expires_at(case, offer)),
    )


# ---------------------------------------------------------------------------------------- confirming


def decide_confirm_enrollment(
    case: Case, payload: OfferPayload, code: Secret | None, bound_to: Secret | None
) -> Decision[Any] | NewHashes:
    """Make the offered authenticator live by a code of it; the code's step is spent."""
    offer = _find_offer(case, payload)
    if offer is None:
        return case.refuse(errors.OfferError())
    error = check_new_authenticator(case, offer.replaces)
    if error:
        return case.refuse(error)
    digits = parse_digits(code, {offer.authenticator.digits})
    if digits is None:
        return case.refuse(errors.WrongCodeError())
    window = window_of(case, offer.authenticator)
    steps = match_steps(case, offer.authenticator, digits, window)
    if not steps:
        return _refuse_confirmation(case, offer)
    live = replace(offer.authenticator, last_step=steps[0], last_used_at=case.now)
    if case.record.state is State.ENROLLED_OFFER:
        return _add_authenticator(case, offer, live)
    hashed = new_codes(case)
    return hashed if isinstance(hashed, NewHashes) else _enroll(case, live, hashed, bound_to)


def _refuse_confirmation(case: Case, offer: Offer) -> Decision[Any]:
    offer_id, wrong_codes = offer.authenticator.id, offer.wrong_codes + 1
    if wrong_codes < case.policy.offer_wrong_codes_max:
        refused = note(EventKind.CODE_REFUSED, method=TOTP, item_id=offer_id, reason="offer")
        changed = replace(offer, wrong_codes=wrong_codes)
        return case.refuse(errors.WrongCodeError(), refused, offer=changed)
    dropped = note(EventKind.OFFER_DROPPED, item_id=offer_id, reason="wrong_codes")
    changes = case.move(Event.OFFER_DROPPED) or {}
    return case.refuse(errors.OfferError(), dropped, **changes)


def _add_authenticator(
    case: Case, offer: Offer, live: Authenticator
) -> Decision[AuthenticatorAdded]:
    replaces = offer.replaces
    kept = [one for one in case.record.authenticators if one.id != replaces]
    changes = case.move(Event.CONFIRMED, raises_epoch=replaces is not None) or {}
    notes = [note(EventKind.AUTHENTICATOR_ADDED, item_id=live.id, label=live.label)]
    if replaces is not None:
        removed = note(EventKind.AUTHENTICATOR_REMOVED, item_id=replaces, reason="replaced")
        notes.append(removed)
    changes["authenticators"] = (*kept, live)
    return case.write(lambda new: added(new, live), *notes, **changes)


def added(record: Record, live: Authenticator) -> AuthenticatorAdded:
    """Return the result of a new authenticator that is no sign-in."""
    account_id, epoch = record.account_id, record.epoch
    return AuthenticatorAdded(account_id=account_id, authenticator_id=live.id, epoch=epoch)


def _enroll(
    case: Case, live: Authenticator, hashed: HashedCodes, bound_to: Secret | None
) -> Decision[Enrolled]:
    """Turn two-step on, or (from locked) on again with this authenticator alone: a sign-in."""
    changes = (case.move(Event.CONFIRMED) or {}) | NO_FAILURES
    changes |= {
        "authenticators": (live,),
        "recovery": seal_recovery_set(case, hashed),
        "enrolled_at": case.now,
        "last_login_at": case.now,
        "failed_since_last": 0,
        "reenroll": False,
    }

    def answer(new: Record) -> Enrolled:
        return Enrolled(
            **sign_in_fields(case, new, TOTP),
            proof=issue_proof(case, new, live.id, bound_to),
            authenticator_id=live.id,
            recovery_codes=format_recovery_codes(hashed),
        )

    enrolled = note(EventKind.ENROLLED, method=TOTP, item_id=live.id, label=live.label)
    return case.write(answer, enrolled, **changes)
