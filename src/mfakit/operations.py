"""Every operation, written once: load, decide, write on condition. In audit scope.

An operation is a generator. It yields what it needs from the world (`Load`, `Write`, `GetPolicy`, and
the core's questions `CheckHash`, `NewHashes`, `CheckPassword`) and returns an `Answer`. A driver
supplies the world: `MFA` blocks, `AsyncMFA` awaits, the tests' scheduler tries every interleaving.

The outcome of a decision leaves only after its write has won. A lost write is decided again on what the
winner left; a verdict gathered before (a hash, a password) holds only for the item and stored value
that it names. Time is read once, so that a code is judged by when it arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from attrs import frozen

from mfakit.core import administration, devices, enrollment, login, mail_login
from mfakit.core.decision import (
    CheckHash,
    CheckPassword,
    Context,
    Decision,
    Evidence,
    NewHashes,
    Question,
    settle,
)
from mfakit.core.encoding import generate_id
from mfakit.core.enrollment import EnrollmentRequest
from mfakit.core.events import AuditEvent, ClientInfo
from mfakit.core.login import LoginRequest
from mfakit.core.mail_login import PasscodeRequest
from mfakit.core.provisioning import ImportedSecret
from mfakit.core.record import (
    Record,
    StoredRecord,
    blank_record,
    decode_record,
    document_key_id,
    encode_record,
    key_ids_of,
)
from mfakit.core.results import (
    AuthenticatorAdded,
    AuthenticatorOffer,
    ClientSignedIn,
    HistoryItem,
    NewPasscode,
    PasscodeInfo,
    SignedIn,
    Status,
    TrustedDeviceInfo,
)
from mfakit.core.sealing import Vault
from mfakit.core.secret import Secret
from mfakit.core.tokens import Challenge, OfferPayload, Proof, ProofToken, open_token
from mfakit.errors import (
    ChallengeError,
    ContentionError,
    KeyUnavailableError,
    MFAKitError,
    OfferError,
    RecordIntegrityError,
    UnknownAccountError,
)
from mfakit.policy import Policy

__all__ = ["Answer", "Effect", "Environment", "GetPolicy", "Load", "Operation", "Verdict", "Write"]

T = TypeVar("T")

LOST_WRITES_MAX = 8


@frozen(kw_only=True)
class Environment:
    """What operations need that never changes: keys and clock (Unix seconds)."""

    vault: Vault
    clock: Callable[[], float]


@frozen
class Load:
    """Read one row, linearizable with writes. The driver answers with `StoredRecord | None`."""

    account_id: str


@frozen
class GetPolicy:
    """The driver answers with the account's `Policy`."""

    account_id: str


@frozen(kw_only=True)
class Write:
    """Write one row on condition. The driver answers whether it won, and then tells `events`.

    Args:
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


@frozen(kw_only=True)
class Verdict:
    """The driver's answer to a question. `waited`: so long that the row must be read again."""

    value: Any
    waited: bool = True


@frozen(kw_only=True)
class Answer(Generic[T]):
    """What an operation came to, and events that no write has told yet."""

    outcome: T | MFAKitError
    events: tuple[AuditEvent, ...] = ()


Effect = Load | GetPolicy | Write | CheckHash | NewHashes | CheckPassword
Operation = Generator[Effect, Any, Answer[T]]
Decide = Callable[[Record, Evidence, Context], "Decision[T] | Question"]


# --------------------------------------------------------------------------------- the one procedure


def _attempt(
    env: Environment,
    account_id: str,
    decide: Decide[T],
    *,
    client: ClientInfo | None = None,
    opens_account: bool = False,
    may_be_torn: bool = False,
) -> Operation[T]:
    policy: Policy = yield GetPolicy(account_id)
    at = Context(now=int(env.clock()), policy=policy, vault=env.vault, client=client)
    evidence: dict[tuple[str, str], Any] = {}
    lost = 0
    stored: StoredRecord | None = yield Load(account_id)
    while lost < LOST_WRITES_MAX:
        record = _open(stored, account_id, at, opens_account=opens_account, may_be_torn=may_be_torn)
        settled = settle(record, at)
        decision = settled or decide(record, evidence, at)
        if not isinstance(decision, Decision):
            verdict: Verdict = yield decision
            evidence[decision.key] = verdict.value
            lost += len(evidence) > LOST_WRITES_MAX
            stored = (yield Load(account_id)) if verdict.waited else stored
            continue
        if decision.record is None:
            return Answer(outcome=decision.outcome, events=decision.events)
        row = encode_record(decision.record, at.vault)
        won = yield _write(account_id, row, stored, decision.events, lost)
        if won and settled is None:
            return Answer(outcome=decision.outcome)
        lost += not won
        stored = row if won else (yield Load(account_id))
    raise ContentionError


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
    stored: StoredRecord | None,
    account_id: str,
    at: Context,
    *,
    opens_account: bool = False,
    may_be_torn: bool = False,
) -> Record:
    """Open a row, or stand in for the one that is missing (or torn, for an operator's reset)."""
    if stored is None:
        # SECURITY: where every account was opened, a lost row must not mean "two-step is off".
        if at.policy.unknown_account == "refuse" and not opens_account:
            raise UnknownAccountError
        return blank_record(account_id, generate_id(at.vault.random))
    if not may_be_torn:
        return decode_record(stored, at.vault)
    try:
        return decode_record(stored, at.vault)
    except (RecordIntegrityError, KeyUnavailableError):
        return blank_record(account_id, generate_id(at.vault.random))


def _read(
    env: Environment, account_id: str, view: Callable[[Record, StoredRecord | None, Context], T]
) -> Operation[T]:
    """Show an account as the next decision would see it, without writing."""
    policy: Policy = yield GetPolicy(account_id)
    at = Context(now=int(env.clock()), policy=policy, vault=env.vault)
    stored: StoredRecord | None = yield Load(account_id)
    record = _open(stored, account_id, at)
    while (settled := settle(record, at)) is not None and settled.record is not None:
        record = settled.record
    return Answer(outcome=view(record, stored, at))


def _refused(error: MFAKitError) -> Operation[Any]:
    return Answer(outcome=error)
    yield  # makes this a generator like the others


# ------------------------------------------------------------------------------------- proofs, sign-in


def password_proof(
    env: Environment, account_id: str, bound_to: Secret | None
) -> Operation[ProofToken]:
    return _attempt(
        env, account_id, lambda record, _, at: login.decide_password_proof(record, at, bound_to)
    )


def verify_code(
    env: Environment,
    account_id: str,
    method: str,
    code: Secret | None,
    bound_to: Secret | None,
    client: ClientInfo | None,
) -> Operation[ProofToken]:
    def decide(record: Record, evidence: Evidence, at: Context) -> Any:
        return login.decide_verify_code(record, method, code, evidence, at, bound_to)

    return _attempt(env, account_id, decide, client=client)


def begin_login(
    env: Environment, account_id: str, request: LoginRequest, client: ClientInfo | None
) -> Operation[Any]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: login.decide_begin_login(record, request, at),
        client=client,
    )


def complete_login(
    env: Environment,
    token: Secret | None,
    method: str,
    code: Secret | None,
    request: LoginRequest,
    client: ClientInfo | None,
) -> Operation[SignedIn]:
    challenge = open_token(Challenge, token, env.vault, request.bound_to)
    if challenge is None:
        return _refused(ChallengeError())

    def decide(record: Record, evidence: Evidence, at: Context) -> Any:
        return login.decide_complete_login(record, challenge, method, code, request, evidence, at)

    return _attempt(env, challenge.account_id, decide, client=client)


def session_is_current(env: Environment, account_id: str, epoch: str) -> Operation[bool]:
    return _read(env, account_id, lambda record, *_: login.decide_session(record, epoch))


# --------------------------------------------------------------------------------------- enrolment


def begin_enrollment(
    env: Environment, account_id: str, request: EnrollmentRequest, proof_token: Secret | None
) -> Operation[AuthenticatorOffer]:
    proof = open_token(Proof, proof_token, env.vault, request.bound_to)
    return _attempt(
        env,
        account_id,
        lambda record, _, at: enrollment.decide_begin_enrollment(record, request, proof, at),
    )


def show_offer(
    env: Environment, token: Secret | None, bound_to: Secret | None
) -> Operation[AuthenticatorOffer]:
    payload = open_token(OfferPayload, token, env.vault, bound_to)
    if payload is None or token is None:
        return _refused(OfferError())
    return _attempt(
        env,
        payload.account_id,
        lambda record, _, at: enrollment.decide_show_offer(record, payload, token, at),
    )


def confirm_enrollment(
    env: Environment,
    token: Secret | None,
    code: Secret | None,
    bound_to: Secret | None,
    client: ClientInfo | None,
) -> Operation[Any]:
    payload = open_token(OfferPayload, token, env.vault, bound_to)
    if payload is None:
        return _refused(OfferError())

    def decide(record: Record, evidence: Evidence, at: Context) -> Any:
        return enrollment.decide_confirm_enrollment(record, payload, code, evidence, at, bound_to)

    return _attempt(env, payload.account_id, decide, client=client)


def cancel_enrollment(
    env: Environment, token: Secret | None, bound_to: Secret | None
) -> Operation[None]:
    payload = open_token(OfferPayload, token, env.vault, bound_to)
    if payload is None:
        return _refused(OfferError())
    return _attempt(
        env,
        payload.account_id,
        lambda record, _, at: enrollment.decide_cancel_enrollment(record, payload, at),
    )


def remove_authenticator(
    env: Environment,
    account_id: str,
    authenticator_id: str,
    proof_token: Secret | None,
    bound_to: Secret | None,
) -> Operation[str]:
    proof = open_token(Proof, proof_token, env.vault, bound_to)
    return _attempt(
        env,
        account_id,
        lambda record, _, at: enrollment.decide_remove_authenticator(
            record, authenticator_id, proof, at
        ),
    )


def rename_authenticator(
    env: Environment, account_id: str, authenticator_id: str, label: str
) -> Operation[None]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: enrollment.decide_rename_authenticator(
            record, authenticator_id, label, at
        ),
    )


def resync(
    env: Environment,
    account_id: str,
    authenticator_id: str,
    codes: tuple[Secret | None, Secret | None],
    proof_token: Secret | None,
    bound_to: Secret | None,
) -> Operation[None]:
    proof = open_token(Proof, proof_token, env.vault, bound_to)
    return _attempt(
        env,
        account_id,
        lambda record, _, at: enrollment.decide_resync(record, authenticator_id, codes, proof, at),
    )


def disable(
    env: Environment, account_id: str, proof_token: Secret | None, bound_to: Secret | None
) -> Operation[str]:
    proof = open_token(Proof, proof_token, env.vault, bound_to)
    return _attempt(
        env, account_id, lambda record, _, at: enrollment.decide_disable(record, proof, at)
    )


def regenerate_recovery_codes(
    env: Environment, account_id: str, proof_token: Secret | None, bound_to: Secret | None
) -> Operation[tuple[str, ...]]:
    proof = open_token(Proof, proof_token, env.vault, bound_to)
    return _attempt(
        env,
        account_id,
        lambda record, evidence, at: enrollment.decide_regenerate(record, proof, evidence, at),
    )


# -------------------------------------------------------------------------- passcodes, mail clients


def create_passcode(
    env: Environment,
    account_id: str,
    request: PasscodeRequest,
    proof_token: Secret | None,
    bound_to: Secret | None,
) -> Operation[NewPasscode]:
    proof = open_token(Proof, proof_token, env.vault, bound_to)

    def decide(record: Record, evidence: Evidence, at: Context) -> Any:
        return mail_login.decide_create_passcode(record, request, proof, evidence, at)

    return _attempt(env, account_id, decide)


def passcodes(env: Environment, account_id: str) -> Operation[tuple[PasscodeInfo, ...]]:
    return _read(
        env, account_id, lambda record, *_: tuple(map(mail_login.passcode_info, record.passcodes))
    )


def describe_passcode(
    env: Environment, account_id: str, text: Secret | None
) -> Operation[PasscodeInfo | None]:
    return _read(env, account_id, lambda record, *_: mail_login.describe_passcode(record, text))


def rename_passcode(
    env: Environment, account_id: str, passcode_id: str, label: str
) -> Operation[None]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: mail_login.decide_rename_passcode(record, passcode_id, label, at),
    )


def revoke_passcodes(env: Environment, account_id: str, passcode_id: str | None) -> Operation[int]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: mail_login.decide_revoke_passcodes(record, passcode_id, at),
    )


def authenticate_client(
    env: Environment,
    account_id: str,
    credential: Secret | None,
    protocol: object,
    client: ClientInfo | None,
) -> Operation[ClientSignedIn]:
    def decide(record: Record, evidence: Evidence, at: Context) -> Any:
        return mail_login.decide_client(record, credential, protocol, evidence, at)

    return _attempt(env, account_id, decide, client=client)


# ---------------------------------------------------------------------------------- trusted devices


def trusted_devices(
    env: Environment, account_id: str, token: Secret | None, device_id: Secret | None
) -> Operation[tuple[TrustedDeviceInfo, ...]]:
    return _read(
        env, account_id, lambda record, _, at: devices.device_infos(record, token, device_id, at)
    )


def rename_trusted_device(
    env: Environment, account_id: str, device_id: str, label: str
) -> Operation[None]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: devices.decide_rename_device(record, device_id, label, at),
    )


def revoke_trusted_device(env: Environment, account_id: str, device_id: str) -> Operation[int]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: devices.decide_revoke_devices(
            record, lambda device: device.id == device_id, at
        ),
    )


def revoke_other_devices(
    env: Environment, account_id: str, keep: Secret | None, device_id: Secret | None
) -> Operation[int]:
    def decide(record: Record, _: Evidence, at: Context) -> Decision[int]:
        this = devices.find_device(record, keep, device_id, at)
        return devices.decide_revoke_devices(
            record, lambda device: this is None or device.id != this.id, at
        )

    return _attempt(env, account_id, decide)


# ----------------------------------------------------------------------------------- administration


def status(env: Environment, account_id: str) -> Operation[Status]:
    def view(record: Record, stored: StoredRecord | None, at: Context) -> Status:
        key_id = None if stored is None else document_key_id(stored)
        return administration.status_of(record, key_id, at)

    return _read(env, account_id, view)


def history(env: Environment, account_id: str) -> Operation[tuple[HistoryItem, ...]]:
    return _read(env, account_id, lambda record, *_: administration.history_of(record))


def open_account(env: Environment, account_id: str) -> Operation[bool]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: administration.decide_open_account(record, at),
        opens_account=True,
    )


def reset(
    env: Environment, account_id: str, actor: str, reason: str, reenroll: bool
) -> Operation[str]:
    return _attempt(
        env,
        account_id,
        lambda record, _, at: administration.decide_reset(record, actor, reason, reenroll, at),
        may_be_torn=True,
    )


def password_changed(env: Environment, account_id: str) -> Operation[str]:
    return _attempt(
        env, account_id, lambda record, _, at: administration.decide_password_changed(record, at)
    )


def import_authenticator(
    env: Environment,
    account_id: str,
    imported: ImportedSecret,
    label: str,
    actor: str,
    reason: str,
) -> Operation[AuthenticatorAdded]:
    def decide(record: Record, _: Evidence, at: Context) -> Any:
        return administration.decide_import(record, imported, label, actor, reason, at)

    return _attempt(env, account_id, decide)


def forget(env: Environment, account_id: str, actor: str, reason: str) -> Operation[bool]:
    """Delete the record, whether or not it opens; the only operation that deletes."""
    policy: Policy = yield GetPolicy(account_id)
    at = Context(now=int(env.clock()), policy=policy, vault=env.vault)
    for lost in range(LOST_WRITES_MAX):
        stored: StoredRecord | None = yield Load(account_id)
        if stored is None:
            return Answer(outcome=False)
        events = administration.forgotten_events(account_id, stored.revision, actor, reason, at)
        if (yield _write(account_id, None, stored, events, lost)):
            return Answer(outcome=True)
    raise ContentionError


def rotate_keys(env: Environment, account_id: str) -> Operation[tuple[bool, tuple[str, ...]]]:
    """Seal one account anew under the newest key; answers whether it was due, and key ids met."""
    policy: Policy = yield GetPolicy(account_id)
    at = Context(now=int(env.clock()), policy=policy, vault=env.vault)
    for lost in range(LOST_WRITES_MAX):
        stored: StoredRecord | None = yield Load(account_id)
        if stored is None:
            return Answer(outcome=(False, ()))
        record = decode_record(stored, at.vault)
        met = key_ids_of(record, document_key_id(stored))
        decision = administration.decide_rotate(record, met, at)
        if decision.record is None:
            return Answer(outcome=(False, met))
        row = encode_record(decision.record, at.vault)
        if (yield _write(account_id, row, stored, decision.events, lost)):
            return Answer(outcome=(True, met))
    raise ContentionError
