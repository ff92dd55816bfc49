"""Start a private Dovecot and Postfix that ask mfakit who may come in. As root; Ctrl-C ends all.

    python examples/dovecot_postfix/run.py [--directory /tmp/mfakit-example] [--ports 10900]

Everything is under the directory and on loopback ports from there on; the system's own servers and their
configuration are not touched.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from mfakit import KeyRing

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
PORTS = {
    "HTTP": 43,
    "DOVEADM": 80,
    "POSTFIX": 87,
    "SUBMISSION": 88,
    "RELAY": 25,
    "IMAPS": 93,
    "POP3S": 95,
}
NEEDS = {
    "/usr/lib/dovecot/imap": "dovecot-imapd",
    "/usr/lib/dovecot/pop3": "dovecot-pop3d",
    "/usr/lib/dovecot/lmtp": "dovecot-lmtpd",
    "/usr/lib/dovecot/submission": "dovecot-submissiond",
    "/usr/lib/dovecot/modules/auth/libauthdb_lua.so": "dovecot-auth-lua",
    "/usr/lib/postfix/sbin/master": "postfix",
    "/usr/bin/openssl": "openssl",
}


def prepare(base: Path, first_port: int) -> dict[str, str]:
    """Make directories, keys and a certificate once, and the configuration each time."""
    _make_directories(base)
    _make_keys(base)
    ports = {name: str(first_port + offset) for name, offset in PORTS.items()}
    _write_configuration(base, ports)
    (base / "mfakit.lua").write_bytes(_run(_mfakit(), "serve-auth", "--show", "mfakit.lua"))
    return ports


def _make_directories(base: Path) -> None:
    base.mkdir(mode=0o755, exist_ok=True)
    for name in ("dovecot", "dovecot-state", "mail", "postfix-queue", "postfix-data"):
        (base / name).mkdir(exist_ok=True)
    shutil.chown(base / "mail", "mail", "mail")
    shutil.chown(base / "postfix-data", "postfix")


def _make_keys(base: Path) -> None:
    _keep(base / "mfa.key", KeyRing.generate_entry("example"))
    _keep(base / "http.key", secrets.token_hex(32))
    shutil.chown(base / "http.key", "root", "dovecot")  # Dovecot's auth process reads it
    (base / "http.key").chmod(0o640)
    _keep(base / "api.key", secrets.token_hex(16))
    _keep(base / "users", _hash_line("ann@example.com") + "\n" + _hash_line("bob@example.com"))
    if not (base / "certificate.pem").exists():
        _make_certificate(base)


def _write_configuration(base: Path, ports: dict[str, str]) -> None:
    api_key = (base / "api.key").read_text().strip()
    url = f"http://{HOST}:{ports['DOVEADM']}/doveadm/v1"
    (base / "doveadm").write_text(f"{url} {api_key}\n")
    (base / "doveadm").chmod(0o600)
    names = ports | {
        "BASE": str(base),
        "API_KEY": api_key,
        "HTTP_URL": f"http://{HOST}:{ports['HTTP']}/dovecot",
    }
    for name in ("dovecot.conf", "main.cf", "master.cf", "auth.toml"):
        text = (HERE / name).read_text()
        for key, value in names.items():
            text = text.replace(f"@{key}@", value)
        (base / name).write_text(text)
    (base / "dovecot.conf").chmod(0o600)  # the API key is in it


def _keep(path: Path, text: str) -> None:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(text + "\n")


def _hash_line(login: str) -> str:
    made = _run("doveadm", "pw", "-s", "ARGON2ID", "-p", "correct horse")
    return f"{login}:{made.decode().strip()}"


def _make_certificate(base: Path) -> None:
    files = ["-keyout", str(base / "certificate-key.pem"), "-out", str(base / "certificate.pem")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    _run("openssl", "req", "-x509", *kind, *names, *files)


def _run(*command: str) -> bytes:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


def _mfakit() -> str:
    return str(Path(sys.executable).parent / "mfakit")


def start(base: Path) -> list[subprocess.Popen[bytes]]:
    """Start the service, Dovecot and Postfix, each ending with this process."""
    environment = os.environ | {"MFAKIT_EXAMPLE": str(base), "PYTHONPATH": str(HERE)}
    _run("postfix", "-c", str(base), "check")
    commands = [
        [_mfakit(), "serve-auth", "--config", str(base / "auth.toml")],
        ["dovecot", "-F", "-c", str(base / "dovecot.conf")],
        ["/usr/lib/postfix/sbin/master", "-d", "-c", str(base)],
    ]
    with (base / "service.log").open("ab") as log:
        return [
            subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=environment | {"MAIL_CONFIG": str(base)},
                stdout=log,
                stderr=log,
            )
            for command in commands
        ]


def wait_until_ready(ports: dict[str, str], processes: list[subprocess.Popen[bytes]]) -> None:
    """Return once every port takes connections."""
    for port in ports.values():
        while True:
            try:
                socket.create_connection((HOST, int(port)), 1).close()
                break
            except OSError:
                if any(one.poll() is not None for one in processes):
                    sys.exit("A server ended; see the *.log files in the directory.")
                time.sleep(0.05)


def main() -> None:
    """Run until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--directory", type=Path, default=Path("/tmp/mfakit-example"))
    parser.add_argument("--ports", type=int, default=10_900, help="the first of the hundred")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Dovecot and Postfix must be started as root.")
    missing = [package for path, package in NEEDS.items() if not Path(path).exists()]
    if missing:
        sys.exit(f"Not installed: apt-get install {' '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ports = prepare(arguments.directory, arguments.ports)
    processes = start(arguments.directory)
    try:
        wait_until_ready(ports, processes)
        print(f"IMAP {ports['IMAPS']} (TLS), POP3 {ports['POP3S']} (TLS), submission", end=" ")
        print(f"{ports['POSTFIX']} (Postfix) and {ports['SUBMISSION']} (Dovecot), STARTTLS.")
        print("Accounts ann@example.com and bob@example.com, password: correct horse", flush=True)
        while all(one.poll() is None for one in processes):
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        for one in processes:
            one.terminate()
        for one in processes:
            one.wait(20)


if __name__ == "__main__":
    main()
