"""Recovery codes: a slot and a secret, "ABCD-EFGH-JKMN-PQRS", ten to a set, each used once.

Sixteen symbols of Crockford's base32: the first names the slot, so one attempt needs one hash
whatever the number of codes; the other fifteen are 75 bits (SP 800-63B-4 §4.2.1.1 asks for 64).
"""

from __future__ import annotations

from msgspec.structs import replace

from mfakit.core.decision import Case, CheckHash, Decision, HashedSecrets, NewHashes, note
from mfakit.core.encoding import Random, generate_id, pick_symbols, without_separators
from mfakit.core.guards import check_change
from mfakit.core.lifecycle import Ability
from mfakit.core.record import Record, RecoverySet, Throttle
from mfakit.core.sealing import Proof
from mfakit.core.secret import Secret
from mfakit.events import EventKind
from mfakit.results import in_groups

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SYMBOLS = 16
PURPOSE = "recovery"
# Crockford: O reads as 0, I and L as 1.
_READ_AS = bytes.maketrans(b"OIL", b"011")


def generate_recovery_codes(random: Random, count: int) -> tuple[Secret, ...]:
    """Return `count` new codes (1-32); the slot of each is its place."""
    secrets = [pick_symbols(random, ALPHABET, SYMBOLS - 1) for _ in range(count)]
    return tuple([Secret((ALPHABET[slot] + one).encode()) for slot, one in enumerate(secrets)])


def format_recovery_codes(hashed: HashedSecrets) -> tuple[str, ...]:
    """Return the texts that the owner keeps: four groups of four symbols each."""
    return tuple([in_groups(code.reveal().decode(), "-") for code, _ in hashed])


def parse_recovery_code(text: Secret | None) -> tuple[int, Secret] | None:
    """Return slot and code of a typed recovery code, or None if it cannot be one."""
    typed = without_separators(text)
    if typed is None:
        return None
    symbols = typed.reveal().upper().translate(_READ_AS)
    if len(symbols) != SYMBOLS or symbols.translate(None, ALPHABET.encode()):
        return None
    return ALPHABET.index(chr(symbols[0])), Secret(symbols)


def new_codes(case: Case) -> HashedSecrets | NewHashes:
    """Return new codes with their hashes, or the question for these."""
    random, count = case.vault.random, case.policy.recovery_codes
    return case.new_hashes(PURPOSE, lambda: generate_recovery_codes(random, count))


def seal_recovery_set(case: Case, hashed: HashedSecrets) -> RecoverySet:
    """Return a set of new codes as the record keeps it."""
    set_id = generate_id(case.vault.random)
    sealed = [
        case.seal(stored, hash_context(case.record, set_id, slot))
        for slot, (_, stored) in enumerate(hashed)
    ]
    return RecoverySet(id=set_id, created_at=case.now, sealed_hashes=tuple(sealed))


def hash_context(record: Record, set_id: str, slot: int) -> tuple[str, ...]:
    """Return what the hash of one recovery code is sealed to."""
    return PURPOSE, record.account_id, set_id, str(slot)


def question_of(case: Case, codes: RecoverySet, slot: int, code: Secret) -> CheckHash | None:
    """Return the question whether a code is the one in a slot, None if there is none any more."""
    sealed = codes.sealed_hashes[slot] if slot < len(codes.sealed_hashes) else None
    if sealed is None:
        return None
    return CheckHash(
        account_id=case.record.account_id,
        item_id=f"{codes.id}/{slot}",
        sealed=sealed,
        unseal=lambda: case.open(sealed, hash_context(case.record, codes.id, slot)),
        secret=code,
    )


def without_slot(codes: RecoverySet, slot: int) -> RecoverySet:
    """Return the set with one code spent."""
    kept = [None if place == slot else one for place, one in enumerate(codes.sealed_hashes)]
    return replace(codes, sealed_hashes=tuple(kept))


def decide_regenerate(case: Case, proof: Proof | None) -> Decision[tuple[str, ...]] | NewHashes:
    """Replace the recovery codes; the older set is void and its failures with it."""
    if error := check_change(case, proof, Ability.REGENERATE_RECOVERY_CODES):
        return case.refuse(error)
    hashed = new_codes(case)
    if isinstance(hashed, NewHashes):
        return hashed
    changes = {"recovery": seal_recovery_set(case, hashed), "recovery_throttle": Throttle()}
    regenerated = note(EventKind.RECOVERY_CODES_REGENERATED, count=len(hashed))
    return case.write(lambda _: format_recovery_codes(hashed), regenerated, **changes)
