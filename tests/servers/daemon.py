"""What the mail servers of the tests have in common: a directory, ports, a process that ends with us."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"


class Daemon:
    """One server with a directory of its own; `start` it, and `close` it or let it end with us.

    Args:
        name: How the directory's name begins.
        parent: Where the directory is made, if not where temporary ones are.
    """

    def __init__(self, name: str, parent: Path | None = None) -> None:
        self._base = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        self._base.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def log(self) -> str:
        """What it has logged."""
        logs = sorted(self._base.glob("log*"))
        return "\n".join([path.read_text(errors="replace") for path in logs])

    def _run(self, command: Sequence[str], ports: Sequence[int], **environment: str) -> None:
        """Start the process, and return once it takes connections on all ports."""
        setpriv = shutil.which("setpriv")  # Linux: the kernel ends it when its parent is gone
        ends_with_us = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        with (self._base / "log-stderr").open("wb") as log:
            self._process = subprocess.Popen(
                [*ends_with_us, *command], stderr=log, env=os.environ | environment
            )
        deadline = time.monotonic() + 60
        while not all(map(_answers, ports)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log)
            time.sleep(0.02)

    def close(self) -> None:
        """Stop it and remove its directory; the server is not used afterwards."""
        atexit.unregister(self.close)
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None
        shutil.rmtree(self._base, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
