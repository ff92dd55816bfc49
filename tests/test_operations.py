"""Operators' calls, live factors, and what happens when the world around mfakit fails."""

from __future__ import annotations

import os
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyotp
import pytest

from mfakit import NIST_800_63B, Argon2Hasher, KeyRing, Policy, keyring, operations
from mfakit.core.passcode import generate_selector
from mfakit.core.record import decode_record
from mfakit.core.secret import Secret
from mfakit.errors import (
    AvailabilityError,
    ClockError,
    ConfigurationError,
    ContentionError,
    DuplicateSecretError,
    HashingError,
    InvalidInputError,
    LabelTakenError,
    LastAuthenticatorError,
    LimitReachedError,
    MFAKitError,
    NotAllowedNowError,
    NotEnrolledError,
    NotFoundError,
    OfferError,
    PasswordChangeRequiredError,
    PasswordNotVerifiedError,
    PolicyError,
    PolicyUnavailableError,
    ProofError,
    SecondFactorLockedError,
    SessionEndedError,
    StoreConfigurationError,
    StoreUnavailableError,
    ThrottledError,
    UnknownAccountError,
    WrongCodeError,
)
from mfakit.qr import qr_png, qr_terminal
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, World

BY = {"actor": "ops", "reason": "asked in person"}
# RFC 6238 Appendix B: the seed "12345678901234567890" in base32.
SEED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


# ------------------------------------------------------------------------------------------ imports


def test_an_imported_authenticator_is_live_at_once(world: World) -> None:
    """A key from elsewhere, or its URI, works with the owner's app; once only."""
    world.mfa.import_authenticator("ann", SEED.lower(), label="Old phone", **BY)
    assert world.mfa.status("ann").state == "enrolled"
    step: Any = world.mfa.begin_login("ann", password_verified=True)
    assert step.methods == ("totp",)
    done = world.mfa.complete_login(step.challenge, pyotp.TOTP(SEED).at(int(world.clock.now)))
    assert done.recovery_codes_left == 0
    with pytest.raises(DuplicateSecretError):
        world.mfa.import_authenticator("ann", SEED, **BY)
    uri = pyotp.TOTP(pyotp.random_base32(), digits=8, interval=60).provisioning_uri(
        name="a", issuer_name="B"
    )
    world.mfa.import_authenticator("ann", uri, **BY)
    world.pass_time(seconds=60)
    assert world.mfa.verify_code("ann", world.code(VirtualAuthenticator(uri)))
    for _ in range(3):
        world.mfa.import_authenticator("ann", pyotp.random_base32(), **BY)
    with pytest.raises(LimitReachedError):
        world.mfa.import_authenticator("ann", pyotp.random_base32(), **BY)
    with pytest.raises(DuplicateSecretError):  # an import that is run again changes nothing
        world.mfa.import_authenticator("ann", SEED, **BY)


def test_an_imported_authenticator_alone_proves_enough(world: World) -> None:
    """Without recovery codes its code is the account's highest proof: for making them, say."""
    world.mfa.import_authenticator("ann", SEED, **BY)
    proof = world.mfa.verify_code("ann", pyotp.TOTP(SEED).at(int(world.clock.now)))
    assert len(world.mfa.regenerate_recovery_codes("ann", proof=proof)) == 10


def test_what_cannot_be_imported(world: World) -> None:
    """Short keys, broken URIs, and states that do not allow it."""
    uri = f"otpauth://totp/A:b?secret={SEED}"
    bad = ["GEZDGNBVGY3TQOJQ", "otpauth://hotp/a?secret=" + SEED, uri + "&issuer=Other", "1", ""]
    bad += [
        uri + "&digits=10",
        uri + "&secret=" + SEED,
        uri + "&period=5",
        uri + "&x=1",
        uri + "&=",
    ]
    bad += ["otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ", "otpauth://totp/a", uri + "&algorithm=MD5"]
    for text in bad:
        with pytest.raises(InvalidInputError):
            world.mfa.import_authenticator("ann", text, **BY)
    world.set_policy(available=False)
    with pytest.raises(AvailabilityError):
        world.mfa.import_authenticator("ann", SEED, **BY)
    world.set_policy(available=True)
    person = world.enroll()
    world.mfa.begin_enrollment("ann", account_name="a", proof=world.proof(person))
    with pytest.raises(NotAllowedNowError):
        world.mfa.import_authenticator("ann", SEED, **BY)


# -------------------------------------------------------------------------------------- live factors


def test_removing_and_renaming(world: World) -> None:
    """The last one stays, a removed one is refused, another's name changes, the epoch rises."""
    person = world.enroll()
    own = person.authenticator_id
    with pytest.raises(LastAuthenticatorError):
        world.mfa.remove_authenticator("ann", own, proof=world.proof(person))
    spare, added = world.add_app(person)
    assert added.epoch == person.enrolled.epoch
    world.mfa.rename_authenticator("ann", added.authenticator_id, "  Spare phone ")
    assert world.mfa.status("ann").authenticators[1].label == "Spare phone"
    with pytest.raises(NotFoundError):
        world.mfa.rename_authenticator("ann", "none", "x")
    with pytest.raises(NotFoundError):
        world.mfa.remove_authenticator("ann", "none", proof=world.proof(person))
    epoch = world.mfa.remove_authenticator("ann", own, proof=world.proof(person))
    assert world.mfa.session_is_current("ann", epoch)
    assert not world.mfa.session_is_current("ann", added.epoch)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.fresh_code(person.app))
    assert world.mfa.verify_code("ann", world.code(spare))


def test_changes_need_a_proof_and_two_step(world: World) -> None:
    """Off: not enrolled. On: no stale, foreign or missing proof does."""
    with pytest.raises(NotEnrolledError):
        world.mfa.remove_authenticator("ann", "i", proof="")
    with pytest.raises(NotEnrolledError):
        world.mfa.resync("ann", "i", "1", "2", proof="")
    with pytest.raises(NotEnrolledError):
        world.mfa.verify_code("ann", "123456")
    with pytest.raises(NotEnrolledError):
        world.mfa.verify_code("ann", "0" * 16, method="recovery")
    person = world.enroll()
    bob = world.enroll("bob")
    foreign = world.proof(bob)
    proof = world.mfa.verify_code("ann", world.code(person.app), bound_to="session")
    for wrong in ("", "x", foreign, proof):
        with pytest.raises(ProofError):
            world.mfa.disable("ann", proof=wrong)
        with pytest.raises(ProofError):
            world.mfa.resync("ann", person.authenticator_id, "1", "2", proof=wrong)
    world.pass_time(seconds=300)
    with pytest.raises(ProofError):
        world.mfa.disable("ann", proof=proof, bound_to="session")
    with pytest.raises(PasswordNotVerifiedError):
        world.mfa.password_proof("ann", password_verified=1)  # type: ignore[arg-type]


def test_resync_learns_a_clock_that_is_off(world: World) -> None:
    """Two codes in a row, up to 20 steps away, by whoever has a proof; one code is not enough."""
    person = world.enroll()
    world.pass_time(hours=1)
    late = [world.code(person.app, steps) for steps in (-12, -11)]
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", late[1])
    proof = world.recovery_proof(person)
    own = person.authenticator_id
    for pair in (late[::-1], [late[0], late[0]], ["", ""], [late[0], "x"]):
        with pytest.raises(WrongCodeError):
            world.mfa.resync("ann", own, *pair, proof=proof)
    with pytest.raises(NotFoundError):
        world.mfa.resync("ann", "none", *late, proof=proof)
    world.mfa.resync("ann", own, *late, proof=proof)
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", late[1])
    world.pass_time(seconds=30)
    assert world.mfa.verify_code("ann", world.code(person.app, -11))
    far = [world.code(person.app, steps) for steps in (-25, -24)]
    for _ in range(4):
        with pytest.raises(WrongCodeError):
            world.mfa.resync("ann", own, *far, proof=proof)
    with pytest.raises(SessionEndedError):
        world.mfa.resync("ann", own, *far, proof=proof)
    with pytest.raises(ProofError):  # it died with the epoch
        world.mfa.resync("ann", own, *far, proof=proof)
    proof = world.recovery_proof(person)
    with pytest.raises(ThrottledError):
        world.mfa.resync("ann", own, *far, proof=proof)


def test_a_clock_that_went_back_is_no_wrong_code(world: World) -> None:
    """Accepted ahead of time, then the clock is set right: operational, uncounted.

    Not even `resync` takes the spent codes back; another app takes the place of this one.
    """
    person = world.enroll()
    world.pass_time(days=400)
    world.sign_in(person)
    proof = world.recovery_proof(person)
    world.pass_time(days=-400, minutes=10)
    for _ in range(9):
        with pytest.raises(ClockError):
            world.mfa.verify_code("ann", world.code(person.app))
    assert world.mfa.status("ann").retry_at is None
    assert proof
    proof = world.recovery_proof(person)
    pair = [world.code(person.app, steps) for steps in (-1, 0)]
    for _ in range(9):
        with pytest.raises(ClockError):
            world.mfa.resync("ann", person.authenticator_id, *pair, proof=proof)
    assert world.mfa.status("ann").retry_at is None
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@example.com", proof=proof, replaces=person.authenticator_id
    )
    app = VirtualAuthenticator(offer.uri)
    world.mfa.confirm_enrollment(offer.token, world.code(app))
    assert world.mfa.verify_code("ann", world.fresh_code(app))


@pytest.mark.parametrize("now", [-1, 253_402_300_800, 2**62, float("inf"), float("nan")])
def test_a_clock_of_no_calendar_is_operational_and_nothing_is_written(
    world: World, now: float
) -> None:
    """A record with such a time in it would not open again when the clock is right."""
    person = world.enroll()
    row, right = world.row("ann"), world.clock.now
    world.clock.now = now
    calls: list[Callable[[], object]] = [
        lambda: world.mfa.begin_login("ann", password_verified=True),
        lambda: world.mfa.password_changed("ann"),
        lambda: world.mfa.status("ann"),
        lambda: world.client("ann", "anything"),
    ]
    for call in calls:
        with pytest.raises(ClockError):
            call()
    assert world.row("ann") == row
    world.clock.now = right
    assert world.sign_in(person).method == "totp"


def test_a_wait_of_a_wrong_future_clock_ends(world: World) -> None:
    """Wrong codes of a clock a year ahead hold an hour at most, not a year."""
    person = world.enroll()
    world.pass_time(days=365)
    world.fail(person, 20)
    world.pass_time(days=-365)
    with pytest.raises(ThrottledError) as caught:
        world.mfa.verify_code("ann", "123456")
    assert caught.value.retry_after_seconds <= 3600
    world.clock.now = caught.value.retry_at.timestamp()
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(person.app))


def test_offers_end(world: World) -> None:
    """Replaced, cancelled, expired, ten wrong codes, or the account's rules changed."""
    person = world.enroll()
    proof = world.proof(person)
    ask = {"account_name": "a", "proof": proof}
    first = world.mfa.begin_enrollment("ann", **ask)
    second = world.mfa.begin_enrollment("ann", **ask)
    assert world.mfa.show_offer(second.token).secret_text == second.secret_text
    world.mfa.cancel_enrollment(second.token)
    for token in (first.token, second.token, "x"):
        for call in (world.mfa.show_offer, world.mfa.cancel_enrollment):
            with pytest.raises(OfferError):
                call(token)
        with pytest.raises(OfferError):
            world.mfa.confirm_enrollment(token, "123456")
    third = world.mfa.begin_enrollment("ann", **ask)
    app = VirtualAuthenticator(third.uri)
    wrong = world.wrong_code(app)
    with pytest.raises(WrongCodeError):
        world.mfa.confirm_enrollment(third.token, "12345x")
    for _ in range(9):
        with pytest.raises(WrongCodeError):
            world.mfa.confirm_enrollment(third.token, wrong)
    with pytest.raises(OfferError):
        world.mfa.confirm_enrollment(third.token, wrong)
    with pytest.raises(OfferError):
        world.mfa.confirm_enrollment(third.token, world.code(app))
    fourth = world.mfa.begin_enrollment("ann", **ask)
    world.set_policy(authenticators_max=1)
    with pytest.raises(LimitReachedError):
        world.mfa.confirm_enrollment(fourth.token, world.code(VirtualAuthenticator(fourth.uri)))
    world.pass_time(seconds=600)
    with pytest.raises(OfferError):
        world.mfa.show_offer(fourth.token)
    assert world.mfa.status("ann").state == "enrolled"
    with pytest.raises(NotFoundError):
        world.mfa.begin_enrollment("ann", account_name="a", proof=world.proof(person), replaces="x")


def test_locked_and_back(world: World) -> None:
    """Only recovery codes and a new authenticator help; then the password must change if turned off."""
    person = world.enroll()
    world.lock(person)
    step: Any = world.mfa.begin_login("ann", password_verified=True)
    assert step.methods == ("recovery",)
    with pytest.raises(SecondFactorLockedError):
        world.mfa.complete_login(step.challenge, world.fresh_code(person.app))
    proof = world.recovery_proof(person)
    for call in (
        lambda: world.mfa.create_passcode("ann", label="l", proof=proof),
        lambda: world.mfa.resync("ann", person.authenticator_id, "1", "2", proof=proof),
        lambda: world.mfa.import_authenticator("ann", SEED, **BY),
    ):
        with pytest.raises(NotAllowedNowError):
            call()
    offer = world.mfa.begin_enrollment("ann", account_name="a", proof=proof)
    app = VirtualAuthenticator(offer.uri)
    done: Any = world.mfa.confirm_enrollment(offer.token, world.code(app))
    assert (done.recovery_codes_left, len(world.mfa.status("ann").authenticators)) == (10, 1)
    assert done.failed_since_last == 50
    world.mfa.disable("ann", proof=done.proof)
    for call in (
        lambda: world.mfa.begin_login("ann", password_verified=True),
        lambda: world.mfa.password_proof("ann", password_verified=True),
        lambda: world.mfa.begin_enrollment("ann", account_name="a", proof=done.proof),
        lambda: world.mfa.import_authenticator("ann", SEED, **BY),
    ):
        with pytest.raises(PasswordChangeRequiredError):
            call()
    assert world.mfa.status("ann").password_change_required
    world.mfa.password_changed("ann")
    assert world.mfa.begin_login("ann", password_verified=True).epoch  # type: ignore[union-attr]


def test_nothing_left_means_the_operator(world: World) -> None:
    """Locked without recovery codes: sign-in says so, only a reset helps."""
    world.mfa.import_authenticator("ann", SEED, **BY)
    app = VirtualAuthenticator(f"otpauth://totp/a?secret={SEED}")
    for _ in range(50):
        try:
            world.mfa.verify_code("ann", world.wrong_code(app))
        except ThrottledError as wait:
            world.clock.now = wait.retry_at.timestamp()
            with pytest.raises(WrongCodeError):
                world.mfa.verify_code("ann", world.wrong_code(app))
        except WrongCodeError:
            continue
    with pytest.raises(SecondFactorLockedError):
        world.mfa.begin_login("ann", password_verified=True)


def test_the_nist_profile_locks_a_set_of_recovery_codes(world: World) -> None:
    """100 wrong ones in a row; a new set is a new authenticator and starts clean."""
    world.policy = NIST_800_63B
    with pytest.raises(UnknownAccountError):
        world.mfa.begin_login("ann", password_verified=True)
    assert (world.mfa.open_account("ann"), world.mfa.open_account("ann")) == (True, False)
    person = world.enroll()
    world.fail(person, 100, method="recovery")
    with pytest.raises(SecondFactorLockedError):
        world.mfa.verify_code("ann", person.recovery_codes[0], method="recovery")
    step: Any = world.mfa.begin_login("ann", password_verified=True)
    assert step.methods == ("totp",)
    codes = world.mfa.regenerate_recovery_codes("ann", proof=world.proof(person))
    assert world.mfa.verify_code("ann", codes[0], method="recovery")


def test_passcodes_and_devices_are_named(world: World) -> None:
    """Renaming, taken labels, revoking one, others and all."""
    person = world.enroll()
    one, two = world.passcode(person, "one"), world.passcode(person, "two")
    world.mfa.rename_passcode("ann", one.passcode_id, "uno")
    with pytest.raises(LabelTakenError):
        world.mfa.rename_passcode("ann", two.passcode_id, "uno")
    for call in (
        lambda: world.mfa.rename_passcode("ann", "none", "x"),
        lambda: world.mfa.revoke_passcode("ann", "none"),
        lambda: world.mfa.rename_trusted_device("ann", "none", "x"),
        lambda: world.mfa.revoke_trusted_device("ann", "none"),
    ):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(InvalidInputError):
        world.passcode(person, "late", expires_at=world.later(seconds=-1))
    assert [one.label for one in world.mfa.passcodes("ann")] == ["uno", "two"]
    described = world.mfa.describe_passcode("ann", two.passcode)
    assert described is not None
    assert described.label == "two"
    assert world.mfa.describe_passcode("ann", "nonsense") is None
    assert (world.mfa.revoke_all_passcodes("ann"), world.mfa.revoke_all_passcodes("ann")) == (2, 0)
    token = world.trust(person, "Laptop")
    world.trust(person, "Phone")
    device = world.mfa.trusted_devices("ann", token=token)[0]
    assert (device.label, device.is_this) == ("Laptop", True)
    world.mfa.rename_trusted_device("ann", device.device_id, "Work laptop")
    assert world.mfa.trusted_devices("ann")[0].label == "Work laptop"
    assert world.mfa.revoke_other_devices("ann", keep=token) == 1
    assert world.mfa.revoke_other_devices("ann", keep=token) == 0
    world.mfa.revoke_trusted_device("ann", device.device_id)
    assert not world.is_trusted(person, token)


def test_a_group_is_reset_page_by_page(world: World) -> None:
    """Counts of done, unchanged and failed; only who enrolled before the moment."""
    for name in ("t/a", "t/b", "u/c"):
        world.enroll(name)
    world.pass_time(days=1)
    moment = world.now
    world.enroll("t/d")
    world.mfa.open_account("t/e")
    page = world.mfa.reset_group(prefix="t/", enrolled_before=moment, limit=1, **BY)
    rest = world.mfa.reset_group(prefix="t/", enrolled_before=moment, cursor=page.cursor, **BY)
    assert (page.done, rest.done, rest.unchanged, rest.failed) == (1, 1, 2, ())
    states = {one.account_id: one.state for one in world.mfa.accounts().accounts}
    assert states == {
        "t/a": "not_enrolled", "t/b": "not_enrolled", "t/d": "enrolled", "t/e": "not_enrolled",
        "u/c": "enrolled",
    }  # fmt: skip
    world.mfa.reset_group(reenroll=True, **BY)
    assert type(world.mfa.begin_login("u/c", password_verified=True)).__name__ == (
        "EnrollmentRequired"
    )
    assert type(world.mfa.begin_login("new", password_verified=True)).__name__ == "SignedIn"
    world.set_policy(required=True, required_from=None)
    assert type(world.mfa.begin_login("new", password_verified=True)).__name__ == (
        "EnrollmentRequired"
    )
    assert world.mfa.history("t/a")[-1].reason == BY["reason"]


# ------------------------------------------------------------------------------- a failing world


def test_an_event_sink_that_fails_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The write has won; the sink's exception is logged."""

    def sink(_: object) -> None:
        raise OSError("log server is down")

    mfa = world.make_mfa(events=sink)
    mfa.open_account("ann")
    assert "event sink" in caplog.text
    assert world.make_mfa(events=None).open_account("bob") is True


def test_policy_that_cannot_be_read(world: World) -> None:
    """Raising, or no policy at all: operational."""

    def fail(_: str) -> Policy:
        raise KeyError("no such domain")

    for policy in (fail, lambda _: None):
        with pytest.raises(PolicyUnavailableError):
            world.make_mfa(policy=policy).status("ann")


class Losing(MemoryStore):
    """Another writer is always faster."""

    writes = 0

    def create(self, new: StoredRecord) -> bool:
        self.writes += 1
        return False

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        self.writes += 1
        return False

    def delete(self, account_id: str, *, expected: int) -> bool:
        self.writes += 1
        return False


def test_eight_lost_writes_are_contention() -> None:
    """Then the caller is told to come back; a failed write is never repeated."""
    store = Losing()
    world = World(store)
    with pytest.raises(ContentionError):
        world.mfa.open_account("ann")
    assert store.writes == 8
    MemoryStore.create(store, StoredRecord(account_id="ann", revision=1, document=b"", summary=Any))  # type: ignore[arg-type]
    with pytest.raises(ContentionError):
        world.mfa.forget("ann", **BY, force=True)
    assert store.writes == 16
    with pytest.raises(ContentionError):
        world.mfa.forget("ann", **BY, force=True, purge=True)
    assert store.writes == 24

    class Broken(MemoryStore):
        writes = 0

        def create(self, new: StoredRecord) -> bool:
            self.writes += 1
            raise OSError("connection reset during commit")

    broken = Broken()
    with pytest.raises(StoreUnavailableError):
        World(broken).mfa.open_account("ann")
    assert broken.writes == 1


def test_rotation_beside_traffic_and_without_a_walk(world: World) -> None:
    """A lost rotation is tried again, then reported; a store that cannot be walked says so."""

    class Flat:
        def load(self, account_id: str) -> None:
            return None

    with pytest.raises(StoreConfigurationError):
        _on(world, Flat()).accounts()
    store = Losing()
    other = World(store)
    other.store = MemoryStore()
    other.mfa = other.make_mfa()
    other.enroll("ann")
    row = other.row("ann")
    assert row
    MemoryStore.create(store, row)
    other.store = store
    other.keys = {"k2": bytes(range(1, 33)), **other.keys}
    assert other.make_mfa().rotate_keys().failed == (("ann", "contention"),)


def _on(world: World, store: Any) -> Any:
    kept, world.store = world.store, store
    try:
        return world.make_mfa()
    finally:
        world.store = kept


def test_argon2_as_it_is_used() -> None:
    """Argon2id with the policy's cost, by its own text; below the floor it is refused."""
    hasher, policy = Argon2Hasher(), Policy()
    stored = hasher.hash(Secret(b"secret"), policy)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hasher.verify(stored, Secret(b"secret"))
    assert not hasher.verify(stored, Secret(b"Secret"))
    with pytest.raises(HashingError):
        hasher.verify("$argon2id$nonsense", Secret(b"secret"))
    with pytest.raises(PolicyError):
        hasher.hash(Secret(b"secret"), Policy(argon2_memory_kib=8))
    with pytest.raises(PolicyError):
        World(MemoryStore()).make_mfa(hasher=Argon2Hasher(), policy=Policy(argon2_memory_kib=8192))


def test_sqlite_says_what_is_wrong(tmp_path: Path) -> None:
    """Paths that cannot be shared, other versions, locks, broken files."""
    for path in ("", ":memory:", "file:x?mode=memory"):
        with pytest.raises(StoreConfigurationError):
            SQLiteStore(path)
    with pytest.raises(StoreConfigurationError):
        SQLiteStore(tmp_path / "x.db", synchronous="OFF")  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "none" / "x.db")
    (tmp_path / "torn.db").write_bytes(b"no database" * 999)
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "torn.db")
    store = SQLiteStore(tmp_path / "x.db", busy_seconds=0.1)
    assert "x.db" in repr(store)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    world = World(store)
    with pytest.raises(StoreUnavailableError):
        world.mfa.open_account("ann")
    other.execute("ROLLBACK")
    assert world.mfa.open_account("ann")
    other.execute("UPDATE mfakit_account SET summary = 'torn'")
    assert world.mfa.accounts().accounts[0].state == "unknown"
    other.execute("UPDATE mfakit_schema SET version = 2")
    other.close()
    with pytest.raises(StoreConfigurationError):
        SQLiteStore(tmp_path / "x.db")
    store._pid = -1  # as in a child after a fork
    assert world.mfa.status("ann").state == "not_enrolled"
    store.close()
    assert world.mfa.status("ann").state == "not_enrolled"

    class Interrupt(BaseException):
        pass

    store._idle.append(_Raising(Interrupt))  # type: ignore[arg-type]
    with pytest.raises(Interrupt):
        store.load("ann")
    store.close()


class _Raising:
    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def execute(self, *_: object) -> None:
        raise self._error

    def close(self) -> None:
        pass


def test_one_code_by_many_threads_wins_once(tmp_path: Path) -> None:
    """Eight threads, one SQLite file, one code: one sign-in, every time."""
    store = SQLiteStore(tmp_path / "race.db", synchronous="NORMAL")
    world = World(store)
    person = world.enroll()
    for _ in range(15):
        code, challenges = world.fresh_code(person.app), [world.challenge(person) for _ in range(8)]
        won: list[object] = []
        barrier = threading.Barrier(8)

        def run(challenge: str, barrier: Any = barrier, code: str = code, won: Any = won) -> None:
            barrier.wait()
            with suppress(MFAKitError):
                won.append(world.mfa.complete_login(challenge, code))

        threads = [threading.Thread(target=run, args=(one,)) for one in challenges]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(won) == 1
        world.pass_time(hours=1)
        assert world.mfa.verify_code("ann", world.fresh_code(person.app))
    store.close()


def test_required_accounts_see_their_deadline(world: World) -> None:
    """Until then sign-in goes on and says by when; afterwards only enrolling is open."""
    deadline = world.later(days=7)
    world.set_policy(required=True, required_from=deadline)
    done: Any = world.mfa.begin_login("ann", password_verified=True)
    assert done.enroll_by == deadline
    assert world.mfa.status("ann").required_from == deadline
    world.pass_time(days=7)
    assert isinstance(deadline, datetime)
    assert deadline.tzinfo is UTC
    step: Any = world.mfa.begin_login("ann", password_verified=True)
    with pytest.raises(TypeError):
        bool(step)
    assert world.mfa.begin_enrollment("ann", account_name="a", proof=step.proof).secret_groups
    again: Any = world.mfa.begin_login("ann", password_verified=True)
    assert again.deadline == deadline
    assert KeyRing(world.keys).newest == "k1"


def test_a_wrong_clock_is_temporary_for_mail_clients(world: World) -> None:
    """Password and code of a clock that went back: operational, not a wrong password."""
    world.set_policy(password_with_code=True)
    person = world.enroll()
    world.pass_time(days=1)
    world.sign_in(person)
    world.pass_time(days=-1)
    with pytest.raises(ClockError):
        world.client(person, PASSWORD + world.code(person.app))


def test_small_promises(world: World) -> None:
    """A taken selector is drawn again; records print no values; rotation passes a missing row."""
    drawn = iter([bytes(8), bytes([1] * 8)])
    assert generate_selector(lambda _: next(drawn), {"aaaa"}) == "bbbb"
    person = world.enroll()
    row = world.row("ann")
    assert row
    assert repr(decode_record(row, world.mfa._env.vault)) == "<Record>"
    operation = operations.rotate_keys(world.mfa._env, "nobody")
    assert world.mfa._run(operation) == (False, ())
    world.sign_in(person)
    by_kind = {event.kind.value: event.audience.value for event in world.events}
    assert (by_kind["enrolled"], by_kind["signed_in"]) == ("owner", "audit")


def test_qr_codes_are_read_by_another_program(tmp_path: Path, world: World) -> None:
    """`zbarimg` reads the PNG; the SVG and the terminal text are drawn."""
    import shutil
    import subprocess

    person = world.enroll()
    offer = world.mfa.begin_enrollment("ann", account_name="a@b", proof=world.proof(person))
    assert offer.qr_svg().startswith("<svg")
    assert len(qr_terminal(offer.uri).splitlines()) > 20
    (tmp_path / "qr.png").write_bytes(qr_png(offer.uri))
    zbarimg = shutil.which("zbarimg")
    if zbarimg is None and not os.environ.get("CI"):
        pytest.skip("zbarimg is missing: apt install zbar-tools")
    assert zbarimg
    command = [zbarimg, "--raw", "-q", str(tmp_path / "qr.png")]
    assert subprocess.check_output(command, text=True).strip() == offer.uri


def test_one_revocation_never_means_all(world: World) -> None:
    """A missing id, from a form or a bug, names no passcode."""
    person = world.enroll()
    world.passcode(person)
    for nothing in (None, "", 0, [], "\ud800"):
        with pytest.raises(NotFoundError):
            world.mfa.revoke_passcode("ann", nothing)  # type: ignore[arg-type]
    assert len(world.mfa.passcodes("ann")) == 1


def test_ids_of_another_text_class_work(world: World) -> None:
    """A framework's own `str` class names the same item, and the record stays writable."""

    class Text(str):
        __slots__ = ()

    person = world.enroll()
    own = Text(person.authenticator_id)
    proof = world.proof(person)
    world.mfa.begin_enrollment("ann", account_name="a", proof=proof, replaces=own)
    world.mfa.rename_authenticator("ann", own, Text("Pocket"))
    made = world.passcode(person)
    world.mfa.rename_passcode("ann", Text(made.passcode_id), "Mail")
    world.mfa.revoke_passcode("ann", Text(made.passcode_id))
    world.trust(person)
    device = world.mfa.trusted_devices("ann")[0]
    world.mfa.revoke_trusted_device("ann", Text(device.device_id))
    world.add_app(person)
    world.mfa.remove_authenticator("ann", own, proof=world.proof(person))
    assert [one.label for one in world.mfa.status("ann").authenticators] == ["Spare"]


def test_client_must_be_what_it_says(world: World) -> None:
    """An address in place of a `ClientInfo` is a typed error before anything is asked."""
    for client in ("192.0.2.1", 5, {"remote_ip": "192.0.2.1"}):
        with pytest.raises(InvalidInputError) as caught:
            world.client("ann", "x", client=client)
        assert caught.value.field == "client"
        with pytest.raises(InvalidInputError):
            world.mfa.begin_login("ann", password_verified=True, client=client)  # type: ignore[arg-type]


def test_turning_off_and_importing_keeps_the_count(world: World) -> None:
    """Only a new enrolment or a reset clears failures (rule 7): the wait goes on."""
    person = world.enroll()
    world.fail(person, 4)
    world.mfa.disable("ann", proof=world.recovery_proof(person))
    world.mfa.import_authenticator("ann", SEED, **BY)
    app = VirtualAuthenticator(f"otpauth://totp/a?secret={SEED}")
    with pytest.raises(WrongCodeError):
        world.mfa.verify_code("ann", world.wrong_code(app))
    with pytest.raises(ThrottledError):
        world.mfa.verify_code("ann", world.code(app))


def test_a_bad_key_ring_shows_no_key(tmp_path: Path) -> None:
    """One wrong entry, and no frame of mfakit holds the good keys in sight."""
    key = b"planted-key-planted-key-planted!"
    text = "good:" + b64encode(key).decode().rstrip("=")
    (tmp_path / "keys").write_text(text + " bad!id:AAAA")
    calls: list[Callable[[], object]] = [
        lambda: KeyRing({"good": key, "bad id": key}),
        lambda: KeyRing({"good": key, "short": key[:9]}),
        lambda: KeyRing.from_text(text + " " + text),
        lambda: KeyRing.from_file(tmp_path / "keys"),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError) as caught:
            call()
        walk = caught.value.__traceback__
        while walk is not None:
            if walk.tb_frame.f_code.co_filename == keyring.__file__:
                shown = repr(walk.tb_frame.f_locals)
                assert "planted-key" not in shown
                assert text[5:] not in shown
            walk = walk.tb_next
