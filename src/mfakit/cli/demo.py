"""`mfakit demo`: the life of one mailbox, step by step, on a SQLite file in this directory.

Each step prints what it did; a refusal that should come and does not stops the demo. A second run
goes on with the account that the first one stored.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from mfakit import MFA, KeyRing, Policy
from mfakit.errors import CredentialRefusedError, RefusedError, WrongCodeError
from mfakit.qr import qr_terminal
from mfakit.results import AuthenticatorOffer, CodeRequired, Enrolled, NewPasscode, SignedIn
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import VirtualAuthenticator

__all__ = ["Demo", "StepFailedError"]

ACCOUNT = "demo-account"
ADDRESS = "ann@example.com"
PASSWORD = "correct horse battery staple"
CODE_TRIES = 5
POLICY = Policy(issuer="Example Mail")


class StepFailedError(Exception):
    """A step did not do what it must."""


class Demo:
    """One run of the demo.

    Args:
        store: The SQLite file.
        console: Where to print.
        auto: Play the phone, too.
    """

    def __init__(self, store: Path, console: Console, *, auto: bool) -> None:
        self._console = console
        self._phone_file = store.with_suffix(".phone") if auto else None
        keys = _read_or_make(store.with_suffix(".key"), lambda: KeyRing.generate_entry("demo"))
        self._mfa = MFA(SQLiteStore(store), KeyRing.from_text(keys), policy=POLICY)
        self._number = 0
        self._is_first = True
        self._code = ""
        self._proof = ""
        self._recovery_code = ""
        self._passcode: NewPasscode | None = None

    def run(self) -> None:
        """Do every step in order."""
        self._is_first = not self._mfa.status(ACCOUNT).is_on
        steps = [self._set_up] if self._is_first else [self._greet]
        steps += [self._sign_in, self._replay, self._spend_recovery_code, self._make_passcode]
        steps += [self._use_passcode, self._refuse_password, self._revoke, self._show_status]
        for step in steps:
            self._number += 1
            step()
        self._console.print("\n[bold green]Everything behaved as it must.[/]")

    # -- the steps

    def _greet(self) -> None:
        self._say(f"{ADDRESS} has two-step on since an earlier run; going on with it.")

    def _set_up(self) -> None:
        proof = self._mfa.password_proof(ACCOUNT, password_verified=True)
        offer = self._mfa.begin_enrollment(
            ACCOUNT, account_name=ADDRESS, label="Ann's phone", proof=proof
        )
        self._console.print(qr_terminal(offer.uri), highlight=False, markup=False)
        self._console.print(f"Key for manual entry: [bold]{offer.secret_groups}[/]")
        if self._phone_file is not None:
            # The phone of --auto lives in a file, so that a second run has the same phone.
            _read_or_make(self._phone_file, lambda: offer.uri)
        done = self._confirm(offer)
        self._recovery_code = done.recovery_codes[0]
        self._say(f"Two-step is on. Recovery codes, shown once: {' '.join(done.recovery_codes)}")

    def _confirm(self, offer: AuthenticatorOffer) -> Enrolled:
        for _ in range(CODE_TRIES):
            try:
                done = self._mfa.confirm_enrollment(offer.token, self._read_code())
            except WrongCodeError as error:
                self._console.print(f"[yellow]{error}[/]")
                continue
            if isinstance(done, Enrolled):
                return done
        raise StepFailedError("The set-up was not confirmed. Check the phone's clock.")

    def _sign_in(self) -> None:
        step = self._mfa.begin_login(ACCOUNT, password_verified=True)
        if not isinstance(step, CodeRequired):
            raise StepFailedError("The password alone must not sign in.")
        for _ in range(CODE_TRIES):
            self._code = self._fresh_code()
            try:
                done = self._mfa.complete_login(step.challenge, self._code)
            except WrongCodeError as error:
                if self._phone_file is not None:
                    raise
                self._console.print(f"[yellow]{error}[/]")
                continue
            self._proof = done.proof or ""
            self._say("Signed in with the password and a code.")
            return
        raise StepFailedError("No code was right. Check the phone's clock.")

    def _replay(self) -> None:
        step = self._mfa.begin_login(ACCOUNT, password_verified=True)
        if not isinstance(step, CodeRequired):
            raise StepFailedError("The password alone must not sign in.")
        self._expect(WrongCodeError, lambda: self._mfa.complete_login(step.challenge, self._code))
        self._say("The same code again: refused. A code works once.")

    def _spend_recovery_code(self) -> None:
        if not self._recovery_code:  # shown once, in the first run: make new ones
            codes = self._mfa.regenerate_recovery_codes(ACCOUNT, proof=self._proof)
            self._recovery_code = codes[0]
        done = self._recover()
        self._proof = done.proof or ""
        self._expect(WrongCodeError, self._recover)
        left = done.recovery_codes_left
        self._say(f"Signed in with a recovery code ({left} left). A second time: refused.")

    def _recover(self) -> SignedIn:
        step = self._mfa.begin_login(ACCOUNT, password_verified=True)
        if not isinstance(step, CodeRequired):
            raise StepFailedError("The password alone must not sign in.")
        return self._mfa.complete_login(step.challenge, self._recovery_code, method="recovery")

    def _make_passcode(self) -> None:
        label = f"Phone mail {len(self._mfa.history(ACCOUNT))}-{int(time.time())}"
        self._passcode = self._mfa.create_passcode(ACCOUNT, label=label, proof=self._proof)
        self._say(f"An application passcode, shown once: [bold]{self._passcode.passcode}[/]")

    def _use_passcode(self) -> None:
        done = self._mail_client(self._made.passcode)
        if done != "passcode":
            raise StepFailedError("The passcode must sign the mail client in.")
        self._say("A mail client signed in over IMAP with the passcode.")

    def _refuse_password(self) -> None:
        self._expect(CredentialRefusedError, lambda: self._mail_client(PASSWORD))
        self._say("The plain password over IMAP: refused, without being checked.")

    def _revoke(self) -> None:
        self._mfa.revoke_passcode(ACCOUNT, self._made.passcode_id)
        self._expect(CredentialRefusedError, lambda: self._mail_client(self._made.passcode))
        self._say("The passcode is revoked: refused at the next login.")

    def _show_status(self) -> None:
        status = self._mfa.status(ACCOUNT)
        table = Table(title=f"Two-step verification of {ADDRESS}")
        table.add_column("what")
        table.add_column("value", style="bold")
        rows = {
            "state": status.state,
            "on since": f"{status.enrolled_at:%Y-%m-%d %H:%M} UTC",
            "last sign-in": f"{status.last_login_at:%Y-%m-%d %H:%M} UTC",
            "authenticators": ", ".join(one.label for one in status.authenticators),
            "recovery codes left": str(status.recovery_codes_left),
            "application passcodes": str(status.passcodes),
            "trusted devices": str(status.trusted_devices),
            "keys in use": ", ".join(status.key_ids),
        }
        for name, value in rows.items():
            table.add_row(name, escape(value))
        self._say("The account now:")
        self._console.print(table)

    # -- helpers

    @property
    def _made(self) -> NewPasscode:
        if self._passcode is None:
            raise StepFailedError("The passcode was not made.")
        return self._passcode

    def _mail_client(self, credential: str) -> str:
        def check_password(_text: str) -> str | None:
            raise StepFailedError("Once two-step is on, the plain password is not even checked.")

        done = self._mfa.authenticate_client(
            ACCOUNT, credential, protocol="imap", check_password=check_password
        )
        return done.via

    def _fresh_code(self) -> str:
        """Return a code of a time step that no earlier one has spent, after waiting if need be."""
        phone = self._phone()
        if phone is None:
            return self._ask("The next code that the app shows")
        last = self._mfa.status(ACCOUNT).authenticators[0].last_used_at
        if last is not None and not self._is_first:
            # An earlier run spent the code after its last use's; wait for the one after that.
            period = phone.period_seconds
            self._wait((int(last.timestamp()) // period + 1) * period - time.time())
        return phone.code(time.time(), steps=1)

    def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self._console.print("The app's present codes are spent; waiting for a fresh one.")
        columns = (TextColumn("fresh code in"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("wait", total=seconds)
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                progress.update(task, completed=seconds - left)
                time.sleep(min(0.2, left))

    def _phone(self) -> VirtualAuthenticator | None:
        if self._phone_file is None:
            return None
        if not self._phone_file.exists():
            raise StepFailedError(
                "This account was set up with a real phone. Run `mfakit demo` without --auto."
            )
        return VirtualAuthenticator(self._phone_file.read_text(encoding="utf-8").strip())

    def _read_code(self) -> str:
        phone = self._phone()
        return self._ask("Code from the app") if phone is None else phone.code(time.time())

    def _ask(self, text: str) -> str:
        return str(click.prompt(text))

    def _expect(self, error: type[RefusedError], call: Callable[[], object]) -> None:
        try:
            call()
        except error:
            return
        raise StepFailedError(f"Step {self._number} was accepted and must be refused.")

    def _say(self, text: str) -> None:
        self._console.print(f"[green]✓[/] {self._number}. {text}", highlight=False)


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file that only its owner may read, made if it is not there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8")
    text = make()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    return text
