"""What every decision is made of: one case, an outcome, the next record, and what to tell whom.

A decision is a pure, total function of a `Case`: a record, a moment, a policy. It answers with a
`Decision`, or with a question (`CheckHash`, `NewHashes`, `CheckPassword`) whose verdict it needs
first. A refusal is a value: the record that counts it must be written before anybody hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import field
from msgspec.structs import replace

from mfakit import errors
from mfakit.core.encoding import generate_id, to_datetime
from mfakit.core.lifecycle import ALLOWED, OFF, OFFERING, Ability, Event, next_state
from mfakit.core.record import HISTORY_ENTRIES_MAX, NO_EPOCH, HistoryEntry, Offer, Record, Throttle
from mfakit.core.sealing import Vault
from mfakit.core.secret import Secret, Value
from mfakit.core.tokens import CLOCK_SKEW_SECONDS, Proof, is_alive
from mfakit.events import OWNER_KINDS, AuditEvent, ClientInfo, EventKind
from mfakit.policy import LIMITS, Policy

T = TypeVar("T")

PASSWORD, NEW = "password", "new"
Note = tuple[EventKind, dict[str, Any]]


class Decision(Value, Generic[T], frozen=True, kw_only=True):
    """An outcome, the record to write before it may leave (None: nothing), and the events."""

    outcome: T | errors.MFAKitError  # a token or codes, maybe
    record: Record | None = None
    events: tuple[AuditEvent, ...] = ()


class CheckHash(Value, frozen=True, kw_only=True, eq=False):
    """Question: is `secret` what a sealed hash was made from? `item_id` says whose it is."""

    account_id: str
    item_id: str
    sealed: str
    unseal: Callable[[], Secret]
    secret: Secret
    remember_seconds: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What the verdict is for: it answers nothing about another item or hash."""
        return self.item_id, self.sealed


class CheckPassword(Value, frozen=True, kw_only=True, eq=False):
    """Question to the platform: is this the account's password? Holds for one epoch."""

    account_id: str
    password: Secret
    epoch: str

    @property
    def key(self) -> tuple[str, str]:
        """What the verdict is for."""
        return PASSWORD, self.epoch


class NewHashes(Value, frozen=True, kw_only=True, eq=False):
    """Question: the hashes of new secrets. The verdict is pairs of secret and hash, in order."""

    account_id: str
    purpose: str
    secrets: tuple[Secret, ...]
    policy: Policy

    @property
    def key(self) -> tuple[str, str]:
        """What the verdict is for."""
        return NEW, self.purpose


Question = CheckHash | CheckPassword | NewHashes


def note(kind: EventKind, **details: Any) -> Note:
    """Return a draft of an event; account, time, revision and client are added by the case."""
    return kind, details


class Case(Value, frozen=True, kw_only=True):
    """One account at one moment: everything that a decision may look at.

    Args:
        record: The account's record.
        now: Unix seconds, one reading for the whole operation.
        policy: The account's policy.
        vault: Seals and opens; also the source of randomness.
        client: Where the request came from, if known.
        evidence: Verdicts gathered so far, each under the key of its question.
    """

    record: Record
    now: int
    policy: Policy
    vault: Vault
    client: ClientInfo | None = None
    evidence: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    def of(self, record: Record) -> Case:
        """Return the same moment for another record."""
        return replace(self, record=record)

    def answer(self, outcome: T, *notes: Note) -> Decision[T]:
        """Decide without a write."""
        return Decision(outcome=outcome, events=self._events(self.record, notes))

    def refuse(self, error: errors.MFAKitError, *notes: Note, **changes: Any) -> Decision[Any]:
        """Refuse; with `changes` the refusal is written before it is told."""
        return (
            self.write(lambda _: error, *notes, **changes)
            if changes
            else self.answer(error, *notes)
        )

    def write(self, answer: Callable[[Record], T], *notes: Note, **changes: Any) -> Decision[T]:
        """Decide to write the record with `changes`, and then give `answer` of what was written."""
        record = self._advance(notes, changes)
        return Decision(outcome=answer(record), record=record, events=self._events(record, notes))

    def move(self, event: Event, *, raises_epoch: bool = False) -> dict[str, Any] | None:
        """Return the changes that an event makes by itself, None where it cannot happen."""
        reached = next_state(self.record.state, event)
        if reached is None:
            return None
        state, rises = reached
        changes: dict[str, Any] = {"state": state}
        if rises or raises_epoch:
            changes |= {"epoch": generate_id(self.vault.random), "epoch_is_first": False}
            changes |= {"devices": (), "offer": None}
        if state not in OFFERING:
            changes["offer"] = None
        return changes | NOTHING_HELD if state in OFF else changes

    def _advance(self, notes: Sequence[Note], changes: dict[str, Any]) -> Record:
        """Return the next revision: a random one first, then one more each time."""
        old, now = self.record, self.now
        if old.revision == 0:
            # SECURITY: 62 random bits: a row deleted and made again never has an old revision.
            changes = {"epoch": generate_id(self.vault.random), "epoch_is_first": True} | changes
            changes |= {"revision": 1 + (int.from_bytes(self.vault.random(8), "big") >> 2)}
            changes |= {"created_at": now}
        revision = changes.setdefault("revision", old.revision + 1)
        changes.setdefault("updated_at", max(now, old.updated_at))
        entries = [
            HistoryEntry(kind=kind, at=now, revision=revision, **_kept(details))
            for kind, details in notes
            if kind in OWNER_KINDS
        ]
        if entries:
            changes["history"] = (*old.history, *entries)[-HISTORY_ENTRIES_MAX:]
        return replace(old, **changes)

    def _events(self, record: Record, notes: Sequence[Note]) -> tuple[AuditEvent, ...]:
        if not notes:
            return ()
        common: dict[str, Any] = {
            "account_id": record.account_id,
            "realm": self.vault.realm,
            "at": to_datetime(self.now),
            "revision": record.revision,
            "client": self.client,
        }
        return tuple([AuditEvent(kind=kind, **common, **details) for kind, details in notes])


NOTHING_HELD: dict[str, Any] = {
    **dict.fromkeys(("authenticators", "passcodes", "devices"), ()),
    **dict.fromkeys(("recovery", "enrolled_at", "last_combined"), None),
}
NO_FAILURES: dict[str, Any] = {"code_throttle": Throttle(), "recovery_throttle": Throttle()}


def _kept(details: dict[str, Any]) -> dict[str, Any]:
    return {
        name: details[name] for name in ("actor", "reason", "item_id", "label") if name in details
    }


# ------------------------------------------------------------------------------ what comes first


def settle(case: Case) -> Decision[None] | None:
    """Return what must be written before anything else is decided, None if nothing.

    A clock that went back, a group reset by policy, an offer that ran out: one at a time.
    """
    record, now = case.record, case.now
    if record.updated_at > now + CLOCK_SKEW_SECONDS:
        return case.write(_nothing, **_rewound(record, now), updated_at=now)
    if _is_due_for_reset(case):
        reset = note(EventKind.RESET, actor="policy", reason="reset_enrolled_before")
        return case.write(_nothing, reset, **(case.move(Event.RESET) or {}), **NO_FAILURES)
    if record.offer and now >= offer_expires_at(case, record.offer):
        offer_id = record.offer.authenticator.id
        dropped = note(EventKind.OFFER_DROPPED, item_id=offer_id, reason="expired")
        return case.write(_nothing, dropped, **(case.move(Event.OFFER_DROPPED) or {}))
    return None


def offer_expires_at(case: Case, offer: Offer) -> int:
    """Return the Unix second at which an offer ends: of its own life and the policy's, the less."""
    lifetime = min(offer.lifetime_seconds, case.policy.offer_seconds)
    return min(offer.offered_at, case.now) + lifetime


def _is_due_for_reset(case: Case) -> bool:
    before, enrolled_at = case.policy.reset_enrolled_before, case.record.enrolled_at
    if before is None or enrolled_at is None:
        return False
    # A watermark in the future is not reached yet: enrolling until then would be reset for ever.
    return enrolled_at < before.timestamp() <= case.now


def _rewound(record: Record, now: int) -> dict[str, Any]:
    """Return the record's times, none later than now: a stored future time counts as now."""
    latest_spent = now + LIMITS["challenge_seconds"][1]
    spent = [(one, min(expiry, latest_spent)) for one, expiry in record.spent_challenges]
    return {
        "offer": record.offer and _not_after(record.offer, "offered_at", now),
        "devices": tuple([_not_after(one, "created_at", now) for one in record.devices]),
        "passcodes": tuple([_not_after(one, "last_used_at", now) for one in record.passcodes]),
        "code_throttle": _not_after(record.code_throttle, "last_failure_at", now),
        "recovery_throttle": _not_after(record.recovery_throttle, "last_failure_at", now),
        "enrolled_at": record.enrolled_at and min(record.enrolled_at, now),
        "last_login_at": record.last_login_at and min(record.last_login_at, now),
        "spent_challenges": tuple(spent),
        "challenge_floor": min(record.challenge_floor, now),
    }


def _not_after(part: Any, name: str, now: int) -> Any:
    at = getattr(part, name)
    return part if at is None or at <= now else replace(part, **{name: now})


def _nothing(_: Record) -> None:
    return None


# ---------------------------------------------------------------------------------- guards


def is_required_now(case: Case) -> bool:
    """Say whether sign-in without a second factor is over."""
    deadline = case.policy.required_from_seconds
    return case.record.reenroll or (deadline is not None and case.now >= deadline)


def is_current_epoch(record: Record, epoch: str) -> bool:
    """Say whether a session or verdict of an epoch still holds."""
    return epoch == record.epoch or (epoch == NO_EPOCH and record.epoch_is_first)


def check_allowed(record: Record, ability: Ability) -> errors.MFAKitError | None:
    """Return the error of an ability that the state does not give."""
    if record.state in ALLOWED[ability]:
        return None
    return errors.NotEnrolledError() if record.is_off else errors.NotAllowedNowError()


def check_proof(case: Case, proof: Proof | None) -> errors.MFAKitError | None:
    """Return the error of a proof that is not of the highest level the account can give.

    Reference: SP 800-63B-4 §4.1.2.1, ASVS 7.5.1.
    """
    record = case.record
    if record.is_off and record.password_suspect:
        return errors.PasswordChangeRequiredError()
    is_good = (
        proof is not None
        and proof.account_id == record.account_id
        and proof.epoch == record.epoch
        and is_alive(proof, lifetime_seconds=case.policy.proof_seconds, now=case.now)
        # SECURITY: a proof dies with what earned it: a removed or locked authenticator, an old set.
        and proof.earned_by in _live_factors(record)
    )
    return None if is_good else errors.ProofError()


def check_change(case: Case, proof: Proof | None) -> errors.MFAKitError | None:
    """Return the error of changing live factors: two-step must be on, and the proof good."""
    return errors.NotEnrolledError() if case.record.is_off else check_proof(case, proof)


def _live_factors(record: Record) -> set[str]:
    if record.is_off:
        return {PASSWORD}
    factors = {record.recovery.id} if record.recovery else set()
    if record.state in ALLOWED[Ability.USE_CODE]:
        factors |= {authenticator.id for authenticator in record.authenticators}
    return factors
