"""The authentication service: logins a second by remembered and by cold passcodes.

    python -m benchmarks.mail_service [seconds]

Against the same service with a verifier that says yes at once; 8 connections of the SASL interface, each
with one login at a time. Rounds are interleaved; compare the ratios, not the figures. Whole processes,
with store (SQLite NORMAL), logs and metrics; the load comes from this process, on the same processors.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENTS = 8
PEOPLE = 40  # of whom each waits for nobody: one account holds few places in the queue
ROUNDS = 3
CONTENDERS = ("trivial", "remembered", "cold")
MODULE = """
import os
from pathlib import Path
from mfakit import KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from mfakit.mail import Platform
from mfakit.results import ClientSignedIn
from mfakit.storage.sqlite import SQLiteStore

class Trivial:
    async def authenticate_client(self, account_id, credential, **_):
        return ClientSignedIn(account_id=account_id, via="passcode", passcode_id="x")

def make():
    kind, base = os.environ["KIND"], Path(os.environ["BASE"])
    policy = Policy(passcode_memory_seconds=600 if kind == "remembered" else 0)
    store = InThreads(SQLiteStore(base / "mfa.db", synchronous="NORMAL"))
    mfa = Trivial() if kind == "trivial" else AsyncMFA(
        store, KeyRing({"k1": bytes(range(32))}), policy=policy)
    async def resolve(login):
        return login
    return Platform(mfa=mfa, resolve_account=resolve, check_password=lambda _l, _p: None)
"""


def _enroll(base: Path) -> list[tuple[str, str]]:
    from mfakit import MFA, KeyRing, Policy
    from mfakit.storage.sqlite import SQLiteStore
    from mfakit.testing import VirtualAuthenticator

    store = SQLiteStore(base / "mfa.db", synchronous="NORMAL")
    policy = Policy(recovery_codes=1, recovery_codes_low=0)
    mfa = MFA(store, KeyRing({"k1": bytes(range(32))}), policy=policy)
    made = []
    for number in range(PEOPLE):
        account = f"person{number}"
        proof = mfa.password_proof(account, password_verified=True)
        offer = mfa.begin_enrollment(account, account_name=account, proof=proof)
        app = VirtualAuthenticator(offer.uri)
        done = mfa.confirm_enrollment(offer.token, app.code(time.time()))
        assert done.proof is not None
        made.append((account, mfa.create_passcode(account, label="x", proof=done.proof).passcode))
    store.close()
    return made


def _start(base: Path, kind: str) -> subprocess.Popen[bytes]:
    (base / "bench_platform.py").write_text(MODULE)
    settings = base / f"{kind}.toml"
    settings.write_text(
        f'platform = "bench_platform:make"\n[sasl]\nlisten = ["unix:{base}/{kind}"]\n'
    )
    command = [str(Path(sys.executable).parent / "mfakit"), "serve-auth", "--config", str(settings)]
    environment = os.environ | {"KIND": kind, "BASE": str(base), "PYTHONPATH": str(base)}
    process = subprocess.Popen(command, env=environment, cwd=base, stderr=subprocess.DEVNULL)
    while not (base / kind).exists():
        time.sleep(0.02)
    return process


async def _client(path: Path, mine: list[tuple[str, str]], until: float) -> int:
    lines = [
        b"AUTH\t%d\tPLAIN\tservice=smtp\trip=192.0.2.7\tresp=%b\n"
        % (number, base64.b64encode(f"\0{login}\0{passcode}".encode()))
        for number, (login, passcode) in enumerate(mine)
    ]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"VERSION\t1\t1\nCPID\t1\n")
    await reader.readuntil(b"DONE\n")
    done = 0
    while time.monotonic() < until:
        writer.write(lines[done % len(lines)])
        answer = await reader.readline()
        assert answer.startswith(b"OK"), answer
        done += 1
    writer.close()
    return done


async def _rate(path: Path, people: list[tuple[str, str]], seconds: float) -> float:
    until = time.monotonic() + seconds
    shares = [people[number::CLIENTS] for number in range(CLIENTS)]
    counts = await asyncio.gather(*[_client(path, share, until) for share in shares])
    return sum(counts) / seconds


def main() -> None:
    """Print the medians and the ratios."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        people = _enroll(base)
        processes = [_start(base, kind) for kind in CONTENDERS]
        try:
            rates: dict[str, list[float]] = {kind: [] for kind in CONTENDERS}
            asyncio.run(_rate(base / "remembered", people, 2.0))  # so that they are remembered
            for _ in range(ROUNDS):
                for kind in CONTENDERS:
                    rates[kind].append(asyncio.run(_rate(base / kind, people, seconds)))
        finally:
            for process in processes:
                process.terminate()
                process.wait(20)
    medians = {kind: statistics.median(found) for kind, found in rates.items()}
    for kind, rate in medians.items():
        print(f"{kind:>10} {rate:8.0f} logins/s {rate / medians['trivial']:7.3f} of trivial")


if __name__ == "__main__":
    main()
