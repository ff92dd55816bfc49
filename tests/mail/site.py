"""A whole mail site for the tests: the service in a process of its own, and a person's way to it."""

from __future__ import annotations

import http.client
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve

from mail.site_platform import DOMAIN, KEYS, SiteClock
from mfakit import DEFAULT
from mfakit.storage.sqlite import SQLiteStore
from servers.child import free_port
from servers.daemon import HOST
from world import Person, World

HERE = Path(__file__).parent
KEY = "0123456789abcdef0123456789abcdef"
_SETTINGS = """
platform = "site_platform:make_platform"
refusal_seconds = {refusal_seconds}
{limits}
[http]
listen = ["127.0.0.1:{port}", "unix:{base}/http.sock"]
key_file = "{base}/http.key"
[sasl]
listen = ["127.0.0.1:{sasl_port}", "unix:{base}/sasl.sock"]
mode = "0666"
"""
_numbers = count(1)


class Site(World):
    """The platform's data on a SQLite file, and `mfakit serve-auth` over it.

    Args:
        argon2: Hash as in production.
        refusal_seconds: As in the configuration.
        limits: More lines of the configuration.
    """

    def __init__(
        self, *, argon2: bool = False, refusal_seconds: float = 0.1, limits: str = ""
    ) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="mail-site-"))
        self.base.chmod(0o755)
        (self.base / "suspended").mkdir()
        if argon2:
            (self.base / "argon2").touch()
        super().__init__(SQLiteStore(self.base / "mfa.db", synchronous="NORMAL"))
        self.clock = SiteClock(self.base / "clock")
        self.keys = KEYS
        if argon2:
            from mfakit.hashing import Argon2Hasher

            self.hasher = Argon2Hasher()
        self.mfa = self.make_mfa()
        self.port, self.sasl_port = free_port(), free_port()
        (self.base / "http.key").write_text(KEY)
        (self.base / "http.key").chmod(0o600)
        self.settings = self.base / "auth.toml"
        self.settings.write_text(
            _SETTINGS.format(
                base=self.base,
                port=self.port,
                sasl_port=self.sasl_port,
                refusal_seconds=refusal_seconds,
                limits=limits,
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    # -- people

    def new_person(self, name: str = "ann", **policy: Any) -> Person:
        """Enrol somebody whom no other test knows."""
        return self.enroll(self.new_account(name))

    def new_account(self, name: str = "ann") -> str:
        return f"{name}{next(_numbers)}"

    def login(self, person: Person | str) -> str:
        return (person if isinstance(person, str) else person.id) + DOMAIN

    def set_policy(self, **changes: Any) -> None:
        """Change the policy, of the service too."""
        super().set_policy(**changes)
        beside = self.base / "policy.new"
        beside.write_bytes(pickle.dumps(self.policy))
        beside.rename(self.base / "policy")

    def reset_policy(self) -> None:
        self.policy = evolve(DEFAULT, issuer="Example Mail")
        (self.base / "policy").unlink(missing_ok=True)

    def asked(self, person: Person | str) -> int:
        """How often the platform was asked about somebody's password."""
        path = self.base / "asked"
        login = self.login(person)
        return path.read_text().splitlines().count(login) if path.exists() else 0

    # -- the service

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/dovecot"

    @property
    def log(self) -> str:
        return (self.base / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the service, and return once it takes logins."""
        command = [
            *_ends_with_us(),
            str(Path(sys.executable).parent / "mfakit"),
            "serve-auth",
            "--config",
            str(self.settings),
        ]
        tests = os.pathsep.join([str(HERE), str(HERE.parent)])
        environment = os.environ | {"MAIL_SITE": str(self.base), "PYTHONPATH": tests}
        with (self.base / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=HERE, stderr=log)
        deadline = time.monotonic() + 60
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log)
            time.sleep(0.02)

    def is_healthy(self) -> bool:
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def get(self, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Ask the HTTP interface with the key."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("GET", path, headers={"X-Mfakit-Key": KEY} | (headers or {}))
        response = connection.getresponse()
        response.read_all = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def kill(self) -> None:
        """Kill the service with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it in good order and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(20)

    def close(self) -> None:
        self.kill()
        self.store.close()  # type: ignore[attr-defined]
        shutil.rmtree(self.base, ignore_errors=True)


def _ends_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
