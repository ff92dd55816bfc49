"""What was moved or altered does not open: values, tokens, whole documents. Keys are kept apart."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mfakit import MFA, KeyRing, Policy
from mfakit.core.encoding import encode_base64
from mfakit.core.record import decode_record
from mfakit.core.sealing import Challenge, Proof, Vault
from mfakit.core.secret import Secret
from mfakit.errors import (
    ChallengeError,
    ConfigurationError,
    KeyUnavailableError,
    LimitReachedError,
    RecordIntegrityError,
    RecordSchemaError,
    UnavailableError,
)
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator
from mfakit.views import row_of
from world import START, World

KEY = bytes(range(32))


def _vault(realm: str = "mail", **keys: bytes) -> Vault:
    return Vault(KeyRing(keys or {"k1": KEY}), realm, lambda count: bytes(count))


def test_a_value_opens_only_where_it_belongs() -> None:
    """Another account, item, parameter, salt or realm, or one changed bit: it does not open."""
    context = ("totp", "ann", "item", "SHA1", "6", "30")
    sealed = _vault().seal_value(Secret(b"seed"), salt="s", context=context)
    assert _vault().open_value(sealed, salt="s", context=context).reveal() == b"seed"
    for place in range(len(context)):
        moved = (*context[:place], context[place] + "x", *context[place + 1 :])
        with pytest.raises(RecordIntegrityError):
            _vault().open_value(sealed, salt="s", context=moved)
    with pytest.raises(RecordIntegrityError):
        _vault().open_value(sealed, salt="t", context=context)
    with pytest.raises(RecordIntegrityError):
        _vault("other").open_value(sealed, salt="s", context=context)
    with pytest.raises(KeyUnavailableError):
        _vault(k2=KEY).open_value(sealed, salt="s", context=context)
    for place in range(3, len(sealed)):
        changed = sealed[:place] + chr(ord(sealed[place]) ^ 1) + sealed[place + 1 :]
        with pytest.raises(RecordIntegrityError):
            _vault().open_value(changed, salt="s", context=context)
    with pytest.raises(RecordIntegrityError):
        _vault().open_value("k1.AAAA", salt="s", context=context)


def test_a_sealed_part_of_a_record_opens_only_in_its_own_place() -> None:
    """Moved inside the record by someone who can even tag it: secrets, passcodes, recovery codes."""
    world = World(MemoryStore())
    ann = world.enroll()
    world.add_app(ann)
    mail = [world.passcode(ann, label).passcode for label in ("One", "Two")]
    row = world.row("ann")
    assert row is not None
    vault = world.mfa._env.vault
    record = decode_record(row, vault)
    (first, second), (one, two) = record.authenticators, record.passcodes
    assert record.recovery is not None
    hashes = record.recovery.sealed_hashes
    moved = replace(
        record,
        authenticators=(replace(first, sealed_secret=second.sealed_secret), second),
        passcodes=(replace(one, sealed_hash=two.sealed_hash), two),
        recovery=replace(record.recovery, sealed_hashes=(hashes[1], hashes[0], *hashes[2:])),
    )
    moved = replace(moved, revision=record.revision + 1)
    assert world.store.replace(row_of(moved, vault), expected=record.revision)
    calls: list[Any] = [
        lambda: world.mfa.verify_code("ann", world.code(ann.app, 1)),
        lambda: world.client("ann", mail[0]),
        lambda: world.mfa.verify_code("ann", ann.recovery_codes[0], method="recovery"),
        lambda: world.mfa.verify_code("ann", ann.recovery_codes[1], method="recovery"),
    ]
    for call in calls:
        with pytest.raises(RecordIntegrityError):
            call()
    assert world.client("ann", mail[1]).via == "passcode"
    assert world.mfa.verify_code("ann", ann.recovery_codes[2], method="recovery")


def test_a_clock_that_went_back_leaves_no_time_of_the_record_in_the_future() -> None:
    """Each stored time counts as now; what is past stays, what never was is still None."""
    world = World(MemoryStore())
    vault = world.mfa._env.vault
    ann = world.enroll()
    world.trust(ann, "Early")
    early = int(world.clock.now)
    world.pass_time(hours=2)
    world.trust(ann, "Late")
    used = world.passcode(ann, "Used")
    world.client(ann, used.passcode)
    world.passcode(ann, "Unused")
    world.mfa.begin_enrollment("ann", account_name="ann@x", proof=world.proof(ann))
    world.fail(ann, 1)
    world.fail(ann, 1, method="recovery")
    world.pass_time(hours=-1)
    now = int(world.clock.now)
    world.mfa.begin_login("ann", password_verified=True)
    row = world.row("ann")
    assert row is not None
    record = decode_record(row, vault)
    assert record.offer is not None
    assert record.offer.offered_at == now
    assert [device.created_at for device in record.devices] == [early, now]
    assert [passcode.last_used_at for passcode in record.passcodes] == [now, None]
    assert record.code_throttle.last_failure_at == now
    assert record.recovery_throttle.last_failure_at == now
    assert (record.enrolled_at, record.last_login_at) == (START, now)
    assert record.updated_at == now
    assert [expiry for _, expiry in record.spent_challenges] == [now + 600]
    assert record.challenge_floor <= now


def test_a_clock_that_went_back_finds_nothing_in_a_new_record() -> None:
    """No time of enrolment and of sign-in is none afterwards."""
    world = World(MemoryStore())
    world.mfa.open_account("ann")
    world.pass_time(hours=-1)
    world.mfa.begin_login("ann", password_verified=True)
    row = world.row("ann")
    assert row is not None
    record = decode_record(row, world.mfa._env.vault)
    assert (record.enrolled_at, record.last_login_at, record.updated_at) == (
        None, None, int(world.clock.now),
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed", [{"digits": 8}, {"period_seconds": 60}, {"algorithm": "SHA256"}], ids=str
)
def test_a_secret_opens_only_with_its_own_parameters(changed: dict[str, Any]) -> None:
    """Or another time step or length would make old codes new."""
    world = World(MemoryStore())
    ann = world.enroll()
    row = world.row("ann")
    assert row is not None
    record = decode_record(row, world.mfa._env.vault)
    (phone,) = record.authenticators
    altered = replace(phone, last_step=-1, **changed)
    other = replace(record, authenticators=(altered,), revision=record.revision + 1)
    row = row_of(other, world.mfa._env.vault)
    assert world.store.replace(row, expected=record.revision)
    with pytest.raises(RecordIntegrityError):
        world.mfa.verify_code("ann", "7" * altered.digits)
    assert world.mfa.verify_code("ann", ann.recovery_codes[0], method="recovery")


def test_a_token_opens_only_as_what_it_is() -> None:
    """Another kind, binding or realm, or one changed character: it is no token."""
    bound = Secret(b"session")
    payload = Challenge(account_id="ann", epoch="e", issued_at=5, lifetime_seconds=300, id="i")
    token = _vault().seal_token(payload, bound)
    assert _vault().open_token(Challenge, Secret(token.encode()), bound) == payload
    for kind, realm, binding in (
        (Proof, "mail", bound),
        (Challenge, "other", bound),
        (Challenge, "mail", None),
        (Challenge, "mail", Secret(b"sessiom")),
    ):
        assert _vault(realm).open_token(kind, Secret(token.encode()), binding) is None
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        assert _vault().open_token(Challenge, Secret(changed.encode()), bound) is None
    for garbage in (b"", b"A", b"AQ", b"Af__", b"x" * 513, "é".encode(), b"AQEx"):
        assert _vault().open_token(Challenge, Secret(garbage), bound) is None
    assert _vault().open_token(Challenge, None, bound) is None
    foreign = encode_base64(b"\x01\x01\xff" + bytes(40))  # a key id that is no ASCII
    assert _vault().open_token(Challenge, Secret(foreign.encode()), bound) is None


def test_tokens_fit_a_cookie() -> None:
    """The longest account id and key id give at most 512 characters."""
    world = World(MemoryStore())
    world.keys = {"k" * 24: KEY}
    mfa = world.make_mfa(realm="r" * 64)
    proof = mfa.password_proof("é" * 127, password_verified=True)
    offer = mfa.begin_enrollment("é" * 127, account_name="a", proof=proof)
    mfa.confirm_enrollment(offer.token, world.code(VirtualAuthenticator(offer.uri)))
    step: Any = mfa.begin_login("é" * 127, password_verified=True)
    assert max(map(len, (proof, offer.token, step.challenge))) <= 512


def test_a_document_opens_only_in_its_place(world: World) -> None:
    """Moved between accounts, realms, revisions, or altered by one bit anywhere: operational."""
    world.enroll("ann")
    world.enroll("bob")
    ann, bob = world.row("ann"), world.row("bob")
    assert ann and bob
    vault = world.mfa._env.vault
    assert decode_record(ann, vault).account_id == "ann"
    moved = [replace(ann, account_id="bob"), replace(bob, account_id="ann")]
    moved += [replace(ann, revision=ann.revision + 1), replace(ann, document=bob.document)]
    for place in range(len(ann.document)):
        changed = bytearray(ann.document)
        changed[place] ^= 1 << (place % 8)
        moved.append(replace(ann, document=bytes(changed)))
    for row in moved:
        with pytest.raises(UnavailableError):
            decode_record(row, vault)
    other_realm = Vault(KeyRing(world.keys), "other", bytes)
    with pytest.raises(RecordIntegrityError):
        decode_record(ann, other_realm)


def test_documents_that_are_none(world: World) -> None:
    """Truncated, empty, oversize, twice the same key, newer, other JSON: operational, in kind."""
    world.enroll("ann")
    row = world.row("ann")
    assert row
    vault, whole = world.mfa._env.vault, row.document
    twice = whole[:-1] + b"," + whole[1:]
    broken = [b"", b"{}", b"[]", b"null", b"\xff", whole[:-1], whole + b" ", b"[" * 9999, twice]
    broken += [whole + b" " * 65_536, whole.replace(b'"v":1', b'"v": 1')]
    broken += [whole.replace(b'"body":{', b'"body":{"state":"not_enrolled",')]
    for document in broken:
        with pytest.raises(RecordIntegrityError):
            decode_record(replace(row, document=document), vault)
    for newer in (b'{"v":2}', whole.replace(b'"v":1', b'"v":2')):
        with pytest.raises(RecordSchemaError):
            decode_record(replace(row, document=newer), vault)
    with pytest.raises(RecordIntegrityError):
        decode_record(replace(row, document=None), vault)


@pytest.mark.parametrize("body", [b'{"account_id":"ann"}', b'{"account_id":"bob"}', b"[]"])
def test_a_tagged_body_that_is_no_record(body: bytes) -> None:
    """Even under a right tag, a body must be a record, and the account's own."""
    vault = _vault()
    tag = vault.tag("k1", account_id="ann", revision=1, body=body)
    document = b'{"v":1,"key_id":"k1","tag":"%s","body":%s}' % (tag.encode(), body)
    store = MemoryStore()
    from mfakit.storage import StoredRecord, Summary

    row = StoredRecord(account_id="ann", revision=1, document=document, summary=Summary(state="x"))
    store.create(row)
    with pytest.raises(RecordIntegrityError):
        decode_record(row, vault)


def test_a_record_in_contradiction_with_itself_does_not_open(world: World) -> None:
    """Off with an authenticator, on without one, an offer in the wrong state: fail closed."""
    from mfakit.core.lifecycle import State
    from mfakit.views import row_of

    world.enroll("ann")
    row = world.row("ann")
    assert row
    vault = world.mfa._env.vault
    record = decode_record(row, vault)
    wrong = [
        replace(record, state=State.NOT_ENROLLED),
        replace(record, authenticators=()),
        replace(record, state=State.ENROLLED_OFFER),
        replace(record, account_id="bob"),
        replace(record, revision=5),
    ]
    for one in wrong:
        contradicting = replace(row_of(one, vault), account_id="ann", revision=record.revision)
        with pytest.raises(RecordIntegrityError):
            decode_record(contradicting, vault)


def test_too_long_a_history_is_shortened_and_too_much_else_refused(world: World) -> None:
    """A document stays within 64 KiB: history gives way, nothing else is dropped."""
    from mfakit.core.record import HistoryEntry

    world.enroll("ann")
    row = world.row("ann")
    assert row
    vault = world.mfa._env.vault
    record = decode_record(row, vault)
    entry = HistoryEntry(kind="x", at=1, revision=1, reason="é" * 500)
    long = row_of(replace(record, history=(entry,) * 99), vault)
    assert len(long.document) <= 65_536
    assert 10 < len(decode_record(long, vault).history) < 99
    many = tuple(replace(record.authenticators[0], label="é" * 512) for _ in range(99))
    with pytest.raises(LimitReachedError):
        row_of(replace(record, authenticators=many), vault)


def test_reset_and_forget_work_on_what_does_not_open(world: World) -> None:
    """A lost key or a torn document is an operator's way out, not a dead end."""
    world.enroll("ann")
    world.enroll("bob")
    world.keys = {"k2": bytes(range(1, 33))}
    mfa = world.make_mfa()
    with pytest.raises(KeyUnavailableError):
        mfa.status("ann")
    for call in (mfa.reset, mfa.forget):
        with pytest.raises(KeyUnavailableError):
            call("ann", actor="ops", reason="a wrong key file looks the same")
    mfa.reset("ann", actor="ops", reason="key lost", force=True)
    assert mfa.status("ann").state == "not_enrolled"
    assert mfa.forget("bob", actor="ops", reason="key lost", force=True) is True
    assert mfa.forget("bob", actor="ops", reason="again") is False
    assert mfa.status("bob").state == "not_enrolled"


@pytest.mark.parametrize("revision", [-(2**63), -1, 0, 2**63 - 1])
def test_a_revision_out_of_range_stops_one_account_and_no_other(
    world: World, revision: int
) -> None:
    """Whoever can write the database writes -1: the walk goes on, and a forced `reset` mends it."""
    for account_id in ("ann", "bob"):
        world.mfa.open_account(account_id)
    row = world.store.load("ann")
    assert row is not None
    world.store.replace(replace(row, revision=revision), expected=row.revision)
    with pytest.raises(RecordIntegrityError):
        world.mfa.begin_login("ann", password_verified=True)
    page = world.mfa.rotate_keys()
    assert (page.failed, page.unchanged) == ((("ann", "record_integrity"),), 1)
    with pytest.raises(RecordIntegrityError):
        world.mfa.reset("ann", actor="op", reason="altered")
    world.mfa.reset("ann", actor="op", reason="altered", force=True)
    assert world.mfa.status("ann").state == "not_enrolled"


def test_rotation_reseals_everything_and_says_what_it_met(world: World) -> None:
    """After a run the old key can go; codes, passcodes and recovery codes still work."""
    person = world.enroll("ann")
    made = world.passcode(person)
    world.mfa.begin_enrollment("ann", account_name="a", proof=world.proof(person))
    world.enroll("bob")
    world.keys = {"k2": bytes(range(1, 33)), "k1": KEY}
    page = world.make_mfa().rotate_keys(limit=1)
    assert (page.done, page.unchanged, page.failed, page.key_ids) == (1, 0, (), ("k1",))
    page = world.make_mfa().rotate_keys(cursor=page.cursor)
    assert (page.done, page.cursor) == (1, None)
    page = world.make_mfa().rotate_keys()
    assert (page.done, page.unchanged, page.key_ids) == (0, 2, ("k2",))
    world.keys = {"k2": bytes(range(1, 33))}
    world.mfa = world.make_mfa()
    assert world.mfa.status("ann").key_ids == ("k2",)
    assert world.client(person, made.passcode).via == "passcode"
    world.sign_in(person)
    world.recover(person, person.recovery_codes[0])
    world.keys = {"k3": KEY}
    failed = world.make_mfa().rotate_keys().failed
    assert dict(failed) == {"ann": "key_unavailable", "bob": "key_unavailable"}


# ------------------------------------------------------------------------------------- key rings


def test_key_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From text, file and environment; the first seals."""
    text = f"{KeyRing.generate_entry('new')}, {KeyRing.generate_entry('old')} # note\n\n# more"
    ring = KeyRing.from_text(text)
    assert (ring.key_ids, ring.newest, repr(ring)) == (("new", "old"), "new", "KeyRing(new, old)")
    (tmp_path / "keys").write_text(text)
    assert KeyRing.from_file(tmp_path / "keys").key("old").reveal() == ring.key("old").reveal()
    monkeypatch.setenv("MFAKIT_KEYS", text)
    assert KeyRing.from_environment().key_ids == ("new", "old")
    monkeypatch.delenv("MFAKIT_KEYS")
    for call in (KeyRing.from_environment, lambda: KeyRing.from_file(tmp_path / "none")):
        with pytest.raises(ConfigurationError):
            call()
    with pytest.raises(TypeError):
        pickle.dumps(ring)
    with pytest.raises(KeyUnavailableError):
        ring.key("none")


@pytest.mark.parametrize(
    "text", ["", "a", "a:", "a:AAAA", "a b:!!", "a:" + "+" * 43, "é:" + "A" * 43]
)
def test_bad_key_entries(text: str) -> None:
    """Wrong in form: a configuration error that does not quote the key."""
    with pytest.raises(ConfigurationError) as caught:
        KeyRing.from_text(text)
    assert len(text) < 3 or text not in str(caught.value)


def test_bad_keys() -> None:
    """None, twice the same id, too short, too long, no bytes."""
    entry = KeyRing.generate_entry("a")
    for keys in (
        {},
        {"a": b"x" * 31},
        {"a": b"x" * 65},
        {"a": "x" * 32},
        {"": KEY},
        {"a" * 25: KEY},
    ):
        with pytest.raises(ConfigurationError):
            KeyRing(keys)
    with pytest.raises(ConfigurationError):
        KeyRing.from_text(f"{entry} {entry}")


def test_a_key_service_is_asked_once_and_only_for_its_ids() -> None:
    """Fetched on first use; a failure is temporary and shows nothing of its cause."""
    asked: list[str] = []

    def fetch(key_id: str) -> bytes:
        asked.append(key_id)
        if len(asked) == 1:
            raise OSError("token=hunter2")
        return KEY

    ring = KeyRing.from_callable(fetch, key_ids=["k1", "k0"])
    with pytest.raises(KeyUnavailableError) as caught:
        ring.key("k1")
    assert caught.value.__context__ is None
    assert ring.key("k1").reveal() == ring.key("k1").reveal() == KEY
    with pytest.raises(KeyUnavailableError):
        ring.key("k9")
    assert asked == ["k1", "k1"]
    with pytest.raises(ConfigurationError):
        KeyRing.from_callable(fetch, key_ids=[])


def test_a_token_of_a_lost_key_is_no_token() -> None:
    """After the ring changed, an old challenge is just over."""
    store, clock = MemoryStore(), FixedClock()
    settings: dict[str, Any] = {
        "clock": clock,
        "hasher": CheapHasher(),
        "policy": Policy(issuer="X"),
    }
    old = MFA(store, KeyRing({"k1": KEY}), **settings)
    offer = old.begin_enrollment(
        "a", account_name="a", proof=old.password_proof("a", password_verified=True)
    )
    old.confirm_enrollment(offer.token, VirtualAuthenticator(offer.uri).code(clock.now))
    step: Any = old.begin_login("a", password_verified=True)
    with pytest.raises(ChallengeError):
        MFA(store, KeyRing({"k2": KEY}), **settings).complete_login(step.challenge, "123456")


class _MixedUpStore(MemoryStore):
    """A store behind a cache, a collation or a shared connection that confuses two accounts."""

    instead: str | None = None

    def load(self, account_id: str) -> Any:
        return super().load(self.instead or account_id)


def test_a_row_of_another_account_is_not_this_account() -> None:
    """It is authentic, and says that two-step is off; nothing may be decided by it."""
    store = _MixedUpStore()
    world = World(store)
    ann = world.enroll("ann")
    world.mfa.password_proof("bob", password_verified=True)
    store.instead = "bob"
    calls = [
        lambda: world.mfa.begin_login("ann", password_verified=True),
        lambda: world.mfa.session_is_current("ann", ann.enrolled.epoch),
        lambda: world.mfa.status("ann"),
        lambda: world.client("ann", "anything"),
    ]
    for call in calls:
        with pytest.raises(RecordIntegrityError):
            call()
    store.instead = None
    assert world.sign_in(ann).method == "totp"
