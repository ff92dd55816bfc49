"""The examples under test: each a server in a process of its own, with its clock in a file.

    python tests/browser/sites.py EXAMPLE DIRECTORY SMTP_PORT

prints the port, and serves until its standard input ends: so it ends with the test run, however
that ends. A line of standard input asks for something beside the pages. Another example joins with
one function in `STARTERS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

from mfakit import MFA, CodeRequired, KeyRing, RefusedError, errors

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_800_000_000  # 15 January 2027, 08:00 UTC
PASSWORD = "correct horse battery"


def clock_of(directory: Path) -> Callable[[], float]:
    return lambda: float((directory / "clock").read_text(encoding="ascii"))


IdOf = Callable[[str], str]
Running = tuple[int, MFA, IdOf]  # the port; an MFA beside the pages, without notices; ids


def flask_site(directory: Path, smtp_port: int, accounts: list[Any]) -> Running:
    """Serve the Flask example."""
    from examples.flask_webmail import create_app
    from examples.webmail_shared.notices import smtp_sender
    from werkzeug.serving import make_server

    from mfakit.storage.sqlite import SQLiteStore

    send = smtp_sender("127.0.0.1", smtp_port)
    app = create_app(directory / "data", clock=clock_of(directory), send=send)
    boxes = app.extensions["mailboxes"]
    boxes.open(accounts, PASSWORD)
    keys = KeyRing.from_file(directory / "data" / "mfa.keys")
    store = SQLiteStore(directory / "data" / "mfa.db")
    clock = clock_of(directory)
    mfa = MFA(store, keys, policy=boxes.policy_of, realm="flask-webmail", clock=clock)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port, mfa, lambda address: boxes.by_address(address).id


def django_site(directory: Path, smtp_port: int, accounts: list[Any]) -> Running:
    """Serve the Django example."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_webmail.settings"
    os.environ["WEBMAIL_DATA"] = str(directory / "data")
    os.environ["WEBMAIL_SMTP"] = f"127.0.0.1:{smtp_port}"
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    settings.WEBMAIL_CLOCK = clock = clock_of(directory)
    django.setup()
    call_command("migrate", verbosity=0)
    from examples.django_webmail.models import Account

    from mfakit.storage.django import DjangoStore

    Account.objects.open(accounts, PASSWORD)
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    Thread(target=server.serve_forever, daemon=True).start()
    keys = KeyRing.from_text(settings.WEBMAIL_MFA_KEYS)
    mfa = MFA(
        DjangoStore(), keys, policy=Account.objects.policy_of, realm="django-webmail", clock=clock
    )
    return server.server_port, mfa, lambda address: Account.objects.get(address=address).pk


STARTERS: dict[str, Callable[[Path, int, list[Any]], Running]] = {
    "django": django_site,
    "flask": flask_site,
}


# What happens beside the pages: at a mail server, or at another browser.


def enroll(mfa: MFA, account_id: str, address: str, now: int) -> tuple[str, tuple[str, ...]]:
    """Turn two-step on; return the key and the recovery codes."""
    from people import oathtool

    proof = mfa.password_proof(account_id, password_verified=True)
    offer = mfa.begin_enrollment(account_id, account_name=address, label="My phone", proof=proof)
    done = mfa.confirm_enrollment(offer.token, oathtool(offer.secret_text, now))
    return offer.secret_text, done.recovery_codes


def mail_login(mfa: MFA, account_id: str, credential: str, protocol: str) -> str:
    """Sign in as a mail client does."""
    done = mfa.authenticate_client(
        account_id, credential, protocol=protocol, check_password=lambda _: None
    )
    return done.via


def guess_code(mfa: MFA, account_id: str, code: str) -> None:
    """Guess a code after the password."""
    step = mfa.begin_login(account_id, password_verified=True)
    assert isinstance(step, CodeRequired)
    mfa.complete_login(step.challenge, code)


def use_recovery_code(mfa: MFA, account_id: str, code: str) -> None:
    """Use a recovery code up."""
    mfa.verify_code(account_id, code, method="recovery")


def reset(mfa: MFA, account_id: str) -> None:
    """Take two-step off, as an operator on the phone does."""
    mfa.reset(account_id, actor="operator", reason="Phone lost")


def is_on(mfa: MFA, account_id: str) -> bool:
    """Say whether two-step is on."""
    return mfa.status(account_id).is_on


def break_store(mfa: MFA, account_id: str) -> None:
    """Make every read of the site's store fail."""

    def load(self: object, account_id: str) -> NoReturn:
        raise errors.StoreUnavailableError

    kind = type(mfa._store)
    _WHOLE.setdefault(kind, kind.load)
    kind.load = load


def mend_store(mfa: MFA, account_id: str) -> None:
    """Let the store answer again."""
    for kind, load in _WHOLE.items():
        kind.load = load


_WHOLE: dict[Any, Any] = {}
_ALL = (enroll, mail_login, guess_code, use_recovery_code, reset, is_on, break_store, mend_store)
BESIDE = {one.__name__: one for one in _ALL}


def answer(running: Running, line: str) -> str:
    """Do what a line of standard input asks: [name, address, arguments] to [error, result]."""
    _, mfa, id_of = running
    name, address, arguments = json.loads(line)
    try:
        return json.dumps([None, BESIDE[name](mfa, id_of(address), *arguments)])
    except RefusedError as error:
        return json.dumps([type(error).__name__, None])


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

    def beside(self, name: str, address: str, *arguments: Any) -> Any:
        """Have the site's process do one of `BESIDE`; raise what it raised."""
        self._process.stdin.write(f"{json.dumps([name, address, arguments])}\n")
        self._process.stdin.flush()
        error, result = json.loads(self._process.stdout.readline())
        if error:
            raise getattr(errors, error)
        return result

    def enroll(self, address: str) -> tuple[str, list[str]]:
        """Turn two-step on beside the pages; return the key and the recovery codes."""
        return self.beside("enroll", address, address, self.now)

    def mail_login(self, address: str, credential: str, protocol: str = "imap") -> str:
        """Sign in as a mail client does, at a mail server on the same store."""
        return self.beside("mail_login", address, credential, protocol)

    def fail_codes(self, address: str, times: int) -> None:
        """Let somebody who has the password guess, as long as it takes."""
        for _ in range(times):
            self.advance(3600)
            with suppress(errors.WrongCodeError):
                self.beside("guess_code", address, "000000")

    def reset(self, address: str) -> None:
        """Let an operator take two-step off."""
        self.beside("reset", address)

    def use_recovery_code(self, address: str, code: str) -> None:
        """Use one up elsewhere."""
        self.beside("use_recovery_code", address, code)


def main() -> None:
    name, directory, smtp_port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    from examples.webmail_shared.demo import DemoAccount

    rows = json.loads((directory / "accounts").read_text(encoding="utf-8"))
    running = STARTERS[name](directory, smtp_port, [DemoAccount(*row) for row in rows])
    sys.stdout.write(f"{running[0]}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(f"{answer(running, line)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
