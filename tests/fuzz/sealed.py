"""What mfakit sealed and gave away: tokens, device cookies, and the stored document."""

from __future__ import annotations

import re

from msgspec.structs import replace as changed

from mfakit import CodeRequired, SignedIn
from mfakit.arguments import parse_secret_text
from mfakit.core import record as record_module
from mfakit.core.record import Record, decode_record
from mfakit.core.sealing import Challenge, OfferPayload, Payload, Proof
from mfakit.core.secret import Secret
from mfakit.errors import (
    ChallengeError,
    KeyUnavailableError,
    MFAKitError,
    OfferError,
    RecordIntegrityError,
    RecordSchemaError,
    WrongCodeError,
)
from mfakit.storage import StoredRecord
from mfakit.views import row_of

from .platform import ANN, Platform
from .target import Target, as_text, attempt, require_static

_UNREADABLE = (RecordIntegrityError, RecordSchemaError, KeyUnavailableError)
Issued = dict[str, tuple[type[Payload], str | None]]


def token() -> Target:
    """Challenge, proof and offer: only what was issued opens, as what it is and where it is bound."""
    ann = Platform()
    issued: Issued = {
        ann.challenge(): (Challenge, None),
        ann.challenge("session"): (Challenge, "session"),
        ann.mfa.verify_code(ANN, ann.code()): (Proof, None),
        ann.offer.token: (OfferPayload, None),
    }
    ann.keep()

    def check(data: bytes) -> bool:
        text = as_text(data)
        opened = {
            (kind, bound_to)
            for kind in (Challenge, Proof, OfferPayload)
            for bound_to in (None, "session")
            if ann.vault.open_token(kind, parse_secret_text(text), _secret(bound_to)) is not None
        }
        assert opened == ({issued[text]} if text in issued else set())
        _use(ann, text, is_challenge=issued.get(text) == (Challenge, None))
        return bool(opened)

    seeds = [one.encode() for one in issued]
    cut = [seeds[0][:-1], seeds[0][:30], seeds[0] + b"A", seeds[0] + b"=", b"AQ", b""]
    return Target(check=check, seeds=(*seeds, *cut), bytes_max=520)


def _use(ann: Platform, text: str, *, is_challenge: bool) -> None:
    """Hand the text to the public calls: a challenge gets as far as the wrong code, nothing else."""
    ann.put_back()
    try:
        ann.mfa.complete_login(text, "000000")
    except (ChallengeError, WrongCodeError) as error:
        require_static(error)
        assert isinstance(error, WrongCodeError) == is_challenge
    else:
        raise AssertionError("A wrong code signed in.")
    # The offer was confirmed meanwhile, so its token is over, too.
    assert attempt(lambda: ann.mfa.show_offer(text), OfferError) is None


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(text.encode())


def device() -> Target:
    """The cookie of a trusted device: it alone signs in without a code, and nothing else raises."""
    ann = Platform()

    def check(data: bytes) -> bool:
        text = as_text(data)
        ann.put_back()
        step = ann.mfa.begin_login(ANN, password_verified=True, trusted_device=text)
        is_trusted = isinstance(step, SignedIn)
        assert is_trusted or isinstance(step, CodeRequired)
        assert is_trusted == (text == ann.device_token)
        return is_trusted

    right = ann.device_token.encode()
    seeds = (right, right[:-1], right + b"=", right[:22] + b"A" * 42, b"A" * 64, b"")
    return Target(check=check, seeds=seeds, words=(right[:22], right[22:]), bytes_max=96)


def document() -> Target:
    """A stored document: what was written for this account and revision opens, nothing else does.

    And whatever stands there, the operator can take two-step off.
    """
    ann = Platform()
    rows = {(row.account_id, row.revision): row for row in ann.rows}
    places = [*rows, ("bob", ann.row.revision), (ANN, ann.row.revision + 1)]

    def check(data: bytes) -> bool:
        opened = 0
        for account_id, revision in places:
            row = StoredRecord(
                account_id=account_id, revision=revision, document=data, summary=ann.row.summary
            )
            is_there = attempt(lambda row=row: decode_record(row, ann.vault), *_UNREADABLE)
            is_issued = (account_id, revision) in rows and rows[
                account_id, revision
            ].document == data
            assert (is_there is not None) == is_issued
            opened += is_issued
        ann.put_back(changed(ann.rows[-1], document=data))
        status = attempt(lambda: ann.mfa.status(ANN), *_UNREADABLE)
        assert (status is not None) == (data == ann.rows[-1].document)
        _reset(ann)
        return opened > 0

    whole = [row.document for row in ann.rows]
    newer = whole[-1].replace(b'{"v":1,', b'{"v":2,')
    other_key = whole[-1].replace(b'"key_id":"k1"', b'"key_id":"k2"')
    seeds = (*whole, newer, other_key, whole[-1][:-1], whole[-1] + b" ", b"", b"{}", b'{"v":2}')
    words = (b'{"v":1,"key_id":"', b'","tag":"', b'","body":', b"}", b'{"v":-1}')
    return Target(check=check, seeds=seeds, words=words, bytes_max=8192)


def _reset(ann: Platform) -> None:
    """Take two-step off, whatever stands there; only what a newer mfakit wrote is left alone."""

    def reset() -> str:
        return ann.mfa.reset(ANN, actor="operator", reason="fuzz", force=True)

    if attempt(reset, RecordSchemaError):
        assert not ann.mfa.status(ANN).is_on


def body() -> Target:
    """What lies under the tag: read or refused, written again as the same, and harmless in use."""
    ann = Platform()

    def check(data: bytes) -> bool:
        row = _tagged(ann, data)
        record = attempt(lambda: decode_record(row, ann.vault), RecordIntegrityError)
        if record is None:
            return False
        _require_consistent(record)
        written = row_of(record, ann.vault)
        assert decode_record(written, ann.vault) == record
        assert row_of(decode_record(written, ann.vault), ann.vault) == written
        _use_record(ann, row, record)
        return True

    last = str(ann.rows[-1].revision).encode()
    bodies = [_body_of(row, revision=last) for row in ann.rows]
    # Found: a device trusted in the year 36812 could not be listed.
    late = re.sub(rb'"created_at":\d+', b'"created_at":1099511627775', bodies[-1])
    off = bodies[-1].replace(b'"state":"enrolled"', b'"state":"not_enrolled"')
    offering = bodies[-1].replace(b'"state":"enrolled"', b'"state":"enrolled_offer"')
    seeds = (*bodies, late, off, offering, b"{}")
    words = [f'"{name}":'.encode() for name in _field_names()]
    edges = (b"null", b"true", b"[]", b"{}", b"-1", b"253402300799", b"9223372036854775807", b"1e5")
    states = [
        f'"{one}"'.encode() for one in ("enrolled", "enrolled_offer", "locked", "not_enrolled")
    ]
    return Target(check=check, seeds=seeds, words=(*words, *edges, *states), bytes_max=8192)


def _body_of(row: StoredRecord, *, revision: bytes) -> bytes:
    body = row.document[row.document.index(b'"body":') + len(b'"body":') : -1]
    return body.replace(str(row.revision).encode(), revision, 1)


def _field_names() -> list[str]:
    """Return every name that a document may have in it."""
    parts = [one for one in vars(record_module).values() if isinstance(one, type)]
    names = [one.__struct_fields__ for one in parts if issubclass(one, record_module.Part)]
    return sorted(set().union(*names))


def _tagged(ann: Platform, data: bytes) -> StoredRecord:
    last = ann.rows[-1]
    tag = ann.vault.tag("k1", account_id=ANN, revision=last.revision, body=data)
    head = f'{{"v":1,"key_id":"k1","tag":"{tag}","body":'.encode()
    return changed(last, document=head + data + b"}")


def _require_consistent(record: Record) -> None:
    """What the state says is what the record holds, by a table apart from the one in the code."""
    is_off = record.state.value in {"not_enrolled", "enrolling"}
    is_offering = record.state.value in {"enrolling", "enrolled_offer", "locked_offer"}
    assert bool(record.authenticators) != is_off
    assert not is_off or not (record.recovery or record.passcodes or record.devices)
    assert (record.offer is not None) == is_offering


def _use_record(ann: Platform, row: StoredRecord, record: Record) -> None:
    """Every call that a stranger, the owner or the operator makes: an answer or an error of ours."""
    mfa = ann.mfa
    calls = (
        lambda: mfa.status(ANN),
        lambda: mfa.history(ANN),
        lambda: mfa.passcodes(ANN),
        lambda: mfa.trusted_devices(ANN),
        lambda: mfa.session_is_current(ANN, record.epoch),
        lambda: mfa.begin_login(ANN, password_verified=True, trusted_device=ann.device_token),
        lambda: mfa.verify_code(ANN, "000000"),
        lambda: mfa.verify_code(ANN, ann.recovery_codes[0], method="recovery"),
        lambda: mfa.authenticate_client(
            ANN, ann.passcode, protocol="imap", check_password=lambda _: None
        ),
        lambda: mfa.password_changed(ANN),
    )
    for call in calls:
        ann.put_back(row)
        try:
            call()
        except MFAKitError as error:
            assert error.code
