"""`mfakit demo`: an account's life in ten steps, on real Argon2 and a real file.

Each step is a function from the demo to what it shows: one sentence, then details. A refusal that
does not come is a failure like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from itertools import count
from math import ceil
from typing import TypeVar

from attrs import define
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from mfakit.arguments import Method
from mfakit.cli.files import DemoFiles
from mfakit.errors import (
    CredentialRefusedError,
    MFAKitError,
    RefusedError,
    ThrottledError,
    WrongCodeError,
)
from mfakit.events import ClientInfo
from mfakit.policy import Policy
from mfakit.qr import qr_terminal
from mfakit.results import AuthenticatorOffer, CodeRequired, Enrolled, SignedIn
from mfakit.service import MFA
from mfakit.testing import VirtualAuthenticator

__all__ = ["run_demo"]

T = TypeVar("T")
Shown = tuple[RenderableType, ...]

ACCOUNT_ID = "demo"
ACCOUNT_NAME = "demo@example.com"
PASSWORD = "correct horse battery staple"
CLIENT = ClientInfo(remote_ip="192.0.2.10", user_agent="mfakit demo")
TRIES = 5
# Each run replays one code on purpose; nothing but the number of runs in 30 days adds these up.
POLICY = Policy(issuer="Example Mail", code_failures_in_30_days_max=1000)


class StepFailedError(Exception):
    """A step did not do what it shows. The text says what happened, and what to do."""


@define(kw_only=True, repr=False)
class Demo:
    """The platform, the person, and what one step leaves for a later one."""

    mfa: MFA
    files: DemoFiles
    console: Console
    auto: bool
    ask: Callable[[str], str]
    clock: Callable[[], float]
    sleep: Callable[[float], object]

    phone: VirtualAuthenticator | None = None
    offer: AuthenticatorOffer | None = None
    fresh_code_at: float = 0  # Unix second from which the phone has a code that is not spent
    code: str = ""
    proof: str = ""
    recovery_codes: tuple[str, ...] = ()
    passcode: str = ""
    passcode_id: str = ""
    passwords_checked: int = 0

    def begin_login(self) -> str:
        """Give the password, and return the challenge."""
        step = self.mfa.begin_login(ACCOUNT_ID, password_verified=True, client=CLIENT)
        if not isinstance(step, CodeRequired):
            raise StepFailedError("The password alone was enough to sign in.")
        return step.challenge

    def log_in(self, code: str, method: Method = "totp") -> SignedIn:
        """Give the password, then the code."""
        return self.mfa.complete_login(self.begin_login(), code, method=method, client=CLIENT)

    def connect(self, credential: str) -> str:
        """Connect as a mail client does, and return what let it in."""
        signed_in = self.mfa.authenticate_client(
            ACCOUNT_ID,
            credential,
            protocol="imap",
            check_password=self._check_password,
            client=CLIENT,
        )
        return signed_in.via

    def give_code(self, accept: Callable[[str], T], *, steps: int, prompt: str) -> T:
        """Give codes of the phone until one is accepted.

        Args:
            accept: Raises `WrongCodeError` for a wrong one.
            steps: How many codes ahead the played phone is; 1 is within the policy's window.
            prompt: What a person with a real phone is asked.
        """
        tries = 1 if self.phone else TRIES
        while tries:
            code = self.phone.code(self.clock(), steps=steps) if self.phone else self.ask(prompt)
            try:
                accepted = accept(code)
            except ThrottledError as error:
                self.wait(error.retry_after_seconds, "Too many wrong codes: waiting")
            except WrongCodeError as error:
                tries -= 1
                self.console.print(f"      {error.text}", style="yellow")
            else:
                self.code = code
                return accepted
        if self.phone:
            raise StepFailedError(f"The codes of {self.files.phone} are refused.")
        raise StepFailedError("No code was accepted. Check that phone and computer agree on time.")

    def wait_for_fresh_code(self) -> None:
        """Wait until the phone shows a code that was not used: each opens one door, once."""
        seconds = self.fresh_code_at - self.clock()
        if seconds > 0:
            self.wait(seconds, "The last code is spent: waiting for the next one")

    def wait(self, seconds: float, why: str) -> None:
        """Wait, with a countdown; without a terminal one line says how long."""
        if not self.console.is_terminal:
            self.console.print(f"      {why}, {ceil(seconds)} s.")
        until = self.clock() + seconds
        columns = (
            TextColumn("      {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[left]} s"),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as progress:
            bar = progress.add_task(why, total=seconds, left=ceil(seconds))
            while (left := until - self.clock()) > 0:
                progress.update(bar, completed=seconds - left, left=ceil(left))
                self.sleep(min(left, 0.25))

    def spent(self, last_used: datetime, period_seconds: int) -> None:
        """Note that the code shown at that time is spent."""
        step = int(last_used.timestamp()) // period_seconds
        self.fresh_code_at = (step + 1) * period_seconds

    def _check_password(self, password: str) -> str | None:
        self.passwords_checked += 1
        return ACCOUNT_ID if password == PASSWORD else None


# ------------------------------------------------------------------------------------------ set-up


def begin_set_up(demo: Demo) -> Shown:
    """Offer an authenticator, unless an earlier run left one."""
    status = demo.mfa.status(ACCOUNT_ID)
    if status.is_locked:
        raise StepFailedError("The account is locked after too many wrong codes.")
    if status.is_on:
        _find_phone(demo)
        return (f"Two-step is on since an earlier run; going on with {demo.files.store}.",)
    proof = demo.mfa.password_proof(ACCOUNT_ID, password_verified=True)
    demo.offer = demo.mfa.begin_enrollment(
        ACCOUNT_ID, account_name=ACCOUNT_NAME, label="Demo phone", proof=proof
    )
    demo.files.drop_phone()
    if demo.auto:
        demo.phone = demo.files.keep_phone(demo.offer.uri)
    return (
        "The password opened the set-up: scan this with an authenticator app.",
        # Dark on white whatever the terminal's colours: cameras need it so.
        Text(qr_terminal(demo.offer.uri), style="bright_white on black", no_wrap=True),
        Text(f"or type the key  {demo.offer.secret_groups}", no_wrap=True),
    )


def _find_phone(demo: Demo) -> None:
    demo.phone = demo.files.load_phone()
    if demo.auto and demo.phone is None:
        raise StepFailedError("It was set up with a real phone: run it without --auto.")
    if demo.phone and not demo.auto:
        raise StepFailedError("It was set up with --auto, and so must be run again with --auto.")


def confirm_set_up(demo: Demo) -> Shown:
    """Confirm the offer by a code; the recovery codes are shown this once."""
    if demo.offer is None:
        return _earlier_set_up(demo)
    token = demo.offer.token
    done = demo.give_code(
        lambda code: demo.mfa.confirm_enrollment(token, code, client=CLIENT),
        steps=0,
        prompt="The code that the app shows: ",
    )
    if not isinstance(done, Enrolled):
        raise StepFailedError("Another run has set the account up meanwhile. Run it again.")
    demo.recovery_codes = done.recovery_codes
    if not demo.auto:
        demo.spent(done.authenticated_at, demo.offer.period_seconds)
    return ("A code confirmed it; keep these recovery codes.", *_in_columns(done.recovery_codes))


def _earlier_set_up(demo: Demo) -> Shown:
    for one in demo.mfa.status(ACCOUNT_ID).authenticators:
        # The code that was used last may have been the next one: no run looks further ahead.
        demo.spent(one.last_used_at or one.created_at, POLICY.period_seconds)
    return ("The authenticator was confirmed in an earlier run.",)


# ----------------------------------------------------------------------------------------- sign-in


def sign_in(demo: Demo) -> Shown:
    """Sign in with password and code."""
    demo.wait_for_fresh_code()
    done = demo.give_code(demo.log_in, steps=1, prompt="Sign in with the code shown now: ")
    if done.proof is None:
        raise StepFailedError("The sign-in with a code earned no proof.")
    demo.proof = done.proof
    return (f"Password and code sign in ({', '.join(done.amr)}).",)


def replay_code(demo: Demo) -> Shown:
    """Try the same code again."""
    _expect_refusal(WrongCodeError, lambda: demo.log_in(demo.code))
    return (f"The same code {demo.code} is refused the second time.",)


def spend_recovery_code(demo: Demo) -> Shown:
    """Sign in with a recovery code, twice. A later run has none on paper and makes a new set."""
    details: Shown = ()
    if not demo.recovery_codes:
        codes = demo.mfa.regenerate_recovery_codes(ACCOUNT_ID, proof=demo.proof)
        demo.recovery_codes, details = codes, _in_columns(codes)
    code = demo.recovery_codes[0]
    left = demo.log_in(code, "recovery").recovery_codes_left
    _expect_refusal(WrongCodeError, lambda: demo.log_in(code, "recovery"))
    of = "Of a new set, recovery" if details else "Recovery"
    sentence = f"{of} code {code} signs in once, not twice; {left} are left."
    return (sentence, *details)


# ------------------------------------------------------------------------------------ mail clients


def make_passcode(demo: Demo) -> Shown:
    """Make an application passcode, under a name that no earlier run has left."""
    taken = {one.label for one in demo.mfa.passcodes(ACCOUNT_ID)}
    label = next(name for name in map("Phone mail {}".format, count(1)) if name not in taken)
    new = demo.mfa.create_passcode(ACCOUNT_ID, label=label, protocols=["imap"], proof=demo.proof)
    demo.passcode, demo.passcode_id = new.passcode, new.passcode_id
    return (f"Application passcode for “{new.label}”: {new.passcode}",)


def connect_with_passcode(demo: Demo) -> Shown:
    """Let a mail client in by the passcode."""
    if demo.connect(demo.passcode) != "passcode":
        raise StepFailedError("The passcode was taken for something else.")
    return ("An IMAP client signs in with the passcode.",)


def connect_with_password(demo: Demo) -> Shown:
    """Try the right password over IMAP: it must not even be looked at."""
    _expect_refusal(CredentialRefusedError, lambda: demo.connect(PASSWORD))
    if demo.passwords_checked:
        raise StepFailedError("The password was checked: its answer tells guessers which is right.")
    return ("The right password is refused over IMAP, without even being checked.",)


def revoke_passcode(demo: Demo) -> Shown:
    """Revoke the passcode, and try it again."""
    demo.mfa.revoke_passcode(ACCOUNT_ID, demo.passcode_id)
    _expect_refusal(CredentialRefusedError, lambda: demo.connect(demo.passcode))
    return ("The passcode is revoked and refused at once.",)


# ---------------------------------------------------------------------------------------- overview


def show_status(demo: Demo) -> Shown:
    """Show what the operator sees."""
    status = demo.mfa.status(ACCOUNT_ID)
    facts = {
        "State": status.state,
        "Enrolled": _time(status.enrolled_at),
        "Last sign-in": _time(status.last_login_at),
        "Authenticators": ", ".join(one.label for one in status.authenticators),
        "Recovery codes left": str(status.recovery_codes_left),
        "Application passcodes": str(status.passcodes),
    }
    overview = Table(title=f"Account {status.account_id}", title_justify="left", show_header=False)
    for name, value in facts.items():
        overview.add_row(name, Text(value))
    history = Table("When (UTC)", "What", "Label", title="History", title_justify="left")
    for item in demo.mfa.history(ACCOUNT_ID):
        history.add_row(_time(item.at), item.kind, Text(item.label or ""))
    return ("This is where the account stands.", overview, history)


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "never"


def _in_columns(codes: tuple[str, ...]) -> Shown:
    grid = Table.grid(padding=(0, 4))
    for start in range(0, len(codes), 2):
        grid.add_row(*codes[start : start + 2])
    return (grid,)


def _expect_refusal(refusal: type[RefusedError], attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except refusal:
        return
    raise StepFailedError("What had to be refused was accepted.")


# --------------------------------------------------------------------------------------------- run

STEPS: tuple[tuple[str, Callable[[Demo], Shown]], ...] = (
    ("begin set-up", begin_set_up),
    ("confirm set-up", confirm_set_up),
    ("sign in", sign_in),
    ("replay a code", replay_code),
    ("recovery code", spend_recovery_code),
    ("make a passcode", make_passcode),
    ("mail client with passcode", connect_with_passcode),
    ("mail client with password", connect_with_password),
    ("revoke the passcode", revoke_passcode),
    ("status", show_status),
)


def run_demo(
    files: DemoFiles,
    console: Console,
    *,
    auto: bool,
    ask: Callable[[str], str] | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Run every step, and stop at the first that fails.

    Args:
        files: Where the account is kept between runs.
        console: Where to show it.
        auto: Play the phone instead of asking for its codes.
        ask: Asks the person; the console does by default.
        clock: Unix seconds.
        sleep: Waits seconds.

    Returns:
        True if every step did what it shows.
    """
    where = "Opening the files"
    try:
        keys = files.open_keys()
        with closing(files.open_store()) as store:
            demo = Demo(
                mfa=MFA(store, keys, policy=POLICY, clock=clock),
                files=files,
                console=console,
                auto=auto,
                ask=ask or console.input,
                clock=clock,
                sleep=sleep,
            )
            for number, (name, step) in enumerate(STEPS, 1):
                where = f"Step {number} ({name})"
                _show(console, number, step(demo))
    except (MFAKitError, StepFailedError) as error:
        _report(console, where, str(error), files)
        return False
    return True


def _show(console: Console, number: int, shown: Shown) -> None:
    sentence, *details = shown
    console.print(Text.assemble(("✔", "green"), f" {number:>2}. {sentence}"))
    for detail in details:
        console.print(detail, crop=False, overflow="ignore")


def _report(console: Console, where: str, text: str, files: DemoFiles) -> None:
    console.print(Text.assemble(("✘", "red"), f" {where} failed. {text}"))
    names = f"{files.store}, {files.key} and {files.phone}"
    console.print(Text(f"To begin afresh, delete {names}, or name another file with --store."))
