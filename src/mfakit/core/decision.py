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
from mfakit.core.encoding import generate_id
from mfakit.core.lifecycle import ALLOWED, OFF, OFFERING, Ability, Event, next_state
from mfakit.core.record import HISTORY_ENTRIES_MAX, HistoryEntry, Item, Record, Throttle
from mfakit.core.sealing import Payload, Vault, is_alive
from mfakit.core.secret import Secret, Value
from mfakit.events import OWNER_KINDS, AuditEvent, ClientInfo, EventKind, to_datetime
from mfakit.policy import Policy

T = TypeVar("T")

PASSWORD, NEW = "password", "new"
Note = tuple[EventKind, dict[str, Any]]
HashedSecrets = tuple[tuple[Secret, Secret], ...]


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


def note(kind: EventKind, item: Item | None = None, **details: Any) -> Note:
    """Return a draft of an event, about an item maybe; the case adds account, time and client."""
    return kind, details if item is None else {"item_id": item.id, "label": item.label} | details


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
        if changes:
            return self.write(lambda _: error, *notes, **changes)
        return self.answer(error, *notes)

    def write(self, answer: Callable[[Record], T], *notes: Note, **changes: Any) -> Decision[T]:
        """Decide to write the record with `changes`, and then give `answer` of what was written."""
        record = self._advance(notes, changes)
        return Decision(outcome=answer(record), record=record, events=self._events(record, notes))

    def answer_from_record(self, answer: Callable[[Record], T], *notes: Note) -> Decision[T]:
        """Give an answer that needs an epoch of this account's own: write the first record."""
        if self.record.revision == 0:
            return self.write(answer, *notes)
        return self.answer(answer(self.record), *notes)

    def move(self, event: Event, *, raises_epoch: bool = False) -> dict[str, Any]:
        """Return the changes that an event makes by itself.

        Raises:
            NotAllowedNowError: The lifecycle has no such event in this state.
        """
        found = next_state(self.record.state, event)
        if found is None:
            raise errors.NotAllowedNowError
        state, rises = found
        changes: dict[str, Any] = {"state": state, "forgotten": False}
        if rises or raises_epoch:
            changes |= {"epoch": generate_id(self.vault.random), "epoch_is_first": False}
            changes |= {"devices": (), "offer": None}
        if state not in OFFERING:
            changes["offer"] = None
        return changes | NOTHING_HELD if state in OFF else changes

    def allows(self, ability: Ability) -> bool:
        """Say whether the state gives an ability."""
        return self.record.state in ALLOWED[ability]

    # -- secrets of the record, and questions about them

    def seal(self, value: Secret, context: tuple[str, ...]) -> str:
        """Seal a value into the record; `context` is what it belongs to, from the purpose on."""
        return self.vault.seal_value(value, salt=self.record.salt, context=context)

    def open(self, sealed: str, context: tuple[str, ...]) -> Secret:
        """Open what `seal` returned. Raises as `Vault.open_value` does."""
        return self.vault.open_value(sealed, salt=self.record.salt, context=context)

    def new_hashes(
        self, purpose: str, generate: Callable[[], tuple[Secret, ...]]
    ) -> HashedSecrets | NewHashes:
        """Return new secrets with their hashes, or the question for these."""
        hashed: HashedSecrets | None = self.evidence.get((NEW, purpose))
        if hashed is not None:
            return hashed
        account_id, policy = self.record.account_id, self.policy
        return NewHashes(account_id=account_id, purpose=purpose, secrets=generate(), policy=policy)

    # -- tokens

    def issue(
        self, kind: type[Payload], lifetime_seconds: int, bound_to: Secret | None, **content: str
    ) -> str:
        """Return a token that begins now and belongs to this account and epoch."""
        payload = kind(
            account_id=self.record.account_id,
            epoch=self.record.epoch,
            issued_at=self.now,
            lifetime_seconds=lifetime_seconds,
            **content,
        )
        return self.vault.seal_token(payload, bound_to)

    def is_current(self, payload: Payload, lifetime_seconds: int) -> bool:
        """Say whether a token is of this account and epoch, and in time."""
        own = self.record
        is_ours = payload.account_id == own.account_id and payload.epoch == own.epoch
        return is_ours and is_alive(payload, lifetime_seconds=lifetime_seconds, now=self.now)

    # -- what is written, what is told

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
        if entries and "history" not in changes:
            changes["history"] = (*old.history, *entries)[-HISTORY_ENTRIES_MAX:]
        return replace(old, **changes)

    def _events(self, record: Record, notes: Sequence[Note]) -> tuple[AuditEvent, ...]:
        common: dict[str, Any] = {"account_id": record.account_id, "realm": self.vault.realm}
        common |= {"at": to_datetime(self.now), "revision": record.revision, "client": self.client}
        return tuple([AuditEvent(kind=kind, **common, **details) for kind, details in notes])


NOTHING_HELD: dict[str, Any] = {
    **dict.fromkeys(("authenticators", "passcodes", "devices"), ()),
    **dict.fromkeys(("recovery", "enrolled_at", "last_combined"), None),
}
NO_FAILURES: dict[str, Any] = {"code_throttle": Throttle(), "recovery_throttle": Throttle()}


def _kept(details: dict[str, Any]) -> dict[str, Any]:
    kept = "actor", "reason", "item_id", "label"
    return {name: details[name] for name in kept if name in details}
