"""The benchmarks: their arithmetic, their turns, their report, and one tiny run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import clients, engines, growth, items, plots, report, stores  # noqa: E402
from benchmarks.timing import Claim, Curves, Rounds, Section, UnavailableError, interleave  # noqa: E402
from benchmarks.world import ACCOUNT, World  # noqa: E402

from mfakit.storage.memory import MemoryStore  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"


# ---------------------------------------------------------------------------------- the arithmetic


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    """Not the ratio of the medians, which would be 4.5 here."""
    rounds = Rounds(taken={"slow": [4.0, 9.0, 100.0], "fast": [2.0, 3.0, 1.0]})
    assert rounds.ratio("slow", "fast") == 3


def test_the_undisturbed_ratio_is_of_the_fast_turns():
    slow = [20.0, 10.0, *[1000.0] * 4, 30.0, *[500.0] * 4]
    fast = [5.0, 4.0, *[90.0] * 9]
    assert Rounds(taken={"slow": slow, "fast": fast}).undisturbed_ratio("slow", "fast") == 4


def test_microseconds_are_medians():
    assert Rounds(taken={"one": [3000.0, 1000.0, 9000.0]}).microseconds() == {"one": 3}


@pytest.mark.parametrize(
    ("bounds", "is_met", "target"),
    [
        ({}, True, ""),
        ({"at_least": 2.0}, True, ">= 2"),
        ({"at_least": 2.1}, False, ">= 2.1"),
        ({"at_most": 2.0}, True, "<= 2"),
        ({"at_most": 1.7}, False, "<= 1.7"),
        ({"at_least": 2.0, "at_most": 2.0}, True, ">= 2 <= 2"),
    ],
)
def test_a_claim_keeps_its_bounds(bounds, is_met, target):
    claim = Claim(name="a claim", value=2.0, **bounds)
    assert (claim.is_met, claim.target) == (is_met, target)


def test_contenders_take_turns_and_each_begins_a_round():
    called: list[str] = []
    contenders = {name: lambda name=name: called.append(name) for name in "ABC"}
    rounds = interleave(contenders, rounds=3, calls={"A": 1, "B": 2, "C": 1})
    assert "".join(called) == "ABBC" + "ABBC" + "BBCA" + "CABB"
    assert {name: len(taken) for name, taken in rounds.taken.items()} == {"A": 3, "B": 3, "C": 3}


# -------------------------------------------------------------------------------------- the report


SECTION = Section(
    title="A title",
    microseconds={"ours": 1234.56, "theirs": 2.0},
    claims=(
        Claim(name="kept", value=3.0, at_least=2.0),
        Claim(name="broken", value=3.0, at_most=2.0),
        Claim(name="stated", value=3.0),
    ),
)


def test_a_section_as_tables():
    lines = report.as_markdown(SECTION).splitlines()
    assert "| ours | 1,234.6 |" in lines
    assert lines[-3:] == [
        "| kept | 3.00 | >= 2 | met |",
        "| broken | 3.00 | <= 2 | **missed** |",
        "| stated | 3.00 |  |  |",
    ]


def test_figures_go_between_their_comments_and_nowhere_else():
    page = "\n".join(
        f"before {name}\n<!-- figures: {name} -->\nold {name}\n<!-- end of figures -->\nafter {name}"
        for name in ("a", "b", "ab")
    )
    filled = report.fill_in(page, "b", "| \\1 new |")
    assert filled == page.replace("\nold b\n", "\n\n| \\1 new |\n\n")


@pytest.mark.parametrize("page", ["", 2 * "<!-- figures: a -->\n<!-- end of figures -->\n"])
def test_a_page_must_have_one_place_for_a_table(page):
    with pytest.raises(ValueError, match="figures: a"):
        report.fill_in(page, "a", "table")


def test_the_page_has_a_place_for_every_benchmark():
    page = PAGE.read_text(encoding="utf-8")
    for name in ("machine", *command._runs((1000,))):
        assert "no figures yet" in report.fill_in(page, name, "no figures yet")


# ------------------------------------------------------------------------------------- the command


def _unavailable(*, is_quick: bool) -> Section:
    raise UnavailableError("apt-get install a-server")


@pytest.fixture
def fake_runs(monkeypatch):
    runs = {"measured": lambda *, is_quick: SECTION, "missing": _unavailable}
    monkeypatch.setattr(command, "_runs", lambda accounts: runs)


@pytest.mark.usefixtures("fake_runs")
def test_check_fails_when_a_target_is_missed(capsys):
    assert command.main([]) == 0
    assert command.main(["--check"]) == 1
    assert command.main(["missing", "--check"]) == 0
    shown = capsys.readouterr().out
    assert "target <= 2: MISSED" in shown
    assert "missing is skipped. apt-get install a-server" in shown


@pytest.mark.usefixtures("fake_runs")
def test_json_has_what_was_measured_and_what_was_skipped(capsys):
    command.main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["skipped"] == {"missing": "apt-get install a-server"}
    assert found["sections"]["measured"]["microseconds"] == {"ours": 1234.56, "theirs": 2.0}
    assert [one["met"] for one in found["sections"]["measured"]["claims"]] == [True, False, True]


@pytest.mark.usefixtures("fake_runs")
def test_write_puts_the_tables_into_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "".join(
            f"<!-- figures: {name} -->\n<!-- end of figures -->\n"
            for name in ("machine", "measured", "missing")
        ),
        encoding="utf-8",
    )
    command.main(["--write", str(page)])
    text = page.read_text(encoding="utf-8")
    assert "| broken | 3.00 | <= 2 | **missed** |" in text
    assert text.endswith("<!-- figures: missing -->\n<!-- end of figures -->\n")


@pytest.mark.parametrize("given", [["unknown"], ["--accounts", "999", "100000"]])
def test_what_cannot_be_measured_is_refused(given, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(given)
    assert ended.value.code == 2
    assert capsys.readouterr().err


# ------------------------------------------------------------------------------------ a tiny run


@contextmanager
def _sqlite_without_peers() -> Iterator[engines.Engine]:
    with engines.sqlite("NORMAL") as engine:
        yield replace(engine, django=None)


def test_a_store_is_measured_against_its_bare_driver():
    case = stores.Case(title="A run", open=_sqlite_without_peers, calls=3)
    section = stores.run(case, is_quick=True)
    assert set(section.microseconds) == {
        "SQLiteStore: verify_code",
        "SQLiteStore: authenticate_client, remembered",
        "MemoryStore: verify_code",
        "MemoryStore with the bare driver's inside: verify_code",
        "bare driver, read and conditional write",
        "bare driver, read",
    }
    values = {claim.name: claim.value for claim in section.claims}
    assert set(values) == {
        "SQLiteStore: code check, rate of the bare driver's",
        "SQLiteStore: code check, times the bare driver's within a check in memory",
        "SQLiteStore: passcode login, times a bare read",
    }
    assert values["SQLiteStore: passcode login, times a bare read"] > 1


def test_a_filled_table_has_the_measured_accounts_spread_over_it():
    """The same accounts and as many others as asked for, in equal parts between them."""
    row = World(MemoryStore()).row()
    rows = [structs.replace(row, account_id=f"{ACCOUNT}-{number}") for number in range(200)]
    with growth.sqlite(rows, 400) as store:
        page = store.scan(cursor=None, limit=1000)
        assert [store.load(one.account_id) for one in rows] == rows
        with closing(store._connect()) as connection:
            found = connection.execute("SELECT account_id FROM mfakit_account ORDER BY rowid")
            names = [name for (name,) in found]
    assert len(page.records) == len(names) == 600
    assert {one.document for one in page.records} == {row.document}
    places = [place for place, name in enumerate(names) if name.startswith(ACCOUNT)]
    assert len(places) == 200
    assert max(after - before for before, after in pairwise(places)) == 5


def test_growth_needs_room_on_the_disk():
    with pytest.raises(UnavailableError, match="TMPDIR"):
        growth._require_disk(10**12)


def test_clients_of_several_processes_are_timed_and_none_fails(tmp_path):
    clients.SQLiteStore(tmp_path / "mfakit.db", synchronous="NORMAL").close()
    turn = clients._turn((clients._mfakit, tmp_path / "mfakit.db"), threads=2, seconds=0.2)
    assert turn.errors == 0
    assert len(turn.taken) > 4
    assert turn.rate == len(turn.taken) / 0.2
    assert 0 < min(turn.taken) <= turn.p99_milliseconds * 1e6


def test_more_passcodes_and_more_phones_are_measured():
    wrong = items._wrong_logins(2)
    assert wrong() is None
    assert items._remembered_logins(2)().via == "passcode"
    check = items._code_checks(3, 2)
    assert isinstance(check(), str)


def test_every_peer_judges_the_wrong_code():
    """None raises; what says something says no. The right code is the control."""
    pytest.importorskip("allauth", reason="pip install '.[bench]'")
    script = """
import os
from base64 import b32encode
from unittest.mock import patch
from benchmarks import peers, totp
from pyotp import HOTP
secret, middle = os.urandom(20), totp._NOW // 30
window = range(middle - 1, middle + 2)
phone = HOTP(b32encode(secret).decode())
codes = {phone.at(step) for step in window}
wrong = next(code for code in map("{:06d}".format, range(9)) if code not in codes)
for code in (wrong, phone.at(middle)):
    contenders = totp._peers(secret, code, window)
    with patch("allauth.mfa.totp.internal.auth.time", peers.Time(totp._NOW)):
        print(*[contenders[name]() for name in ("pyotp", "django-otp", "allauth")])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["False False False", "True True True"]


def test_a_plot_is_the_same_for_the_same_figures_and_loads_nothing():
    pytest.importorskip("matplotlib", reason="pip install '.[bench]'")
    curves = Curves(across="accounts", up="µs", lines={"ours": {1: 5.0, 10: 7.0}})
    picture = plots.as_svg("A title", curves)
    assert picture == plots.as_svg("A title", curves)
    assert all(text in picture for text in ("A title", "accounts", "µs", "ours"))
    assert 'href="http' not in picture


_PEERS = """
import sys, tempfile
from pathlib import Path
from benchmarks import peers
with tempfile.TemporaryDirectory() as directory:
    for name in ("one", "two"):
        peers.use_database(peers.sqlite(Path(directory) / name, "NORMAL"))
        for peer in (peers.DjangoOTP(5), peers.Allauth(5)):
            for _ in range(4):
                peer.check()
            codes = list(peer._codes)
            peer._codes = iter([codes[0], codes[0]])
            peer.check()
            try:
                peer.check()
            except AssertionError:
                print("refused")
    peers.leave_database()
"""


def test_the_peers_accept_fresh_codes_and_refuse_a_replay():
    """What they are timed at is what they are for; after a change of database too."""
    pytest.importorskip("django_otp", reason="pip install '.[bench]'")
    pytest.importorskip("allauth", reason="pip install '.[bench]'")
    done = subprocess.run(
        [sys.executable, "-c", _PEERS], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["refused"] * 4
