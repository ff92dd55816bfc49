"""A PgBouncer of the tests' own, before the tests' PostgreSQL; Debian's binary."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

from servers.child import free_port, require, spawn, wait_for
from servers.postgres import Postgres

HOW_TO_GET_IT = "as root: apt install pgbouncer"
_HOST = "127.0.0.1"
_CONFIGURATION = """
[databases]
* = host={host} port={postgres}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
{settings}
"""


class PgBouncer:
    """One pooler before a server; `close` it, or let it end with us.

    Args:
        server: The PostgreSQL behind it.
        settings: What `pgbouncer.ini` says besides; the rest is as PgBouncer ships.
    """

    def __init__(self, server: Postgres, **settings: object) -> None:
        found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        require(found, HOW_TO_GET_IT)
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        file, users = self._directory / "pgbouncer.ini", self._directory / "users"
        users.write_text('"postgres" ""\n')
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        file.write_text(
            _CONFIGURATION.format(
                host=_HOST, postgres=server.port, port=self.port, users=users, settings=lines
            )
        )
        if self._user:
            for path in (self._directory, file, users):
                shutil.chown(path, self._user)
        atexit.register(self.close)
        self._command = [str(found), str(file)]
        self.start()

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        log = self._directory / "log"
        self._process = spawn(self._command, log, self._user)
        wait_for(self._answers, self._process, log)

    def stop(self) -> None:
        """End it at once, with the connections of its clients; `start` it again."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def dsn(self, database: str) -> str:
        """Return libpq's form, as `Postgres.dsn`."""
        return f"host={_HOST} port={self.port} user=postgres dbname={database}"

    def url(self, database: str, driver: str = "postgresql") -> str:
        """Return a URL, as `Postgres.url`."""
        return f"{driver}://postgres@{_HOST}:{self.port}/{database}"

    def close(self) -> None:
        """End it and remove its directory."""
        atexit.unregister(self.close)
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            socket.create_connection((_HOST, self.port), 1).close()
        except OSError:
            return False
        return True
