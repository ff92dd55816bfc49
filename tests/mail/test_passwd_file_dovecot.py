"""A passwd file before a real Dovecot and before `PasswdFile`: nobody comes in whom Dovecot refuses."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mail.conftest import need
from mfakit.mail import PasswdFile
from servers import dovecot
from servers.daemon import Daemon

pytestmark = pytest.mark.server

_CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols =
ssl = no
auth_mechanisms = plain
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/tmp
}}
"""
# What stands after "name:{PLAIN}pw" -> whether Dovecot lets the account in, and whether mfakit does.
LINES = {
    "plain": ("", True, True),
    "crlf": ("\r", True, True),
    "nodelay": ("::::::nodelay", True, True),
    "userdb": ("::::::userdb_quota=1 userdb_nologin=y", True, True),
    "event": ("::::::event_x=1 forward_y=2", True, True),
    "old": ("::::::::maildir:~/x fail", True, True),
    "shell": (":::nologin:fail:fail", True, True),
    "far": ("::::::allow_nets=192.0.2.0/24", False, False),
    "near": ("::::::allow_nets=127.0.0.1", True, False),
    "fail": ("::::::fail", False, False),
    "spaces": ("::::::  nodelay  fail", False, False),
    "nobody": ("::::::noauthenticate", False, False),
    "later": ("::::::delay_until=1999999999", False, False),
    "other": ("::::::user=bob", True, False),
    "ls": (":1:1:Ann\u2028ls2:{PLAIN}pw:::", True, True),
    "ls2": (None, False, False),
    "nel": (":1:1:Ann\x85nel2:{PLAIN}pw:::", True, True),
    "nel2": (None, False, False),
    "cr": (":1:1:Ann\rcr2:{PLAIN}pw:::", True, True),
    "cr2": (None, False, False),
    "ff": (":1:1:Ann\x0cff2:{PLAIN}pw:::", True, True),
    "ff2": (None, False, False),
}


class _Dovecot(Daemon):
    def __init__(self) -> None:
        super().__init__("dovecot-users")
        self.users = self._base / "users"
        self._settings = self._base / "dovecot.conf"
        self._settings.write_text(_CONFIGURATION.format(base=self._base))
        lines = [
            f"{name}:{{PLAIN}}pw{rest}\n" for name, (rest, *_) in LINES.items() if rest is not None
        ]
        self.users.write_bytes("".join(lines).encode())

    def start(self) -> None:
        """Start, and return once it takes logins."""
        self._run(["dovecot", "-F", "-c", str(self._settings)], ())
        deadline = time.monotonic() + 20
        while not (self._base / "run" / "auth-client").exists():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def lets_in(self, login: str) -> bool:
        command = ["doveadm", "-c", str(self._settings), "auth", "test", "-x", "rip=127.0.0.1"]
        done = subprocess.run([*command, login, "pw"], check=False, capture_output=True, timeout=30)
        return done.returncode == 0


@pytest.fixture(scope="module")
def server() -> Iterator[_Dovecot]:
    need(dovecot)
    made = _Dovecot()
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("login", LINES)
def test_whom_dovecot_refuses_mfakit_refuses(server: _Dovecot, login: str) -> None:
    _, by_dovecot, by_mfakit = LINES[login]
    assert by_dovecot or not by_mfakit
    assert server.lets_in(login) is by_dovecot
    found = PasswdFile(Path(server.users)).check_password(login, "pw")
    assert found == (login if by_mfakit else None)
