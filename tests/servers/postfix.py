"""A private Postfix for the tests: Debian's binaries, high loopback ports, a directory of its own.

It needs root, as Postfix does, and ends with the process that started it. Mail to example.com is
delivered to a Dovecot by LMTP; nothing is ever sent elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from servers.child import free_port
from servers.daemon import HOST, Daemon

HOW_TO_GET_IT = "as root: apt-get install postfix"
_MASTER = Path("/usr/lib/postfix/sbin/master")
_MAIN = """
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log
maillog_file_prefixes = {base}
inet_interfaces = {host}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.example.com
mydestination =
alias_maps =
local_recipient_maps =
default_transport = error:nothing leaves this machine
virtual_mailbox_domains = example.com
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:{lmtp}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_security_options = noanonymous
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
# Without it, an smtpd that found the service down is not started again for 60 seconds.
service_throttle_time = 1s
"""
_MASTER_CF = """
{submission} inet n - n - {processes} smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
{relay} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def is_installed() -> bool:
    """Whether the server is here and may be started."""
    return os.geteuid() == 0 and _MASTER.exists()


class Postfix(Daemon):
    """One server with a submission port that wants AUTH and a port that relays for Dovecot.

    Args:
        sasl: Where the SASL service is, as `smtpd_sasl_path` has it ("unix:/…", "inet:host:port").
        lmtp: The unix socket that takes mail for example.com.
        processes: How many clients the submission port serves at once.
        settings: More lines of main.cf; later ones win.
        services: More lines of master.cf.
    """

    def __init__(
        self, *, sasl: str, lmtp: Path, processes: int = 100, settings: str = "", services: str = ""
    ) -> None:
        super().__init__("postfix")
        self.submission, self.relay = free_port(), free_port()
        (self._base / "queue").mkdir()
        (self._base / "data").mkdir(mode=0o700)
        shutil.chown(self._base / "data", "postfix")
        main = _MAIN.format(base=self._base, host=HOST, lmtp=lmtp, sasl=sasl)
        (self._base / "main.cf").write_text(main + settings)
        master = _MASTER_CF.format(
            submission=f"{HOST}:{self.submission}",
            relay=f"{HOST}:{self.relay}",
            processes=processes,
        )
        (self._base / "master.cf").write_text(master + services)

    def start(self) -> None:
        """Start, and return once it takes connections."""
        base = str(self._base)
        checked = subprocess.run(
            ["postfix", "-c", base, "check"], check=False, capture_output=True, text=True
        )
        if checked.returncode:
            raise RuntimeError(checked.stderr)
        command = [str(_MASTER), "-d", "-c", base]
        self._run(command, (self.submission, self.relay), MAIL_CONFIG=base)
