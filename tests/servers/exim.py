"""A private Exim for the tests: Debian's binary, a high loopback port, a directory of its own.

Debian installs one mail server at a time. Beside Postfix the binary is unpacked somewhere and named by
the environment variable EXIM4; its user must exist.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from servers.child import free_port
from servers.daemon import HOST, Daemon

HOW_TO_GET_IT = (
    "as root: apt-get download exim4-daemon-heavy exim4-base;"
    " for p in exim4-*.deb; do dpkg-deb -x $p exim; done;"
    " useradd --system Debian-exim; export EXIM4=$PWD/exim/usr/sbin/exim4"
)
_USER = "Debian-exim"
_CONFIGURATION = """
primary_hostname = mail.example.com
local_interfaces = {host}
daemon_smtp_ports = {port}
spool_directory = {base}/spool
log_file_path = {base}/log-%s
pid_file_path = {base}/pid
exim_user = {user}
never_users =
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
auth_advertise_hosts = *
acl_smtp_rcpt = acl_rcpt
queue_only = true

begin acl
acl_rcpt:
  accept authenticated = *
  deny message = relay not permitted

begin authenticators
plain:
  driver = dovecot
  public_name = PLAIN
  server_socket = {socket}
  server_set_id = $auth1
login:
  driver = dovecot
  public_name = LOGIN
  server_socket = {socket}
  server_set_id = $auth1
"""


def program() -> str | None:
    """The path of the binary; the light one has no authenticator for this protocol."""
    return os.environ.get("EXIM4") or shutil.which("exim4", path="/usr/sbin")


def is_installed() -> bool:
    """Whether the server is here and may be started."""
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        return False
    return os.geteuid() == 0 and program() is not None


class Exim(Daemon):
    """One server that wants AUTH before it takes mail, and keeps what it takes in its queue.

    Args:
        socket: The SASL service's unix socket.
    """

    def __init__(self, *, socket: Path) -> None:
        super().__init__("exim")
        (self._base / "spool").mkdir()
        shutil.chown(self._base, _USER)
        shutil.chown(self._base / "spool", _USER)
        self.port = free_port()
        self._configuration = self._base / "exim.conf"
        text = _CONFIGURATION.format(
            base=self._base, host=HOST, port=self.port, socket=socket, user=_USER
        )
        self._configuration.write_text(text)
        os.chown(self._configuration, 0, 0)
        self._configuration.chmod(0o644)

    def start(self) -> None:
        """Start, and return once it takes connections."""
        found = program()
        if found is None:
            raise RuntimeError(HOW_TO_GET_IT)
        self._run([found, "-bdf", "-C", str(self._configuration)], (self.port,))
