"""What a web application does for its users, as commands: enroll, passcode, list, revoke.

    python account.py enroll ann@example.com [--play-phone]
    python account.py passcode ann@example.com "Ann's phone"
    python account.py list ann@example.com
    python account.py revoke ann@example.com "Ann's phone"

`enroll` and `passcode` ask for codes of an authenticator app. After `enroll --play-phone` they play the
app, from a file that holds its secret: for this example only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mfakit import MFA, KeyRing, Policy, RefusedError
from mfakit.mail import DoveadmHTTP, EndSessions
from mfakit.qr import qr_terminal
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import VirtualAuthenticator

BASE = Path(os.environ.get("MFAKIT_EXAMPLE", "/tmp/mfakit-example"))


def make_mfa() -> MFA:
    """Return the web application's side: revoking ends the sessions that are open in Dovecot."""
    doveadm = DoveadmHTTP(*(BASE / "doveadm").read_text().split())
    return MFA(
        SQLiteStore(BASE / "mfa.db"),
        KeyRing.from_file(BASE / "mfa.key"),
        policy=Policy(issuer="Example Mail"),
        events=EndSessions(doveadm, user_of=lambda account_id: account_id),
    )


def ask_code() -> str:
    """Ask for a code, or play the phone; each code is good once, so a played one is waited for."""
    phone = BASE / "phone"
    if not phone.exists():
        return input("Code of the app: ")
    uri, _, used = phone.read_text().partition("\n")
    app = VirtualAuthenticator(uri)
    while (code := app.code(time.time(), steps=1)) == used or app.code(time.time()) == used:
        time.sleep(1)
    phone.write_text(f"{uri}\n{code}")
    return code


def enroll(mfa: MFA, account: str) -> None:
    """Set two-step up. A web application has checked the password before."""
    proof = mfa.password_proof(account, password_verified=True)
    offer = mfa.begin_enrollment(account, account_name=account, proof=proof)
    print(qr_terminal(offer.uri), f"\nor type: {offer.secret_groups}")
    if "--play-phone" in sys.argv:
        (BASE / "phone").write_text(offer.uri + "\n")
        (BASE / "phone").chmod(0o600)
    done = mfa.confirm_enrollment(offer.token, ask_code())
    print("Two-step verification is on. Recovery codes:", *getattr(done, "recovery_codes", ()))


def passcode(mfa: MFA, account: str, label: str) -> None:
    """Make a passcode for a mail client."""
    proof = mfa.verify_code(account, ask_code())
    print(mfa.create_passcode(account, label=label, proof=proof).passcode)


def show(mfa: MFA, account: str) -> None:
    """List the passcodes."""
    for one in mfa.passcodes(account):
        print(one.hint, one.label, one.last_used_at, one.last_used_ip, one.last_used_protocol)


def revoke(mfa: MFA, account: str, label: str) -> None:
    """Revoke a passcode, and throw its client out."""
    (found,) = [one for one in mfa.passcodes(account) if one.label == label]
    mfa.revoke_passcode(account, found.passcode_id)
    print("Revoked.")


COMMANDS: dict[str, Callable[..., None]] = {
    "enroll": enroll,
    "passcode": passcode,
    "list": show,
    "revoke": revoke,
}

if __name__ == "__main__":
    command, *arguments = [one for one in sys.argv[1:] if not one.startswith("--")] or [""]
    if command not in COMMANDS:
        sys.exit(__doc__)
    try:
        COMMANDS[command](make_mfa(), *arguments)
    except RefusedError as refusal:
        sys.exit(refusal.text)
