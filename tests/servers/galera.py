"""A cluster of three MariaDB Galera nodes for the tests, each of which takes writes."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from servers.child import free_port
from servers.mariadb import HOST, MariaDB, give_up, is_installed

HOW_TO_GET_IT = "apt-get install mariadb-server galera-4 rsync"
_PROVIDERS = (
    Path("/usr/lib/galera/libgalera_smm.so"),
    Path("/usr/lib64/galera-4/libgalera_smm.so"),
)


def provider() -> Path | None:
    """Galera's library; None if it, or MariaDB, is not installed."""
    return next(filter(Path.exists, _PROVIDERS), None) if is_installed() else None


@cache
def running() -> Galera:
    """Return this process's cluster, started on first use; skip or, under CI, fail without it."""
    if provider() is None:
        give_up(f"No MariaDB Galera here. To run this test: {HOW_TO_GET_IT}")
    cluster = Galera()
    cluster.start()
    return cluster


class Galera:
    """Three nodes; `start` them, then use any of `nodes`."""

    def __init__(self) -> None:
        library = provider()
        if library is None:
            raise RuntimeError(HOW_TO_GET_IT)
        self.nodes: list[MariaDB] = []
        ports = [free_port() for _ in range(3)]
        for number in range(3):
            options = _options(library, number, ports)
            self.nodes.append(MariaDB(options, copy_of=self.nodes[0] if self.nodes else None))

    def start(self) -> None:
        """Start the first as a new cluster, let the others join, return when all are in sync."""
        self.nodes[0].start("--wsrep-new-cluster")
        for node in self.nodes[1:]:
            node.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every node is a synced member of a cluster of three."""
        deadline = time.monotonic() + 60
        while not all(map(_is_synced, self.nodes)):
            if time.monotonic() > deadline:
                raise RuntimeError("The Galera cluster did not come together in 60 seconds.")
            time.sleep(0.05)

    def close(self) -> None:
        """Kill all nodes and remove their directories."""
        for node in self.nodes:
            node.close()


def _is_synced(node: MariaDB) -> bool:
    if not node.is_ready():
        return False
    status = dict(node.execute("SHOW GLOBAL STATUS LIKE 'wsrep_%'"))
    return status["wsrep_cluster_size"] == "3" and status["wsrep_local_state_comment"] == "Synced"


def _options(library: Path, number: int, ports: list[int]) -> list[str]:
    addresses = ",".join(f"{HOST}:{port}" for port in ports)
    listen = f"gmcast.listen_addr=tcp://{HOST}:{ports[number]};ist.recv_addr={HOST}:{free_port()}"
    return [
        "--wsrep-on=ON",
        f"--wsrep-provider={library}",
        f"--wsrep-provider-options={listen};gcache.size=32M",
        f"--wsrep-cluster-address=gcomm://{addresses}",
        f"--wsrep-node-address={HOST}:{ports[number]}",
        f"--wsrep-node-name=node{number}",
        f"--wsrep-sst-receive-address={HOST}:{free_port()}",
        "--wsrep-sst-method=rsync",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
    ]
