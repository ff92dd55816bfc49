"""`mfakit report`: every account as the next decision would see it, and what needs a look."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click
from attrs import asdict, fields, frozen
from rich.console import RenderableType

from mfakit.cli.options import on_a_store
from mfakit.cli.output import as_json_value, printable, show, table, when
from mfakit.cli.upkeep import Tally, resumable, walk
from mfakit.errors import MFAKitError
from mfakit.results import MaintenancePage, PasscodeInfo, Status
from mfakit.service import MFA

__all__ = ["report"]


@frozen(kw_only=True)
class Row:
    """One account of a report."""

    account_id: str
    state: str
    required: bool
    enrolled_at: datetime | None
    last_login_at: datetime | None
    authenticators: int
    weak_authenticators: int
    recovery_codes_left: int
    passcodes: int
    stale_passcodes: int
    trusted_devices: int
    key_ids: tuple[str, ...]


# What can be asked for, and who is meant.
_GROUPS: dict[str, Callable[[Row], bool]] = {
    "enrolled": lambda row: row.authenticators > 0,
    "missing": lambda row: row.required and not row.authenticators,
    "locked": lambda row: row.state.startswith("locked"),
    "stale": lambda row: row.stale_passcodes > 0,
    "weak": lambda row: row.weak_authenticators > 0,
    "no-codes": lambda row: row.authenticators > 0 and not row.recovery_codes_left,
}


@click.command()
@on_a_store
@resumable
@click.option(
    "--only",
    "groups",
    type=click.Choice(list(_GROUPS)),
    multiple=True,
    help="Accounts that are: enrolled; required to be and missing; locked; with stale passcodes; with"
    " weak secrets; without recovery codes. May be repeated.",
)
@click.option("--prefix", default="", help="Only accounts whose ids begin so.")
@click.option(
    "--stale-days",
    type=click.IntRange(1, 3650),
    default=180,
    show_default=True,
    help="A passcode is stale when it was not used for so long.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Answer in CSV.")
def report(
    *,
    mfa: MFA,
    groups: tuple[str, ...],
    prefix: str,
    stale_days: int,
    as_csv: bool,
    cursor: str | None,
    page_size: int,
    as_json: bool,
) -> int:
    """Report on all accounts: who is enrolled, missing, locked; stale passcodes; keys in use.

    Each record is opened, so that one that cannot be is found. Exit status: 0 every one opened.
    """
    rows: list[Row] = []
    stale_before = datetime.now(UTC) - timedelta(days=stale_days)
    reading = _Reading(mfa, prefix, stale_before, rows)
    tally = walk(mfa, reading.page, cursor, page_size, "Reading")
    counts = {name: sum(map(is_in, rows)) for name, is_in in _GROUPS.items()}
    listed = [row for row in rows if not groups or any(_GROUPS[one](row) for one in groups)]
    keys = Counter(key_id for row in rows for key_id in row.key_ids)
    data = tally.as_data() | {
        "counts": counts,
        "key_ids": dict(sorted(keys.items())),
        "accounts": as_json_value([asdict(row) for row in listed]),
    }
    if as_csv and not as_json:
        _write_csv(listed)
        return tally.exit_status
    show(data, _text(listed, counts, keys, tally), as_json=as_json)
    return tally.exit_status


@frozen
class _Reading:
    mfa: MFA
    prefix: str
    stale_before: datetime
    rows: list[Row]

    def page(self, cursor: str | None, limit: int) -> MaintenancePage:
        """Read one page into the rows; an account that fails is told and stops nobody."""
        page = self.mfa.accounts(cursor=cursor, limit=limit, prefix=self.prefix)
        failed, key_ids = [], set[str]()
        for account in page.accounts:
            try:
                row = self._row(account.account_id)
            except MFAKitError as error:
                failed.append((account.account_id, error.code))
                continue
            self.rows.append(row)
            key_ids |= set(row.key_ids)
        return MaintenancePage(
            done=len(page.accounts) - len(failed),
            unchanged=0,
            failed=tuple(failed),
            key_ids=tuple(sorted(key_ids)),
            cursor=page.cursor,
        )

    def _row(self, account_id: str) -> Row:
        found = self.mfa.status(account_id)
        passcodes = self.mfa.passcodes(account_id) if found.passcodes else ()
        stale = sum((one.last_used_at or one.created_at) < self.stale_before for one in passcodes)
        return _row(found, passcodes, stale)


def _row(found: Status, passcodes: Sequence[PasscodeInfo], stale: int) -> Row:
    return Row(
        account_id=found.account_id,
        state=found.state,
        required=found.is_required,
        enrolled_at=found.enrolled_at,
        last_login_at=found.last_login_at,
        authenticators=len(found.authenticators),
        weak_authenticators=sum(one.is_weak for one in found.authenticators),
        recovery_codes_left=found.recovery_codes_left,
        passcodes=len(passcodes),
        stale_passcodes=stale,
        trusted_devices=found.trusted_devices,
        key_ids=found.key_ids,
    )


def _cells(row: Row) -> list[str]:
    return [_cell(value) for value in asdict(row, recurse=False).values()]


def _cell(value: object) -> str:
    match value:
        case datetime() | None:
            return when(value)
        case bool():
            return "yes" if value else ""
        case tuple():
            return " ".join(map(str, value))
    return str(value)


_HEADS: list[str] = [field.name for field in fields(Row)]


def _write_csv(rows: Sequence[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_HEADS)
    writer.writerows(map(_cells, rows))


# What fits a terminal of 80 columns; CSV and JSON have the whole names.
_SHORT = {
    "account_id": "account",
    "enrolled_at": "enrolled",
    "last_login_at": "last sign-in",
    "authenticators": "apps",
    "weak_authenticators": "weak apps",
    "recovery_codes_left": "codes left",
    "stale_passcodes": "stale",
    "trusted_devices": "devices",
    "key_ids": "keys",
}


def _table(cells: Sequence[Sequence[str]]) -> RenderableType:
    """Return the rows as a table, without the columns that say nothing of anybody."""
    told = [
        at
        for at, column in enumerate(zip(*cells, strict=True))
        if set(column) - {"", "0"} or _HEADS[at] == "recovery_codes_left"  # 0 is news there
    ]
    heads = [_SHORT.get(_HEADS[at], _HEADS[at]) for at in told]
    return table(heads, [[row[at] for at in told] for row in cells])


def _text(
    rows: Sequence[Row], counts: dict[str, int], keys: Counter[str], tally: Tally
) -> Iterator[RenderableType]:
    if rows:
        yield _table(list(map(_cells, rows)))
    yield ", ".join(f"{count:,} {name}" for name, count in counts.items()) + "."
    met = ", ".join(f"{one} ({count:,})" for one, count in sorted(keys.items()))
    yield printable(f"Key ids in use: {met or 'none'}.")
    yield from tally.as_text("Run it again for these: they could not be read now.")
