"""What a caller gives reaches the decision: bindings, clients, ids, the clock's limits."""

from __future__ import annotations

from typing import Any

import pytest
from unit_world import World

from mfakit import ClientInfo, Policy
from mfakit.errors import ClockError, InvalidInputError, OfferError, ProofError
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
    calls = (
        lambda: world.mfa.open_account("ann"),
        lambda: world.mfa.status("ann"),
        lambda: world.mfa.rotate_keys(),
        lambda: world.mfa.forget("ann", actor="operator", reason="gone"),
    )
    for call in calls:
        asked.clear()
        call()
        assert set(asked) == {"ann"}
    forgotten = world.events[-1]
    assert (forgotten.account_id, forgotten.kind.value) == ("ann", "forgotten")
    assert world.store.load("ann") is None


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
