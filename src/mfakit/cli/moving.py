"""`mfakit import` and `export`: row by row, rehearsed first, safe to repeat."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import click
from attrs import define, field, frozen
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mfakit.cli.diagnosis import probe
from mfakit.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    authority_options,
    confirm,
    on_a_store,
    yes_option,
)
from mfakit.cli.output import printable, show, table
from mfakit.cli.upkeep import resumable, walk
from mfakit.errors import ConfigurationError, MFAKitError
from mfakit.migration import (
    FORMATS,
    BadRow,
    Outcome,
    Row,
    Source,
    exported,
    import_row,
    rehearsal_of,
)
from mfakit.migration.names import without_secrets
from mfakit.results import MaintenancePage
from mfakit.service import MFA
from mfakit.testing.contract.factory import Named

__all__ = ["export_accounts", "import_accounts"]

_SEEN = "{task.description}: {task.fields[counts]}"
_readable = click.Path(exists=True, dir_okay=False, path_type=Path)


@define
class Count:
    """What a run did so far.

    Attributes:
        row: Number of the last row that was dealt with.
        status: "complete", "stopped" (the store or the source failed) or "interrupted".
    """

    row: int = 0
    status: str = "interrupted"
    reason: str = ""
    imported: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: list[tuple[str, str, str]] = field(factory=list)
    weak: list[str] = field(factory=list)

    @property
    def counts(self) -> str:
        """The counts, for people."""
        return (
            f"{self.imported:,} imported, {self.unchanged:,} unchanged, {self.skipped:,} skipped,"
            f" {len(self.failed):,} failed"
        )

    @property
    def exit_status(self) -> int:
        """0 only when every row was dealt with and none failed."""
        if self.status == "interrupted":
            return INTERRUPTED
        return FAILED if self.failed or self.status == "stopped" else DONE

    def as_data(self, *, is_rehearsal: bool) -> dict[str, object]:
        """The same for programs; `next_row` is what `--from-row` takes."""
        return {
            "rehearsal": is_rehearsal,
            "status": self.status,
            "reason": self.reason,
            "imported": self.imported,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "failed": [
                {"source": source, "account": account, "reason": reason}
                for source, account, reason in self.failed
            ],
            "weak": self.weak,
            "next_row": None if self.status == "complete" else self.row + 1,
        }

    def as_text(self, *, is_rehearsal: bool) -> Iterator[RenderableType]:
        """The same for people."""
        if self.failed:
            yield table(("where", "account", "not imported because"), self.failed)
        if self.weak:
            yield printable(f"Weak secrets, to be replaced: {', '.join(self.weak)}.")
        yield printable(f"{self.status.capitalize()}: {self.counts}.")
        if is_rehearsal:
            yield "This was a rehearsal: nothing was written. Say --apply to do it."
        if self.status != "complete":
            yield printable(f"{self.reason} Go on with --from-row {self.row + 1}".strip())


@frozen(kw_only=True)
class _Names:
    """Which account of the platform a row is for."""

    one: str | None
    known: Mapping[str, str] | None
    prefix: str

    def account_id(self, row: Row) -> str | None:
        if self.one is not None:
            return self.one
        known = row.account if self.known is None else self.known.get(row.account)
        return None if known is None else self.prefix + known


def _formats_text() -> str:
    return "\n".join(["\b", *[f"{name:<15} {one.text}" for name, one in FORMATS.items()]])


@click.command(
    "import",
    help="Take over authenticators that owners use elsewhere, so that nobody enrols anew.\n\n"
    "Without --apply nothing is written: every row is decided as it would be, and what would fail is"
    " listed. A row that fails stops no other; what is there already is unchanged, so a run can be"
    f" repeated. SOURCE is a file, or a database URL for a table.\n\n{_formats_text()}",
)
@click.argument("name", metavar="FORMAT", type=click.Choice(list(FORMATS)))
@click.argument("place", metavar="SOURCE")
@on_a_store
@authority_options
@click.option("--apply", is_flag=True, help="Write.")
@click.option("--allow-weak", is_flag=True, help="Take secrets of 80-127 bits, too.")
@click.option(
    "--allow-key-like-ids",
    is_flag=True,
    help="Take account ids that look like keys in base32, hex or base64, too; they are not shown.",
)
@click.option("--account", metavar="ID", help="Every row is of this account.")
@click.option(
    "--accounts",
    type=_readable,
    metavar="CSV",
    help="Two columns: the name that the source uses, the id that the platform uses.",
)
@click.option("--prefix", default="", help="Put before each account id, as in tenant/.")
@click.option("--issuer", help="Only rows of this issuer; the others are skipped.")
@click.option("--table", "table_name", help="Of a database; by default that of the software.")
@click.option("--id-field", help="Column or attribute that names the account.")
@click.option("--secret-field", help="Column or attribute that holds the secret.")
@click.option(
    "--passphrase-file",
    type=_readable,
    help="What opens sealed secrets: SECURITY_TOTP_SECRETS as passlib reads it; of PSKC the passphrase"
    " or the key in hex.",
)
@click.option("--decrypt", metavar="MODULE:FUNCTION", help="Of stored text, returns base32.")
@click.option(
    "--from-row",
    type=click.IntRange(1),
    default=1,
    help="Where an earlier run stopped; it said so.",
)
def import_accounts(
    *,
    mfa: MFA,
    name: str,
    place: str,
    apply: bool,
    account: str | None,
    accounts: Path | None,
    prefix: str,
    issuer: str | None,
    from_row: int,
    as_json: bool,
    table_name: str | None,
    id_field: str | None,
    secret_field: str | None,
    passphrase_file: Path | None,
    decrypt: str | None,
    **authority: Any,
) -> int:
    """See `help` above."""
    if account is not None and accounts is not None:
        raise click.UsageError("Say --account or --accounts, not both.")
    source = Source(
        place=place,
        table=table_name,
        id_field=id_field,
        secret_field=secret_field,
        passphrase=None if passphrase_file is None else _text_of(passphrase_file),
        **({} if decrypt is None else {"decrypt": Named(decrypt).find()}),
    )
    _require_opening(mfa)
    names = _Names(one=account, known=None if accounts is None else _known(accounts), prefix=prefix)
    used = mfa if apply else rehearsal_of(mfa)

    def do(row: Row, account_id: str) -> Outcome:
        return import_row(used, row, account_id, **authority)

    count = _run(FORMATS[name].read(source), from_row, _Step(names, issuer, do))
    data, text = count.as_data(is_rehearsal=not apply), count.as_text(is_rehearsal=not apply)
    show(data, text, as_json=as_json)
    return count.exit_status


def _require_opening(mfa: MFA) -> None:
    """Refuse to write what the platform could not open: records under another realm, or other keys."""
    found = probe(mfa)
    if found.tried and not found.opened:
        raise click.ClickException(f"{found.on_many()} Nothing was written.")


@frozen
class _Step:
    names: _Names
    issuer: str | None
    do: Callable[[Row, str], Outcome]

    def __call__(self, row: Row | BadRow, count: Count) -> None:
        """Deal with one row, and count what became of it."""
        if isinstance(row, BadRow):
            count.failed.append((row.source, row.account, row.reason))
            return
        if self.issuer is not None and row.issuer != self.issuer:
            count.skipped += 1
            return
        account_id = self.names.account_id(row)
        if account_id is None:
            name = row.shown(row.account)
            count.failed.append((row.source, name, "No such name in --accounts."))
            return
        outcome = self.do(row, account_id)
        if outcome.status == "failed":
            count.failed.append((row.source, row.shown(account_id), outcome.reason))
            return
        count.imported += outcome.status == "imported"
        count.unchanged += outcome.status == "unchanged"
        count.weak += [row.shown(account_id) or row.source] if row.is_weak else []


def _run(rows: Iterator[Row | BadRow], from_row: int, step: _Step) -> Count:
    count = Count()
    console = Console(stderr=True)
    columns = (TextColumn(_SEEN), BarColumn(pulse_style="cyan"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Importing", total=None, counts=count.counts)
        try:
            for number, row in enumerate(rows, 1):
                if number >= from_row:
                    step(row, count)
                count.row = number
                progress.update(task, counts=count.counts)
            count.status = "complete"
        except ConfigurationError:
            raise
        except MFAKitError as error:
            count.status, count.reason = "stopped", error.text
        except KeyboardInterrupt:
            count.reason = "Nothing is lost."
    return count


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError("--passphrase-file cannot be read as text.") from None


def _known(path: Path) -> dict[str, str]:
    """Read the names of a CSV file; empty lines count for nothing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        return {name.strip(): account_id.strip() for name, account_id in rows}
    except (OSError, ValueError, csv.Error):
        raise ConfigurationError("--accounts must have two columns in each line.") from None


# ---------------------------------------------------------------------------------------------- export


@click.command("export")
@click.argument("file", metavar="FILE")
@on_a_store
@resumable
@click.option("--prefix", default="", help="Only accounts whose ids begin so.")
@yes_option
def export_accounts(
    *,
    mfa: MFA,
    file: str,
    prefix: str,
    yes: bool,
    cursor: str | None,
    page_size: int,
    as_json: bool,
) -> int:
    """Write every authenticator IN CLEAR into a new CSV file, readable by you only; - is stdout.

    For moving to other software, or to another key ring: `mfakit import csv` reads it. Whoever reads
    the file can sign in as anybody: destroy it when you are done.
    """
    named = without_secrets(file)
    confirm(f"The secrets of all accounts will be in {named} in clear. Go on?", yes=yes)
    with _opened_for_writing(file) as out:
        writer = csv.writer(out)
        if cursor is None:
            writer.writerow(("account_id", "label", "secret_or_uri"))
        tally = walk(mfa, _Exporting(mfa, prefix, writer.writerow), cursor, page_size, "Exporting")
    show(tally.as_data(), tally.as_text(), as_json=as_json) if file != "-" else None
    return tally.exit_status


@frozen
class _Exporting:
    mfa: MFA
    prefix: str
    write: Callable[[tuple[str, str, str]], object]

    def __call__(self, cursor: str | None, limit: int) -> MaintenancePage:
        """Write one page; an account that does not open is told and stops nobody."""
        page = self.mfa._scan(cursor, limit, self.prefix)
        failed, unchanged = list[tuple[str, str]](), 0
        for stored in page.records:
            try:
                rows = list(exported(self.mfa, stored))
            except MFAKitError as error:
                failed.append((stored.account_id, error.code))
                continue
            unchanged += not rows
            for row in rows:
                self.write(row)
        done = len(page.records) - len(failed) - unchanged
        return MaintenancePage(
            done=done, unchanged=unchanged, failed=tuple(failed), key_ids=(), cursor=page.cursor
        )


def _opened_for_writing(file: str) -> Any:
    if file == "-":
        return nullcontext(sys.stdout)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be made, or is there already.") from error
    opened: TextIO = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
    return opened
