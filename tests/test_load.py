"""The storm: short runs are clean, and the audit finds what a ledger written by hand has wrong."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks.load import __main__ as command  # noqa: E402
from benchmarks.load import ledger, storm  # noqa: E402
from benchmarks.load.ledger import Entry  # noqa: E402

from servers.child import require  # noqa: E402
from servers.postgres import HOW_TO_GET_IT, binaries  # noqa: E402

LOST = "acknowledged and not as stored"
TWICE = "codes and challenges accepted twice"
ODD = "answers that the call may not get, store failures, crashes"
GUESSED = "wrong codes evaluated on the attacked account"
ARGON2 = "Argon2 runs in flight in one process, at most"


def found(outcome: storm.Outcome) -> dict[str, float]:
    return {claim.name: claim.value for claim in outcome.claims}


# ---------------------------------------------------------------------------------------- the audit


def accepted(item: str, method: str = "totp", challenge: str = "", **more: Any) -> Entry:
    return Entry(
        "sign-in", "ann", "accepted", 0.1, method=method, item=item, challenge=challenge, **more
    )


@pytest.mark.parametrize(
    ("entries", "twice"),
    [
        ([accepted("7", challenge="a"), accepted("8", challenge="b")], []),
        ([accepted("7", challenge="a"), accepted("7", challenge="b")], [("ann", "totp", "7")]),
        ([accepted("7", challenge="a"), accepted("8", challenge="a")], [("ann", "challenge", "a")]),
        ([accepted("0", "recovery"), accepted("0", "recovery")], [("ann", "recovery", "0")]),
        ([accepted("0", "recovery"), accepted("0")], []),
        (
            [accepted("7"), Entry("replay", "ann", "WrongCodeError", 0.1, method="totp", item="7")],
            [],
        ),
    ],
)
def test_what_was_accepted_twice_is_found(entries: list[Entry], twice: list[tuple]) -> None:
    assert ledger.accepted_twice(entries) == twice


BODY: dict[str, Any] = {
    "authenticators": [{"last_step": 8}],
    "recovery": {"sealed_hashes": [None, "sealed"]},
    "code_throttle": {"days": [[20833, 2]]},
    "passcodes": [{"label": "first 0"}, {"label": "made 1"}],
}
LEDGER = [
    accepted("7"),
    accepted("8"),
    accepted("0", "recovery"),
    *[Entry("guess", "ann", "WrongCodeError", 0.1, "refused", "totp", "wrong")] * 2,
    Entry("guess", "ann", "ThrottledError", 0.1, "refused", "totp", "wrong"),
    Entry("create passcode", "ann", "accepted", 0.1, item="made 0"),
    Entry("create passcode", "ann", "accepted", 0.1, item="made 1"),
    Entry("revoke passcode", "ann", "accepted", 0.1, item="made 0"),
]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, None),
        ({"authenticators": [{"last_step": 7}]}, "last step"),
        ({"recovery": {"sealed_hashes": ["sealed", "sealed"]}}, "recovery codes used"),
        ({"recovery": {"sealed_hashes": [None, None]}}, "recovery codes used"),
        ({"code_throttle": {"days": [[20833, 1]]}}, "wrong codes (totp)"),
        ({"code_throttle": {}}, "wrong codes (totp)"),
        ({"recovery_throttle": {"days": [[20833, 1]]}}, "wrong codes (recovery)"),
        ({"passcodes": [{"label": "first 0"}]}, "passcodes"),
        ({"passcodes": [{"label": name} for name in ("first 0", "made 0", "made 1")]}, "passcodes"),
    ],
)
def test_what_was_acknowledged_and_is_not_stored_is_found(changes: dict, name: str | None) -> None:
    documents = {"ann": json.dumps({"v": 1, "body": BODY | changes}).encode()}
    lost = list(ledger.lost(LEDGER, documents, passcodes=1))
    assert [text.split(": ")[1] for text in lost] == ([name] if name else [])


@pytest.mark.parametrize(
    ("outcome", "expected", "is_as_expected"),
    [
        ("accepted", "accepted", True),
        ("accepted", "either", True),
        ("accepted", "refused", False),
        ("WrongCodeError", "accepted", False),
        ("WrongCodeError", "refused", True),
        ("BusyError", "accepted", True),
        ("StoreUnavailableError", "accepted", False),
        ("StoreUnavailableError", "either", False),
        ("!KeyError: 1", "refused", False),
        ("!KeyError: 1", "either", False),
    ],
)
def test_which_answers_a_call_may_get(outcome: str, expected: str, is_as_expected: bool) -> None:
    assert Entry("call", "ann", outcome, 0.1, expected).is_as_expected is is_as_expected


def test_percentiles_are_of_each_kind_of_call() -> None:
    entries = [Entry("slow", "ann", "accepted", number / 1000) for number in range(1, 102)]
    entries.append(Entry("fast", "ann", "accepted", 0.001))
    assert ledger.percentiles(entries) == {"fast": (1, 1.0, 1.0), "slow": (101, 51.0, 100.0)}


# ----------------------------------------------------------------------------------------- the storm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seconds"), [("sqlite", 10), pytest.param("postgres", 5, marks=pytest.mark.server)]
)
def test_a_short_storm_is_clean(name: str, seconds: float) -> None:
    """Two processes of eight threads and an attack: nothing lost, doubled, uncounted or unbounded."""
    if name == "postgres":
        require(binaries(), HOW_TO_GET_IT)
    outcome = storm.run(name, seconds, owners=10, raced=2)
    assert outcome.findings == ()
    values = found(outcome)
    assert (values[LOST], values[TWICE], values[ODD]) == (0, 0, 0)
    assert 5 <= values[GUESSED] <= 50
    assert 1 <= values[ARGON2] <= 2
    assert values["codes raced for, one winner"] >= 1
    table = "\n".join(command.as_markdown(outcome))
    assert "**broken**" not in table.split("resident memory")[0]
    assert outcome.calls == sum(times for times, _, _ in outcome.percentiles.values())


@pytest.mark.slow
def test_a_store_that_loses_updates_is_found_out(tmp_path: Path, monkeypatch) -> None:
    """The audit can fail: with a store that compares in Python, one code lets two in."""
    from stores.broken_stores import lost_update_store_of_a_storm

    @contextmanager
    def engine():
        yield partial(lost_update_store_of_a_storm, tmp_path / "mfa.db")

    monkeypatch.setitem(storm.STORES, "sqlite", ("A broken store", engine))
    outcome = storm.run("sqlite", 4, owners=10, raced=2)
    assert found(outcome)[TWICE] > 0
    assert any("raced-" in finding for finding in outcome.findings)


def test_an_unknown_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["oracle"])
    assert ended.value.code == 2
    assert "oracle" in capsys.readouterr().err
