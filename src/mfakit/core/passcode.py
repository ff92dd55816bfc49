"""Application passcodes: a public selector and a secret verifier, for clients that show no code field.

Twenty unambiguous lower-case letters, shown as five groups of four: "kqzr abcd efgh jkmn pqrs". The
first group finds the passcode without a hash and is its hint in lists; the others are 72 bits.
"""

from __future__ import annotations

from collections.abc import Container

from msgspec.structs import asdict, replace

from mfakit import errors
from mfakit.arguments import PasscodeRequest
from mfakit.core.decision import Case, CheckHash, Decision, NewHashes, note
from mfakit.core.encoding import Random, generate_id, pick_symbols, without_separators
from mfakit.core.guards import check_change
from mfakit.core.lifecycle import Ability
from mfakit.core.record import Passcode, Record
from mfakit.core.sealing import Proof
from mfakit.core.secret import Secret
from mfakit.core.throttle import DAY_SECONDS
from mfakit.events import EventKind, to_datetime
from mfakit.results import NewPasscode, in_groups

ALPHABET = "abcdefghjkmnpqrstuvwxyz"  # no i, l, o: they look like 1 and 0
SELECTOR_LETTERS = 4
VERIFIER_LETTERS = 16
PURPOSE = "passcode"
_LETTERS = SELECTOR_LETTERS + VERIFIER_LETTERS

TypedPasscode = tuple[str, Secret]


def generate_selector(random: Random, taken: Container[str]) -> str:
    """Return four letters that no other passcode of the account begins with."""
    while (selector := pick_symbols(random, ALPHABET, SELECTOR_LETTERS)) in taken:
        continue
    return selector


def format_passcode(selector: str, verifier: Secret) -> str:
    """Return the text that the owner copies: five groups of four letters."""
    return in_groups(selector + verifier.reveal().decode())


def parse_passcode(text: Secret | None) -> TypedPasscode | None:
    """Return selector and verifier of a typed passcode, or None if it cannot be one.

    Case, spaces and hyphens are ignored: phones capitalise and people type the gaps.
    """
    typed = without_separators(text)
    if typed is None:
        return None
    letters = typed.reveal().lower()  # bytes.lower knows ASCII only
    if len(letters) != _LETTERS or letters.translate(None, ALPHABET.encode()):
        return None
    return letters[:SELECTOR_LETTERS].decode(), Secret(letters[SELECTOR_LETTERS:])


def find_passcode(record: Record, selector: str) -> Passcode | None:
    """Return the passcode that begins with a selector, None if there is none (any more)."""
    return next((one for one in record.passcodes if one.selector == selector), None)


def hash_context(record: Record, passcode: Passcode) -> tuple[str, ...]:
    """Return what the hash of a passcode is sealed to."""
    return PURPOSE, record.account_id, passcode.id, passcode.selector


def expires_at(case: Case, passcode: Passcode) -> int | None:
    """Return the Unix second at which a passcode ends, None for never: its own or the policy's."""
    days = case.policy.passcode_days_max
    ends = [] if passcode.expires_at is None else [passcode.expires_at]
    if days is not None:
        ends.append(min(passcode.created_at, case.now) + days * DAY_SECONDS)
    return min(ends, default=None)


def question_of(case: Case, passcode: Passcode, verifier: Secret) -> CheckHash:
    """Return the question whether a verifier is this passcode's."""
    context = hash_context(case.record, passcode)
    return CheckHash(
        account_id=case.record.account_id,
        is_mail=True,
        item_id=passcode.id,
        sealed=passcode.sealed_hash,
        unseal=lambda: case.open(passcode.sealed_hash, context),
        secret=verifier,
        remember_seconds=case.policy.passcode_memory_seconds,
    )


def decide_create_passcode(
    case: Case, request: PasscodeRequest, proof: Proof | None
) -> Decision[NewPasscode] | NewHashes:
    """Make an application passcode; it is shown once."""
    error = check_change(case, proof, Ability.CREATE_PASSCODE) or _check_request(case, request)
    if error:
        return case.refuse(error)
    hashed = case.new_hashes(PURPOSE, lambda: (_generate_verifier(case.vault.random),))
    if isinstance(hashed, NewHashes):
        return hashed
    ((verifier, stored),) = hashed
    passcode = _seal(case, request, stored)
    until = expires_at(case, passcode)
    result = NewPasscode(
        passcode=format_passcode(passcode.selector, verifier),
        passcode_id=passcode.id,
        hint=passcode.selector,
        label=passcode.label,
        expires_at=None if until is None else to_datetime(until),
    )
    created = note(EventKind.PASSCODE_CREATED, passcode)
    return case.write(lambda _: result, created, passcodes=(*case.record.passcodes, passcode))


def _generate_verifier(random: Random) -> Secret:
    return Secret(pick_symbols(random, ALPHABET, VERIFIER_LETTERS).encode())


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
    random, taken = case.vault.random, {one.selector for one in case.record.passcodes}
    bare = Passcode(
        id=generate_id(random),
        selector=generate_selector(random, taken),
        sealed_hash="",
        created_at=case.now,
        **asdict(request),
    )
    return replace(bare, sealed_hash=case.seal(hashed, hash_context(case.record, bare)))
