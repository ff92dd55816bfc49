"""An etcd cluster of the tests' own, from Debian's `etcd-server`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from servers.child import free_ports, require, spawn, wait_for


class EtcdCluster:
    """Nodes on private ports and directories; a node is named by its place, from 0."""

    def __init__(self, nodes: int = 3) -> None:
        require(shutil.which("etcd"), "apt-get install etcd-server")
        self._directory = Path(tempfile.mkdtemp(prefix="etcd-"))
        ports = free_ports(2 * nodes)
        self.endpoints = tuple(f"http://127.0.0.1:{port}" for port in ports[:nodes])
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
        """Stop a node without closing its connections, as a lost network does."""
        self._processes[node].send_signal(signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        self._processes[node].send_signal(signal.SIGCONT)

    def leader(self) -> int:
        """Return the place of the node that leads."""
        for node, endpoint in enumerate(self.endpoints):
            status = ask(endpoint, "maintenance/status")
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
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._processes[node] = spawn(command, self._log(node))

    def _wait(self, node: int) -> None:
        wait_for(lambda: self._answers(node), self._processes[node], self._log(node))

    def _log(self, node: int) -> Path:
        return self._directory / f"n{node}.log"

    def _answers(self, node: int) -> bool:
        try:
            return bool(ask(self.endpoints[node], "maintenance/status").get("leader"))
        except (urllib.error.URLError, OSError, ValueError):
            return False


def ask(endpoint: str, method: str) -> dict[str, Any]:
    """Call a node's gateway without the adapter under test."""
    request = urllib.request.Request(f"{endpoint}/v3/{method}", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=2) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
