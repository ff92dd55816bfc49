"""A private Dovecot for the tests: Debian's binaries, high loopback ports, a directory of its own.

It needs root, as Dovecot does, and ends with the process that started it.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from pathlib import Path

from servers.child import free_port
from servers.daemon import HOST, Daemon

HOW_TO_GET_IT = (
    "as root: apt-get install dovecot-imapd dovecot-pop3d dovecot-submissiond"
    " dovecot-lmtpd dovecot-auth-lua"
)
_BINARIES = Path("/usr/lib/dovecot")
_NEEDED = ("imap", "pop3", "submission", "lmtp", "modules/auth/libauthdb_lua.so")
_CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
auth_verbose = yes
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
mail_location = maildir:{base}/mail/%u
first_valid_uid = 1
default_login_user = dovenull
default_internal_user = dovecot
protocols = imap pop3 submission lmtp
hostname = mail.example.com
submission_relay_host = {host}
auth_mechanisms = plain login
auth_username_format = %Lu
auth_cache_size = {cache_size}
auth_failure_delay = {failure_delay}
import_environment = TZ CORE_OUTOFMEM CORE_ERROR MFAKIT_URL={url} MFAKIT_KEY_FILE={key_file}
passdb {{
  driver = lua
  args = file={lua} blocking=yes
}}
userdb {{
  driver = static
  # Without allow_all_users delivery asks the passdb whether there is such a user, and it answers no.
  args = uid=mail gid=mail home={base}/mail/%u allow_all_users=yes
}}
service lmtp {{
  unix_listener {base}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  # The penalty delays everybody behind one address after wrong passwords; see docs/mail-clients.md.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    address = {host}
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    address = {host}
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    address = {host}
    port = {submission}
  }}
}}
service doveadm {{
  inet_listener http {{
    address = {host}
    port = {doveadm}
  }}
}}
doveadm_api_key = {api_key}
{more}
"""


def is_installed() -> bool:
    """Whether the server and the modules are here, and may be started."""
    return os.geteuid() == 0 and all((_BINARIES / name).exists() for name in _NEEDED)


class Dovecot(Daemon):
    """One server with IMAP, POP3 and submission; `start` it.

    Args:
        lua: The Lua file that asks the service.
        url: Where the service is.
        key: What the service wants to be shown.
        certificate: Paths of a certificate and its key, for IMAP over TLS.
        cache_size: Dovecot's auth cache.
        failure_delay: Dovecot's own delay of refusals.
        more: More lines of configuration.
    """

    API_KEY = "doveadm-api-key-of-the-tests"

    def __init__(
        self,
        *,
        lua: Path,
        url: str,
        key: str,
        certificate: tuple[Path, Path] | None = None,
        cache_size: str = "0",
        failure_delay: str = "0",
        more: str = "",
    ) -> None:
        super().__init__("dovecot")
        for name in ("run", "state", "mail"):
            (self._base / name).mkdir()
        shutil.chown(self._base / "mail", "mail", "mail")
        self.imap, self.imaps, self.pop3 = free_port(), free_port(), free_port()
        self.submission, self.doveadm = free_port(), free_port()
        key_file = self._base / "http.key"
        key_file.write_text(key + "\n")
        key_file.chmod(0o640)
        os.chown(key_file, 0, grp.getgrnam("dovecot").gr_gid)
        self.configuration = self._base / "dovecot.conf"
        tls = certificate and f"ssl_cert = <{certificate[0]}\nssl_key = <{certificate[1]}"
        text = _CONFIGURATION.format(
            base=self._base,
            host=HOST,
            ssl="yes" if tls else "no",
            certificate=tls or "",
            imap=self.imap,
            imaps=self.imaps if tls else 0,
            pop3=self.pop3,
            submission=self.submission,
            doveadm=self.doveadm,
            api_key=self.API_KEY,
            cache_size=cache_size,
            failure_delay=failure_delay,
            url=url,
            key_file=key_file,
            lua=lua,
            more=more,
        )
        self.configuration.write_text(text)

    @property
    def lmtp(self) -> Path:
        """The socket by which mail is delivered."""
        return self._base / "lmtp"

    def set_relay(self, port: int) -> None:
        """Say where submission hands mail on to; before the start."""
        with self.configuration.open("a") as file:
            file.write(f"submission_relay_port = {port}\n")

    def start(self) -> None:
        """Start, and return once it takes connections."""
        command = ["dovecot", "-F", "-c", str(self.configuration)]
        self._run(command, (self.imap, self.pop3, self.submission))

    def doveadm_command(self, *arguments: str) -> str:
        """Run doveadm on this server."""
        command = ["doveadm", "-c", str(self.configuration), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout
