"""What threads share, across a fork: the child has the memory of every thread but only one thread.

A lock that another thread held stays locked there, and nobody is left to finish what it began. So
whoever keeps such things is told around each `os.fork` (`multiprocessing` and preloading servers
included).
"""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet

__all__ = ["Forkable", "watch_forks"]


class Forkable:
    """What is told of forks, from `watch_forks` on."""

    def before_fork(self) -> None:
        """Come to rest; other threads run until the fork itself."""

    def after_fork(self, *, is_child: bool) -> None:
        """Go on; in the child, without the threads of the parent."""


_watching: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []
_one_fork = Lock()


def watch_forks(one: Forkable) -> None:
    """Tell one of every fork for as long as it lives."""
    _watching.add(one)


def _before() -> None:
    _one_fork.acquire()
    _resting[:] = _watching
    for one in _resting:
        one.before_fork()


def _after(*, is_child: bool) -> None:
    for one in _resting:
        one.after_fork(is_child=is_child)
    _resting.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(is_child=False),
        after_in_child=lambda: _after(is_child=True),
    )
