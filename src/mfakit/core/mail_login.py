"""Mail clients: application passcodes, and what a client's credential is worth. Deny by default.

Once two-step is on, a passcode is the only credential that a mail client can use, and nothing else is
even checked: a plain password, right or wrong, a bare code or a recovery code are refused alike.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from msgspec.structs import replace

from mfakit.core.decision import (
    NEW,
    PASSWORD,
    CheckHash,
    CheckPassword,
    Context,
    Decision,
    Evidence,
    NewHashes,
    Question,
    check_allowed,
    check_proof,
    conclude,
    is_current_epoch,
    is_required_now,
    note,
    refuse,
    unchanged,
)
from mfakit.core.encoding import generate_id, to_datetime
from mfakit.core.events import EventKind
from mfakit.core.factors import (
    TOTP,
    Accepted,
    judge,
    match_authenticators,
    open_secret,
    wait_refusal,
)
from mfakit.core.lifecycle import ALLOWED, Ability
from mfakit.core.passcode import format_passcode, generate_passcode, parse_passcode
from mfakit.core.record import Passcode, Record
from mfakit.core.results import ClientSignedIn, NewPasscode, PasscodeInfo
from mfakit.core.secret import Secret
from mfakit.core.tokens import Proof
from mfakit.core.totp import code_at
from mfakit.errors import (
    ContentionError,
    CredentialRefusedError,
    InvalidInputError,
    LabelTakenError,
    LimitReachedError,
    NotEnrolledError,
    NotFoundError,
    PasscodesOffError,
    PasswordChangeRequiredError,
    RefusedError,
)

PROTOCOLS = ("imap", "pop3", "smtp", "sieve", "dav", "eas")
NETWORKS_MAX = 20
PASSCODE = "passcode"


@frozen(kw_only=True)
class PasscodeRequest:
    """What a new passcode is for. None for protocols or networks is any."""

    label: str
    protocols: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    expires_at: int | None


def parse_protocols(value: Any) -> tuple[str, ...] | None:
    """Return known protocols in a fixed order, None for any.

    Raises:
        InvalidInputError: An empty set (it could never be used) or an unknown protocol.
    """
    if value is None:
        return None
    asked = set(_strings(value, "protocols"))
    if not asked or not asked <= set(PROTOCOLS):
        raise InvalidInputError("protocols")
    return tuple([protocol for protocol in PROTOCOLS if protocol in asked])


def parse_networks(value: Any) -> tuple[str, ...] | None:
    """Return at most 20 networks in canonical CIDR form, IPv4 in IPv6 as IPv4, None for any.

    Raises:
        InvalidInputError: An empty set, too many, or no network.
    """
    if value is None:
        return None
    asked = _strings(value, "networks")
    networks = (
        {_parse_network(text) for text in asked} if 0 < len(asked) <= NETWORKS_MAX else {None}
    )
    if None in networks:
        raise InvalidInputError("networks")
    return tuple(sorted(network for network in networks if network))


def _strings(value: Any, name: str) -> list[str]:
    # A bare "imap" would otherwise be taken letter by letter.
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(
        isinstance(one, str) for one in value
    ):
        raise InvalidInputError(name)
    return list(value)


def _parse_network(text: str) -> str | None:
    from ipaddress import IPv6Network, ip_network

    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return f"{mapped}/{network.prefixlen - 96}"
    return str(network)


# --------------------------------------------------------------------------------- owning passcodes


def decide_create_passcode(
    record: Record, request: PasscodeRequest, proof: Proof | None, evidence: Evidence, at: Context
) -> Decision[NewPasscode] | NewHashes:
    """Make an application passcode; it is shown once."""
    error = (
        (NotEnrolledError() if record.is_off else check_proof(record, proof, at))
        or check_allowed(record, Ability.CREATE_PASSCODE)
        or _check_new_passcode(record, request, at)
    )
    if error:
        return refuse(record, at, error)
    hashed = evidence.get((NEW, PASSCODE))
    selector, verifier = generate_passcode(
        at.vault.random, {one.selector for one in record.passcodes}
    )
    if hashed is None:
        return NewHashes(
            account_id=record.account_id, purpose=PASSCODE, secrets=(verifier,), policy=at.policy
        )
    ((verifier, stored),) = hashed
    new_id = generate_id(at.vault.random)
    context = passcode_context(record, new_id, selector)
    passcode = Passcode(
        id=new_id,
        selector=selector,
        label=request.label,
        sealed_hash=at.vault.seal_value(Secret(stored.encode()), salt=record.salt, context=context),
        created_at=at.now,
        protocols=request.protocols,
        networks=request.networks,
        expires_at=request.expires_at,
    )
    return conclude(
        record,
        at,
        lambda _: NewPasscode(
            passcode=format_passcode(selector, verifier),
            passcode_id=new_id,
            hint=selector,
            label=request.label,
        ),
        [note(EventKind.PASSCODE_CREATED, item_id=new_id, label=request.label)],
        passcodes=(*record.passcodes, passcode),
    )


def _check_new_passcode(
    record: Record, request: PasscodeRequest, at: Context
) -> RefusedError | None:
    if not at.policy.passcodes:
        return PasscodesOffError()
    if request.expires_at is not None and request.expires_at <= at.now:
        return InvalidInputError("expires_at")
    if len(record.passcodes) >= at.policy.passcodes_max:
        return LimitReachedError()
    is_taken = any(passcode.label == request.label for passcode in record.passcodes)
    return LabelTakenError() if is_taken else None


def decide_rename_passcode(
    record: Record, passcode_id: str, label: str, at: Context
) -> Decision[None]:
    """Give a passcode another name, one that no other has."""
    if all(passcode.id != passcode_id for passcode in record.passcodes):
        return refuse(record, at, NotFoundError())
    if any(passcode.label == label and passcode.id != passcode_id for passcode in record.passcodes):
        return refuse(record, at, LabelTakenError())
    notes = [note(EventKind.PASSCODE_RENAMED, item_id=passcode_id, label=label)]
    renamed = _with_passcode(record, passcode_id, label=label)
    return conclude(record, at, lambda _: None, notes, passcodes=renamed)


def decide_revoke_passcodes(record: Record, passcode_id: str | None, at: Context) -> Decision[int]:
    """Delete one passcode, or all for None; answers how many."""
    gone = [one for one in record.passcodes if passcode_id is None or one.id == passcode_id]
    if not gone:
        return (
            refuse(record, at, NotFoundError()) if passcode_id is not None else Decision(outcome=0)
        )
    notes = [note(EventKind.PASSCODE_REVOKED, item_id=one.id, label=one.label) for one in gone]
    kept = tuple([one for one in record.passcodes if one not in gone])
    return conclude(record, at, lambda _: len(gone), notes, passcodes=kept)


def describe_passcode(record: Record, text: Secret | None) -> PasscodeInfo | None:
    """Return the passcode whose public first group a text begins with; the rest is not checked."""
    parsed = parse_passcode(text)
    found = _find(record, parsed[0]) if parsed else None
    return None if found is None else passcode_info(found)


def passcode_info(passcode: Passcode) -> PasscodeInfo:
    """Return a passcode as lists show it."""

    def moment(seconds: int | None) -> Any:
        return None if seconds is None else to_datetime(seconds)

    return PasscodeInfo(
        passcode_id=passcode.id,
        label=passcode.label,
        hint=passcode.selector,
        created_at=to_datetime(passcode.created_at),
        protocols=passcode.protocols,
        networks=passcode.networks,
        expires_at=moment(passcode.expires_at),
        last_used_at=moment(passcode.last_used_at),
        last_used_ip=passcode.last_used_ip,
        last_used_protocol=passcode.last_used_protocol,
    )


def _find(record: Record, selector: str) -> Passcode | None:
    return next((passcode for passcode in record.passcodes if passcode.selector == selector), None)


def _with_passcode(record: Record, passcode_id: str, **changes: Any) -> tuple[Passcode, ...]:
    return tuple(
        [replace(one, **changes) if one.id == passcode_id else one for one in record.passcodes]
    )


def passcode_context(record: Record, passcode_id: str, selector: str) -> tuple[str, ...]:
    return PASSCODE, record.account_id, passcode_id, selector


# ---------------------------------------------------------------------------------- signing clients in


def decide_client(
    record: Record, credential: Secret | None, protocol: object, evidence: Evidence, at: Context
) -> Decision[ClientSignedIn] | Question:
    """Decide what a mail client's credential is worth. The reason of a refusal goes to the event only."""
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        return _refused(record, at, "protocol", None)
    if credential is None:
        return _refused(record, at, "malformed", protocol)
    if record.is_off:
        return _by_password(record, credential, protocol, evidence, at)
    if parsed := parse_passcode(credential):
        return _by_passcode(record, *parsed, protocol, evidence, at)
    if at.policy.password_with_code and record.state in ALLOWED[Ability.USE_CODE]:
        return _by_password_with_code(record, credential, protocol, evidence, at)
    return _refused(record, at, "two_step_is_on", protocol)


def _by_password(
    record: Record, credential: Secret, protocol: str, evidence: Evidence, at: Context
) -> Decision[ClientSignedIn] | Question:
    if record.password_suspect:
        return refuse(
            record, at, PasswordChangeRequiredError(), [_client_refused("suspect", protocol)]
        )
    if is_required_now(record, at):
        return _refused(record, at, "enrollment_required", protocol)
    verdict = _password_verdict(record, credential, evidence)
    if not isinstance(verdict, bool):
        return verdict if isinstance(verdict, CheckPassword) else refuse(record, at, verdict)
    if not verdict:
        return _refused(record, at, "password", protocol)
    return unchanged(
        record,
        at,
        ClientSignedIn(account_id=record.account_id, via=PASSWORD),
        [note(EventKind.CLIENT_SIGNED_IN, method=PASSWORD, protocol=protocol)],
    )


def _password_verdict(
    record: Record, password: Secret, evidence: Evidence
) -> bool | CheckPassword | ContentionError:
    """Return the platform's verdict, the question for it, or (the epoch rose meanwhile) an error.

    The platform is asked once per attempt: a verdict about an older epoch is not asked again.
    """
    given = [(epoch, verdict) for (kind, epoch), verdict in evidence.items() if kind == PASSWORD]
    if not given:
        return CheckPassword(password=password, epoch=record.epoch)
    epoch, verdict = given[0]
    return bool(verdict) if is_current_epoch(record, epoch) else ContentionError()


def _by_passcode(
    record: Record, selector: str, verifier: Secret, protocol: str, evidence: Evidence, at: Context
) -> Decision[ClientSignedIn] | Question:
    passcode = _find(record, selector)
    if passcode is None:  # unknown or revoked: no hash, no write
        return _refused(record, at, "unknown_passcode", protocol)
    if not at.policy.passcodes:
        return _refused(record, at, "passcodes_off", protocol, item_id=passcode.id)
    context = passcode_context(record, passcode.id, passcode.selector)
    stored = at.vault.open_value(passcode.sealed_hash, salt=record.salt, context=context)
    question = CheckHash(
        account_id=record.account_id,
        item_id=passcode.id,
        stored=stored.reveal().decode(),
        secret=verifier,
        remember_seconds=at.policy.passcode_memory_seconds,
    )
    verdict = evidence.get(question.key)
    if verdict is None:
        return question
    # SECURITY: a wrong verifier writes nothing, or a stranger could disable a phone; 72 bits need no cap.
    reason = _reason_against(passcode, protocol, at) if verdict else "wrong_passcode"
    if reason:
        return _refused(record, at, reason, protocol, item_id=passcode.id)
    return _accept_passcode(record, passcode, protocol, at)


def _reason_against(passcode: Passcode, protocol: str, at: Context) -> str | None:
    """Return why a right passcode does not fit this client, None if it does."""
    if passcode.expires_at is not None and at.now >= passcode.expires_at:
        return "expired"
    if passcode.protocols is not None and protocol not in passcode.protocols:
        return "wrong_protocol"
    if passcode.networks is not None and not _is_inside(passcode.networks, at):
        return "wrong_network"
    return None


def _is_inside(networks: tuple[str, ...], at: Context) -> bool:
    from ipaddress import ip_address, ip_network

    if at.client is None or at.client.remote_ip is None:
        return False
    address = ip_address(at.client.remote_ip)
    return any(address in ip_network(network) for network in networks)


def _accept_passcode(
    record: Record, passcode: Passcode, protocol: str, at: Context
) -> Decision[ClientSignedIn]:
    result = ClientSignedIn(account_id=record.account_id, via=PASSCODE, passcode_id=passcode.id)
    named = {"protocol": protocol, "item_id": passcode.id, "label": passcode.label}
    notes = [note(EventKind.CLIENT_SIGNED_IN, method=PASSCODE, **named)]
    last = passcode.last_used_at
    if last is not None and at.now - last < at.policy.passcode_last_used_seconds:
        return unchanged(record, at, result, notes)
    if last is None:
        notes.append(note(EventKind.PASSCODE_FIRST_USED, **named))
    used = _with_passcode(
        record,
        passcode.id,
        last_used_at=at.now,
        last_used_ip=at.client.remote_ip if at.client else None,
        last_used_protocol=protocol,
    )
    return conclude(record, at, lambda _: result, notes, passcodes=used)


# ------------------------------------------------------------------- password followed by a code


def _by_password_with_code(
    record: Record, credential: Secret, protocol: str, evidence: Evidence, at: Context
) -> Decision[ClientSignedIn] | Question:
    """Judge a password with a code at its end. Clients save the text and send it again and again."""
    split = _split(record, credential, at)
    if split is None:
        return _refused(record, at, "two_step_is_on", protocol)
    password, code = split
    if _is_last_accepted(record, code, at):
        return _refused(record, at, "repeated", protocol)
    if wait_refusal(record, at, TOTP):
        return _refused(record, at, "throttled", protocol)
    verdict = _password_verdict(record, password, evidence)
    if not isinstance(verdict, bool):
        return verdict if isinstance(verdict, CheckPassword) else refuse(record, at, verdict)
    if not verdict:
        return _refused(record, at, "password", protocol)
    judged = judge(TOTP, record, code, evidence, at)
    if isinstance(judged, Accepted):
        result = ClientSignedIn(account_id=record.account_id, via="password+code")
        notes = [note(EventKind.CLIENT_SIGNED_IN, method="password+code", protocol=protocol)]
        changes = judged.changes | {"last_combined": (judged.earned_by, judged.step)}
        return conclude(record, at, lambda _: result, notes, **changes)
    if isinstance(judged, Decision) and isinstance(judged.outcome, RefusedError):
        return Decision(
            outcome=CredentialRefusedError(), record=judged.record, events=judged.events
        )
    return judged


def _split(record: Record, credential: Secret, at: Context) -> tuple[Secret, Secret] | None:
    """Return password and code; where apps of the account differ in length, the split that matches."""
    text = credential.reveal()
    lengths = sorted({one.digits for one in record.authenticators})
    splits = [
        (Secret(text[:-length]), Secret(text[-length:]))
        for length in lengths
        if len(text) > length and text[-length:].isdigit()
    ]
    fitting = [split for split in splits if match_authenticators(record, split[1], at).steps]
    return next(iter(fitting or splits), None)


def _is_last_accepted(record: Record, code: Secret, at: Context) -> bool:
    """Say whether a code is the one accepted last in this way, found again from its time step.

    So no hash of a text with the password in it is ever stored.
    """
    from hmac import compare_digest

    authenticator_id, step = record.last_combined or ("", -1)
    return any(
        compare_digest(
            code_at(
                open_secret(record, one, at).reveal(),
                step,
                algorithm=one.algorithm,
                digits=one.digits,
            ),
            code.reveal(),
        )
        for one in record.authenticators
        if one.id == authenticator_id
    )


def _refused(
    record: Record, at: Context, reason: str, protocol: str | None, **details: Any
) -> Decision[Any]:
    return refuse(
        record, at, CredentialRefusedError(), [_client_refused(reason, protocol, **details)]
    )


def _client_refused(reason: str, protocol: str | None, **details: Any) -> Any:
    return note(EventKind.CLIENT_REFUSED, reason=reason, protocol=protocol, **details)
