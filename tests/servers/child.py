"""A server process that dies with the test run, even when the run itself is killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


def require(found: object, get_it: str) -> None:
    """Fail in CI, skip elsewhere: what is missing, and the command that gets it."""
    if found:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"A server is missing. Get it: {get_it}")
    pytest.skip(f"Get the server with: {get_it}")


def need(name: str, get_it: str) -> Any:
    """Import what a test module needs; as `require`, for a whole module."""
    if os.environ.get("CI") == "true":
        return import_module(name)
    return pytest.importorskip(name, reason=f"Get it with: {get_it}")


def spawn(command: Sequence[str], log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Start a server whose output goes to `log`, as another user if root starts it."""
    guard = shutil.which("setpriv")  # Linux: the kernel kills the server when its parent dies
    dies_too = [guard, "--pdeathsig", "KILL", "--"] if guard else []
    with log.open("ab") as output:
        return subprocess.Popen(
            [*dies_too, *command], user=user, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def wait_for(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + 60
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        time.sleep(0.02)


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop a server without closing its connections, as a lost network does."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """Let a frozen server go on."""
    process.send_signal(signal.SIGCONT)


_WORKERS = 4  # of a parallel run; each has ports of its own
_GIVEN: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on.

    Below the ephemeral ports: those are also given to outgoing connections, so that a server which
    is started again could find its port taken, by a client that was looking for it even.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    ports: list[int] = []
    while len(ports) < count:
        port = 20_000 + secrets.randbelow(12_000 // _WORKERS) * _WORKERS + worker
        if port in _GIVEN:  # its server has not begun to listen yet, maybe
            continue
        if _is_free(port):
            ports.append(port)
            _GIVEN.add(port)
    return ports


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def free_hundred() -> int:
    """Return the first of a hundred free ports, none of which `free_ports` gives to another test."""
    firsts = list(range(32_000, 32_700, 100))
    secrets.SystemRandom().shuffle(firsts)
    for first in firsts:
        if all(map(_is_free, range(first, first + 100))):
            return first
    raise RuntimeError("No hundred ports from 32000 to 32699 are free: end what listens there.")


def _is_free(port: int) -> bool:
    with socket.socket() as one, suppress(OSError):
        one.bind(("127.0.0.1", port))
        return True
    return False
