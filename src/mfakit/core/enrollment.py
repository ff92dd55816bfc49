"""Setting two-step up: an offer, shown as a QR code, and the code that confirms it.

An offer lives apart from the live authenticators and changes nothing about sign-in until it is
confirmed. Who may ask for one must prove as much as the account can (SP 800-63B-4 §4.1.2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.arguments import EnrollmentRequest
from mfakit.core.decision import NO_FAILURES, Case, Decision, HashedSecrets, NewHashes, T, note
from mfakit.core.encoding import parse_digits
from mfakit.core.factors import (
    TOTP,
    check_strength,
    match_steps,
    new_authenticator,
    open_secret,
    window_of,
)
from mfakit.core.guards import check_proof, drop_offer, offer_expires_at
from mfakit.core.lifecycle import Ability, Event, State
from mfakit.core.login import issue_proof, sign_in_fields, signed_in_now
from mfakit.core.record import Authenticator, Offer, Record, find_item, without_item
from mfakit.core.recovery import format_recovery_codes, new_codes, seal_recovery_set
from mfakit.core.sealing import OfferPayload, Proof
from mfakit.core.secret import Secret
from mfakit.events import EventKind, to_datetime
from mfakit.policy import SECRET_BYTES
from mfakit.provisioning import encode_base32
from mfakit.results import AuthenticatorAdded, AuthenticatorOffer, Enrolled, OfferToken


def decide_begin_enrollment(
    case: Case, request: EnrollmentRequest, proof: Proof | None
) -> Decision[AuthenticatorOffer]:
    """Offer a new authenticator; a newer offer replaces an older one."""
    policy = case.policy
    if error := check_proof(case, proof) or check_new_authenticator(case, request.replaces):
        return case.refuse(error)
    secret = Secret(case.vault.random(SECRET_BYTES[policy.algorithm]))
    offer = Offer(
        authenticator=new_authenticator(case, request.label, secret, policy),
        account_name=request.account_name,
        offered_at=case.now,
        lifetime_seconds=policy.offer_seconds,
        # When locked, it replaces them all.
        replaces=request.replaces if case.allows(Ability.USE_CODE) else None,
    )
    lifetime, offer_id = offer.lifetime_seconds, offer.authenticator.id
    token = Secret(case.issue(OfferPayload, lifetime, request.bound_to, offer_id=offer_id).encode())
    offered = note(EventKind.OFFERED, offer.authenticator)
    changes = case.move(Event.OFFERED) | {"offer": offer}
    return case.write(lambda _: _show(case, offer, token), offered, **changes)


def check_new_authenticator(case: Case, replaces: str | None) -> errors.MFAKitError | None:
    """Return the error of one more authenticator, as policy and number stand now."""
    record, policy = case.record, case.policy
    if record.is_off:
        # Whoever was reset to enrol again needs a way to, even if policy has changed since.
        may_enroll = policy.available or record.reenroll
        return None if may_enroll else errors.AvailabilityError()
    if not case.allows(Ability.USE_CODE):
        return None
    if replaces is not None:
        is_owned = find_item(record.authenticators, replaces) is not None
        return None if is_owned else errors.NotFoundError()
    is_full = len(record.authenticators) >= policy.authenticators_max
    return errors.LimitReachedError() if is_full else None


def decide_show_offer(
    case: Case, payload: OfferPayload, token: Secret
) -> Decision[AuthenticatorOffer]:
    """Show an offer again: the same secret, while it is open."""
    return _of_offer(case, payload, lambda offer: case.answer(_show(case, offer, token)))


def decide_cancel_enrollment(case: Case, payload: OfferPayload) -> Decision[None]:
    """Drop an offer."""
    return _of_offer(case, payload, lambda offer: drop_offer(case, offer, "cancelled", None))


def _of_offer(case: Case, payload: OfferPayload, decide: Callable[[Offer], T]) -> T | Decision[Any]:
    """Decide about the offer of a token; one that is over, or another, is refused."""
    offer, is_current = case.record.offer, payload.epoch == case.record.epoch
    if offer is None or not is_current or offer.authenticator.id != payload.offer_id:
        return case.refuse(errors.OfferError())
    return decide(offer)


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
    return _of_offer(case, payload, lambda offer: _confirm(case, offer, code, bound_to))


def _confirm(
    case: Case, offer: Offer, code: Secret | None, bound_to: Secret | None
) -> Decision[Any] | NewHashes:
    weak = check_strength(case.policy, offer.authenticator)
    if error := check_new_authenticator(case, offer.replaces) or weak:
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
    if offer.wrong_codes + 1 >= case.policy.offer_wrong_codes_max:
        return drop_offer(case, offer, "wrong_codes", errors.OfferError())
    offer_id, changed = offer.authenticator.id, replace(offer, wrong_codes=offer.wrong_codes + 1)
    refused = note(EventKind.CODE_REFUSED, method=TOTP, item_id=offer_id, reason="offer")
    return case.refuse(errors.WrongCodeError(), refused, offer=changed)


def _add_authenticator(case: Case, offer: Offer, live: Authenticator) -> Decision[Any]:
    replaces, held = offer.replaces, case.record.authenticators
    changes = case.move(Event.CONFIRMED, raises_epoch=replaces is not None)
    notes = [note(EventKind.AUTHENTICATOR_ADDED, live)]
    if replaces is not None:
        held = without_item(held, replaces)
        notes.append(note(EventKind.AUTHENTICATOR_REMOVED, item_id=replaces, reason="replaced"))
    changes["authenticators"] = (*held, live)
    return case.write(lambda new: added(new, live), *notes, **changes)


def added(record: Record, live: Authenticator) -> AuthenticatorAdded:
    """Return the result of a new authenticator that is no sign-in."""
    account_id, epoch = record.account_id, record.epoch
    return AuthenticatorAdded(account_id=account_id, authenticator_id=live.id, epoch=epoch)


def _enroll(
    case: Case, live: Authenticator, hashed: HashedSecrets, bound_to: Secret | None
) -> Decision[Enrolled]:
    """Turn two-step on, or (from locked) on again with this authenticator alone: a sign-in."""
    changes = case.move(Event.CONFIRMED) | NO_FAILURES | signed_in_now(case)
    changes |= {
        "authenticators": (live,),
        "recovery": seal_recovery_set(case, hashed),
        "enrolled_at": case.now,
        "reenroll": False,
    }

    def answer(new: Record) -> Enrolled:
        return Enrolled(
            **sign_in_fields(case, new, TOTP),
            proof=issue_proof(case, new, live.id, bound_to),
            authenticator_id=live.id,
            recovery_codes=format_recovery_codes(hashed),
        )

    return case.write(answer, note(EventKind.ENROLLED, live, method=TOTP), **changes)
