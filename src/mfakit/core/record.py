"""The record: an account's whole second-factor state, and the document that it is stored as.

Everything here is an immutable Struct with bounded fields; unknown fields are refused. The document is
`{"v":1,"key_id":…,"tag":…,"body":{…}}`: the tag covers version, key id, realm, account, revision and
the body's bytes, and is checked before the body is looked at. Secrets in the body are sealed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from msgspec import Meta, MsgspecError, json
from msgspec.structs import replace

from mfakit.core.lifecycle import OFF, OFFERING, State
from mfakit.core.sealing import Vault
from mfakit.core.secret import Value
from mfakit.errors import LimitReachedError, RecordIntegrityError, RecordSchemaError
from mfakit.rows import StoredRecord

SCHEMA_VERSION = 1
DOCUMENT_BYTES_MAX = 65_536
HISTORY_ENTRIES_MAX = 32
# The epoch of an account that has no record.
NO_EPOCH = "none"

Id = Annotated[str, Meta(min_length=22, max_length=22)]
Text = Annotated[str, Meta(max_length=512)]
Seconds = Annotated[int, Meta(ge=0, lt=253_402_300_800)]  # to the end of 9999, as `datetime`
Step = Annotated[int, Meta(ge=-1, lt=2**62)]
Count = Annotated[int, Meta(ge=0, lt=2**31)]


class Part(
    Value, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """The base of all that is stored; its `repr` shows no values."""


class Authenticator(Part, frozen=True):
    """One authenticator app: its own secret, its parameters, and how far its codes are spent."""

    id: Id
    label: Text
    sealed_secret: Text
    created_at: Seconds
    algorithm: Text = "SHA1"
    digits: Annotated[int, Meta(ge=6, le=8)] = 6
    period_seconds: Annotated[int, Meta(ge=15, le=120)] = 30
    offset_steps: Annotated[int, Meta(ge=-20, le=20)] = 0
    last_step: Step = -1
    last_used_at: Seconds | None = None


class Offer(Part, frozen=True):
    """An authenticator that is offered and not confirmed; its id is the offer's."""

    authenticator: Authenticator
    account_name: Text
    offered_at: Seconds
    lifetime_seconds: Count
    replaces: Id | None = None
    wrong_codes: Count = 0


class RecoverySet(Part, frozen=True):
    """The recovery codes of one generation: a sealed hash for each slot, None once it is used."""

    id: Id
    created_at: Seconds
    sealed_hashes: tuple[Text | None, ...]

    @property
    def left(self) -> int:
        """How many codes are not used yet."""
        return len(self.sealed_hashes) - self.sealed_hashes.count(None)


class Passcode(Part, frozen=True):
    """One application passcode. None for protocols or networks is any."""

    id: Id
    selector: Text
    label: Text
    sealed_hash: Text
    created_at: Seconds
    protocols: tuple[Text, ...] | None = None
    networks: tuple[Text, ...] | None = None
    expires_at: Seconds | None = None
    last_used_at: Seconds | None = None
    last_used_ip: Text | None = None
    last_used_protocol: Text | None = None


class TrustedDevice(Part, frozen=True):
    """One device that need not show a code: a hash of its secret and, if bound, its device id."""

    id: Id
    label: Text
    secret_hash: Text
    created_at: Seconds
    lifetime_days: Count
    last_used_at: Seconds | None = None


class Throttle(Part, frozen=True):
    """Wrong codes of one kind: in a row, and by day for the last 30."""

    failures: Count = 0
    last_failure_at: Seconds = 0
    days: tuple[tuple[Count, Count], ...] = ()


class HistoryEntry(Part, frozen=True):
    """One lifecycle change, kept so that a lost event can be replayed."""

    kind: Text
    at: Seconds
    revision: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    actor: Text | None = None
    reason: Text | None = None
    item_id: Text | None = None
    label: Text | None = None


class Record(Part, frozen=True):
    """All that mfakit knows about one account.

    `revision` counts the writes from a random start; 0 is a record that is not stored yet.
    `epoch_is_first` says that the epoch never rose, so sessions begun before the record go on.
    `forgotten` marks all that `forget` leaves: an epoch that no session of an earlier owner has.
    """

    account_id: Text
    revision: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    state: State
    epoch: Text
    salt: Text
    created_at: Seconds
    updated_at: Seconds
    epoch_is_first: bool = False
    enrolled_at: Seconds | None = None
    authenticators: tuple[Authenticator, ...] = ()
    offer: Offer | None = None
    recovery: RecoverySet | None = None
    passcodes: tuple[Passcode, ...] = ()
    devices: tuple[TrustedDevice, ...] = ()
    code_throttle: Throttle = Throttle()
    recovery_throttle: Throttle = Throttle()
    failed_since_last: Count = 0
    password_suspect: bool = False
    reenroll: bool = False
    forgotten: bool = False
    spent_challenges: tuple[tuple[Id, Seconds], ...] = ()
    challenge_floor: Seconds = 0
    last_login_at: Seconds | None = None
    last_combined: tuple[Id, Step] | None = None
    history: tuple[HistoryEntry, ...] = ()

    @property
    def is_off(self) -> bool:
        """Two-step is off: sign-in asks for the password alone."""
        return self.state in OFF

    @property
    def recovery_codes_left(self) -> int:
        """How many recovery codes are not used yet."""
        return self.recovery.left if self.recovery else 0


# --------------------------------------------------- what an account has several of: each has id and name


Item = Authenticator | Passcode | TrustedDevice
ItemT = TypeVar("ItemT", bound=Item)


def find_item(items: tuple[ItemT, ...], item_id: str) -> ItemT | None:
    """Return the item of an id, None if there is none (any more)."""
    return next((one for one in items if one.id == item_id), None)


def with_item(items: tuple[ItemT, ...], item_id: str, **changes: Any) -> tuple[ItemT, ...]:
    """Return the items with one changed."""
    return tuple([replace(one, **changes) if one.id == item_id else one for one in items])


def without_item(items: tuple[ItemT, ...], item_id: str) -> tuple[ItemT, ...]:
    """Return the items but one."""
    return tuple([one for one in items if one.id != item_id])


# ------------------------------------------------------------------------------------- the document


# The one text of a document's head; `{"v":…` alone tells the schema that a newer mfakit wrote.
_HEAD = re.compile(
    rb'{"v":1,"key_id":"([A-Za-z0-9_-]{1,24})","tag":"([0-9a-f]{64})","body":', re.ASCII
)
_VERSION = re.compile(rb'{"v":(-?\d{1,9})[,}]', re.ASCII)

_encode = json.Encoder().encode
_decode = json.Decoder(Record).decode


def blank_record(account_id: str, salt: str, revision: int = 0) -> Record:
    """Return the record of an account that has none: off, epoch "none", revision 0."""
    return Record(
        account_id=account_id,
        revision=revision,
        state=State.NOT_ENROLLED,
        epoch=NO_EPOCH,
        salt=salt,
        created_at=0,
        updated_at=0,
    )


def encode_record(record: Record, vault: Vault) -> bytes:
    """Return a record's document, tagged under the newest key; too long a history is shortened.

    Raises:
        KeyUnavailableError: The newest key could not be fetched.
        LimitReachedError: It does not fit into 64 KiB without history; remove something.
    """
    body = _encode(record)
    while len(body) > DOCUMENT_BYTES_MAX - 256:
        if not record.history:
            raise LimitReachedError
        record = replace(record, history=record.history[1:])
        body = _encode(record)
    key_id = vault.newest
    tag = vault.tag(key_id, account_id=record.account_id, revision=record.revision, body=body)
    head = f'{{"v":{SCHEMA_VERSION},"key_id":"{key_id}","tag":"{tag}","body":'
    return b"%b%b}" % (head.encode(), body)


def decode_record(stored: StoredRecord, vault: Vault) -> Record:
    """Open a row.

    Raises:
        RecordSchemaError: A newer mfakit wrote it; upgrade.
        KeyUnavailableError: Its key is not in the ring; add the key.
        RecordIntegrityError: Torn, altered, moved from another account, realm or revision, or in
            contradiction with itself; restore it or `reset` the account.
    """
    key_id, tag, body = _split(stored.document)
    # SECURITY: the tag is checked over the bytes as stored, before any of them is believed.
    if not 1 <= stored.revision < 2**63 or not vault.tag_matches(
        tag, key_id, account_id=stored.account_id, revision=stored.revision, body=body
    ):
        raise RecordIntegrityError
    record = _parse(body)
    if record is None or record.account_id != stored.account_id:
        raise RecordIntegrityError
    if record.revision != stored.revision or not _is_consistent(record):
        raise RecordIntegrityError
    return record


def document_key_id(document: bytes) -> str:
    """Return the id of the key that tags a document. Raises as `decode_record` does for a torn one."""
    return _split(document)[0]


def _split(document: bytes) -> tuple[str, str, bytes]:
    """Return key id, tag and body of a document; any other text than `encode_record`'s is torn."""
    if not isinstance(document, bytes) or len(document) > DOCUMENT_BYTES_MAX:
        raise RecordIntegrityError
    head = _HEAD.match(document)
    if head is not None and document.endswith(b"}"):
        return head[1].decode(), head[2].decode(), document[head.end() : -1]
    version = _VERSION.match(document)
    if version is not None and int(version[1]) != SCHEMA_VERSION:
        raise RecordSchemaError
    raise RecordIntegrityError


def _parse(body: bytes) -> Record | None:
    # The parser's message may quote what it read, so it goes no further.
    try:
        return _decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_consistent(record: Record) -> bool:
    """The invariants of the lifecycle: what the state says is what the record holds."""
    holds = (record.authenticators, record.recovery, record.passcodes, record.devices)
    if record.is_off and any(holds):
        return False
    if not record.is_off and not record.authenticators:
        return False
    return (record.offer is not None) == (record.state in OFFERING)
