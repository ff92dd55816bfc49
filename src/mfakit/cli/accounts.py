"""What an operator asks and does about one account: status, verify, passcodes, devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from attrs import asdict
from rich.console import RenderableType

from mfakit.cli.options import (
    DONE,
    FAILED,
    TakesItemId,
    account_argument,
    confirm,
    is_terminal,
    item_id_argument,
    on_a_store,
    yes_option,
)
from mfakit.cli.output import as_json_value, printable, show, table, when
from mfakit.errors import SecondFactorLockedError, ThrottledError, WrongCodeError
from mfakit.results import PasscodeInfo, Status, TrustedDeviceInfo
from mfakit.service import MFA

__all__ = ["devices", "passcodes", "status", "verify"]

# ---------------------------------------------------------------------------------------------- status


@click.command()
@account_argument()
@on_a_store
@click.option("--history", "with_history", is_flag=True, help="The last lifecycle changes, too.")
def status(*, mfa: MFA, account_id: str, with_history: bool, as_json: bool) -> int:
    """Show where an account stands."""
    found = mfa.status(account_id)
    history = mfa.history(account_id) if with_history else ()
    data = asdict(found, filter=lambda field, _: field.name != "epoch")
    data |= {"history": [asdict(one) for one in history]} if with_history else {}
    show(as_json_value(data), _status_text(found), as_json=as_json)
    if history and not as_json:
        rows = [(when(one.at), one.kind, one.actor or "", one.reason or "") for one in history]
        show({}, [table(("when", "what", "by", "why"), rows)], as_json=False)
    return DONE


def _status_text(found: Status) -> Iterator[RenderableType]:
    rows = (
        ("account", found.account_id),
        ("state", found.state.replace("_", " ") + ("" if found.key_ids else ", no record")),
        ("required", _required(found)),
        ("enrolled", when(found.enrolled_at)),
        ("last sign-in", when(found.last_login_at)),
        ("codes refused until", when(found.retry_at)),
        ("recovery codes left", str(found.recovery_codes_left)),
        ("passcodes", str(found.passcodes)),
        ("trusted devices", str(found.trusted_devices)),
        ("sealed under", ", ".join(found.key_ids)),
    )
    yield table(("", ""), [row for row in rows if row[1]])
    if found.authenticators:
        yield table(
            ("authenticator", "id", "added", "last used", ""),
            [
                (
                    one.label,
                    one.authenticator_id,
                    when(one.created_at),
                    when(one.last_used_at),
                    "weak: have it replaced" if one.is_weak else "",
                )
                for one in found.authenticators
            ],
        )
    if found.password_change_required:
        yield "Somebody who knew the password guessed codes: it must be changed first."


def _required(found: Status) -> str:
    if not found.is_required:
        return "no"
    return f"from {when(found.required_from)}" if found.required_from else "yes"


# ---------------------------------------------------------------------------------------------- verify


@click.command()
@account_argument()
@on_a_store
@click.option(
    "--method",
    type=click.Choice(["totp", "recovery"]),
    default="totp",
    show_default=True,
    help="What the owner reads to you.",
)
def verify(*, mfa: MFA, account_id: str, method: Any, as_json: bool) -> int:
    """Check a code that the owner of an account reads to you, as a help desk does.

    The code is asked for, or read from standard input. It is spent, and a wrong one counts, as at any
    sign-in. Exit status: 0 the code is right, 1 it is not or was not looked at.
    """
    refused = None
    try:
        mfa.verify_code(account_id, _ask_code(), method=method)
    except (SecondFactorLockedError, ThrottledError, WrongCodeError) as error:
        refused = error
    data = {
        "account_id": account_id,
        "verified": refused is None,
        "code": refused and refused.code,
        "retry_at": getattr(refused, "retry_at", None),
    }
    text = "The code is right." if refused is None else refused.text
    show(as_json_value(data), [text], as_json=as_json)
    return DONE if refused is None else FAILED


def _ask_code() -> str:
    if is_terminal():
        return str(click.prompt("Code", hide_input=True, err=True))
    return sys.stdin.readline().strip()


# ----------------------------------------------------------------------------------- passcodes, devices


@click.group()
def passcodes() -> None:
    """Application passcodes of an account."""


@passcodes.command("list")
@account_argument()
@on_a_store
def list_passcodes(*, mfa: MFA, account_id: str, as_json: bool) -> int:
    """List an account's application passcodes."""
    found = mfa.passcodes(account_id)
    heads = ("label", "id", "begins with", "protocols", "made", "last used", "expires")
    return _list(account_id, "passcodes", found, heads, _passcode_row, as_json=as_json)


@passcodes.command("revoke", cls=TakesItemId)
@account_argument()
@item_id_argument("passcode_id")
@on_a_store
@click.option("--all", "every", is_flag=True, help="All of the account.")
@yes_option
def revoke_passcodes(
    *, mfa: MFA, account_id: str, passcode_id: str | None, every: bool, yes: bool, as_json: bool
) -> int:
    """Revoke one application passcode, or all: the next login with it is refused."""
    what = _which(passcode_id, "passcode", every=every)
    confirm(f"{what} of {account_id!r} will be revoked. Go on?", yes=yes)
    if passcode_id is None:
        return _revoked(account_id, mfa.revoke_all_passcodes(account_id), as_json=as_json)
    mfa.revoke_passcode(account_id, passcode_id)
    return _revoked(account_id, 1, as_json=as_json)


@click.group()
def devices() -> None:
    """Trusted devices of an account."""


@devices.command("list")
@account_argument()
@on_a_store
def list_devices(*, mfa: MFA, account_id: str, as_json: bool) -> int:
    """List an account's trusted devices."""
    found = mfa.trusted_devices(account_id)
    heads = ("label", "id", "trusted since", "last used", "until")
    return _list(account_id, "devices", found, heads, _device_row, as_json=as_json)


@devices.command("revoke", cls=TakesItemId)
@account_argument()
@item_id_argument("device_id")
@on_a_store
@click.option("--all", "every", is_flag=True, help="All of the account.")
@yes_option
def revoke_devices(
    *, mfa: MFA, account_id: str, device_id: str | None, every: bool, yes: bool, as_json: bool
) -> int:
    """Stop trusting one device, or all: its next sign-in asks for a code."""
    what = _which(device_id, "trusted device", every=every)
    confirm(f"{what} of {account_id!r} will be revoked. Go on?", yes=yes)
    if device_id is None:
        return _revoked(
            account_id, mfa.revoke_other_devices(account_id, keep=None), as_json=as_json
        )
    mfa.revoke_trusted_device(account_id, device_id)
    return _revoked(account_id, 1, as_json=as_json)


def _list(
    account_id: str,
    name: str,
    found: Sequence[Any],
    heads: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    *,
    as_json: bool,
) -> int:
    data = {"account_id": account_id, name: [asdict(one) for one in found]}
    show(as_json_value(data), [table(heads, map(row, found))], as_json=as_json)
    return DONE


def _passcode_row(one: PasscodeInfo) -> tuple[str, ...]:
    used = " ".join([when(one.last_used_at), one.last_used_ip or "", one.last_used_protocol or ""])
    protocols = "any" if one.protocols is None else " ".join(one.protocols)
    made, expires = when(one.created_at), when(one.expires_at)
    return one.label, one.passcode_id, one.hint, protocols, made, used.strip(), expires


def _device_row(one: TrustedDeviceInfo) -> tuple[str, ...]:
    since, until = when(one.created_at), when(one.expires_at)
    return one.label, one.device_id, since, when(one.last_used_at), until


def _which(item_id: str | None, kind: str, *, every: bool) -> str:
    if (item_id is None) != every:
        raise click.UsageError(f"Name a {kind} by its id, or say --all.")
    return f"Every {kind}" if every else f"The {kind} {item_id}"


def _revoked(account_id: str, count: int, *, as_json: bool) -> int:
    data = {"account_id": account_id, "revoked": count}
    show(data, [printable(f"{account_id}: {count} revoked.")], as_json=as_json)
    return DONE
