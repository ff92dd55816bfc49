"""The rules of the design, by number: 9-17. The first eight are in `test_rules.py`."""

from __future__ import annotations

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from mfakit import (
    ASVS_5,
    DEFAULT,
    NIST_800_63B,
    AuditEvent,
    ClientInfo,
    CodeRequired,
    EnrollmentRequired,
    Policy,
    SignedIn,
)
from mfakit.core.record import decode_record
from mfakit.errors import (
    AvailabilityError,
    ChallengeError,
    ContentionError,
    CredentialRefusedError,
    InvalidInputError,
    KeyUnavailableError,
    LabelTakenError,
    LastAuthenticatorError,
    NotFoundError,
    OfferError,
    PasswordNotVerifiedError,
    PolicyError,
    ProofError,
    RecordIntegrityError,
    StoreUnavailableError,
    TwoStepRequiredError,
    UnavailableError,
    UnknownAccountError,
    WrongCodeError,
)
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, PasswordBook, Person, World

NAME = "ann@example.com"
BY = {"actor": "root", "reason": "asked in person"}


def wrong_verifier(passcode: str) -> str:
    return passcode[:-1] + ("b" if passcode[-1] == "a" else "a")


def at(address: str) -> ClientInfo:
    return ClientInfo(remote_ip=address)


# ---------------------------------------------------------------------------------------------- 9


def test_r09_a_passcode_is_a_hint_and_sixteen_letters(world: World) -> None:
    ann = world.enroll()
    proof = world.proof(ann)
    made = [world.mfa.create_passcode("ann", label=f"{n}", proof=proof) for n in range(25)]
    letters = "abcdefghjkmnpqrstuvwxyz"
    assert len(letters) == 23
    for new in made:
        assert re.fullmatch(rf"[{letters}]{{4}}( [{letters}]{{4}}){{4}}", new.passcode)
        assert new.hint == new.passcode[:4]
    assert len({new.hint for new in made}) == 25


def test_r09_case_spaces_and_hyphens_are_ignored(world: World) -> None:
    ann = world.enroll()
    text = world.passcode(ann).passcode
    for typed in (text.upper(), text.replace(" ", ""), text.replace(" ", "-"), f" {text.title()} "):
        assert world.client(ann, typed).via == "passcode"


def test_r09_a_wrong_verifier_costs_one_hash_and_writes_nothing(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    before = world.row("ann")
    for count in range(1, 101):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, wrong_verifier(new.passcode))
        assert world.hasher.verified == count
    assert world.row("ann") == before
    assert world.client(ann, new.passcode).passcode_id == new.passcode_id


def test_r09_an_unknown_selector_costs_no_hash_and_writes_nothing(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    unknown = ("abcd" if new.hint != "abcd" else "abce") + new.passcode[4:]
    before = world.row("ann")
    with pytest.raises(CredentialRefusedError):
        world.client(ann, unknown)
    assert (world.hasher.verified, world.row("ann")) == (0, before)


@pytest.mark.parametrize("label", ["", "   ", "x" * 65, "a\nb", "a\0b", "a\u202eb", None, 5])
def test_r09_labels_are_short_and_plain(world: World, label: Any) -> None:
    ann = world.enroll()
    new = world.passcode(ann, "x" * 64)
    with pytest.raises(InvalidInputError):
        world.passcode(ann, label)
    with pytest.raises(InvalidInputError):
        world.mfa.rename_passcode("ann", new.passcode_id, label)


def test_r09_labels_are_unique_after_renaming_too(world: World) -> None:
    ann = world.enroll()
    world.passcode(ann, "Tablet")
    new = world.passcode(ann, "Phone")
    with pytest.raises(LabelTakenError):
        world.mfa.rename_passcode("ann", new.passcode_id, "Tablet")
    world.mfa.rename_passcode("ann", new.passcode_id, "Old phone")
    assert [one.label for one in world.mfa.passcodes("ann")] == ["Tablet", "Old phone"]


@pytest.mark.parametrize("protocols", [[], (), set(), ["ftp"], ["imap", "IMAP"], "imap", [None], 5])
def test_r09_protocols_are_known_and_not_empty(world: World, protocols: Any) -> None:
    ann = world.enroll()
    with pytest.raises(InvalidInputError):
        world.passcode(ann, protocols=protocols)


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp", "sieve", "dav", "eas"])
def test_r09_no_limit_is_any_protocol_and_one_is_that_one(world: World, protocol: str) -> None:
    ann = world.enroll()
    free = world.passcode(ann, "any")
    bound = world.passcode(ann, "one", protocols=[protocol])
    assert world.client(ann, free.passcode, protocol).via == "passcode"
    assert world.client(ann, bound.passcode, protocol).via == "passcode"
    for other in {"imap", "pop3", "smtp", "sieve", "dav", "eas"} - {protocol}:
        with pytest.raises(CredentialRefusedError):
            world.client(ann, bound.passcode, other)


BAD_NETWORKS = [[], ["192.0.2.0/33"], ["example.com"], "192.0.2.0/24", [5], ["fe80::1%eth0/64"]]
BAD_NETWORKS += [[f"10.0.{n}.0/24" for n in range(21)]]


@pytest.mark.parametrize("networks", BAD_NETWORKS, ids=range(len(BAD_NETWORKS)))
def test_r09_networks_are_at_most_twenty_and_not_empty(world: World, networks: Any) -> None:
    ann = world.enroll()
    with pytest.raises(InvalidInputError):
        world.passcode(ann, networks=networks)


def test_r09_ipv4_in_ipv6_is_ipv4(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann, networks=["::ffff:192.0.2.0/120", "2001:db8::/32"])
    assert set(world.mfa.passcodes("ann")[0].networks or ()) == {"192.0.2.0/24", "2001:db8::/32"}
    for inside in ("192.0.2.255", "::ffff:192.0.2.1", "2001:db8::1"):
        assert world.client(ann, new.passcode, client=at(inside)).via == "passcode"
    for outside in ("192.0.3.0", "::ffff:192.0.3.1", "2001:db9::1", "::1"):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, new.passcode, client=at(outside))
    for unknown in (None, ClientInfo()):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, new.passcode, client=unknown)


def test_r09_an_expiry_lies_in_the_future(world: World) -> None:
    proof = world.proof(world.enroll())
    how = {"label": "Phone", "proof": proof}
    for moment in (world.now, world.later(days=-1), world.now.replace(tzinfo=None), 5):
        with pytest.raises(InvalidInputError) as caught:
            world.mfa.create_passcode("ann", expires_at=moment, **how)  # type: ignore[arg-type]
        assert caught.value.field == "expires_at"
    assert world.mfa.create_passcode("ann", expires_at=world.later(seconds=1), **how)


def test_r09_a_revoked_passcode_is_deleted_and_the_history_keeps_the_fact(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann, "Tablet")
    world.mfa.revoke_passcode("ann", new.passcode_id)
    assert world.mfa.passcodes("ann") == ()
    last = world.mfa.history("ann")[-1]
    assert (last.kind, last.label, last.item_id) == ("passcode_revoked", "Tablet", new.passcode_id)
    with pytest.raises(NotFoundError):
        world.mfa.revoke_passcode("ann", new.passcode_id)
    world.passcode(ann, "Tablet")
    world.passcode(ann, "Laptop")
    assert [world.mfa.revoke_all_passcodes("ann") for _ in range(2)] == [2, 0]


def test_r09_last_use_is_written_at_once_and_then_every_15_minutes(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.client(ann, new.passcode, client=at("192.0.2.1"))
    first = world.now
    world.pass_time(minutes=14, seconds=59)
    before = world.row("ann")
    world.client(ann, new.passcode, "smtp", client=at("192.0.2.2"))
    assert world.row("ann") == before
    (listed,) = world.mfa.passcodes("ann")
    used = (listed.last_used_at, listed.last_used_ip, listed.last_used_protocol)
    assert used == (first, "192.0.2.1", "imap")
    world.pass_time(seconds=1)
    world.client(ann, new.passcode, "smtp", client=at("192.0.2.2"))
    (listed,) = world.mfa.passcodes("ann")
    used = (listed.last_used_at, listed.last_used_ip, listed.last_used_protocol)
    assert used == (world.now, "192.0.2.2", "smtp")


def test_r09_a_success_clears_no_counter(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.fail(ann, 5)
    world.client(ann, new.passcode)
    assert world.mfa.status("ann").retry_at == world.later(seconds=30)


def test_r09_a_remembered_passcode_skips_the_hash_and_nothing_else(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann, protocols=["imap"], expires_at=world.later(days=1))
    for _ in range(3):
        world.client(ann, new.passcode)
    assert world.hasher.verified == 1
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode, "smtp")
    world.set_policy(passcodes=False)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)
    world.set_policy(passcodes=True)
    world.pass_time(days=1)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)


@pytest.mark.parametrize("how", ["revoke", "all", "reset", "disable", "password", "forget"])
def test_r09_revocation_elsewhere_is_immediate(world: World, how: str) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.client(ann, new.passcode)
    other = world.make_mfa()
    match how:
        case "revoke":
            other.revoke_passcode("ann", new.passcode_id)
        case "all":
            other.revoke_all_passcodes("ann")
        case "reset":
            other.reset("ann", **BY)
        case "disable":
            other.disable("ann", proof=world.proof(ann))
        case "password":
            other.password_changed("ann")
        case _:
            other.forget("ann", **BY)
    with pytest.raises(CredentialRefusedError):
        world.client(ann, new.passcode)


def test_r09_failures_are_not_remembered(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.client(ann, new.passcode)
    for count in (2, 3):
        with pytest.raises(CredentialRefusedError):
            world.client(ann, wrong_verifier(new.passcode))
        assert world.hasher.verified == count


def test_r09_policy_can_forbid_remembering(world: World) -> None:
    world.set_policy(passcode_memory_seconds=0)
    ann = world.enroll()
    new = world.passcode(ann)
    for count in (1, 2, 3):
        world.client(ann, new.passcode)
        assert world.hasher.verified == count


# --------------------------------------------------------------------------------------------- 10


def test_r10_the_21st_device_evicts_the_oldest(world: World) -> None:
    ann = world.enroll()
    tokens = [world.trust(ann, f"device {number}") for number in range(20)]
    assert world.is_trusted(ann, tokens[0])
    world.trust(ann, "device 20")
    assert not world.is_trusted(ann, tokens[0])
    assert all(world.is_trusted(ann, token) for token in tokens[1:])
    labels = [one.label for one in world.mfa.trusted_devices("ann")]
    assert labels == [f"device {number}" for number in range(1, 21)]


def test_r10_use_does_not_push_the_end_back(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    (listed,) = world.mfa.trusted_devices("ann")
    assert listed.expires_at == world.later(days=30)
    for _ in range(29):
        world.pass_time(days=1)
        assert world.is_trusted(ann, token)
    assert world.mfa.trusted_devices("ann")[0].last_used_at == world.now
    world.pass_time(days=1)
    assert not world.is_trusted(ann, token)


def test_r10_a_sign_in_by_device_is_a_sign_in(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    world.fail(ann, 2)
    how = {"password_verified": True, "trusted_device": token}
    assert [world.mfa.begin_login("ann", **how).failed_since_last for _ in "12"] == [2, 0]  # type: ignore[union-attr]
    assert world.mfa.status("ann").last_login_at == world.now


def test_r10_the_password_is_still_asked(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    with pytest.raises(PasswordNotVerifiedError):
        world.mfa.begin_login("ann", password_verified=False, trusted_device=token)


@pytest.mark.parametrize("how", ["password", "remove", "replace", "recovery", "step-up", "reenrol"])
def test_r10_devices_die_on_every_epoch_rise_and_on_recovery(world: World, how: str) -> None:
    ann = world.enroll()
    _, added = world.add_app(ann)
    token = world.trust(ann)
    match how:
        case "password":
            world.mfa.password_changed("ann")
        case "remove":
            world.mfa.remove_authenticator("ann", added.authenticator_id, proof=world.proof(ann))
        case "replace":
            world.add_app(ann, "New", replaces=added.authenticator_id)
        case "recovery":
            world.recover(ann, ann.recovery_codes[0])
        case "step-up":
            world.recovery_proof(ann)
        case _:
            world.mfa.disable("ann", proof=world.proof(ann))
            ann = world.enroll()
    assert not world.is_trusted(ann, token)
    assert world.mfa.status("ann").trusted_devices == 0


def test_r10_a_recovery_sign_in_trusts_nothing(world: World) -> None:
    ann = world.enroll()
    done = world.recover(ann, ann.recovery_codes[0], trust_device="Firefox")
    assert (done.trusted_device, world.mfa.trusted_devices("ann")) == (None, ())


def test_r10_policy_can_forbid_them(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann)
    world.set_policy(trusted_devices=False)
    assert not world.is_trusted(ann, token)
    assert world.sign_in(ann, trust_device="Firefox").trusted_device is None


def test_r10_a_token_is_384_random_bits_of_one_account(world: World) -> None:
    ann, bob = world.enroll(), world.enroll("bob")
    token = world.trust(ann)
    world.trust(bob)
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", token)
    assert not world.is_trusted(bob, token)
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert not world.is_trusted(ann, other)
    row = world.row("ann")
    assert row is not None
    assert token[22:].encode() not in row.document


@pytest.mark.parametrize("device_id", [None, "laptop"])
def test_r10_the_record_keeps_a_hash_of_secret_account_and_device_id(
    world: World, device_id: str | None
) -> None:
    ann = world.enroll()
    token = world.trust(ann, device_id=device_id)
    row = world.row("ann")
    assert row is not None
    (device,) = decode_record(row, world.mfa._env.vault).devices
    raw = urlsafe_b64decode(token)
    binding = b"" if device_id is None else b"\x01" + device_id.encode()
    parts = (b"mfakit/v1/device", b"ann", raw, binding)
    framed = struct.pack(">5I", 4, *map(len, parts)) + b"".join(parts)
    hashed = urlsafe_b64encode(sha256(framed).digest()).rstrip(b"=").decode()
    assert (len(raw), device.secret_hash) == (48, hashed)
    assert device.id == urlsafe_b64encode(raw[:16]).rstrip(b"=").decode()
    assert device.last_used_at == int(world.clock.now)
    other = urlsafe_b64encode(raw[:16] + bytes(32)).decode()  # the right id, another secret
    assert not world.is_trusted(ann, other, device_id=device_id)
    assert world.is_trusted(ann, token, device_id=device_id)


def test_r10_a_bound_device_is_kept_when_the_others_go(world: World) -> None:
    ann = world.enroll()
    here, there = {"device_id": "laptop"}, {"device_id": "tablet"}
    kept = world.trust(ann, "Here", **here)
    gone = world.trust(ann, "There", **there)
    assert world.mfa.revoke_other_devices("ann", keep=kept, **here) == 1
    assert world.is_trusted(ann, kept, **here)
    assert not world.is_trusted(ann, gone, **there)


def test_r10_devices_are_renamed_and_revoked_one_by_one(world: World) -> None:
    ann = world.enroll()
    token = world.trust(ann, "Firefox")
    (device,) = world.mfa.trusted_devices("ann")
    world.mfa.rename_trusted_device("ann", device.device_id, "Old laptop")
    assert world.mfa.trusted_devices("ann", token=token)[0].label == "Old laptop"
    world.mfa.revoke_trusted_device("ann", device.device_id)
    for use in (
        lambda: world.mfa.revoke_trusted_device("ann", device.device_id),
        lambda: world.mfa.rename_trusted_device("ann", device.device_id, "x"),
    ):
        with pytest.raises(NotFoundError):
            use()


# --------------------------------------------------------------------------------------------- 11


def test_r11_a_challenge_is_not_written_and_lives_five_minutes(world: World) -> None:
    ann = world.enroll()
    before = world.row("ann")
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, CodeRequired)
    assert world.row("ann") == before
    assert step.expires_at == world.later(minutes=5)
    world.pass_time(seconds=300)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(step.challenge, world.code(ann.app))
    world.pass_time(seconds=-1)
    assert world.mfa.complete_login(step.challenge, world.code(ann.app))


def test_r11_a_challenge_is_bound_to_epoch_and_session(world: World) -> None:
    ann = world.enroll()
    challenge = world.challenge(ann)
    world.mfa.password_changed("ann")
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, world.fresh_code(ann.app))
    bound = world.challenge(ann, bound_to="s1")
    for session in (None, "s2"):
        with pytest.raises(ChallengeError):
            world.mfa.complete_login(bound, world.code(ann.app), bound_to=session)
    assert world.mfa.complete_login(bound, world.code(ann.app), bound_to="s1")


def test_r11_a_challenge_signs_in_its_own_account_only(world: World) -> None:
    ann, bob = world.enroll(), world.enroll("bob")
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(world.challenge(bob), world.fresh_code(ann.app))


def test_r11_one_kind_of_token_opens_nothing_of_another(world: World) -> None:
    ann = world.enroll()
    device = world.trust(ann)
    proof = world.proof(ann)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    challenge = world.challenge(ann)
    for token in (proof, offer.token, device):
        with pytest.raises(ChallengeError):
            world.mfa.complete_login(token, world.code(ann.app, 1))
    for token in (proof, challenge, device):
        with pytest.raises(OfferError):
            world.mfa.show_offer(token)
    for token in (challenge, offer.token, device):
        with pytest.raises(ProofError):
            world.mfa.disable("ann", proof=token)
    for token in (challenge, offer.token, proof):
        assert not world.is_trusted(ann, token)
    assert all(len(token) <= 512 for token in (proof, challenge, offer.token, device))


def test_r11_a_spent_challenge_stays_spent_when_the_clock_goes_back_and_on(world: World) -> None:
    ann = world.enroll()
    challenge = world.challenge(ann)
    world.mfa.complete_login(challenge, world.fresh_code(ann.app))
    world.pass_time(minutes=-5)
    world.recover(ann, ann.recovery_codes[0])
    world.pass_time(minutes=5)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, world.fresh_code(ann.app))
    world.sign_in(ann)


def test_r11_33_spent_challenges_stay_spent(world: World) -> None:
    world.set_policy(recovery_codes=32, challenge_seconds=600)
    ann = world.enroll()
    world.pass_time(seconds=30)
    challenges = [world.challenge(ann) for _ in range(33)]
    world.pass_time(seconds=1)
    later = world.challenge(ann)
    for challenge, code in zip(challenges, ann.recovery_codes, strict=False):
        world.mfa.complete_login(challenge, code, method="recovery")
    world.mfa.complete_login(challenges[32], world.code(ann.app))
    code = world.fresh_code(ann.app)
    for challenge in challenges:
        with pytest.raises(ChallengeError):
            world.mfa.complete_login(challenge, code)
    assert world.mfa.complete_login(later, code)


@pytest.mark.parametrize("after", [-29, 30])  # seconds; the challenge was issued 30 before
def test_r11_a_spent_challenge_stays_spent_when_the_clock_goes_back(
    world: World, after: int
) -> None:
    """It was forgotten as expired while a clock was ahead; with another code it opens nothing."""
    ann = world.enroll()
    spent = world.challenge(ann)
    world.mfa.complete_login(spent, world.fresh_code(ann.app))
    before = world.clock.now
    world.pass_time(seconds=400)
    world.mfa.complete_login(world.challenge(ann), ann.recovery_codes.pop(), method="recovery")
    world.clock.now = before + after
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(spent, ann.recovery_codes.pop(), method="recovery")
    assert world.recover(ann, ann.recovery_codes.pop()).method == "recovery"  # a new one does


def test_r11_a_challenge_of_the_second_in_which_the_clock_went_back_opens(world: World) -> None:
    """What was forgotten when the clock was ahead keeps nobody out."""
    ann = world.enroll()
    before = world.clock.now
    for _ in range(2):
        world.pass_time(days=1)
        world.recover(ann, ann.recovery_codes.pop())
    world.clock.now = before + 1
    assert world.recover(ann, ann.recovery_codes.pop()).method == "recovery"


# --------------------------------------------------------------------------------------------- 12


def test_r12_a_missing_record_has_the_epoch_none(world: World) -> None:
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, SignedIn)
    assert step.epoch == "none" == world.mfa.status("ann").epoch
    assert world.mfa.session_is_current("ann", "none")
    assert not world.mfa.session_is_current("ann", "")
    assert world.row("ann") is None


@pytest.mark.parametrize("first", ["password_proof", "begin_enrollment"])
def test_r12_a_session_survives_the_first_record(world: World, first: str) -> None:
    proof = world.mfa.password_proof("ann", password_verified=True)
    if first == "begin_enrollment":
        world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    assert world.row("ann") is not None
    assert world.mfa.session_is_current("ann", "none")
    assert world.mfa.session_is_current("ann", world.mfa.status("ann").epoch)


@pytest.mark.parametrize("forgotten", [False, True])
def test_r12_no_session_survives_the_opening_of_the_account(world: World, forgotten: bool) -> None:
    """A session that an earlier owner of the id began is not current for the next one."""
    epochs = ["none"]
    if forgotten:
        epochs.append(world.enroll().enrolled.epoch)
        world.mfa.forget("ann", **BY)
        epochs.append(world.mfa.status("ann").epoch)
    assert world.mfa.open_account("ann") is True
    assert [world.mfa.session_is_current("ann", epoch) for epoch in epochs] == [False] * len(epochs)
    assert world.mfa.session_is_current("ann", world.mfa.status("ann").epoch)
    row = world.row("ann")
    assert world.mfa.open_account("ann") is False
    assert world.row("ann") == row


def test_r12_the_next_owner_of_a_forgotten_id_begins_anew(world: World) -> None:
    world.enroll()
    world.mfa.forget("ann", **BY)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, SignedIn)
    assert step.epoch == world.mfa.status("ann").epoch != "none"
    assert world.mfa.session_is_current("ann", step.epoch)
    assert not world.mfa.session_is_current("ann", "none")
    assert world.client("ann", PASSWORD).via == "password"
    ann = world.enroll()
    assert world.sign_in(ann).method == "totp"


def test_r12_forgotten_accounts_are_not_listed(world: World) -> None:
    for name in ("ann", "bob"):
        world.enroll(name)
    world.mfa.forget("ann", **BY)
    listed = [one.account_id for one in world.mfa.accounts().accounts]
    assert listed == ["bob"]
    world.mfa.open_account("ann")
    assert sorted(one.account_id for one in world.mfa.accounts().accounts) == ["ann", "bob"]


@pytest.mark.parametrize("rise", ["enroll", "password", "reset", "import"])
def test_r12_a_session_of_before_ends_at_the_first_rise(world: World, rise: str) -> None:
    match rise:
        case "enroll":
            world.enroll()
        case "password":
            world.mfa.password_changed("ann")
        case "reset":
            world.mfa.reset("ann", **BY)
        case _:
            world.mfa.import_authenticator("ann", "JBSWY3DP" * 4, **BY)
    assert not world.mfa.session_is_current("ann", "none")
    assert world.mfa.session_is_current("ann", world.mfa.status("ann").epoch)


def test_r12_epochs_are_128_random_bits_and_never_come_again(world: World) -> None:
    epochs = [world.mfa.password_changed("ann") for _ in range(50)]
    assert len(set(epochs)) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", epoch) for epoch in epochs)
    assert [world.mfa.session_is_current("ann", epoch) for epoch in epochs] == [False] * 49 + [True]


@pytest.mark.parametrize("how", ["forget", "reset", "disable"])
def test_r12_nothing_revives_when_the_account_is_used_again(world: World, how: str) -> None:
    ann = world.enroll()
    device = world.trust(ann)
    new = world.passcode(ann)
    before = world.row("ann")
    proof, challenge = world.proof(ann), world.challenge(ann)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    epoch = world.mfa.status("ann").epoch
    match how:
        case "forget":
            world.mfa.forget("ann", **BY)
        case "reset":
            world.mfa.reset("ann", **BY)
        case _:
            world.mfa.disable("ann", proof=proof)
    assert not world.mfa.session_is_current("ann", epoch)
    again = world.enroll()
    assert before is not None
    assert not world.store.replace(before, expected=before.revision)
    assert not world.mfa.session_is_current("ann", epoch)
    assert not world.is_trusted(again, device)
    with pytest.raises(ProofError):
        world.mfa.disable("ann", proof=proof)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, world.fresh_code(again.app))
    with pytest.raises(OfferError):
        world.mfa.confirm_enrollment(offer.token, world.code(VirtualAuthenticator(offer.uri)))
    with pytest.raises(CredentialRefusedError):
        world.client(again, new.passcode)
    with pytest.raises(WrongCodeError):
        world.recover(again, ann.recovery_codes[0])
    with pytest.raises(WrongCodeError):
        world.mfa.complete_login(world.challenge(again), world.fresh_code(ann.app))


def test_r12_first_revisions_are_random(world: World) -> None:
    revisions = set()
    for _ in range(20):
        world.mfa.open_account("ann")
        row = world.row("ann")
        assert row is not None
        revisions.add(row.revision)
        world.mfa.forget("ann", **BY)
    assert len(revisions) == 20
    assert max(revisions) > 2**50
    assert max(revisions) <= 2**62


def test_r12_a_password_change_ends_sessions_devices_and_passcodes(world: World) -> None:
    ann = world.enroll()
    world.passcode(ann)
    signed_in = world.sign_in(ann, trust_device="Firefox")
    epoch = world.mfa.password_changed("ann")
    assert not world.mfa.session_is_current("ann", signed_in.epoch)
    assert world.mfa.session_is_current("ann", epoch)
    status = world.mfa.status("ann")
    assert (status.passcodes, status.trusted_devices, status.state) == (0, 0, "enrolled")
    assert status.recovery_codes_left == 10


def test_r12_reset_with_reenrol_requires_set_up_at_once(world: World) -> None:
    ann = world.enroll()
    world.mfa.reset("ann", **BY, reenroll=True)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, EnrollmentRequired)
    book = PasswordBook()
    with pytest.raises(CredentialRefusedError):
        world.client("ann", PASSWORD, book=book)
    assert book.asked == []
    ann = world.enroll()
    assert world.mfa.disable("ann", proof=world.proof(ann))  # required no longer, once done
    assert world.client("ann", PASSWORD).via == "password"


# ------------------------------------------------------------------------------------------ 13, 14


def test_r13_the_kind_of_a_code_is_never_guessed(world: World) -> None:
    ann = world.enroll()
    code = world.fresh_code(ann.app)
    before = world.row("ann")
    crossed: list[tuple[str, Any]] = [(code, "recovery"), (ann.recovery_codes[0], "totp")]
    for text, method in crossed:
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", text, method=method)
        with pytest.raises(WrongCodeError):
            world.mfa.complete_login(world.challenge(ann), text, method=method)
    methods: list[Any] = ["", "TOTP", "sms", None]
    for unknown in methods:
        with pytest.raises(InvalidInputError) as caught:
            world.mfa.verify_code("ann", code, method=unknown)
        assert caught.value.field == "method"
    assert world.row("ann") == before


def test_r14_not_available_never_turns_a_live_factor_off(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.set_policy(available=False)
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), CodeRequired)
    assert world.sign_in(ann).method == "totp"
    assert world.client(ann, new.passcode).via == "passcode"
    with pytest.raises(CredentialRefusedError):
        world.client(ann, PASSWORD)


def test_r14_not_available_stops_an_enrolment_that_was_begun(world: World) -> None:
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    world.set_policy(available=False)
    with pytest.raises(AvailabilityError):
        world.mfa.confirm_enrollment(offer.token, world.code(VirtualAuthenticator(offer.uri)))


def test_r14_a_deadline_is_fixed(world: World) -> None:
    deadline = world.later(days=7)
    world.set_policy(required=True, required_from=deadline)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, SignedIn)
    assert step.enroll_by == deadline
    assert world.mfa.status("ann").required_from == deadline
    world.pass_time(days=7, seconds=-1)
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)
    world.pass_time(seconds=1)
    late = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(late, EnrollmentRequired)
    assert late.deadline == deadline


def test_r14_required_refuses_disabling_and_the_last_cannot_be_removed(world: World) -> None:
    ann = world.enroll()
    with pytest.raises(LastAuthenticatorError):
        world.mfa.remove_authenticator("ann", ann.authenticator_id, proof=world.proof(ann))
    world.set_policy(required=True, required_from=world.later(days=7))
    with pytest.raises(TwoStepRequiredError):
        world.mfa.disable("ann", proof=world.proof(ann))


@pytest.mark.parametrize(
    "contradiction",
    [
        {"required": True, "available": False},
        {"required_from": datetime(2027, 1, 1, tzinfo=UTC)},
        {"required": True, "required_from": datetime(2027, 1, 1)},
        {"throttle_first_wait_seconds": 3600, "throttle_longest_wait_seconds": 60},
        {"throttle_free_failures": 5, "code_failures_max": 5},
        {"code_failures_max": 100, "code_failures_in_30_days_max": 50},
        {"recovery_codes": 3},
        {"window_past_steps": 3},
        {"digits": 5},
        {"digits": True},
        {"passcodes_max": 26},
        {"available": 1},
        {"issuer": "a:b"},
        {"unknown_account": "ignore"},
    ],
)
def test_r14_contradictions_are_refused_at_construction(contradiction: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        Policy(**contradiction)


def test_r14_of_a_stored_limit_and_the_present_one_the_smaller_counts(world: World) -> None:
    ann = world.enroll()
    month = world.trust(ann)
    world.set_policy(trusted_device_days=7)
    week = world.trust(ann)
    proof = world.proof(ann)
    offer = world.mfa.begin_enrollment("ann", account_name=NAME, proof=proof)
    challenge = world.challenge(ann)
    world.set_policy(proof_seconds=60, challenge_seconds=60, offer_seconds=120)
    world.pass_time(seconds=61)
    with pytest.raises(ProofError):
        world.mfa.disable("ann", proof=proof)
    with pytest.raises(ChallengeError):
        world.mfa.complete_login(challenge, world.code(ann.app))
    world.pass_time(seconds=60)
    with pytest.raises(OfferError):
        world.mfa.show_offer(offer.token)
    world.pass_time(days=7)
    assert not world.is_trusted(ann, month)
    world.set_policy(trusted_device_days=30)
    assert (world.is_trusted(ann, month), world.is_trusted(ann, week)) == (True, False)


def test_r14_the_watermark_counts_in_mail_and_sessions_too(world: World) -> None:
    people = {name: world.enroll(name) for name in ("ann", "bob", "cy")}
    codes = {name: world.passcode(person).passcode for name, person in people.items()}
    epochs = {name: world.mfa.status(name).epoch for name in people}
    world.pass_time(seconds=1)
    world.set_policy(reset_enrolled_before=world.now)
    assert not world.mfa.session_is_current("ann", epochs["ann"])
    with pytest.raises(CredentialRefusedError):
        world.client("bob", codes["bob"])
    assert world.client("bob", PASSWORD).via == "password"
    assert world.mfa.passcodes("cy") == ()
    for name in people:
        assert world.mfa.status(name).state == "not_enrolled"


def test_r14_a_settled_reset_is_written_before_a_token_is_issued(world: World) -> None:
    world.enroll()
    world.pass_time(seconds=1)
    world.set_policy(reset_enrolled_before=world.now, required=True)
    step = world.mfa.begin_login("ann", password_verified=True)
    assert isinstance(step, EnrollmentRequired)
    row = world.row("ann")
    assert row is not None
    assert row.summary.state == "not_enrolled"
    assert world.kinds()[-2:] == ["reset", "enrollment_required"]
    epoch = world.mfa.status("ann").epoch
    world.set_policy(reset_enrolled_before=None)
    assert world.mfa.status("ann").epoch == epoch


def test_r14_a_reset_by_watermark_forgets_failures_too(world: World) -> None:
    ann = world.enroll()
    world.fail(ann, 5)
    world.fail(ann, 5, method="recovery")
    world.pass_time(seconds=1)
    world.set_policy(reset_enrolled_before=world.now)
    world.mfa.begin_login("ann", password_verified=True)
    assert world.mfa.status("ann").retry_at is None
    ann = world.enroll()
    for method in ("totp", "recovery"):
        world.fail(ann, 1, method=method)
        assert world.events[-1].count == 1


def test_r14_a_watermark_spares_later_enrolments_and_waits_for_its_time(world: World) -> None:
    ann = world.enroll()
    world.set_policy(reset_enrolled_before=world.later(days=1))
    assert world.mfa.status("ann").state == "enrolled"
    world.pass_time(days=1)
    assert world.mfa.status("ann").state == "not_enrolled"
    ann = world.enroll()
    world.pass_time(days=1)
    assert isinstance(world.mfa.begin_login(ann.id, password_verified=True), CodeRequired)


def test_r14_a_clock_that_went_back_resets_nobody_whom_the_watermark_spared(world: World) -> None:
    """A server that starts in 1970 and is set right a minute later turns no factor off."""
    world.set_policy(reset_enrolled_before=world.now)
    ann = world.enroll()
    right = world.clock.now
    world.clock.now = 1000
    world.challenge(ann)
    world.clock.now = right + 3600
    assert world.mfa.status(ann.id).is_on
    world.set_policy(reset_enrolled_before=world.now)
    assert not world.mfa.status(ann.id).is_on


def test_r14_refuse_makes_a_lost_row_operational(world: World) -> None:
    world.set_policy(unknown_account="refuse")
    for use in (
        lambda: world.mfa.begin_login("ann", password_verified=True),
        lambda: world.mfa.password_proof("ann", password_verified=True),
        lambda: world.client("ann", PASSWORD),
        lambda: world.mfa.session_is_current("ann", "none"),
        lambda: world.mfa.status("ann"),
        lambda: world.mfa.verify_code("ann", "123456"),
        lambda: world.mfa.password_changed("ann"),
    ):
        with pytest.raises(UnknownAccountError):
            use()
    assert issubclass(UnknownAccountError, UnavailableError)
    assert [world.mfa.open_account("ann") for _ in range(2)] == [True, False]
    assert isinstance(world.mfa.begin_login("ann", password_verified=True), SignedIn)


def test_r14_profiles_are_the_table(world: World) -> None:
    def row(policy: Policy) -> tuple[Any, ...]:
        return (
            (policy.window_past_steps, policy.window_future_steps),
            policy.unknown_account,
            policy.trusted_devices,
            policy.recovery_failures_max,
            (policy.secret_bits_min, policy.weak_imports),
            (policy.period_seconds_max, policy.passcode_days_max),
            (policy.argon2_time_cost, policy.argon2_memory_kib, policy.argon2_parallelism),
        )

    argon2 = (2, 19 * 1024, 1)
    assert row(DEFAULT) == (
        *((1, 1), "not_enrolled", True, None),
        *((128, True), (120, None), argon2),
    )
    assert row(NIST_800_63B) == (
        *((1, 1), "refuse", False, 100),
        *((128, False), (120, 365), argon2),
    )
    assert row(ASVS_5) == (*((0, 0), "refuse", False, 100), *((128, False), (30, 365), argon2))
    assert DEFAULT.trusted_device_days == 30


# --------------------------------------------------------------------------------------------- 15


def put(world: World, row: StoredRecord, **changes: Any) -> None:
    """Write a row as somebody with access to the database does."""
    new = msgspec.structs.replace(row, **changes)
    there = world.row(new.account_id)
    if there is None:
        assert world.store.create(new)
    else:
        assert world.store.replace(new, expected=there.revision)


@pytest.mark.parametrize("change", ["flip", "torn", "empty", "moved", "revision", "realm"])
def test_r15_a_document_opens_only_whole_and_in_its_place(world: World, change: str) -> None:
    world.enroll("bob")
    world.enroll()
    row = world.row("ann")
    assert row is not None
    account_id, mfa = "ann", world.mfa
    match change:
        case "flip":
            flipped = row.document.replace(b'"state":"enrolled"', b'"state":"locked"')
            assert flipped != row.document
            put(world, row, document=flipped)
        case "torn":
            put(world, row, document=row.document[:-10])
        case "empty":
            put(world, row, document=b"")
        case "moved":
            account_id = "bob"
            put(world, row, account_id="bob")
        case "revision":
            put(world, row, revision=row.revision + 1)
        case _:
            mfa = world.make_mfa(realm="another")
    for use in (
        lambda: mfa.begin_login(account_id, password_verified=True),
        lambda: mfa.session_is_current(account_id, "none"),
        lambda: mfa.status(account_id),
        lambda: mfa.authenticate_client(
            account_id, PASSWORD, protocol="imap", check_password=lambda _: account_id
        ),
        lambda: mfa.password_changed(account_id),
    ):
        with pytest.raises(RecordIntegrityError):
            use()
    before = world.row(account_id)
    for give_up in (mfa.reset, mfa.forget):
        with pytest.raises(RecordIntegrityError):
            give_up(account_id, **BY)
    assert world.row(account_id) == before  # a wrong realm destroys nothing
    mfa.reset(account_id, **BY, force=True)
    assert mfa.status(account_id).state == "not_enrolled"


@pytest.mark.parametrize("purge", [False, True])
def test_r15_forget_works_on_a_torn_document_by_force_only(world: World, purge: bool) -> None:
    world.enroll()
    row = world.row("ann")
    assert row is not None
    put(world, row, document=b"{")
    torn = world.row("ann")
    with pytest.raises(RecordIntegrityError):
        world.mfa.forget("ann", **BY, purge=purge)
    assert world.row("ann") == torn
    assert world.mfa.forget("ann", **BY, purge=purge, force=True) is True
    if purge:
        assert world.row("ann") is None
    else:
        assert world.mfa.status("ann").state == "not_enrolled"
        assert not world.mfa.session_is_current("ann", "none")


def test_r15_force_changes_nothing_about_a_record_that_opens(world: World) -> None:
    ann = world.enroll()
    first = world.mfa.reset("ann", **BY, force=True)
    assert [item.kind for item in world.mfa.history("ann")] == ["enrolled", "reset"]
    assert world.mfa.session_is_current("ann", first)
    assert not world.mfa.session_is_current("ann", ann.enrolled.epoch)


def test_r15_the_summary_is_never_an_input(world: World) -> None:
    ann = world.enroll()
    row = world.row("ann")
    assert row is not None
    put(world, row, summary=msgspec.structs.replace(row.summary, state="not_enrolled"))
    assert isinstance(world.mfa.begin_login(ann.id, password_verified=True), CodeRequired)
    assert world.mfa.status("ann").state == "enrolled"


def test_r15_a_lost_key_is_operational_in_a_record_and_invalid_in_a_token(world: World) -> None:
    ann = world.enroll()
    bob_proof = world.mfa.password_proof("bob", password_verified=True)
    challenge = world.challenge(ann)
    world.keys = {"k2": bytes(range(32, 64))}
    world.mfa.forget("bob", **BY, purge=True)
    mfa = world.make_mfa()
    with pytest.raises(KeyUnavailableError):
        mfa.begin_login("ann", password_verified=True)
    with pytest.raises(ChallengeError):
        mfa.complete_login(challenge, world.fresh_code(ann.app))
    with pytest.raises(ProofError):
        mfa.begin_enrollment("bob", account_name=NAME, proof=bob_proof)
    before = world.row("ann")
    for give_up in (mfa.reset, mfa.forget):
        with pytest.raises(KeyUnavailableError):
            give_up("ann", **BY)
    assert world.row("ann") == before
    epoch = mfa.reset("ann", **BY, force=True)
    assert mfa.session_is_current("ann", epoch)
    assert not mfa.session_is_current("ann", ann.enrolled.epoch)
    assert mfa.forget("ann", **BY) is True


def test_r15_rotation_reports_the_keys_it_still_met(world: World) -> None:
    ann = world.enroll()
    new = world.passcode(ann)
    world.mfa.open_account("bob")
    world.keys = {"k2": bytes(range(32, 64)), **world.keys}
    world.mfa = world.make_mfa()
    page = world.mfa.rotate_keys()
    assert (page.done, page.unchanged, page.failed, page.key_ids) == (2, 0, (), ("k1",))
    page = world.mfa.rotate_keys()
    assert (page.done, page.unchanged, page.key_ids) == (0, 2, ("k2",))
    world.keys = {"k2": world.keys["k2"]}
    world.mfa = world.make_mfa()
    assert world.mfa.status("ann").key_ids == ("k2",)
    assert world.client(ann, new.passcode).via == "passcode"
    assert world.recover(ann, ann.recovery_codes[0]).method == "recovery"
    assert world.sign_in(ann).method == "totp"


def test_r15_tokens_are_decoded_canonically_only(world: World) -> None:
    ann = world.enroll()
    challenge, code = world.challenge(ann), world.fresh_code(ann.app)
    altered = [challenge + "=", challenge + "A", challenge[:-1], " " + challenge, challenge + "\n"]
    symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/"
    altered += [challenge[:-1] + one for one in symbols if one != challenge[-1]]
    for text in altered:
        with pytest.raises(ChallengeError):
            world.mfa.complete_login(text, code)
    assert world.mfa.complete_login(challenge, code)


# --------------------------------------------------------------------------------------------- 16


def test_r16_events_follow_the_won_write_in_order(world: World) -> None:
    seen: list[tuple[AuditEvent, int]] = []

    def sink(event: AuditEvent) -> None:
        row = world.row(event.account_id)
        seen.append((event, row.revision if row else 0))

    world.mfa = world.make_mfa(events=sink)
    ann = world.enroll()
    world.sign_in(ann, trust_device="Firefox")
    world.fail(ann, 3)
    world.passcode(ann)
    world.mfa.password_changed("ann")
    revisions = [event.revision for event, _ in seen]
    assert revisions == sorted(revisions)
    assert all(event.revision == stored for event, stored in seen)
    assert [event.kind.value for event, _ in seen] == [
        "offered",
        "enrolled",
        "code_required",
        "signed_in",
        "device_trusted",
        *["code_required", "code_refused"] * 3,
        "code_accepted",
        "passcode_created",
        "password_changed",
    ]


def test_r16_an_event_says_who_what_when_and_where(world: World) -> None:
    ann = world.enroll()
    client = ClientInfo(remote_ip="192.0.2.7", user_agent="Firefox\n")
    done = world.mfa.complete_login(world.challenge(ann), world.fresh_code(ann.app), client=client)
    event = world.events[-1]
    assert (event.kind, event.account_id, event.realm) == ("signed_in", "ann", "mail")
    assert (event.at, event.method, event.item_id) == (
        done.authenticated_at,
        "totp",
        ann.authenticator_id,
    )
    assert event.client is not None
    assert (event.client.remote_ip, event.client.user_agent) == ("192.0.2.7", "Firefox ")
    world.mfa.reset("ann", **BY)
    assert (world.events[-1].actor, world.events[-1].reason) == ("root", "asked in person")


def test_r16_nothing_that_a_stranger_can_cause_is_for_the_owner(world: World) -> None:
    """A stranger has neither the password nor a passcode."""
    ann = world.enroll()
    new = world.passcode(ann)
    world.events.clear()
    unknown = ("abcd" if new.hint != "abcd" else "abce") + new.passcode[4:]
    for credential in ("", PASSWORD, "123456", wrong_verifier(new.passcode), unknown):
        for protocol in ("imap", "nonsense"):
            with pytest.raises(CredentialRefusedError):
                world.client(ann, credential, protocol)
    for use in (
        lambda: world.mfa.begin_login("ann", password_verified=False),
        lambda: world.mfa.complete_login("x", "123456"),
        lambda: world.mfa.confirm_enrollment("x", "123456"),
        lambda: world.mfa.disable("ann", proof="x"),
    ):
        with pytest.raises((PasswordNotVerifiedError, ChallengeError, OfferError, ProofError)):
            use()
    assert world.events
    assert {event.audience for event in world.events} == {"audit"}


def test_r16_the_owner_hears_of_every_change(world: World) -> None:
    ann = world.enroll()
    _, added = world.add_app(ann)
    world.trust(ann)
    new = world.passcode(ann)
    world.client(ann, new.passcode)
    world.mfa.revoke_passcode("ann", new.passcode_id)
    world.mfa.remove_authenticator("ann", added.authenticator_id, proof=world.proof(ann))
    world.mfa.regenerate_recovery_codes("ann", proof=world.proof(ann))
    world.mfa.password_changed("ann")
    world.mfa.disable("ann", proof=world.proof(ann))
    owner = [event.kind.value for event in world.events if event.audience == "owner"]
    assert owner == [
        "enrolled",
        "authenticator_added",
        "device_trusted",
        "passcode_created",
        "passcode_first_used",
        "passcode_revoked",
        "authenticator_removed",
        "recovery_codes_regenerated",
        "password_changed",
        "disabled",
    ]
    assert [item.kind for item in world.mfa.history("ann")] == owner


def test_r16_a_failing_sink_changes_no_outcome(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: AuditEvent) -> None:
        raise RuntimeError("no disk")

    world.mfa = world.make_mfa(events=fail)
    ann = world.enroll()
    assert world.sign_in(ann, trust_device="Firefox").trusted_device
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(ann.app))
    assert {record.name for record in caplog.records} == {"mfakit"}


def test_r16_the_history_keeps_the_last_32(world: World) -> None:
    world.mfa.password_changed("ann")
    for number in range(33):
        world.mfa.reset("ann", actor="root", reason=f"reset {number}")
    history = world.mfa.history("ann")
    assert [item.reason for item in history] == [f"reset {number}" for number in range(1, 33)]
    revisions = [item.revision for item in history]
    assert revisions == sorted(set(revisions))


def test_r16_what_bound_a_factor_is_kept_longest(world: World) -> None:
    """Forty passcodes made and revoked do not push out how two-step was turned on."""
    ann = world.enroll()
    world.add_app(ann)
    for number in range(20):
        new = world.passcode(ann, f"Phone {number}")
        world.mfa.revoke_passcode("ann", new.passcode_id)
    kinds = [item.kind for item in world.mfa.history("ann")]
    assert (
        kinds == ["enrolled", "authenticator_added"] + ["passcode_created", "passcode_revoked"] * 15
    )


def test_r16_of_entries_about_factors_the_last_16_are_kept_so(world: World) -> None:
    """Older ones go in their turn, as all others do."""
    ann = world.enroll()
    for _ in range(18):
        world.mfa.regenerate_recovery_codes("ann", proof=world.proof(ann))
    for number in range(8):
        new = world.passcode(ann, f"Phone {number}")
        world.mfa.revoke_passcode("ann", new.passcode_id)
    kinds = [item.kind for item in world.mfa.history("ann")]
    assert kinds == (
        ["recovery_codes_regenerated"] * 16 + ["passcode_created", "passcode_revoked"] * 8
    )


# --------------------------------------------------------------------------------------------- 17


class LosingStore(MemoryStore):
    """A store whose next writes are lost, or whose answer does not arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.to_lose = 0
        self.error: Exception | None = None
        self.writes = 0

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        self.writes += 1
        if self.error is not None:
            raise self.error
        if self.to_lose:
            self.to_lose -= 1
            return False
        return super().replace(new, expected=expected)


def losing() -> tuple[World, LosingStore, Person]:
    store = LosingStore()
    world = World(store)
    ann = world.enroll()
    world.pass_time(seconds=30)
    store.writes = 0
    return world, store, ann


def test_r17_seven_lost_writes_are_tried_again() -> None:
    world, store, ann = losing()
    store.to_lose = 7
    assert world.mfa.verify_code("ann", world.code(ann.app))
    assert store.writes == 8


def test_r17_eight_lost_writes_are_contention() -> None:
    world, store, ann = losing()
    store.to_lose = 8
    with pytest.raises(ContentionError):
        world.mfa.verify_code("ann", world.code(ann.app))
    assert store.writes == 8


@pytest.mark.parametrize("error", [StoreUnavailableError(), OSError("network"), KeyError("x")])
def test_r17_a_write_of_unknown_outcome_is_never_tried_again(error: Exception) -> None:
    world, store, ann = losing()
    told = len(world.events)
    store.error = error
    with pytest.raises(StoreUnavailableError):
        world.mfa.verify_code("ann", world.code(ann.app))
    assert (store.writes, len(world.events)) == (1, told)


def test_r17_a_hash_is_run_once_however_many_writes_are_lost() -> None:
    world, store, ann = losing()
    store.to_lose = 7
    world.recovery_proof(ann)
    assert world.hasher.verified == 1


def test_r17_the_password_is_asked_once_while_others_write(world: World) -> None:
    world.set_policy(password_with_code=True)
    ann = world.enroll()

    def check() -> str:
        world.mfa.rename_authenticator("ann", ann.authenticator_id, "Renamed")
        return "ann"

    book = PasswordBook(check)
    text = PASSWORD + world.fresh_code(ann.app)
    assert world.client(ann, text, book=book).via == "password+code"
    assert book.asked == [PASSWORD]


@pytest.mark.parametrize("is_on", [True, False])
def test_r17_a_password_verdict_does_not_outlive_its_epoch(world: World, is_on: bool) -> None:
    world.set_policy(password_with_code=True)
    text = PASSWORD
    if is_on:
        text += world.fresh_code(world.enroll().app)

    def check() -> str:
        world.mfa.password_changed("ann")
        return "ann"

    book = PasswordBook(check)
    with pytest.raises(ContentionError):
        world.client("ann", text, book=book)
    assert book.asked == [PASSWORD]


def test_r17_a_password_verdict_is_worth_nothing_once_two_step_is_on(world: World) -> None:
    """Two-step is turned on by its owner while a client's password is being checked."""

    def check() -> str:
        world.enroll()
        return "ann"

    with pytest.raises(CredentialRefusedError):
        world.client("ann", PASSWORD, book=PasswordBook(check))


def test_r17_a_hash_verdict_does_not_outlive_its_hash(world: World) -> None:
    """The recovery codes are replaced while one of the older set is being hashed."""
    ann = world.enroll()
    proof = world.proof(ann)
    verify = world.hasher.verify
    elsewhere = world.make_mfa()  # here the account's one place for the web is taken

    def regenerate_first(stored: str, secret: Any) -> bool:
        elsewhere.regenerate_recovery_codes("ann", proof=proof)
        world.hasher.verify = verify  # type: ignore[method-assign]
        return verify(stored, secret)

    world.hasher.verify = regenerate_first  # type: ignore[method-assign]
    with pytest.raises(WrongCodeError):
        world.recovery_proof(ann)
    assert world.mfa.status("ann").recovery_codes_left == 10
