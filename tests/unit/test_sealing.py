"""What is sealed opens only where it belongs, unaltered; everything else fails closed."""

from __future__ import annotations

import random
from itertools import pairwise
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw
from unit_world import KEY, World, vault_of

from mfakit import KeyRing, Policy
from mfakit.core import sealing
from mfakit.core.encoding import frame
from mfakit.core.record import Authenticator, Record, decode_record
from mfakit.core.sealing import Challenge, OfferPayload, Payload, Proof, Vault, _subkey
from mfakit.core.secret import Secret
from mfakit.errors import (
    KeyUnavailableError,
    LimitReachedError,
    NotEnrolledError,
    RecordIntegrityError,
    RecordSchemaError,
    UnavailableError,
)
from mfakit.rows import StoredRecord
from mfakit.views import row_of

OTHER_KEY = bytes(range(7, 39))
CONTEXT = ("totp", "ann", "A" * 22, "SHA1", "6", "30")
SALT = "S" * 22


def _vault(realm: str = "mail", **keys: bytes) -> Vault:
    import os

    return Vault(KeyRing(keys or {"k1": KEY}), realm, os.urandom)


def _does_not_open(vault: Vault, sealed: str, **changes: object) -> None:
    given: dict[str, object] = {"salt": SALT, "context": CONTEXT, **changes}
    with pytest.raises(RecordIntegrityError) as caught:
        vault.open_value(sealed, **given)  # type: ignore[arg-type]
    assert caught.value.__context__ is None


# ----------------------------------------------------------------------------------------- values


@given(st.binary(max_size=100), st.lists(st.text(max_size=10), max_size=4))
def test_a_value_opens_where_it_belongs(value: bytes, context: list[str]) -> None:
    """With the same salt and context it comes back."""
    vault = _vault()
    sealed = vault.seal_value(Secret(value), salt=SALT, context=context)
    assert vault.open_value(sealed, salt=SALT, context=context).reveal() == value


def test_sealing_twice_gives_two_texts() -> None:
    """Fresh nonce each time: equal secrets do not show."""
    vault = _vault()
    texts = {vault.seal_value(Secret(b"x"), salt=SALT, context=CONTEXT) for _ in range(20)}
    assert len(texts) == 20


@pytest.mark.parametrize(
    "context",
    [
        ("totp", "bob", "A" * 22, "SHA1", "6", "30"),  # another account
        ("totp", "ann", "B" * 22, "SHA1", "6", "30"),  # another item
        ("passcode", "ann", "A" * 22, "SHA1", "6", "30"),  # another purpose
        ("totp", "ann", "A" * 22, "SHA256", "6", "30"),  # other OTP parameters
        ("totp", "ann", "A" * 22, "SHA1", "8", "30"),
        ("totp", "ann", "A" * 22, "SHA1", "6", "60"),
        ("totp", "ann", "A" * 22, "SHA1", "63", "0"),  # borders between parts moved
        ("totp", "ann" + "A" * 22, "", "SHA1", "6", "30"),
        ("totp", "ann", "A" * 22, "SHA1", "6"),
        (*CONTEXT, ""),
        (),
    ],
)
def test_a_value_moved_elsewhere_does_not_open(context: tuple[str, ...]) -> None:
    """Transplanting a value (one's own seed into another's row) fails, whatever was changed."""
    vault = _vault()
    sealed = vault.seal_value(Secret(b"seed"), salt=SALT, context=CONTEXT)
    _does_not_open(vault, sealed, context=context)


def test_a_value_of_another_record_realm_or_key_does_not_open() -> None:
    """The record's salt, the realm, and the key itself are part of it."""
    vault = _vault()
    sealed = vault.seal_value(Secret(b"seed"), salt=SALT, context=CONTEXT)
    _does_not_open(vault, sealed, salt="T" * 22)
    _does_not_open(_vault("web"), sealed)
    _does_not_open(_vault(k1=OTHER_KEY), sealed)


def test_a_value_does_not_pass_under_another_key_id() -> None:
    """The key id is bound: the same key under another name opens nothing."""
    vault = _vault(k1=KEY, k2=KEY)
    sealed = vault.seal_value(Secret(b"seed"), salt=SALT, context=CONTEXT)
    assert sealed.startswith("k1.")
    _does_not_open(vault, "k2." + sealed.removeprefix("k1."))


def test_every_changed_bit_of_a_value_is_noticed() -> None:
    """Each bit of the text: an error, never another value."""
    vault = _vault()
    sealed = vault.seal_value(Secret(b"seed of 20 bytes ..."), salt=SALT, context=CONTEXT)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = sealed[:place] + chr(ord(sealed[place]) ^ 1 << bit) + sealed[place + 1 :]
            with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
                vault.open_value(changed, salt=SALT, context=CONTEXT)


@pytest.mark.parametrize("cut", range(60))
def test_a_truncated_value_does_not_open(cut: int) -> None:
    """Nor a prefix or suffix of it."""
    vault = _vault()
    sealed = vault.seal_value(Secret(b"seed of 20 bytes ..."), salt=SALT, context=CONTEXT)
    for text in (sealed[:cut], "k1." + sealed[4 + cut :], sealed + "A" * (cut + 1)):
        with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
            vault.open_value(text, salt=SALT, context=CONTEXT)


def test_an_unknown_key_of_a_value_is_operational() -> None:
    """Add the key: never "wrong code", never "not enrolled"."""
    sealed = _vault(old=KEY).seal_value(Secret(b"seed"), salt=SALT, context=CONTEXT)
    with pytest.raises(KeyUnavailableError):
        _vault(new=OTHER_KEY).open_value(sealed, salt=SALT, context=CONTEXT)


def test_rotation_of_values() -> None:
    """The newest key seals; older ones in the ring still open."""
    old = _vault(k1=KEY)
    sealed = old.seal_value(Secret(b"seed"), salt=SALT, context=CONTEXT)
    both = _vault(k2=OTHER_KEY, k1=KEY)
    assert both.newest == "k2"
    assert both.open_value(sealed, salt=SALT, context=CONTEXT).reveal() == b"seed"
    assert both.seal_value(Secret(b"x"), salt=SALT, context=CONTEXT).startswith("k2.")


# ----------------------------------------------------------------------------------------- tokens

COMMON = {
    "account_id": "ann",
    "epoch": "E" * 22,
    "issued_at": 1_800_000_000,
    "lifetime_seconds": 300,
}
PAYLOADS: list[Payload] = [
    Challenge(**COMMON, id="C" * 22),
    Proof(**COMMON, earned_by="password"),
    OfferPayload(**COMMON, offer_id="O" * 22),
]
BINDINGS = [None, Secret(b"session-1"), Secret(b"session-2"), Secret(b"\1session-1")]


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
@pytest.mark.parametrize("bound_to", BINDINGS, ids=range(4))
def test_a_token_opens_as_what_it_is(payload: Payload, bound_to: Secret | None) -> None:
    """Kind and binding as they were; every other kind and binding is None."""
    vault = _vault()
    token = Secret(vault.seal_token(payload, bound_to).encode())
    assert vault.open_token(type(payload), token, bound_to) == payload
    for kind in {Challenge, Proof, OfferPayload} - {type(payload)}:
        assert vault.open_token(kind, token, bound_to) is None
    for other in BINDINGS:
        if other is not bound_to:
            assert vault.open_token(type(payload), token, other) is None


def test_a_token_of_another_realm_or_key_does_not_open() -> None:
    """None, as any other text that a browser sends."""
    token = Secret(_vault().seal_token(PAYLOADS[0], None).encode())
    assert _vault("web").open_token(Challenge, token, None) is None
    assert _vault(k1=OTHER_KEY).open_token(Challenge, token, None) is None


def test_an_unknown_key_of_a_token_is_just_an_invalid_token() -> None:
    """A stranger's token must not look like an outage."""
    token = Secret(_vault(k9=KEY).seal_token(PAYLOADS[0], None).encode())
    assert _vault().open_token(Challenge, token, None) is None


def test_every_changed_bit_of_a_token_is_noticed() -> None:
    """Each bit of the text: None."""
    vault = _vault()
    token = vault.seal_token(PAYLOADS[0], None)
    for place in range(len(token)):
        for bit in range(7):
            changed = token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
            assert vault.open_token(Challenge, Secret(changed.encode()), None) is None


@pytest.mark.parametrize(
    "text", ["", "A", "AQ", "AQ" * 100, "_" * 512, "A" * 513, "é" * 100, "\0", "AQJr"]
)
def test_what_is_no_token(text: str) -> None:
    """Garbage of any length is None."""
    assert _vault().open_token(Challenge, Secret(text.encode()), None) is None
    assert _vault().open_token(Challenge, None, None) is None


def test_every_prefix_of_a_token_is_none() -> None:
    """A cut-off cookie is no token."""
    vault = _vault()
    token = vault.seal_token(PAYLOADS[0], None)
    for end in range(len(token)):
        assert vault.open_token(Challenge, Secret(token[:end].encode()), None) is None


@given(st.binary(max_size=120))
@example(b"\x95\xa2\x00\x80")  # a text that is not UTF-8
def test_an_authentic_token_with_another_content_is_none(payload: bytes) -> None:
    """Sealed by a version that meant something else by it: invalid, no exception."""
    vault = _vault()
    with patch.dict(sealing._KINDS, {Raw: sealing._KINDS[Challenge]}):
        token = Secret(vault.seal_token(Raw(payload), None).encode())  # type: ignore[arg-type]
    opened = vault.open_token(Challenge, token, None)
    assert opened is None or isinstance(opened, Challenge)


def test_tokens_fit_512_characters() -> None:
    """With ids of 255 bytes and key ids of 24 characters, each kind fits a cookie, URL-safe."""
    vault = _vault(**{"k" * 24: KEY})
    account_id, text = "é" * 127 + "a", "A" * 22
    common = {**COMMON, "account_id": account_id, "epoch": text, "issued_at": 2**40 - 1}
    payloads = [
        Challenge(**common, id=text),
        Proof(**common, earned_by=text),
        OfferPayload(**common, offer_id=text),
    ]
    for payload in payloads:
        token = vault.seal_token(payload, Secret(b"x" * 4096))
        assert len(token) <= 512
        assert token.replace("-", "").replace("_", "").isalnum()
        assert token.isascii()
        opened = vault.open_token(type(payload), Secret(token.encode()), Secret(b"x" * 4096))
        assert opened == payload


def test_a_token_of_512_characters_opens_and_no_longer_one() -> None:
    vault = _vault()
    for length, opens in ((246, True), (247, False)):
        payload = Challenge(**{**COMMON, "account_id": "a" * length}, id="i" * 66)
        token = vault.seal_token(payload, None)
        assert (len(token) == 512) is opens
        opened = vault.open_token(Challenge, Secret(token.encode()), None)
        assert (opened == payload) is opens


# -------------------------------------------------------------------------------------- documents


def _moved(stored: StoredRecord, **changes: object) -> StoredRecord:
    return msgspec.structs.replace(stored, **changes)  # type: ignore[type-var]


@pytest.fixture(scope="module")
def full() -> tuple[World, StoredRecord]:
    """A record with one of everything."""
    world = World()
    owner = world.owner()
    proof = world.mfa.verify_code("ann", owner.phone.code(world.clock.now, steps=1))
    world.mfa.begin_enrollment("ann", account_name="ann", proof=proof)
    stored = world.store.load("ann")
    assert stored is not None
    return world, stored


def test_a_document_opens_where_it_belongs(full: tuple[World, StoredRecord]) -> None:
    """And says what was written."""
    world, stored = full
    record = decode_record(stored, vault_of(world.mfa))
    assert record.state == "enrolled_offer"
    assert len(record.authenticators) == len(record.passcodes) == len(record.devices) == 1
    assert decode_record(row_of(record, vault_of(world.mfa)), vault_of(world.mfa)) == record


@pytest.mark.parametrize(
    "changes", [{"account_id": "bob"}, {"account_id": "ann "}, {"revision": 1}], ids=str
)
def test_a_document_moved_elsewhere_is_operational(
    full: tuple[World, StoredRecord], changes: dict[str, object]
) -> None:
    """A database writer cannot put one account's document under another's id or revision."""
    world, stored = full
    for vault in (vault_of(world.mfa),):
        with pytest.raises(RecordIntegrityError):
            decode_record(_moved(stored, **changes), vault)
    with pytest.raises(RecordIntegrityError):
        decode_record(_moved(stored, revision=stored.revision + 1), vault_of(world.mfa))


def test_a_document_of_another_realm_or_key_is_operational(
    full: tuple[World, StoredRecord],
) -> None:
    """Also with the same key in another realm."""
    _, stored = full
    with pytest.raises(RecordIntegrityError):
        decode_record(stored, _vault("web", **{"2027": KEY}))
    with pytest.raises(RecordIntegrityError):
        decode_record(stored, _vault(**{"2027": OTHER_KEY}))
    with pytest.raises(KeyUnavailableError):
        decode_record(stored, _vault(k1=KEY))


def test_every_changed_byte_of_a_document_is_operational(full: tuple[World, StoredRecord]) -> None:
    """One random bit in each byte: an operational error, never "not enrolled", never a record."""
    world, stored = full
    source = random.Random(20270115)
    for place in range(len(stored.document)):
        changed = bytearray(stored.document)
        changed[place] ^= 1 << source.randrange(8)
        with pytest.raises(UnavailableError) as caught:
            decode_record(_moved(stored, document=bytes(changed)), vault_of(world.mfa))
        assert not isinstance(caught.value, NotEnrolledError)
        assert caught.value.__context__ is None


def test_an_altered_document_at_the_surface() -> None:
    """Every reading method says "unavailable" for it, and only `reset` and `forget` work."""
    world = World()
    owner = world.owner()
    stored = world.store.load("ann")
    assert stored is not None
    torn = _moved(stored, document=stored.document[:-40])
    world.store._rows["ann"] = torn
    mfa = world.mfa
    calls = [
        lambda: mfa.begin_login("ann", password_verified=True),
        lambda: mfa.status("ann"),
        lambda: mfa.session_is_current("ann", owner.epoch),
        lambda: mfa.verify_code("ann", "123456"),
        lambda: mfa.password_changed("ann"),
        lambda: mfa.authenticate_client("ann", owner.passcode, protocol="imap", check_password=str),
        lambda: mfa.authenticate_client(
            "ann", "pw", protocol="imap", check_password=lambda _: "ann"
        ),
    ]
    for call in calls:
        with pytest.raises(RecordIntegrityError):
            call()
    assert mfa.reset("ann", actor="op", reason="torn", force=True)
    assert mfa.status("ann").state == "not_enrolled"
    world.store._rows["ann"] = torn
    assert mfa.forget("ann", actor="op", reason="torn", force=True, purge=True)
    assert world.store.load("ann") is None


@pytest.mark.parametrize("part", range(12))
def test_a_truncated_document_is_operational(full: tuple[World, StoredRecord], part: int) -> None:
    """Cut anywhere."""
    world, stored = full
    cut = len(stored.document) * part // 12
    for document in (stored.document[:cut], stored.document[:-1], stored.document + b" "):
        with pytest.raises(UnavailableError):
            decode_record(_moved(stored, document=document), vault_of(world.mfa))


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[]", b"null", b"1", b'{"v":1}', b"\xff\xfe", b'"' + b"\xc3\x28" + b'"', b"[" * 60_000,
     b'{"v":' + b"[" * 60_000, b'{"v":1,"key_id":"2027","tag":"x","body":{}}', b" " * 65_537, b"x" * 10_000_000,
     b'{"v":1,"key_id":"2027","tag":"\\u00e9","body":{}}', None, "text", bytearray(b"{}")],
    ids=lambda one: str(one)[:24],
)  # fmt: skip
def test_what_is_no_document_is_operational(document: object) -> None:
    """Garbage, deep nesting, too much: an integrity error."""
    stored = StoredRecord(account_id="ann", revision=1, document=document, summary=None)  # type: ignore[arg-type]
    with pytest.raises((RecordIntegrityError, KeyUnavailableError)):
        decode_record(stored, _vault(**{"2027": KEY}))


def test_a_document_of_a_newer_version_says_so(full: tuple[World, StoredRecord]) -> None:
    """Upgrade this process: told apart from a torn document, before the rest is looked at."""
    world, stored = full
    for version in (b"0", b"2", b"99", b"-1"):
        newer = stored.document.replace(b'{"v":1,', b'{"v":%s,"new":[],' % version, 1)
        with pytest.raises(RecordSchemaError):
            decode_record(_moved(stored, document=newer), vault_of(world.mfa))
    for version in (b'"1"', b"1.5", b"null", b"9" * 40):
        odd = stored.document.replace(b'{"v":1,', b'{"v":%s,' % version, 1)
        with pytest.raises(UnavailableError):
            decode_record(_moved(stored, document=odd), vault_of(world.mfa))


def _tagged(vault: Vault, body: bytes, account_id: str = "ann", revision: int = 9) -> StoredRecord:
    """A row whose tag is right, whatever its body: what a holder of the key could make."""
    tag = vault.tag("2027", account_id=account_id, revision=revision, body=body)
    document = b'{"v":1,"key_id":"2027","tag":"%s","body":%s}' % (tag.encode(), body)
    return StoredRecord(
        account_id=account_id,
        revision=revision,
        document=document,
        summary=None,  # type: ignore[arg-type]
    )


def _body(**changes: object) -> bytes:
    body = {"account_id": "ann", "revision": 9, "state": "not_enrolled", "epoch": "none", "salt": "s",
            "created_at": 0, "updated_at": 0, **changes}  # fmt: skip
    return msgspec.json.encode({name: value for name, value in body.items() if value is not ...})


def test_second_keys_of_a_document_are_operational(full: tuple[World, StoredRecord]) -> None:
    """A second "body", "tag" or "v" beside the authentic one does not win, nor lose: it is refused."""
    world, stored = full
    document = stored.document
    head, body = document.split(b',"body":', 1)
    for extra in (b'"body":{}', b'"tag":"x"', b'"key_id":"2027"', b'"v":1', b'"new":1'):
        for altered in (
            document.replace(b"{", b"{%s," % extra, 1),
            head + b"," + extra + b',"body":' + body,
            document[:-1] + b"," + extra + b"}",
        ):
            with pytest.raises(RecordIntegrityError):
                decode_record(_moved(stored, document=altered), vault_of(world.mfa))
    # White space and another order are not the one text either.
    for altered in (document.replace(b":", b": ", 1), document + b"\n"):
        with pytest.raises(RecordIntegrityError):
            decode_record(_moved(stored, document=altered), vault_of(world.mfa))


AUTHENTICATOR = {"id": "A" * 22, "label": "x", "sealed_secret": "x", "created_at": 0}


@pytest.mark.parametrize(
    "body",
    [
        _body(account_id="bob"),
        _body(revision=8),
        _body(state="no_such_state"),
        _body(state=...),
        _body(unknown=1),
        _body(created_at=-1),
        _body(created_at=2**40),
        _body(created_at="0"),
        _body(epoch="x" * 513),
        _body(failed_since_last=1.5),
        _body(code_throttle={"failures": -1}),
        _body(state="enrolled"),  # on without an authenticator
        _body(state="locked"),
        _body(authenticators=[AUTHENTICATOR]),  # off with one
        _body(state="enrolling"),  # offering without an offer
        _body(state="enrolled_offer", authenticators=[AUTHENTICATOR]),
        _body(
            state="enrolled",
            authenticators=[AUTHENTICATOR],
            offer={
                "authenticator": AUTHENTICATOR,
                "account_name": "a",
                "offered_at": 0,
                "lifetime_seconds": 1,
            },
        ),
        _body(state="enrolled", authenticators=[{**AUTHENTICATOR, "digits": 5}]),
        _body(state="enrolled", authenticators=[{**AUTHENTICATOR, "period_seconds": 14}]),
        _body(state="enrolled", authenticators=[{**AUTHENTICATOR, "offset_steps": 21}]),
        _body(state="enrolled", authenticators=[{**AUTHENTICATOR, "id": "short"}]),
        b"[]",
        b"null",
        b'"x"',
    ],
)  # fmt: skip
def test_a_body_in_contradiction_with_itself_is_operational(body: bytes) -> None:
    """Even under a right tag: bounds, unknown fields and the lifecycle's invariants are checked."""
    vault = _vault(**{"2027": KEY})
    with pytest.raises(RecordIntegrityError):
        decode_record(_tagged(vault, body), vault)


def test_the_same_body_without_contradiction_opens() -> None:
    """So that the test before refuses for the reason it names."""
    vault = _vault(**{"2027": KEY})
    assert decode_record(_tagged(vault, _body()), vault).epoch == "none"
    on = _body(state="enrolled", authenticators=[AUTHENTICATOR])
    assert decode_record(_tagged(vault, on), vault).authenticators[0].digits == 6


def test_history_is_shortened_to_fit_64_kib() -> None:
    """The oldest entries go first; what does not fit without history is refused before the write."""
    vault = _vault(**{"2027": KEY})
    base = decode_record(_tagged(vault, _body()), vault)
    filler = tuple(
        Authenticator(id="A" * 22, label="l" * 500, sealed_secret="2027." + "s" * 495, created_at=0)
        for _ in range(58)
    )
    entries = [
        {"kind": f"entry-{n}", "at": 0, "revision": 9, "label": "é" * 200, "reason": "r" * 200}
        for n in range(32)
    ]
    from mfakit.core.record import HistoryEntry

    history = tuple(HistoryEntry(**entry) for entry in entries)  # type: ignore[arg-type]
    big = msgspec.structs.replace(base, state="enrolled", authenticators=filler, history=history)
    stored = row_of(_with_state(big), vault)
    assert len(stored.document) <= 65_536
    kept = decode_record(stored, vault).history
    assert 0 < len(kept) < 32
    assert kept == history[-len(kept) :]
    too_big = msgspec.structs.replace(_with_state(big), authenticators=filler * 2)
    with pytest.raises(LimitReachedError):
        row_of(too_big, vault)


def _with_state(record: Record) -> Record:
    from mfakit.core.lifecycle import State

    return msgspec.structs.replace(record, state=State.ENROLLED)


def test_rotation_at_the_surface() -> None:
    """The newest key seals, the old one opens until `rotate_keys` met it no more; then it may go."""
    world = World(keys=KeyRing({"2026": OTHER_KEY}))
    owner = world.owner()
    both = World(store=world.store, keys=KeyRing({"2027": KEY, "2026": OTHER_KEY}))
    both.clock.now = world.clock.now + 60
    assert both.mfa.status("ann").key_ids == ("2026",)
    both.mfa.verify_code("ann", owner.phone.code(both.clock.now))
    assert both.mfa.status("ann").key_ids == ("2026", "2027")  # the document; its values not yet
    first, second = both.mfa.rotate_keys(), both.mfa.rotate_keys()
    assert (first.done, first.key_ids) == (1, ("2026", "2027"))
    assert (second.done, second.unchanged, second.key_ids) == (0, 1, ("2027",))
    new = World(store=world.store, keys=KeyRing({"2027": KEY}))
    new.clock.now = both.clock.now + 60
    new.mfa.verify_code("ann", owner.phone.code(new.clock.now))
    done = new.mfa.complete_login(new.challenge(), owner.recovery_codes[0], method="recovery")
    assert done.recovery_codes_left == 9
    ok = new.mfa.authenticate_client("ann", owner.passcode, protocol="imap", check_password=str)
    assert ok.via == "passcode"


def test_a_key_dropped_too_early_is_operational_until_it_is_back() -> None:
    """No door opens and none is lost."""
    world = World(keys=KeyRing({"2026": OTHER_KEY}))
    owner = world.owner()
    early = World(store=world.store, keys=KeyRing({"2027": KEY}), policy=Policy())
    early.clock.now = world.clock.now + 60
    for call in (
        lambda: early.mfa.begin_login("ann", password_verified=True),
        lambda: early.mfa.verify_code("ann", owner.phone.code(early.clock.now)),
        lambda: early.mfa.authenticate_client(
            "ann", "x", protocol="imap", check_password=lambda _: "ann"
        ),
    ):
        with pytest.raises(KeyUnavailableError):
            call()
    assert early.mfa.rotate_keys().failed == (("ann", "key_unavailable"),)
    world.clock.advance(60)
    assert world.mfa.verify_code("ann", owner.phone.code(world.clock.now))


def test_revisions_begin_at_random_and_then_count() -> None:
    """Nothing revives after an id is used again: 62 random bits, then one more each time."""
    first = []
    for _ in range(8):
        world = World()
        world.mfa.open_account("ann")
        revisions = [world.record().revision]
        for _ in range(3):
            world.mfa.password_changed("ann")
            revisions.append(world.record().revision)
        assert [after - before for before, after in pairwise(revisions)] == [1, 1, 1]
        first.append(revisions[0])
    assert len(set(first)) == 8
    assert all(1 <= one <= 2**62 for one in first)
    assert max(first) > 2**56


@pytest.mark.parametrize("length", [32, 64])
@pytest.mark.parametrize(
    "info", [(b"mfakit/v1", b"document"), (b"mfakit/v1", b"token", b"\x07" * 16)]
)
def test_subkeys_are_those_of_hkdf_expand(length: int, info: tuple[bytes, ...]) -> None:
    """RFC 5869 §2.3, against an independent implementation."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    key = bytes(range(length))
    expected = HKDFExpand(algorithm=SHA256(), length=32, info=frame(*info)).derive(key)
    assert _subkey(Secret(key), *info).reveal() == expected
