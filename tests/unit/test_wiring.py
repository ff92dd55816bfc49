"""What a caller gives reaches the decision: bindings, clients, ids, the clock's limits."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from unit_world import KEY, World

from mfakit import ClientInfo, KeyRing, Policy
from mfakit.errors import ClockError, InvalidInputError, OfferError, ProofError
from mfakit.storage import Page
from mfakit.storage.memory import MemoryStore
from mfakit.testing import VirtualAuthenticator

HERE = ClientInfo(remote_ip="192.0.2.7", user_agent="Firefox")
CLOCK_ENDS = 253_000_000_000


def _bound_proof(world: World, phone: VirtualAuthenticator) -> str:
    world.clock.advance(30)
    return world.mfa.verify_code("ann", phone.code(world.clock.now), bound_to="session-1")


def _two_phones() -> tuple[World, VirtualAuthenticator, str]:
    """Return a world, the first phone, and the id of a second authenticator."""
    world = World()
    _, phone, _ = world.enroll()
    proof = _bound_proof(world, phone)
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@example.com", proof=proof, bound_to="session-1"
    )
    code = VirtualAuthenticator(offer.uri).code(world.clock.now)
    added: Any = world.mfa.confirm_enrollment(offer.token, code, bound_to="session-1")
    return world, phone, added.authenticator_id


# ----------------------------------------------------------------------------------- bound to a session


def test_a_proof_removes_an_authenticator_only_with_its_binding() -> None:
    world, phone, second = _two_phones()
    proof = _bound_proof(world, phone)
    for other in (None, "session-2"):
        with pytest.raises(ProofError):
            world.mfa.remove_authenticator("ann", second, proof=proof, bound_to=other)
    world.mfa.remove_authenticator("ann", second, proof=proof, bound_to="session-1")
    (left,) = world.mfa.status("ann").authenticators
    assert left.authenticator_id != second


def test_a_proof_resynchronises_only_with_its_binding() -> None:
    world, phone, _ = _two_phones()
    proof = _bound_proof(world, phone)
    first = world.mfa.status("ann").authenticators[0].authenticator_id
    codes = [phone.code(world.clock.now, steps=step) for step in (5, 6)]
    for other in (None, "session-2"):
        with pytest.raises(ProofError):
            world.mfa.resync("ann", first, *codes, proof=proof, bound_to=other)
    world.mfa.resync("ann", first, *codes, proof=proof, bound_to="session-1")
    assert world.record().authenticators[0].offset_steps == 6


def test_an_offer_is_cancelled_only_with_its_binding() -> None:
    world = World()
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@example.com", proof=proof, bound_to=None
    )
    with pytest.raises(OfferError):
        world.mfa.cancel_enrollment(offer.token, bound_to="session-2")
    world.mfa.cancel_enrollment(offer.token)
    assert world.mfa.status("ann").state == "not_enrolled"

    proof = world.mfa.password_proof("ann", password_verified=True, bound_to="session-1")
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@example.com", proof=proof, bound_to="session-1"
    )
    with pytest.raises(OfferError):
        world.mfa.cancel_enrollment(offer.token)
    world.mfa.cancel_enrollment(offer.token, bound_to="session-1")
    assert world.mfa.status("ann").state == "not_enrolled"


def test_a_bound_device_knows_itself_only_with_its_device_id() -> None:
    world = World()
    _, phone, _ = world.enroll()
    world.clock.advance(30)
    done = world.mfa.complete_login(
        world.challenge(), phone.code(world.clock.now), trust_device="Laptop", device_id="tpm-1"
    )
    cookie: Any = done.trusted_device
    for call in (
        lambda: world.mfa.trusted_devices("ann", token=cookie, device_id=5),  # type: ignore[arg-type]
        lambda: world.mfa.revoke_other_devices("ann", keep=cookie, device_id=5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInputError) as refused:
            call()
        assert refused.value.field == "device_id"
    for device_id, is_this in (("tpm-1", True), ("tpm-2", False), (None, False)):
        (device,) = world.mfa.trusted_devices("ann", token=done.trusted_device, device_id=device_id)
        assert device.is_this is is_this


@pytest.mark.parametrize("device_id", ["", 5, "x" * 10_000])
def test_what_is_no_device_id_is_named(device_id: Any) -> None:
    world = World()
    world.enroll()
    with pytest.raises(InvalidInputError) as refused:
        world.mfa.begin_login("ann", password_verified=True, device_id=device_id)
    assert refused.value.field == "device_id"
    with pytest.raises(InvalidInputError) as refused:
        world.mfa.complete_login(world.challenge(), "000000", device_id=device_id)
    assert refused.value.field == "device_id"


def test_what_is_no_name_of_a_trusted_device_is_named() -> None:
    world = World()
    world.enroll()
    with pytest.raises(InvalidInputError) as refused:
        world.mfa.complete_login(world.challenge(), "000000", trust_device="\n")
    assert refused.value.field == "trust_device"


# ------------------------------------------------------------------------- the client, and the account


def test_events_say_where_the_request_came_from() -> None:
    world = World()
    proof = world.mfa.password_proof("ann", password_verified=True)
    offer = world.mfa.begin_enrollment("ann", account_name="ann@example.com", proof=proof)
    phone = VirtualAuthenticator(offer.uri)
    assert world.mfa.show_offer(offer.token).uri == offer.uri
    world.mfa.confirm_enrollment(offer.token, phone.code(world.clock.now), client=HERE)
    assert world.events[-1].client == HERE
    world.clock.advance(30)
    world.mfa.verify_code("ann", phone.code(world.clock.now), client=HERE)
    assert world.events[-1].client == HERE
    assert [one.label for one in world.mfa.status("ann").authenticators] == ["Authenticator"]


def test_the_policy_is_asked_about_the_account_itself() -> None:
    asked: list[str] = []

    def policy(account_id: str) -> Policy:
        asked.append(account_id)
        return Policy()

    world = World(policy=policy)  # type: ignore[arg-type]
    for call in (world.mfa.open_account, world.mfa.status):
        asked.clear()
        call("ann")
        assert set(asked) == {"ann"}


def test_an_account_that_the_platform_does_not_know_any_more_is_forgotten_and_rotated() -> None:
    """Its policy cannot be read then, and neither call needs one."""

    def unknown(_: str) -> Policy:
        raise LookupError

    world = World()
    world.enroll()
    revision = world.record().revision
    keys = KeyRing({"2028": bytes(32), "2027": KEY})
    world = World(policy=unknown, store=world.store, keys=keys)  # type: ignore[arg-type]
    assert world.mfa.rotate_keys().done == 1
    assert world.mfa.forget("ann", actor="operator", reason="gone") is True
    rotated, forgotten = world.events
    assert (rotated.account_id, rotated.kind.value) == ("ann", "keys_rotated")
    assert (forgotten.account_id, forgotten.kind.value) == ("ann", "forgotten")
    assert forgotten.revision == revision + 2
    left = world.store.load("ann")
    assert left is not None
    assert (left.revision, left.summary.state) == (revision + 2, "forgotten")


# ------------------------------------------------------------------------------- many accounts


def test_accounts_are_walked_page_by_page() -> None:
    world = World()
    names = ["ann", "bob", "cid", "dan", "eve"]
    for name in names:
        world.mfa.open_account(name)
    seen: list[list[str]] = []
    cursor: str | None = None
    while True:
        page = world.mfa.accounts(cursor=cursor, limit=2)
        seen.append([one.account_id for one in page.accounts])
        if (cursor := page.cursor) is None:
            break
    assert seen == [names[:2], names[2:4], names[4:]]


def test_keys_are_rotated_page_by_page() -> None:
    world = World()
    for name in ("ann", "bob", "cid"):
        world.mfa.open_account(name)
    world = World(store=world.store, keys=KeyRing({"2028": bytes(32), "2027": KEY}))
    first = world.mfa.rotate_keys(limit=2)
    assert (first.done, first.unchanged) == (2, 0)
    assert first.cursor is not None
    last = world.mfa.rotate_keys(limit=2, cursor=first.cursor)
    assert (last.done, last.unchanged, last.cursor) == (1, 0, None)


def test_a_page_is_500_accounts_unless_asked_otherwise() -> None:
    class Scanned(MemoryStore):
        limits: ClassVar[list[int]] = []

        def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
            self.limits.append(limit)
            return super().scan(cursor=cursor, limit=limit, prefix=prefix)

    world = World(store=Scanned())
    world.mfa.accounts()
    world.mfa.rotate_keys()
    world.mfa.reset_group(actor="ops", reason="asked")
    assert Scanned.limits == [500, 500, 500]


def test_a_group_reset_asks_nobody_to_set_up_again_unless_told_to() -> None:
    world = World()
    world.enroll()
    assert world.mfa.reset_group(actor="ops", reason="asked").done == 1
    assert world.mfa.status("ann").is_required is False
    world.enroll()
    assert world.mfa.reset_group(actor="ops", reason="asked", reenroll=True).done == 1
    assert world.mfa.status("ann").is_required is True


def test_what_is_no_moment_of_a_group_reset_is_named() -> None:
    with pytest.raises(InvalidInputError) as refused:
        World().mfa.reset_group(
            actor="ops",
            reason="asked",
            enrolled_before="yesterday",  # type: ignore[arg-type]
        )
    assert refused.value.field == "enrolled_before"


def test_an_imported_authenticator_has_a_name_and_may_be_weak_only_if_told() -> None:
    world = World()
    by = {"actor": "ops", "reason": "asked"}
    weak = "JBSWY3DPEHPK3PXP"  # 80 bits
    with pytest.raises(InvalidInputError):
        world.mfa.import_authenticator("ann", weak, **by)
    world.mfa.import_authenticator("ann", weak, **by, allow_weak=True)
    (one,) = world.mfa.status("ann").authenticators
    assert (one.label, one.is_weak) == ("Authenticator", True)


# ------------------------------------------------------------------------------------ the clock


@pytest.mark.parametrize(("now", "is_time"), [(0.0, True), (-0.5, False)])
def test_the_first_moment_of_a_clock(now: float, is_time: bool) -> None:
    _opens_at(now, is_time)


@pytest.mark.parametrize(("now", "is_time"), [(CLOCK_ENDS - 1, True), (CLOCK_ENDS, False)])
def test_the_last_moment_of_a_clock(now: float, is_time: bool) -> None:
    _opens_at(now, is_time)


def _opens_at(now: float, is_time: bool) -> None:
    world = World()
    world.clock.now = now
    if is_time:
        assert world.mfa.open_account("ann") is True
    else:
        with pytest.raises(ClockError):
            world.mfa.open_account("ann")
        assert world.store.load("ann") is None
