"""What an event of the lifecycle changes in a record, and events that a state does not have."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from unit_world import World, vault_of

from mfakit import Policy
from mfakit.core.decision import Case
from mfakit.core.lifecycle import Event, State
from mfakit.core.record import blank_record
from mfakit.errors import NotAllowedNowError

# What each state does not have, by hand. Every other event is possible there.
ILLEGAL = {
    "not_enrolled": {"offer_dropped", "confirmed", "removed", "exhausted", "turned_off"},
    "enrolling": {"removed", "exhausted", "turned_off"},
    "enrolled": {"offer_dropped", "confirmed"},
    "enrolled_offer": {"imported"},
    "locked": {"offer_dropped", "confirmed", "imported", "removed", "exhausted"},
    "locked_offer": {"imported", "removed", "exhausted"},
}
PAIRS = [(state.value, event.value) for state in State for event in Event]


def _case(state: str, **changes: Any) -> Case:
    record = replace(blank_record("ann", "salt", revision=7), state=State(state), **changes)
    return Case(record=record, now=0, policy=Policy(), vault=vault_of(World().mfa))


def test_every_state_is_here() -> None:
    assert set(ILLEGAL) == {state.value for state in State}
    assert len(PAIRS) == 60


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_an_event_that_a_state_does_not_have_is_refused(state: str, event: str) -> None:
    """No record is made of it, whatever the decision forgot to check."""
    case = _case(state)
    if event in ILLEGAL[state]:
        for raises_epoch in (False, True):
            with pytest.raises(NotAllowedNowError):
                case.move(Event(event), raises_epoch=raises_epoch)
    else:
        assert isinstance(case.move(Event(event))["state"], State)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_move_ends_forgetting(state: str, event: str) -> None:
    """What happens after `forget` happens to an account that somebody has again."""
    if event not in ILLEGAL[state]:
        assert _case(state, forgotten=True).move(Event(event))["forgotten"] is False


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("not_enrolled", "not_enrolled"),
        ("enrolling", "not_enrolled"),
        ("enrolled", "enrolled"),
        ("enrolled_offer", "enrolled"),
        ("locked", "locked"),
        ("locked_offer", "locked"),
    ],
)
def test_ended_sessions_leave_factors_alone(state: str, after: str) -> None:
    """A new epoch, no device, no offer, no wrong codes of a session; a lock is not undone."""
    changes = _case(state, epoch="old", session_failures=4).move(Event.SESSIONS_ENDED)
    assert changes["state"].value == after
    assert changes["epoch"] != "old"
    assert len(changes["epoch"]) == 22
    assert changes["epoch_is_first"] is False
    assert (changes["devices"], changes["offer"], changes["session_failures"]) == ((), None, 0)
    holds = {"authenticators", "recovery", "passcodes", "enrolled_at"}
    assert holds.isdisjoint(changes) is (after != "not_enrolled")


def test_an_epoch_that_stays_keeps_devices_and_the_count_of_the_session() -> None:
    """A lock ends no session; a caller may ask for a new epoch where the table has none."""
    changes = _case("enrolled").move(Event.EXHAUSTED)
    assert changes == {"state": State.LOCKED, "forgotten": False, "offer": None}
    raised = _case("enrolled_offer").move(Event.CONFIRMED, raises_epoch=True)
    assert {"epoch", "devices", "session_failures"} <= set(raised)
