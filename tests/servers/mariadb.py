"""A MariaDB server for the tests: Debian's binaries, a private port, a directory of its own.

It ends with the process that started it, whatever ends that one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
import pytest

from servers.child import free_port

HOW_TO_GET_IT = "apt-get install mariadb-server"
HOST = "127.0.0.1"
# Root without a password, from this host only: the server lives as long as the tests.
_INSTALL = (
    "--no-defaults",
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-name-resolve",
)
_OPTIONS = (
    f"--bind-address={HOST}",
    "--innodb-buffer-pool-size=32M",
    "--max-connections=300",
    "--performance-schema=OFF",
    "--skip-name-resolve",
)


@cache
def running() -> MariaDB:
    """Return this process's server, started on first use; skip or, under CI, fail without it."""
    if not is_installed():
        give_up(f"No MariaDB here. To run this test: {HOW_TO_GET_IT}")
    server = MariaDB()
    server.start()
    return server


def give_up(why: str) -> None:
    """Skip the test; fail it where `CI=true` says that everything must be there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def is_installed() -> bool:
    """Whether the server and the program that makes its directory are here."""
    return server_program() is not None and shutil.which("mariadb-install-db") is not None


def server_program() -> str | None:
    """The path of `mariadbd`, which is not on the path of everybody."""
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")


class MariaDB:
    """One server; `start` it, then make a database for each test.

    Commits are durable (`innodb_flush_log_at_trx_commit` is 1), so a kill loses nothing answered.

    Args:
        options: More options of `mariadbd`.
        copy_of: A stopped server whose directory to begin with.
    """

    def __init__(self, options: Sequence[str] = (), copy_of: MariaDB | None = None) -> None:
        program = server_program()
        if program is None:
            raise RuntimeError(HOW_TO_GET_IT)
        self._program = program
        self._options = options
        self._directory = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._user = "mysql" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._directory, self._user)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        atexit.register(self.close)
        if copy_of is None:
            self._run("mariadb-install-db", *_INSTALL, *self._places)
        else:
            self._run("cp", "-r", str(copy_of.data), str(self.data))

    @property
    def data(self) -> Path:
        """Its directory of data."""
        return self._directory / "data"

    @property
    def _places(self) -> list[str]:
        # A server that starts removes all temporary tables from its tmpdir, others' too.
        return [f"--datadir={self.data}", f"--tmpdir={self._directory}"]

    # -- addresses

    def url(self, database: str = "mysql", driver: str = "mariadb+pymysql") -> str:
        """Return a URL for SQLAlchemy."""
        return f"{driver}://root@{HOST}:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE `{name}`")
        return name

    def connect(self) -> pymysql.Connection[Any]:
        """Connect as root, in autocommit."""
        return pymysql.connect(
            host=HOST, port=self.port, user="root", autocommit=True, connect_timeout=5
        )

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as root and return its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def cut_connections(self, database: str | None = None) -> None:
        """End every session of one database, or of all, from the server's side."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, db FROM information_schema.processlist"
                " WHERE user = 'root' AND id <> connection_id()"
            )
            for session, used in cursor.fetchall():
                if database in (None, used):
                    with contextlib.suppress(pymysql.OperationalError):  # it ended by itself
                        cursor.execute(f"KILL CONNECTION {session}")

    # -- life

    def start(self, *options: str) -> None:
        """Start, with more options this time, and return once it takes connections."""
        self.spawn(*options)
        self.wait_until_ready()

    def spawn(self, *options: str) -> None:
        """Start and return at once."""
        command = [
            *_ends_with_us(),
            self._program,
            "--no-defaults",
            *self._places,
            f"--port={self.port}",
            f"--socket={self._directory / 'socket'}",
            f"--pid-file={self._directory / 'pid'}",
            *_OPTIONS,
            *self._options,
            *options,
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, user=self._user, cwd=self._directory, stdout=log, stderr=log
            )

    def wait_until_ready(self) -> None:
        """Return once it takes connections, raise its log if it ends before."""
        assert self._process is not None
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log").read_text(errors="replace")[-4000:])
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether it takes connections and statements."""
        try:
            self.execute("SELECT 1")
        except pymysql.Error:
            return False
        return True

    def stop(self) -> None:
        """Stop in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill with SIGKILL, and return once the server is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again, after `stop`, `kill` or neither."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and remove its directory; the server is not used afterwards."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    # -- private

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def _run(self, *command: str) -> None:
        subprocess.run(
            command, check=True, user=self._user, cwd=self._directory, stdout=subprocess.DEVNULL
        )


def _ends_with_us() -> list[str]:
    """On Linux the kernel ends the server when the thread that started it is gone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
