"""What names an account in a source is taken as it is, or not at all: never as another account."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

pytest.importorskip("ldif")

from mfakit.migration.files import read_csv, read_ldif
from mfakit.migration.rows import BadRow, Row, Source, make_row

SECRET = "4SJHB4GSD43FZBAI7C2HLRJGPQ"
NO_ID = "The account's id is neither text nor a whole number."


@pytest.mark.parametrize(
    "account", [b"ann", bytearray(b"ann"), 7.0, True, ["ann"], {}, "a\ud800"], ids=ascii
)
def test_what_is_no_id_is_a_bad_row(account: object) -> None:
    """`str(b"ann")` would give the second factor to an account that nobody has."""
    found = make_row("row 1", account, SECRET)
    assert isinstance(found, BadRow)
    assert found.reason == NO_ID


@pytest.mark.parametrize(
    ("account", "wanted"),
    [("ann", "ann"), (7, "7"), (UUID(int=7), "00000000-0000-0000-0000-000000000007")],
)
def test_text_whole_numbers_and_uuids_are_ids(account: object, wanted: str) -> None:
    found = make_row("row 1", account, SECRET)
    assert isinstance(found, Row)
    assert found.account == wanted


def test_an_attribute_that_is_no_text_or_has_two_values(tmp_path: Path) -> None:
    path = tmp_path / "people.ldif"
    path.write_text(
        f"dn: uid=ann\nzimbraId:: /w==\nzimbraTwoFactorAuthSecret: {SECRET}\n\n"
        f"dn: uid=bob\nzimbraId: bob\nzimbraId: robert\nzimbraTwoFactorAuthSecret: {SECRET}\n\n"
        f"dn: uid=cid\nzimbraId: cid\nzimbraTwoFactorAuthSecret: {SECRET}\n"
    )
    *bad, good = read_ldif(Source(place=str(path)))
    assert [one.reason for one in bad if isinstance(one, BadRow)] == [NO_ID] * 2
    assert isinstance(good, Row)
    assert good.account == "cid"


def test_a_label_ends_no_line_of_a_csv_file(tmp_path: Path) -> None:
    """A line separator that an owner typed into a label does not cost them their second factor."""
    path = tmp_path / "accounts.csv"
    path.write_text(f"account_id,label,secret_or_uri\nann,my\u2028phone\x85,{SECRET}\n")
    (found,) = read_csv(Source(place=str(path)))
    assert isinstance(found, Row)
    assert (found.account, found.label) == ("ann", "my\u2028phone\x85")
