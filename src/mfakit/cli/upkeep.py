"""Work over all accounts of a store: key rotation, group reset. A page at a time, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import click
from attrs import define, field, frozen
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mfakit.arguments import parse_account_id
from mfakit.cli.diagnosis import Diagnosis, diagnose, opening_error, probe
from mfakit.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_OPENED,
    account_argument,
    authority_options,
    confirm,
    is_terminal,
    on_a_store,
    yes_option,
)
from mfakit.cli.output import printable, show, table
from mfakit.errors import (
    ConfigurationError,
    InvalidInputError,
    MFAKitError,
    RecordSchemaError,
    UnknownAccountError,
)
from mfakit.results import MaintenancePage
from mfakit.service import MFA

__all__ = ["Tally", "keys", "reset", "resumable", "walk"]

Step = Callable[[str | None, int], MaintenancePage]
_AGAIN = "Run it again for these: the others are then unchanged."
_PAGE = "{task.description}: {task.fields[counts]}"


@define
class Tally:
    """What a run did so far, and where to go on.

    Attributes:
        cursor: Of the next page; None before the first and after the last.
        status: "complete", "stopped" (the store failed) or "interrupted".
        diagnosis: Why records did not open; None if each did.
    """

    cursor: str | None
    status: str = "interrupted"
    reason: str = ""
    diagnosis: Diagnosis | None = None
    done: int = 0
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(factory=list)
    key_ids: set[str] = field(factory=set)

    def add(self, page: MaintenancePage) -> None:
        """Count a page, and stand behind it."""
        self.done += page.done
        self.unchanged += page.unchanged
        self.failed += page.failed
        self.key_ids |= set(page.key_ids)
        self.cursor = page.cursor

    @property
    def counts(self) -> str:
        """The counts, for people."""
        return f"{self.done:,} done, {self.unchanged:,} unchanged, {len(self.failed):,} failed"

    @property
    def exit_status(self) -> int:
        """0 only when every account was met and none failed."""
        if self.status == "interrupted":
            return INTERRUPTED
        return FAILED if self.failed or self.status == "stopped" else DONE

    def as_data(self) -> dict[str, object]:
        """The same for programs; `cursor` is what `--cursor` takes, null at the end."""
        return {
            "status": self.status,
            "reason": self.reason,
            "done": self.done,
            "unchanged": self.unchanged,
            "failed": [{"account_id": one, "code": code} for one, code in self.failed],
            "diagnosis": self.diagnosis and self.diagnosis.as_data(),
            "key_ids": sorted(self.key_ids),
            "cursor": self.cursor,
        }

    def as_text(self, again: str = _AGAIN) -> Iterator[RenderableType]:
        """The same for people; `again` says what to do about accounts that failed for a while."""
        yield printable(f"{self.status.capitalize()}: {self.counts}.")
        if self.failed:
            yield table(("account", "failed by"), self.failed)
            yield again if self.diagnosis is None else printable(self.diagnosis.on_many())
        if self.status != "complete":
            again = "the same command" if self.cursor is None else f"--cursor={quote(self.cursor)}"
            yield printable(f"{self.reason} Go on with {again}")


def walk(mfa: MFA, step: Step, cursor: str | None, page_size: int, what: str) -> Tally:
    """Call a step until its last page, showing how far it is; stop at the first page that fails.

    Records that did not open are diagnosed by those that did.
    """
    tally = Tally(cursor=cursor)
    console = Console(stderr=True)
    columns = (TextColumn(_PAGE), BarColumn(pulse_style="cyan"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None, counts=tally.counts)
        try:
            while tally.status != "complete":
                page = step(tally.cursor, page_size)
                tally.add(page)
                progress.update(task, counts=tally.counts)
                tally.status = "complete" if page.cursor is None else tally.status
        except (ConfigurationError, InvalidInputError):
            raise
        except MFAKitError as error:
            tally.status, tally.reason = "stopped", error.text
        except KeyboardInterrupt:
            tally.reason = "Nothing is lost."
    tally.diagnosis = diagnose(mfa, tally.failed, opened=tally.done + tally.unchanged)
    return tally


def resumable(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a walk."""
    for option in (
        click.option("--page-size", type=click.IntRange(1, 10_000), default=500, show_default=True),
        click.option("--cursor", help="Where an earlier run stopped; it said so."),
    ):
        command = option(command)
    return command


@click.group()
def keys() -> None:
    """The platform's keys."""


@keys.command()
@on_a_store
@resumable
def rotate(*, mfa: MFA, cursor: str | None, page_size: int, as_json: bool) -> int:
    """Seal every account anew under the newest key. Safe beside sign-ins, and to repeat."""
    tally = walk(
        mfa, lambda at, size: mfa.rotate_keys(cursor=at, limit=size), cursor, page_size, "Rotating"
    )
    show(tally.as_data(), (*tally.as_text(), _keys_text(tally)), as_json=as_json)
    return tally.exit_status


def _keys_text(tally: Tally) -> str:
    met = ", ".join(sorted(tally.key_ids)) or "none"
    return (
        f"Keys that sealed these accounts before: {met}.\n"
        "A key may be dropped once a run over all accounts met it no more and none failed."
    )


def moment(text: str) -> datetime:
    """Parse an aware moment in ISO 8601, or "now"."""
    if text == "now":
        return datetime.now(UTC)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("Write it as 2027-01-31T18:00:00Z, or: now.") from None
    if parsed.tzinfo is None:
        raise click.BadParameter("Add the zone, as in 2027-01-31T18:00:00Z.")
    return parsed


@click.command()
@account_argument(required=False)
@on_a_store
@resumable
@authority_options
@yes_option
@click.option(
    "--group-before",
    "before",
    type=moment,
    metavar="MOMENT",
    help="Instead of one account: all that enrolled before this moment (ISO 8601 with a zone, or:"
    " now).",
)
@click.option("--prefix", default="", help="Of a group: only accounts whose ids begin so.")
@click.option("--reenroll", is_flag=True, help="The next sign-in must set two-step up again.")
@click.option(
    "--force",
    is_flag=True,
    help="Of one account: throw its record away if it does not open, and other records do.",
)
@click.option(
    "--keys-are-lost",
    is_flag=True,
    help="With --force: throw it away although most other records do not open either. With a wrong"
    " realm or key file, that destroys what is sound.",
)
def reset(
    *,
    account_id: str | None,
    before: datetime | None,
    prefix: str,
    yes: bool,
    force: bool,
    keys_are_lost: bool,
    **rest: Any,
) -> int:
    """Take two-step verification off one account, or off a group, at once.

    Check first who asks: whoever has the password signs in with nothing more from then on. Repeating
    it does no harm. A record that does not open is left alone, unless --force is given.
    """
    if (account_id is None) == (before is None):
        raise click.UsageError("Name an account, or a group by --group-before.")
    if keys_are_lost and not force:
        raise click.UsageError("--keys-are-lost goes with --force.")
    if account_id is not None:
        wanted = ("mfa", "actor", "reason", "reenroll", "as_json")
        only = {name: rest[name] for name in wanted}
        asking = _Asking(yes=yes, force=force, keys_are_lost=keys_are_lost)
        return _reset_one(account_id, asking, **only)
    assert before is not None
    if force:
        raise click.UsageError("--force is for one account: name it.")
    which = f"account that begins with {prefix!r} and" if prefix else "account that"
    confirm(_WHAT_GOES.format("every", f"{which} enrolled before {before.isoformat()}"), yes=yes)
    return _reset_group(before, prefix, **rest)


_WHAT_GOES = (
    "Authenticators, recovery codes, passcodes and trusted devices of {} {} will be gone. Go on?"
)


@frozen(kw_only=True)
class _Asking:
    """What the operator agreed to on the command line."""

    yes: bool
    force: bool
    keys_are_lost: bool


def _reset_one(
    account_id: str,
    asking: _Asking,
    *,
    mfa: MFA,
    actor: str,
    reason: str,
    reenroll: bool,
    as_json: bool,
) -> int:
    error = opening_error(mfa, parse_account_id(account_id))
    if isinstance(error, UnknownAccountError):
        return _refused(account_id, error, _NO_RECORD, None, as_json=as_json)
    found = None if error is None else probe(mfa, besides=account_id)
    if error is not None and found is not None:
        refusal = _refusal(account_id, asking, error, found)
        if refusal is not None:
            return _refused(account_id, error, refusal, found, as_json=as_json)
    confirm(_WHAT_GOES.format("account", repr(account_id)), yes=asking.yes)
    force = error is not None
    mfa.reset(account_id, actor=actor, reason=reason, reenroll=reenroll, force=force)
    state = mfa.status(account_id).state
    told = printable(f"{account_id}: reset. Two-step verification is off; every session has ended.")
    show({"account_id": account_id, "state": state, "code": None}, [told], as_json=as_json)
    return DONE


_NO_RECORD = "There is no record of this account. Is that its id, and not its address?"
_LOST = (
    " If the keys are lost for good, and so is every backup of them, add --keys-are-lost: that throws"
    " the record away."
)


def _refusal(account_id: str, asking: _Asking, error: MFAKitError, found: Diagnosis) -> str | None:
    """Return why a record that does not open is not thrown away, None if it is to be."""
    advice = f"{NOT_OPENED} {found.on_one()}"
    if isinstance(error, RecordSchemaError) or not asking.force:
        return advice
    # SECURITY: with a wrong realm or key file, --force would destroy one sound record after another.
    if not found.is_widespread or asking.keys_are_lost:
        return None
    return None if _is_typed(account_id, advice) else advice + _LOST


def _is_typed(account_id: str, advice: str) -> bool:
    """Ask for the id, at a terminal: a yes is given too easily."""
    if not is_terminal():
        return False
    click.echo(advice, err=True)
    question = "To throw the record away all the same, type the account's id"
    return bool(click.prompt(question, default="", show_default=False, err=True) == account_id)


def _refused(
    account_id: str, error: MFAKitError, text: str, found: Diagnosis | None, *, as_json: bool
) -> int:
    if not as_json:
        raise click.ClickException(f"{text} Nothing was written.")
    data = {"account_id": account_id, "state": None, "code": error.code, "reason": text}
    show(data | {"diagnosis": found and found.as_data()}, (), as_json=True)
    return FAILED


def _reset_group(
    before: datetime,
    prefix: str,
    *,
    mfa: MFA,
    actor: str,
    reason: str,
    reenroll: bool,
    cursor: str | None,
    page_size: int,
    as_json: bool,
) -> int:
    tally = walk(
        mfa,
        lambda at, size: mfa.reset_group(
            actor=actor,
            reason=reason,
            prefix=prefix,
            enrolled_before=before,
            reenroll=reenroll,
            cursor=at,
            limit=size,
        ),
        cursor,
        page_size,
        "Resetting",
    )
    show(tally.as_data(), tally.as_text(), as_json=as_json)
    return tally.exit_status
