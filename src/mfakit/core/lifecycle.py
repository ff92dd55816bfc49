"""Where an account's two-step verification stands, and what may happen there. Nothing else.

Legality is data: every state has a row, and what a row does not name is not possible. A decision
checks its guards (a proof, an actor, policy), turns its input into an event, asks `next_state`.
Editing: a state that is on must keep at least one authenticator, and a state whose name ends in
OFFER must be left whenever the offer goes. The tests hold a table of their own, written by hand.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The six states; the stored value is the text."""

    NOT_ENROLLED = "not_enrolled"
    ENROLLING = "enrolling"  # off, the first authenticator is offered
    ENROLLED = "enrolled"
    ENROLLED_OFFER = "enrolled_offer"  # on, another authenticator is offered
    LOCKED = "locked"  # on, every authenticator disabled by the cap
    LOCKED_OFFER = "locked_offer"


class Event(StrEnum):
    """What can happen to the state."""

    OFFERED = "offered"
    OFFER_DROPPED = "offer_dropped"
    CONFIRMED = "confirmed"
    IMPORTED = "imported"
    REMOVED = "removed"
    EXHAUSTED = "exhausted"
    TURNED_OFF = "turned_off"
    RESET = "reset"
    PASSWORD_CHANGED = "password_changed"
    SESSIONS_ENDED = "sessions_ended"


class Ability(StrEnum):
    """What an account in some states may do without changing its state."""

    USE_CODE = "use_code"
    RESYNC = "resync"
    TRUST_DEVICE = "trust_device"
    CREATE_PASSCODE = "create_passcode"
    USE_RECOVERY_CODE = "use_recovery_code"
    REGENERATE_RECOVERY_CODES = "regenerate_recovery_codes"
    USE_TRUSTED_DEVICE = "use_trusted_device"
    USE_PASSCODE = "use_passcode"


# fmt: off
_N, _G, _E = State.NOT_ENROLLED, State.ENROLLING, State.ENROLLED
_P, _L, _R = State.ENROLLED_OFFER, State.LOCKED, State.LOCKED_OFFER
_UP, _SAME = True, False

OFF = frozenset({_N, _G})
ON = frozenset({_E, _P, _L, _R})
OFFERING = frozenset({_G, _P, _R})

# state -> event -> (next state, does the epoch rise?). CONFIRMED from ENROLLED_OFFER also raises
# the epoch when the new authenticator replaces one: that is a guard of the decision.
TRANSITIONS: dict[State, dict[Event, tuple[State, bool]]] = {
    _N: {Event.OFFERED: (_G, _SAME), Event.IMPORTED: (_E, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_N, _UP),
         Event.SESSIONS_ENDED: (_N, _UP)},
    _G: {Event.OFFERED: (_G, _SAME), Event.OFFER_DROPPED: (_N, _SAME), Event.CONFIRMED: (_E, _UP),
         Event.IMPORTED: (_E, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_N, _UP),
         Event.SESSIONS_ENDED: (_N, _UP)},
    _E: {Event.OFFERED: (_P, _SAME), Event.IMPORTED: (_E, _SAME), Event.REMOVED: (_E, _UP),
         Event.EXHAUSTED: (_L, _SAME), Event.TURNED_OFF: (_N, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_E, _UP),
         Event.SESSIONS_ENDED: (_E, _UP)},
    _P: {Event.OFFERED: (_P, _SAME), Event.OFFER_DROPPED: (_E, _SAME),
         Event.CONFIRMED: (_E, _SAME), Event.REMOVED: (_E, _UP),
         Event.EXHAUSTED: (_L, _SAME), Event.TURNED_OFF: (_N, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_E, _UP),
         Event.SESSIONS_ENDED: (_E, _UP)},
    _L: {Event.OFFERED: (_R, _SAME), Event.TURNED_OFF: (_N, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_L, _UP),
         Event.SESSIONS_ENDED: (_L, _UP)},
    _R: {Event.OFFERED: (_R, _SAME), Event.OFFER_DROPPED: (_L, _SAME), Event.CONFIRMED: (_E, _UP),
         Event.TURNED_OFF: (_N, _UP),
         Event.RESET: (_N, _UP), Event.PASSWORD_CHANGED: (_L, _UP),
         Event.SESSIONS_ENDED: (_L, _UP)},
}

ALLOWED: dict[Ability, frozenset[State]] = {
    **dict.fromkeys((Ability.USE_CODE, Ability.RESYNC, Ability.TRUST_DEVICE,
                     Ability.CREATE_PASSCODE), frozenset({_E, _P})),
    **dict.fromkeys((Ability.USE_RECOVERY_CODE, Ability.REGENERATE_RECOVERY_CODES,
                     Ability.USE_TRUSTED_DEVICE, Ability.USE_PASSCODE), ON),
}
# fmt: on


def next_state(state: State, event: Event) -> tuple[State, bool] | None:
    """Return the state after an event and whether the epoch rises, None if it cannot happen."""
    return TRANSITIONS[state].get(event)
