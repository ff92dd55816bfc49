"""Every order in which concurrent operations can meet, one after the other, without threads.

An operation is a generator, so a test can stop it before each load and each write and let another go
on. `every_interleaving` does that in every order: what holds in all of them holds under any scheduler
of threads, processes or hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from mfakit.errors import MFAKitError
from mfakit.operations import Answer, Load, Operation, Write
from mfakit.service import MFA

__all__ = ["Stepped", "SteppedMFA", "Stepping", "every_interleaving"]

T = TypeVar("T")
CheckPassword = Callable[[str], str | None]
Call = Callable[[Any], Any]


class Stepping(Protocol):
    """One call, stopped before its next load or write.

    Attributes:
        is_done: It has come to its end.
        outcome: Its value then, or the `MFAKitError` that it raised.
    """

    is_done: bool
    outcome: Any

    def step(self) -> None:
        """Do the load or write that is due, and go on to the next."""


class Stepped(Protocol):
    """An `MFA` or `AsyncMFA` whose calls can be run a step at a time."""

    def begin(self, call: Call) -> Stepping:
        """Return the steps of one call, none of them done."""


S = TypeVar("S", bound=Stepped)


class _Captured(Exception):
    """Carries an operation out of the method that would have run it."""

    def __init__(self, operation: Operation[Any], check_password: CheckPassword | None) -> None:
        super().__init__()
        self.operation = operation
        self.check_password = check_password


class SteppedMFA(MFA):
    """An `MFA` whose calls can also be run a step at a time."""

    _is_capturing = False

    def _run(self, operation: Operation[T], check_password: CheckPassword | None = None) -> T:
        if self._is_capturing:
            raise _Captured(operation, check_password)
        return super()._run(operation, check_password)

    def begin(self, call: Call) -> Steps:
        """Return the steps of one call, none of them done."""
        self._is_capturing = True
        try:
            call(self)
        except _Captured as captured:
            return Steps(self, captured.operation, captured.check_password)
        finally:
            self._is_capturing = False
        raise TypeError("The call ran no operation.")

    def _pause(self, lost: int) -> None:
        """The order of the steps decides who comes first; no time passes."""


class Steps:
    """One operation, stopped before its next load or write."""

    def __init__(
        self, mfa: SteppedMFA, operation: Operation[Any], check_password: CheckPassword | None
    ) -> None:
        self._mfa = mfa
        self._operation = operation
        self._check_password = check_password
        self._effect: Any = None
        self.is_done: bool = False
        self.outcome: Any = None
        self._go_on(None)

    def step(self) -> None:
        """Do the load or write that is due, and go on to the next."""
        try:
            reply = self._mfa._perform(self._effect, self._check_password)
        except MFAKitError as error:
            self._end(error)
        else:
            self._go_on(reply)

    def _go_on(self, reply: Any) -> None:
        try:
            self._effect = self._operation.send(reply)
            while not isinstance(self._effect, Load | Write):
                reply = self._mfa._perform(self._effect, self._check_password)
                self._effect = self._operation.send(reply)
        except StopIteration as stop:
            answer: Answer[Any] = stop.value
            self._mfa._tell(answer.events)
            self._end(answer.outcome)
        except MFAKitError as error:
            self._end(error)

    def _end(self, outcome: Any) -> None:
        self.is_done = True
        self.outcome = outcome


def every_interleaving(
    begin: Callable[[], tuple[S, Sequence[Call]]],
) -> Iterator[tuple[S, list[Any]]]:
    """Run the same calls in every order of their loads and writes.

    Args:
        begin: Makes a new world: a `SteppedMFA` (or its asynchronous twin) on a new store, and the
            calls to run at once. It is called for each order, and must make the same world each time.

    Yields:
        The stepped `MFA` and the outcome of each call: its value, or the `MFAKitError` it would have raised.
    """
    schedule: list[int] = []
    while True:
        mfa, calls = begin()
        running = [mfa.begin(call) for call in calls]
        choices: list[list[int]] = []
        while runnable := [place for place, one in enumerate(running) if not one.is_done]:
            turn = len(choices)
            if turn == len(schedule):
                schedule.append(runnable[0])
            choices.append(runnable)
            running[schedule[turn]].step()
        yield mfa, [one.outcome for one in running]
        while schedule and schedule[-1] == choices[len(schedule) - 1][-1]:
            schedule.pop()
        if not schedule:
            return
        later = [one for one in choices[len(schedule) - 1] if one > schedule[-1]]
        schedule[-1] = later[0]
