"""Work over all accounts of a store: key rotation, group reset. A page at a time, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import click
from attrs import define, field
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mfakit.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    OTHER_REALM,
    account_argument,
    authority_options,
    confirm,
    on_a_store,
    yes_option,
)
from mfakit.cli.output import printable, show, table
from mfakit.errors import (
    ConfigurationError,
    InvalidInputError,
    MFAKitError,
    RecordIntegrityError,
    UnavailableError,
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
    """

    cursor: str | None
    status: str = "interrupted"
    reason: str = ""
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
            "key_ids": sorted(self.key_ids),
            "cursor": self.cursor,
        }

    def as_text(self, again: str = _AGAIN) -> Iterator[RenderableType]:
        """The same for people; `again` says what to do about accounts that failed."""
        yield printable(f"{self.status.capitalize()}: {self.counts}.")
        if self.failed:
            yield table(("account", "failed by"), self.failed)
            yield again
        if any(code == RecordIntegrityError.code for _, code in self.failed):
            yield OTHER_REALM
        if self.status != "complete":
            again = "the same command" if self.cursor is None else f"--cursor={quote(self.cursor)}"
            yield printable(f"{self.reason} Go on with {again}")


def walk(step: Step, cursor: str | None, page_size: int, what: str) -> Tally:
    """Call a step until its last page, showing how far it is; stop at the first page that fails."""
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
        lambda at, size: mfa.rotate_keys(cursor=at, limit=size), cursor, page_size, "Rotating"
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
def reset(
    *, account_id: str | None, before: datetime | None, prefix: str, yes: bool, **rest: Any
) -> int:
    """Take two-step verification off one account, or off a group, at once.

    Check first who asks: whoever has the password signs in with nothing more from then on. Repeating
    it does no harm.
    """
    if (account_id is None) == (before is None):
        raise click.UsageError("Name an account, or a group by --group-before.")
    if account_id is not None:
        confirm(_WHAT_GOES.format("account", repr(account_id)), yes=yes)
        wanted = ("mfa", "actor", "reason", "reenroll", "as_json")
        return _reset_one(account_id, **{name: rest[name] for name in wanted})
    assert before is not None
    which = f"account that begins with {prefix!r} and" if prefix else "account that"
    confirm(_WHAT_GOES.format("every", f"{which} enrolled before {before.isoformat()}"), yes=yes)
    return _reset_group(before, prefix, **rest)


_WHAT_GOES = (
    "Authenticators, recovery codes, passcodes and trusted devices of {} {} will be gone. Go on?"
)


def _reset_one(
    account_id: str, *, mfa: MFA, actor: str, reason: str, reenroll: bool, as_json: bool
) -> int:
    if not _is_known(mfa, account_id):
        click.echo(_NO_RECORD, err=True)
    mfa.reset(account_id, actor=actor, reason=reason, reenroll=reenroll)
    state = mfa.status(account_id).state
    told = printable(f"{account_id}: reset. Two-step verification is off; every session has ended.")
    show({"account_id": account_id, "state": state}, [told], as_json=as_json)
    return DONE


_NO_RECORD = "There was no record of this account. Is that its id, and not its address?"


def _is_known(mfa: MFA, account_id: str) -> bool:
    try:
        return bool(mfa.status(account_id).key_ids)
    except UnknownAccountError:
        return False
    except UnavailableError:
        return True  # a record that does not open


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
