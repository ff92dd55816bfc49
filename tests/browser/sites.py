"""The examples under test: each a server in a process of its own, with its clock in a file.

    python tests/browser/sites.py EXAMPLE DIRECTORY SMTP_PORT

prints the port, and serves until its standard input ends: so it ends with the test run, however
that ends. Another example joins with one function in `STARTERS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from mfakit import MFA, KeyRing, RefusedError

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_800_000_000  # 15 January 2027, 08:00 UTC
PASSWORD = "correct horse battery"


def _clock(directory: Path) -> Callable[[], float]:
    return lambda: float((directory / "clock").read_text(encoding="ascii"))


def flask_site(directory: Path, smtp_port: int, accounts: list[Any]) -> int:
    """Serve the Flask example; return the port."""
    from examples.flask_webmail import create_app
    from examples.webmail_shared.notices import smtp_sender
    from werkzeug.serving import make_server

    send = smtp_sender("127.0.0.1", smtp_port)
    app = create_app(directory / "data", clock=_clock(directory), send=send)
    app.extensions["mailboxes"].open(accounts, PASSWORD)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


@contextmanager
def flask_mfa(directory: Path) -> Iterator[tuple[MFA, Callable[[str], str]]]:
    """Open the store of a running Flask example, as a mail server beside it does."""
    from examples.flask_webmail.mailboxes import Mailboxes

    from mfakit.storage.sqlite import SQLiteStore

    data, clock = directory / "data", _clock(directory)
    boxes = Mailboxes(data / "webmail.db", clock)
    keys, store = KeyRing.from_file(data / "mfa.keys"), SQLiteStore(data / "mfa.db")
    mfa = MFA(store, keys, policy=boxes.policy_of, realm="flask-webmail", clock=clock)
    yield mfa, lambda address: boxes.by_address(address).id
    store.close()


STARTERS: dict[str, Callable[[Path, int, list[Any]], int]] = {"flask": flask_site}
OPENERS: dict[str, Callable[[Path], Any]] = {"flask": flask_mfa}


class Site:
    """A running example."""

    def __init__(self, name: str, directory: Path, smtp_port: int, accounts: list[Any]) -> None:
        self.name, self.directory = name, directory
        self.unused: dict[str, Iterator[int]] = {}  # numbers of accounts that no test has yet
        self.reset_clock()
        (directory / "accounts").write_text(json.dumps(accounts), encoding="utf-8")
        with (directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, name, str(directory), str(smtp_port)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        port = self._process.stdout.readline()
        assert port, (directory / "log").read_text(encoding="utf-8")
        self.url = f"http://127.0.0.1:{int(port)}"

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def reset_clock(self) -> None:
        self.now = T0
        self.advance(0)

    def advance(self, seconds: int) -> None:
        """Move the server's clock; it stands still otherwise."""
        self.now += seconds
        written = self.directory / "clock.new"
        written.write_text(str(self.now), encoding="ascii")
        written.replace(self.directory / "clock")

    def enroll(
        self, address: str, code_of: Callable[[str, int], str]
    ) -> tuple[str, tuple[str, ...]]:
        """Turn two-step on beside the pages; return the key and the recovery codes."""
        with OPENERS[self.name](self.directory) as (mfa, id_of):
            proof = mfa.password_proof(id_of(address), password_verified=True)
            offer = mfa.begin_enrollment(
                id_of(address), account_name=address, label="My phone", proof=proof
            )
            done = mfa.confirm_enrollment(offer.token, code_of(offer.secret_text, self.now))
        return offer.secret_text, done.recovery_codes

    def mail_login(self, address: str, credential: str, protocol: str = "imap") -> str:
        """Sign in as a mail client does, at a mail server on the same store."""
        with OPENERS[self.name](self.directory) as (mfa, id_of):
            done = mfa.authenticate_client(
                id_of(address), credential, protocol=protocol, check_password=lambda _: None
            )
        return done.via

    def fail_codes(self, address: str, times: int) -> None:
        """Let somebody who has the password guess, as long as it takes."""
        with OPENERS[self.name](self.directory) as (mfa, id_of):
            for _ in range(times):
                self.advance(3600)
                with suppress(RefusedError):
                    mfa.verify_code(id_of(address), "000000")

    def reset(self, address: str) -> None:
        """Let an operator take two-step off."""
        with OPENERS[self.name](self.directory) as (mfa, id_of):
            mfa.reset(id_of(address), actor="operator", reason="Phone lost")

    def use_recovery_code(self, address: str, code: str) -> None:
        """Use one up elsewhere."""
        with OPENERS[self.name](self.directory) as (mfa, id_of):
            mfa.verify_code(id_of(address), code, method="recovery")


def main() -> None:
    name, directory, smtp_port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    from examples.webmail_shared.demo import DemoAccount

    rows = json.loads((directory / "accounts").read_text(encoding="utf-8"))
    port = STARTERS[name](directory, smtp_port, [DemoAccount(*row) for row in rows])
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
