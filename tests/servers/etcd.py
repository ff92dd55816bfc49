"""An etcd cluster of the tests' own, from Debian's `etcd-server`."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from servers.child import free_ports, freeze, require, spawn, thaw, wait_for


class Certificates:
    """An authority of one certificate, which is its own: enough for both ends of a test."""

    def __init__(self, directory: Path) -> None:
        self.key, self.certificate = directory / "key.pem", directory / "certificate.pem"
        self.authority = self.certificate
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mfakit test")])
        now = datetime.now(UTC)
        names = [x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.certificate, self.key)
        return context


class EtcdCluster:
    """Nodes on private ports and directories; a node is named by its place, from 0."""

    def __init__(self, nodes: int = 3, tls: Certificates | None = None) -> None:
        require(shutil.which("etcd"), "apt-get install etcd-server")
        self._directory = Path(tempfile.mkdtemp(prefix="etcd-"))
        self._tls = tls
        scheme = "https" if tls else "http"
        ports = free_ports(2 * nodes)
        self.endpoints = tuple(f"{scheme}://127.0.0.1:{port}" for port in ports[:nodes])
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[nodes:]]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for node in range(nodes):
            self._spawn(node)
        for node in range(nodes):
            self._wait(node)

    def start(self, node: int) -> None:
        self._spawn(node)
        self._wait(node)

    def kill(self, node: int) -> None:
        """Kill -9."""
        self._processes[node].kill()
        self._processes[node].wait()

    def freeze(self, node: int) -> None:
        freeze(self._processes[node])

    def thaw(self, node: int) -> None:
        thaw(self._processes[node])

    def leader(self) -> int:
        """Return the place of the node that leads."""
        for node, endpoint in enumerate(self.endpoints):
            status = ask(endpoint, "maintenance/status", self._tls)
            if status["leader"] == status["header"]["member_id"]:
                return node
        raise RuntimeError("No node leads.")

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(self._directory)

    def _spawn(self, node: int) -> None:
        members = ",".join(f"n{place}={peer}" for place, peer in enumerate(self._peers))
        options = {
            "name": f"n{node}",
            "data-dir": str(self._directory / f"n{node}"),
            "listen-client-urls": self.endpoints[node],
            "advertise-client-urls": self.endpoints[node],
            "listen-peer-urls": self._peers[node],
            "initial-advertise-peer-urls": self._peers[node],
            "initial-cluster": members,
            "logger": "zap",
            "log-level": "error",
        }
        if self._tls:
            options |= {
                "client-cert-auth": "true",
                "trusted-ca-file": str(self._tls.authority),
                "cert-file": str(self._tls.certificate),
                "key-file": str(self._tls.key),
            }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._processes[node] = spawn(command, self._log(node))

    def _wait(self, node: int) -> None:
        wait_for(lambda: self._answers(node), self._processes[node], self._log(node))

    def _log(self, node: int) -> Path:
        return self._directory / f"n{node}.log"

    def _answers(self, node: int) -> bool:
        try:
            return bool(ask(self.endpoints[node], "maintenance/status", self._tls).get("leader"))
        except (urllib.error.URLError, OSError, ValueError):
            return False


def ask(endpoint: str, method: str, tls: Certificates | None = None) -> dict[str, Any]:
    """Call a node's gateway without the adapter under test."""
    request = urllib.request.Request(f"{endpoint}/v3/{method}", data=b"{}", method="POST")
    context = tls.context() if tls else None
    with urllib.request.urlopen(request, timeout=2, context=context) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
