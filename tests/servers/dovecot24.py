"""Dovecot 2.4 for the tests, from a Debian 13 in a directory: chroot, high loopback ports.

It needs root, as Dovecot does, and ends with the process that started it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from servers.child import free_port
from servers.daemon import HOST, Daemon

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


class Dovecot24(Daemon):
    """One server with IMAP and POP3; `start` it.

    Args:
        lua: The Lua file that asks the service.
        url: Where the service is.
        key: What the service wants to be shown.
        cache_size: Dovecot's auth cache.
    """

    def __init__(self, *, lua: Path, url: str, key: str, cache_size: str = "0") -> None:
        super().__init__("dovecot", _root() / "srv")
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

    def start(self) -> None:
        """Start, and return once it takes connections."""
        command = ["chroot", str(_root()), "dovecot", "-F", "-c", str(self._configuration)]
        self._run(command, (self.imap, self.pop3))
