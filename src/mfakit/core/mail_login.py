"""What a mail client's credential is worth. Deny by default.

Once two-step is on, a passcode is the only credential that a mail client can use, and nothing else
is even checked: a plain password, right or wrong, a code or a recovery code are refused alike.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.arguments import PROTOCOLS
from mfakit.core import factors
from mfakit.core.decision import PASSWORD, Case, Decision, Question, note
from mfakit.core.guards import is_required_now
from mfakit.core.lifecycle import Ability
from mfakit.core.passcode import TypedPasscode, expires_at, find_passcode, question_of
from mfakit.core.password import ask_password
from mfakit.core.record import Passcode, with_item
from mfakit.core.secret import Secret, Value
from mfakit.events import EventKind
from mfakit.results import ClientSignedIn

PASSCODE, PASSWORD_AND_CODE = "passcode", "password+code"
COMBINED_STEPS_MAX = 16

Judged = Decision[ClientSignedIn] | Question


def decide_client(
    case: Case, credential: Secret | None, typed: TypedPasscode | None, protocol: object
) -> Judged:
    """Judge a client's credential. The reason of a refusal goes to the event only.

    Args:
        case: The account at this moment.
        credential: What the client sent, None if it is no text.
        typed: The same as `parse_passcode` reads it, None if it cannot be a passcode.
        protocol: What the client speaks.
    """
    record = case.record
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        return _refused(case, "protocol", None)
    protocol = PROTOCOLS[PROTOCOLS.index(protocol)]  # a plain str: msgspec writes no subclass
    if credential is None:
        return _refused(case, "malformed", protocol)
    if record.is_off:
        return _by_password(case, credential, protocol)
    if typed is not None and case.allows(Ability.USE_PASSCODE):
        return _by_passcode(case, *typed, protocol)
    if case.policy.password_with_code and case.allows(Ability.USE_CODE):
        return _by_password_with_code(case, credential, protocol)
    return _refused(case, "two_step_is_on", protocol)


def _refused(case: Case, reason: str, protocol: str | None, **details: Any) -> Decision[Any]:
    refused = note(EventKind.CLIENT_REFUSED, reason=reason, protocol=protocol, **details)
    return case.refuse(errors.CredentialRefusedError(), refused)


# -------------------------------------------------------------------------------- two-step is off


def _by_password(case: Case, credential: Secret, protocol: str) -> Judged:
    if case.record.password_suspect:
        refused = note(EventKind.CLIENT_REFUSED, reason="password_suspect", protocol=protocol)
        return case.refuse(errors.PasswordChangeRequiredError(), refused)
    if is_required_now(case):
        return _refused(case, "enrollment_required", protocol)
    if against := ask_password(case, credential, _refused(case, "password", protocol)):
        return against
    signed_in = note(EventKind.CLIENT_SIGNED_IN, method=PASSWORD, protocol=protocol)
    return case.answer(ClientSignedIn(account_id=case.record.account_id, via=PASSWORD), signed_in)


# ------------------------------------------------------------------------------------- by passcode


def _by_passcode(case: Case, selector: str, verifier: Secret, protocol: str) -> Judged:
    passcode = find_passcode(case.record, selector)
    if passcode is None:  # unknown or revoked: no hash, no write
        return _refused(case, "unknown_passcode", protocol)
    if not case.policy.passcodes:
        return _refused(case, "passcodes_off", protocol, item_id=passcode.id)
    question = question_of(case, passcode, verifier)
    verdict = case.evidence.get(question.key)
    if verdict is None:
        return question
    # SECURITY: a wrong verifier writes nothing, or a stranger could disable a phone; 72 bits need
    # no cap. Why a right one does not fit is told to nobody who does not have it.
    reason = _reason_against(case, passcode, protocol) if verdict else "wrong_passcode"
    if reason:
        return _refused(case, reason, protocol, item_id=passcode.id)
    return _accept_passcode(case, passcode, protocol)


def _reason_against(case: Case, passcode: Passcode, protocol: str) -> str | None:
    """Return why a right passcode does not fit this client, None if it does."""
    until = expires_at(case, passcode)
    if until is not None and case.now >= until:
        return "expired"
    if passcode.protocols is not None and protocol not in passcode.protocols:
        return "wrong_protocol"
    if passcode.networks is not None and not _is_inside(case, passcode.networks):
        return "wrong_network"
    return None


def _is_inside(case: Case, networks: tuple[str, ...]) -> bool:
    from ipaddress import ip_address, ip_network

    if case.client is None or case.client.remote_ip is None:
        return False
    address = ip_address(case.client.remote_ip)
    return any(address in ip_network(network) for network in networks)


def _accept_passcode(case: Case, passcode: Passcode, protocol: str) -> Decision[ClientSignedIn]:
    account_id, last = case.record.account_id, passcode.last_used_at
    result = ClientSignedIn(account_id=account_id, via=PASSCODE, passcode_id=passcode.id)
    notes = [note(EventKind.CLIENT_SIGNED_IN, passcode, method=PASSCODE, protocol=protocol)]
    if last is not None and case.now - last < case.policy.passcode_last_used_seconds:
        return case.answer(result, *notes)
    if last is None:
        notes.append(note(EventKind.PASSCODE_FIRST_USED, passcode, protocol=protocol))
    ip = case.client.remote_ip if case.client else None
    used = {"last_used_at": case.now, "last_used_ip": ip, "last_used_protocol": protocol}
    passcodes = with_item(case.record.passcodes, passcode.id, **used)
    return case.write(lambda _: result, *notes, passcodes=passcodes)


# ------------------------------------------------------------------- by password followed by a code


class PasswordAndCode(Value, frozen=True, kw_only=True):
    """One text taken apart: the code is as many digits at the end as the account's apps show."""

    password: Secret
    code: Secret


def _by_password_with_code(case: Case, credential: Secret, protocol: str) -> Judged:
    """Judge a password with a code at its end. Clients save the text and send it again."""
    given = _take_apart(case, credential)
    if given is None:
        return _refused(case, "two_step_is_on", protocol)
    if _is_repeated(case, given.code):
        return _refused(case, "repeated", protocol)
    if factors.wait_refusal(case):
        return _refused(case, "throttled", protocol)
    if against := ask_password(case, given.password, _refused(case, "password", protocol)):
        return against
    judged = factors.judge(case, factors.TOTP, given.code)
    if isinstance(judged, factors.Accepted):
        return _accept_password_with_code(case, judged, protocol)
    if isinstance(judged, Decision) and isinstance(judged.outcome, errors.RefusedError):
        return replace(judged, outcome=errors.CredentialRefusedError())
    return judged


def _accept_password_with_code(
    case: Case, judged: factors.Accepted, protocol: str
) -> Decision[ClientSignedIn]:
    result = ClientSignedIn(account_id=case.record.account_id, via=PASSWORD_AND_CODE)
    signed_in = note(EventKind.CLIENT_SIGNED_IN, method=PASSWORD_AND_CODE, protocol=protocol)
    spent = {one.id: one.last_step for one in judged.changes["authenticators"]}
    used = *case.record.combined_steps, (judged.earned_by, spent[judged.earned_by])
    kept = used[-COMBINED_STEPS_MAX:]
    return case.write(lambda _: result, signed_in, **judged.changes, combined_steps=kept)


def _take_apart(case: Case, credential: Secret) -> PasswordAndCode | None:
    """Return password and code, None if the text cannot be both.

    SECURITY: only where all apps show codes of one length. Of two ways to read a text one would be
    tried without its password, or without being counted.
    """
    lengths = {one.digits for one in case.record.authenticators}
    length = lengths.pop()
    digits = Secret(credential.reveal()[-length:])
    is_both = len(credential.reveal()) > length and digits.reveal().isdigit()
    if lengths or not is_both:
        return None
    return PasswordAndCode(password=Secret(credential.reveal()[:-length]), code=digits)


def _is_repeated(case: Case, code: Secret) -> bool:
    """Say whether a code is one of the last accepted in this way, found again from its time step.

    So no hash of a text with the password in it is ever stored.
    """
    used = case.record.combined_steps
    repeated = [
        factors.match_steps(case, one, code, [step for held, step in used if held == one.id])
        for one in case.record.authenticators
    ]
    return any(repeated)
