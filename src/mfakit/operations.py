"""Every operation, written once: load, decide, write on condition. In audit scope.

An operation is a generator. It yields what it needs from the world (`Load`, `Write`, `GetPolicy`,
and the core's questions `CheckHash`, `NewHashes`, `CheckPassword`) and returns an `Answer`. A driver
supplies the world: `MFA` blocks, an asynchronous one awaits, the tests try every interleaving.

The outcome of a decision leaves only after its write has won. A lost write is decided again on what
the winner left; a verdict gathered before (a hash, a password) holds only for the item and stored
value that it names. Time is read once, so that a code is judged by when it arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from mfakit import errors, views
from mfakit.arguments import (
    Authority,
    EnrollmentRequest,
    GivenPassword,
    LoginRequest,
    PasscodeRequest,
)
from mfakit.core import administration, enrollment, login, mail_login, passcode, recovery
from mfakit.core.administration import AUTHENTICATORS, DEVICES, PASSCODES
from mfakit.core.decision import Case, CheckHash, CheckPassword, Decision, Key, NewHashes, Question
from mfakit.core.encoding import generate_id
from mfakit.core.guards import is_current_epoch, is_unknown, settle
from mfakit.core.record import Record, blank_record, decode_record
from mfakit.core.sealing import Challenge, OfferPayload, Proof, Vault
from mfakit.core.secret import Secret, Value
from mfakit.events import AuditEvent, ClientInfo
from mfakit.policy import DEFAULT, Policy
from mfakit.provisioning import ImportedSecret
from mfakit.results import (
    AuthenticatorAdded,
    AuthenticatorOffer,
    ClientSignedIn,
    HistoryItem,
    NewPasscode,
    PasscodeInfo,
    ProofToken,
    SignedIn,
    Status,
    TrustedDeviceInfo,
)
from mfakit.rows import StoredRecord

__all__ = ["Answer", "Effect", "Environment", "GetPolicy", "Load", "Operation", "Verdict", "Write"]

T = TypeVar("T")

LOST_WRITES_MAX = 8
REVISION_MAX = 2**63 - 1
CLOCK_END = 253_000_000_000  # in the year 9987; datetime ends with 9999, and tokens live on


class Environment(Value, frozen=True, kw_only=True):
    """What operations need that never changes: keys and clock (Unix seconds)."""

    vault: Vault
    clock: Callable[[], float]


class Load(Value, frozen=True):
    """Read one row, linearizable with writes. The driver answers with `StoredRecord | None`."""

    account_id: str


class GetPolicy(Value, frozen=True):
    """The driver answers with the account's `Policy`."""

    account_id: str


class Write(Value, frozen=True, kw_only=True):
    """Write one row on condition. The driver answers whether it won, and then tells `events`.

    Args:
        account_id: Whose row.
        row: The new row, None to delete.
        expected: Revision that the stored row must have, None if there must be none.
        events: What a won write makes true.
        lost: How many writes were lost before; the driver waits a little longer each time.
    """

    account_id: str
    row: StoredRecord | None
    expected: int | None
    events: tuple[AuditEvent, ...]
    lost: int


class Verdict(Value, frozen=True, kw_only=True):
    """The driver's answer to a question. `waited`: so long that the row must be read again."""

    value: Any
    waited: bool = True


class Answer(Value, Generic[T], frozen=True, kw_only=True):
    """What an operation came to, and events that no write has told yet."""

    outcome: T | errors.MFAKitError
    events: tuple[AuditEvent, ...] = ()


Effect = Load | GetPolicy | Write | CheckHash | NewHashes | CheckPassword
Operation = Generator[Effect, Any, Answer[T]]
Decide = Callable[[Case], "Decision[T] | Question"]


class Opening(Value, frozen=True, kw_only=True):
    """What a blank record may stand in for: one that is missing, or one that no longer opens."""

    may_be_missing: bool = False
    may_be_torn: bool = False


AS_STORED = Opening()


# -------------------------------------------------------------------------------- the one procedure


def _attempt(
    env: Environment,
    account_id: str,
    decide: Decide[T],
    *,
    client: ClientInfo | None = None,
    opening: Opening = AS_STORED,
) -> Operation[T]:
    _check_client(client)
    policy: Policy = yield GetPolicy(account_id)
    now = _now(env)
    evidence: dict[Key, Any] = {}
    lost = 0
    stored: StoredRecord | None = yield Load(account_id)
    record, opened = _open(env, stored, account_id, policy, opening), stored
    while lost < LOST_WRITES_MAX:
        if stored is not opened:
            record, opened = _open(env, stored, account_id, policy, opening), stored
        case = Case(
            record=record, now=now, policy=policy, vault=env.vault, client=client, evidence=evidence
        )
        settled = settle(case)
        decision: Decision[Any] | Question = settled or decide(case)
        if not isinstance(decision, Decision):
            verdict: Verdict = yield decision
            evidence[decision.key] = verdict.value
            lost += len(evidence) > LOST_WRITES_MAX
            stored = (yield Load(account_id)) if verdict.waited else stored
            continue
        if decision.record is None:
            return Answer(outcome=decision.outcome, events=decision.events)
        row = views.row_of(decision.record, env.vault)
        won = yield _write(account_id, row, stored, decision.events, lost)
        if won and settled is None:
            return Answer(outcome=decision.outcome)
        lost += not won
        stored = row if won else (yield Load(account_id))
    raise errors.ContentionError


def _now(env: Environment) -> int:
    try:
        now = env.clock()
        is_moment = 0 <= now < CLOCK_END
    except Exception as error:  # it is the platform's
        raise errors.ClockError from error
    # What no calendar has would be written, and the record never read again.
    if not is_moment:
        raise errors.ClockError
    return int(now)


def _check_client(client: object) -> None:
    if client is not None and not isinstance(client, ClientInfo):
        raise errors.InvalidInputError("client")


def _write(
    account_id: str,
    row: StoredRecord | None,
    stored: StoredRecord | None,
    events: tuple[AuditEvent, ...],
    lost: int,
) -> Write:
    expected = None if stored is None else stored.revision
    return Write(account_id=account_id, row=row, expected=expected, events=events, lost=lost)


def _open(
    env: Environment,
    stored: StoredRecord | None,
    account_id: str,
    policy: Policy,
    opening: Opening = AS_STORED,
) -> Record:
    """Open a row, or stand in for the one that is missing (or torn, where an operator forces it)."""
    record = blank_record(account_id, generate_id(env.vault.random))
    if stored is not None:
        _check_owner(stored, account_id)
        try:
            record = decode_record(stored, env.vault)
        except (errors.RecordIntegrityError, errors.KeyUnavailableError):
            # SECURITY: a wrong realm or key file looks the same, and must destroy nothing.
            if not opening.may_be_torn:
                raise
            return record
    if is_unknown(record, policy) and not opening.may_be_missing:
        raise errors.UnknownAccountError
    return record


def _check_owner(stored: StoredRecord, account_id: str) -> None:
    # SECURITY: authentic, but whose? A connection that two processes share after a fork, a cache or a
    # collation that folds case may answer with the row of somebody else, whose two-step is off.
    if stored.account_id != account_id:
        raise errors.RecordIntegrityError


def _read(
    env: Environment, account_id: str, view: Callable[[Case, StoredRecord | None], T]
) -> Operation[T]:
    """Show an account as the next decision would see it, without writing."""
    policy: Policy = yield GetPolicy(account_id)
    stored: StoredRecord | None = yield Load(account_id)
    record = _open(env, stored, account_id, policy)
    case = Case(record=record, now=_now(env), policy=policy, vault=env.vault)
    while (settled := settle(case)) is not None and settled.record is not None:
        case = case.of(settled.record)
    return Answer(outcome=view(case, stored))


def _refused(error: errors.MFAKitError) -> Operation[Any]:
    return Answer(outcome=error)
    yield  # makes this a generator like the others


# ----------------------------------------------------------------------------------- proofs, sign-in


# The password comes first: whether an account is known is told only to who has it.
AFTER_PASSWORD = Opening(may_be_missing=True)


def password_proof(
    env: Environment, account_id: str, password: GivenPassword, bound_to: Secret | None
) -> Operation[ProofToken]:
    def decide(case: Case) -> Decision[ProofToken] | Question:
        return login.decide_password_proof(case, password, bound_to)

    return _attempt(env, account_id, decide, opening=AFTER_PASSWORD)


def verify_code(
    env: Environment,
    account_id: str,
    method: str,
    code: Secret | None,
    bound_to: Secret | None,
    client: ClientInfo | None,
) -> Operation[ProofToken]:
    def decide(case: Case) -> Decision[ProofToken] | Question:
        return login.decide_verify_code(case, method, code, bound_to)

    return _attempt(env, account_id, decide, client=client)


def begin_login(
    env: Environment,
    account_id: str,
    password: GivenPassword,
    request: LoginRequest,
    client: ClientInfo | None,
) -> Operation[Any]:
    def decide(case: Case) -> Decision[Any] | Question:
        return login.decide_begin_login(case, password, request)

    return _attempt(env, account_id, decide, client=client, opening=AFTER_PASSWORD)


def complete_login(
    env: Environment,
    token: Secret | None,
    method: str,
    code: Secret | None,
    request: LoginRequest,
    client: ClientInfo | None,
) -> Operation[SignedIn]:
    challenge = env.vault.open_token(Challenge, token, request.bound_to)
    if challenge is None:
        return _refused(errors.ChallengeError())

    def decide(case: Case) -> Decision[SignedIn] | Question:
        return login.decide_complete_login(case, challenge, method, code, request)

    return _attempt(env, challenge.account_id, decide, client=client)


def session_is_current(env: Environment, account_id: str, epoch: str) -> Operation[bool]:
    return _read(env, account_id, lambda case, _: is_current_epoch(case.record, epoch))


# ----------------------------------------------------------------------------------------- enrolment


def begin_enrollment(
    env: Environment, account_id: str, request: EnrollmentRequest, proof_token: Secret | None
) -> Operation[AuthenticatorOffer]:
    proof = env.vault.open_token(Proof, proof_token, request.bound_to)

    def decide(case: Case) -> Decision[AuthenticatorOffer]:
        return enrollment.decide_begin_enrollment(case, request, proof)

    return _attempt(env, account_id, decide)


def show_offer(
    env: Environment, token: Secret | None, bound_to: Secret | None
) -> Operation[AuthenticatorOffer]:
    payload = env.vault.open_token(OfferPayload, token, bound_to)
    if payload is None or token is None:
        return _refused(errors.OfferError())

    def decide(case: Case) -> Decision[AuthenticatorOffer]:
        return enrollment.decide_show_offer(case, payload, token)

    return _attempt(env, payload.account_id, decide)


def confirm_enrollment(
    env: Environment,
    token: Secret | None,
    code: Secret | None,
    bound_to: Secret | None,
    client: ClientInfo | None,
) -> Operation[Any]:
    payload = env.vault.open_token(OfferPayload, token, bound_to)
    if payload is None:
        return _refused(errors.OfferError())

    def decide(case: Case) -> Decision[Any] | Question:
        return enrollment.decide_confirm_enrollment(case, payload, code, bound_to)

    return _attempt(env, payload.account_id, decide, client=client)


def cancel_enrollment(
    env: Environment, token: Secret | None, bound_to: Secret | None
) -> Operation[None]:
    payload = env.vault.open_token(OfferPayload, token, bound_to)
    if payload is None:
        return _refused(errors.OfferError())

    def decide(case: Case) -> Decision[None]:
        return enrollment.decide_cancel_enrollment(case, payload)

    return _attempt(env, payload.account_id, decide)


# ------------------------------------------------------------------------------------- live factors


def remove_authenticator(
    env: Environment, account_id: str, authenticator_id: str, proof: Proof | None
) -> Operation[str]:
    def decide(case: Case) -> Decision[str]:
        return administration.decide_remove_authenticator(case, authenticator_id, proof)

    return _attempt(env, account_id, decide)


def rename_authenticator(
    env: Environment, account_id: str, authenticator_id: str, label: str
) -> Operation[None]:
    def decide(case: Case) -> Decision[None]:
        return administration.decide_rename(case, AUTHENTICATORS, authenticator_id, label)

    return _attempt(env, account_id, decide)


def resync(
    env: Environment,
    account_id: str,
    authenticator_id: str,
    codes: tuple[Secret | None, Secret | None],
    proof: Proof | None,
) -> Operation[None]:
    def decide(case: Case) -> Decision[None]:
        return administration.decide_resync(case, authenticator_id, codes, proof)

    return _attempt(env, account_id, decide)


def disable(env: Environment, account_id: str, proof: Proof | None) -> Operation[str]:
    return _attempt(env, account_id, lambda case: administration.decide_disable(case, proof))


def regenerate_recovery_codes(
    env: Environment, account_id: str, proof: Proof | None
) -> Operation[tuple[str, ...]]:
    return _attempt(env, account_id, lambda case: recovery.decide_regenerate(case, proof))


# ------------------------------------------------------------------------- passcodes, mail clients


def create_passcode(
    env: Environment, account_id: str, request: PasscodeRequest, proof: Proof | None
) -> Operation[NewPasscode]:
    def decide(case: Case) -> Decision[NewPasscode] | Question:
        return passcode.decide_create_passcode(case, request, proof)

    return _attempt(env, account_id, decide)


def passcodes(env: Environment, account_id: str) -> Operation[tuple[PasscodeInfo, ...]]:
    return _read(env, account_id, lambda case, _: views.passcode_infos(case))


def describe_passcode(
    env: Environment, account_id: str, text: Secret | None
) -> Operation[PasscodeInfo | None]:
    return _read(env, account_id, lambda case, _: views.described_passcode(case, text))


def rename_passcode(
    env: Environment, account_id: str, passcode_id: str, label: str
) -> Operation[None]:
    def decide(case: Case) -> Decision[None]:
        return administration.decide_rename(case, PASSCODES, passcode_id, label)

    return _attempt(env, account_id, decide)


def revoke_passcode(env: Environment, account_id: str, passcode_id: str) -> Operation[int]:
    def decide(case: Case) -> Decision[int]:
        return administration.decide_revoke(case, PASSCODES, passcode_id)

    return _attempt(env, account_id, decide)


def revoke_all_passcodes(env: Environment, account_id: str) -> Operation[int]:
    return _attempt(env, account_id, administration.decide_revoke_all_passcodes)


def authenticate_client(
    env: Environment,
    account_id: str,
    credential: Secret | None,
    protocol: object,
    client: ClientInfo | None,
) -> Operation[ClientSignedIn]:
    typed = passcode.parse_passcode(credential)

    def decide(case: Case) -> Decision[ClientSignedIn] | Question:
        return mail_login.decide_client(case, credential, typed, protocol)

    return _attempt(env, account_id, decide, client=client)


# --------------------------------------------------------------------------------- trusted devices


def trusted_devices(
    env: Environment, account_id: str, token: Secret | None, device_id: Secret | None
) -> Operation[tuple[TrustedDeviceInfo, ...]]:
    def view(case: Case, _: StoredRecord | None) -> tuple[TrustedDeviceInfo, ...]:
        return views.trusted_device_infos(case, token, device_id)

    return _read(env, account_id, view)


def rename_trusted_device(
    env: Environment, account_id: str, device_id: str, label: str
) -> Operation[None]:
    def decide(case: Case) -> Decision[None]:
        return administration.decide_rename(case, DEVICES, device_id, label)

    return _attempt(env, account_id, decide)


def revoke_trusted_device(env: Environment, account_id: str, device_id: str) -> Operation[int]:
    def decide(case: Case) -> Decision[int]:
        return administration.decide_revoke(case, DEVICES, device_id)

    return _attempt(env, account_id, decide)


def revoke_other_devices(
    env: Environment, account_id: str, keep: Secret | None, device_id: Secret | None
) -> Operation[int]:
    def decide(case: Case) -> Decision[int]:
        return administration.decide_revoke_other_devices(case, keep, device_id)

    return _attempt(env, account_id, decide)


# ----------------------------------------------------------------------------------- administration


def status(env: Environment, account_id: str) -> Operation[Status]:
    return _read(env, account_id, views.status)


def history(env: Environment, account_id: str) -> Operation[tuple[HistoryItem, ...]]:
    return _read(env, account_id, lambda case, _: views.history_items(case.record))


def open_account(env: Environment, account_id: str) -> Operation[bool]:
    opening = Opening(may_be_missing=True)
    return _attempt(env, account_id, administration.decide_open_account, opening=opening)


def reset(
    env: Environment, account_id: str, by: Authority, *, reenroll: bool, force: bool
) -> Operation[str]:
    def decide(case: Case) -> Decision[str]:
        return administration.decide_reset(case, by, reenroll=reenroll)

    return _attempt(env, account_id, decide, opening=Opening(may_be_torn=force))


def reset_in_group(
    env: Environment, account_id: str, by: Authority, enrolled_before: int | None, *, reenroll: bool
) -> Operation[bool]:
    def decide(case: Case) -> Decision[bool]:
        return administration.decide_group_reset(case, by, enrolled_before, reenroll=reenroll)

    return _attempt(env, account_id, decide, opening=Opening(may_be_missing=True))


def password_changed(env: Environment, account_id: str) -> Operation[str]:
    return _attempt(env, account_id, administration.decide_password_changed)


def import_authenticator(
    env: Environment,
    account_id: str,
    imported: ImportedSecret,
    label: str,
    by: Authority,
    *,
    allow_weak: bool,
) -> Operation[AuthenticatorAdded]:
    def decide(case: Case) -> Decision[AuthenticatorAdded]:
        return administration.decide_import(case, imported, label, by, allow_weak=allow_weak)

    return _attempt(env, account_id, decide)


def forget(
    env: Environment, account_id: str, by: Authority, *, force: bool, purge: bool
) -> Operation[bool]:
    """Erase the record but for a new epoch, or (`purge`) delete its row: nothing else deletes.

    Each call gives another epoch: somebody may have signed in since the last one.
    It asks for no policy: the platform may know nothing of the account any more.
    """
    for lost in range(LOST_WRITES_MAX):
        stored: StoredRecord | None = yield Load(account_id)
        erased = _open(env, stored, account_id, DEFAULT, Opening(may_be_torn=force))
        if stored is None and purge:
            return Answer(outcome=False)
        blank = blank_record(account_id, generate_id(env.vault.random), _next_to(stored))
        case = Case(record=blank, now=_now(env), policy=DEFAULT, vault=env.vault)
        decision = administration.decide_forget(case, by)
        row = None if purge or decision.record is None else views.row_of(decision.record, env.vault)
        if (yield _write(account_id, row, stored, decision.events, lost)):
            return Answer(outcome=stored is not None and not erased.forgotten)
    raise errors.ContentionError


def _next_to(stored: StoredRecord | None) -> int:
    """Return the revision to go on from, so that the last event sorts last; 0 to begin anew."""
    return stored.revision if stored is not None and 0 < stored.revision < REVISION_MAX else 0


def rotate_keys(env: Environment, account_id: str) -> Operation[tuple[bool, tuple[str, ...]]]:
    """Seal an account anew under the newest key; answers whether it was due, and key ids met.

    Whatever its policy says, so none is asked for.
    """
    for lost in range(LOST_WRITES_MAX):
        stored: StoredRecord | None = yield Load(account_id)
        if stored is None:
            return Answer(outcome=(False, ()))
        _check_owner(stored, account_id)
        record = decode_record(stored, env.vault)
        case = Case(record=record, now=_now(env), policy=DEFAULT, vault=env.vault)
        met = views.key_ids_of(record, stored.document)
        decision = administration.decide_rotate(case, met)
        if decision.record is None:
            return Answer(outcome=(False, met))
        row = views.row_of(decision.record, env.vault)
        if (yield _write(account_id, row, stored, decision.events, lost)):
            return Answer(outcome=(True, met))
    raise errors.ContentionError
