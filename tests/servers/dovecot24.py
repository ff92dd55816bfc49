"""Dovecot 2.4 for the tests, from a Debian 13 in a directory: chroot, high loopback ports.

It needs root, as Dovecot does, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from servers.dovecot import HOST, free_port

HOW_TO_GET_IT = (
    "as root: apt-get install debootstrap; debootstrap --variant=minbase"
    " --include=dovecot-imapd,dovecot-pop3d,dovecot-auth-lua trixie DIRECTORY;"
    " export DOVECOT24_ROOT=DIRECTORY"
)
_CONFIGURATION = """
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
ssl = no
auth_allow_cleartext = yes
auth_failure_delay = 0
listen = {host}
protocols = imap pop3
mail_driver = maildir
mail_path = {base}/mail/%{{user}}
mail_home = {base}/mail/%{{user}}
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
auth_mechanisms = plain login
auth_cache_size = {cache_size}
import_environment {{
  MFAKIT_URL = {url}
  MFAKIT_KEY_FILE = {base}/http.key
}}
passdb lua {{
  lua_file = {base}/mfakit.lua
}}
userdb static {{
  fields {{
    uid = mail
    gid = mail
    home = {base}/mail/%{{user}}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


def _root() -> Path:
    return Path(os.environ.get("DOVECOT24_ROOT", "/nowhere"))


def is_installed() -> bool:
    """Whether the directory with the system is here and may be used."""
    return (
        os.geteuid() == 0 and (_root() / "usr/lib/dovecot/modules/auth/libauthdb_lua.so").exists()
    )


class Dovecot24:
    """One server with IMAP and POP3; `start` it.

    Args:
        lua: The Lua file that asks the service.
        url: Where the service is.
        key: What the service wants to be shown.
        cache_size: Dovecot's auth cache.
    """

    def __init__(self, *, lua: Path, url: str, key: str, cache_size: str = "0") -> None:
        self._base = Path(tempfile.mkdtemp(prefix="dovecot-", dir=_root() / "srv"))
        self._base.chmod(0o755)
        for name in ("run", "state", "mail"):
            (self._base / name).mkdir()
        (self._base / "mail").chmod(0o777)
        shutil.copy(lua, self._base / "mfakit.lua")
        (self._base / "http.key").write_text(key + "\n")
        self.imap, self.pop3 = free_port(), free_port()
        inside = Path("/") / self._base.relative_to(_root())
        text = _CONFIGURATION.format(
            base=inside, host=HOST, url=url, imap=self.imap, pop3=self.pop3, cache_size=cache_size
        )
        (self._base / "dovecot.conf").write_text(text)
        self._configuration = inside / "dovecot.conf"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self._base / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start, and return once it takes connections."""
        setpriv = shutil.which("setpriv")
        ends_with_us = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        chroot = ["chroot", str(_root()), "dovecot", "-F", "-c", str(self._configuration)]
        self._process = subprocess.Popen([*ends_with_us, *chroot], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._is_ready():
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

    def _is_ready(self) -> bool:
        try:
            for port in (self.imap, self.pop3):
                socket.create_connection((HOST, port), 1).close()
        except OSError:
            return False
        return True
