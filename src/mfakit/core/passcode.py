"""Application passcodes: a public selector and a secret verifier, for clients that show no code field.

Twenty unambiguous lower-case letters, shown as five groups of four: "kqzr abcd efgh jkmn pqrs". The
first group finds the passcode without a hash and is its hint in lists; the others are 72 bits.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from msgspec.structs import replace

from mfakit import errors
from mfakit.core.decision import (
    NEW,
    Case,
    CheckHash,
    Decision,
    NewHashes,
    check_allowed,
    check_change,
    note,
)
from mfakit.core.encoding import Random, generate_id, pick_symbols
from mfakit.core.lifecycle import Ability
from mfakit.core.record import Passcode, Record
from mfakit.core.secret import Secret, Value
from mfakit.core.tokens import Proof
from mfakit.events import EventKind
from mfakit.results import NewPasscode

ALPHABET = "abcdefghjkmnpqrstuvwxyz"  # no i, l, o: they look like 1 and 0
SELECTOR_LETTERS = 4
VERIFIER_LETTERS = 16
PURPOSE = "passcode"
_LETTERS = SELECTOR_LETTERS + VERIFIER_LETTERS

TypedPasscode = tuple[str, Secret]


class PasscodeRequest(Value, frozen=True, kw_only=True):
    """What a new passcode is for. None for protocols or networks is any."""

    label: str
    protocols: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at: int | None = None


def generate_selector(random: Random, taken: Container[str]) -> str:
    """Return four letters that no other passcode of the account begins with."""
    while (selector := pick_symbols(random, ALPHABET, SELECTOR_LETTERS)) in taken:
        continue
    return selector


def format_passcode(selector: str, verifier: Secret) -> str:
    """Return the text that the owner copies: five groups of four letters."""
    letters = selector + verifier.reveal().decode()
    return " ".join(letters[start : start + 4] for start in range(0, _LETTERS, 4))


def parse_passcode(text: Secret | None) -> TypedPasscode | None:
    """Return selector and verifier of a typed passcode, or None if it cannot be one.

    Case, spaces and hyphens are ignored: phones capitalise and people type the gaps.
    """
    if text is None or len(text.reveal()) > 64:
        return None
    letters = text.reveal().translate(None, b" -").lower()  # bytes.lower knows ASCII only
    if len(letters) != _LETTERS or letters.translate(None, ALPHABET.encode()):
        return None
    return letters[:SELECTOR_LETTERS].decode(), Secret(letters[SELECTOR_LETTERS:])


def find_passcode(record: Record, selector: str) -> Passcode | None:
    """Return the passcode that begins with a selector, None if there is none (any more)."""
    return next((one for one in record.passcodes if one.selector == selector), None)


def hash_context(record: Record, passcode: Passcode) -> tuple[str, ...]:
    """Return what the hash of a passcode is bound to."""
    return PURPOSE, record.account_id, passcode.id, passcode.selector


def question_of(case: Case, passcode: Passcode, verifier: Secret) -> CheckHash:
    """Return the question whether a verifier is this passcode's."""
    record, sealed = case.record, passcode.sealed_hash
    context = hash_context(record, passcode)
    return CheckHash(
        account_id=record.account_id,
        item_id=passcode.id,
        sealed=sealed,
        unseal=lambda: case.vault.open_value(sealed, salt=record.salt, context=context),
        secret=verifier,
        remember_seconds=case.policy.passcode_memory_seconds,
    )


def decide_create_passcode(
    case: Case, request: PasscodeRequest, proof: Proof | None
) -> Decision[NewPasscode] | NewHashes:
    """Make an application passcode; it is shown once."""
    record, vault = case.record, case.vault
    error = (
        check_change(case, proof)
        or check_allowed(record, Ability.CREATE_PASSCODE)
        or _check_request(case, request)
    )
    if error:
        return case.refuse(error)
    hashed = case.evidence.get((NEW, PURPOSE))
    if hashed is None:
        secret = Secret(pick_symbols(vault.random, ALPHABET, VERIFIER_LETTERS).encode())
        account_id = record.account_id
        return NewHashes(
            account_id=account_id, purpose=PURPOSE, secrets=(secret,), policy=case.policy
        )
    ((verifier, stored),) = hashed
    passcode = _seal(case, request, stored)
    result = NewPasscode(
        passcode=format_passcode(passcode.selector, verifier),
        passcode_id=passcode.id,
        hint=passcode.selector,
        label=passcode.label,
    )
    created = note(EventKind.PASSCODE_CREATED, item_id=passcode.id, label=passcode.label)
    return case.write(lambda _: result, created, passcodes=(*record.passcodes, passcode))


def _check_request(case: Case, request: PasscodeRequest) -> errors.RefusedError | None:
    passcodes, policy = case.record.passcodes, case.policy
    if not policy.passcodes:
        return errors.PasscodesOffError()
    if request.expires_at is not None and request.expires_at <= case.now:
        return errors.InvalidInputError("expires_at")
    if len(passcodes) >= policy.passcodes_max:
        return errors.LimitReachedError()
    is_taken = any(passcode.label == request.label for passcode in passcodes)
    return errors.LabelTakenError() if is_taken else None


def _seal(case: Case, request: PasscodeRequest, hashed: Secret) -> Passcode:
    record, random = case.record, case.vault.random
    bare = Passcode(
        id=generate_id(random),
        selector=generate_selector(random, {one.selector for one in record.passcodes}),
        label=request.label,
        sealed_hash="",
        created_at=case.now,
        protocols=request.protocols,
        networks=request.networks,
        expires_at=request.expires_at,
    )
    sealed = case.vault.seal_value(hashed, salt=record.salt, context=hash_context(record, bare))
    return replace(bare, sealed_hash=sealed)


def decide_rename_passcode(case: Case, passcode_id: str, label: str) -> Decision[None]:
    """Give a passcode another name, one that no other has."""
    passcodes = case.record.passcodes
    if all(passcode.id != passcode_id for passcode in passcodes):
        return case.refuse(errors.NotFoundError())
    if any(passcode.label == label and passcode.id != passcode_id for passcode in passcodes):
        return case.refuse(errors.LabelTakenError())
    renamed = note(EventKind.PASSCODE_RENAMED, item_id=passcode_id, label=label)
    changed = with_passcode(case.record, passcode_id, label=label)
    return case.write(lambda _: None, renamed, passcodes=changed)


def decide_revoke_passcode(case: Case, passcode_id: str) -> Decision[int]:
    """Delete one passcode."""
    found = [one for one in case.record.passcodes if one.id == passcode_id]
    return _revoke(case, found) if found else case.refuse(errors.NotFoundError())


def decide_revoke_all_passcodes(case: Case) -> Decision[int]:
    """Delete every passcode; answers how many."""
    found = list(case.record.passcodes)
    return _revoke(case, found) if found else case.answer(0)


def _revoke(case: Case, gone: list[Passcode]) -> Decision[int]:
    notes = [note(EventKind.PASSCODE_REVOKED, item_id=one.id, label=one.label) for one in gone]
    kept = tuple([one for one in case.record.passcodes if one not in gone])
    return case.write(lambda _: len(gone), *notes, passcodes=kept)


def with_passcode(record: Record, passcode_id: str, **changes: Any) -> tuple[Passcode, ...]:
    """Return the passcodes with one changed."""
    return tuple(
        [replace(one, **changes) if one.id == passcode_id else one for one in record.passcodes]
    )
