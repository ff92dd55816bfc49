"""Every claim of the threat model and every row of the standards map is held by tests that exist."""

from __future__ import annotations

import ast
import csv
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
VERDICTS = {"met", "met in part", "profile only", "host's duty", "not met", "does not apply"}


def _rows(page: str, heading: str, columns: int) -> list[list[str]]:
    """The body of every table whose first head is `heading`."""
    rows, is_wanted = [], False
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            is_wanted = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == heading:
            is_wanted = True
        elif is_wanted and set(line) - set("|- "):
            assert len(cells) == columns, line
            rows.append(cells)
    return rows


CLAIMS = _rows("security-model.md", "claim", 4)
REQUIREMENTS = _rows("standards.md", "#", 6)


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def _missing(cell: str) -> list[str]:
    """Those of a cell's tests that are not there; all of the cell if it names none."""
    names = re.findall(r"`([^`]+)`", cell)
    gone = []
    for name in names:
        file, _, function = name.partition("::")
        path = TESTS / file
        is_there = function.startswith("test_") and path.is_file() and function in _functions(path)
        if not is_there:
            gone.append(name)
    return gone if names else [cell]


def test_what_is_missing_is_found() -> None:
    """The check below can fail."""
    here = "`test_docs_claims.py::test_what_is_missing_is_found`"
    assert _missing(here) == []
    assert _missing(f"{here}, `test_docs_claims.py::test_gone`") == [
        "test_docs_claims.py::test_gone"
    ]
    assert _missing("`test_gone.py::test_gone`") == ["test_gone.py::test_gone"]
    assert _missing("`test_docs_claims.py::_missing`") == ["test_docs_claims.py::_missing"]
    assert _missing("by review") == ["by review"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim[0])
def test_every_claim_has_a_rule_a_place_and_tests(claim: list[str]) -> None:
    """The files that enforce a claim are there, and so are the functions that test it."""
    _, rule, places, tests = claim
    assert rule
    named = re.findall(r"`([a-z_/]+\.py)`", places)
    assert named
    for path in named:
        assert (ROOT / "src/mfakit" / path).is_file(), path
    assert _missing(tests) == []


def test_the_claims_are_all_there() -> None:
    """A table that lost its rows would pass the test above."""
    assert len(CLAIMS) >= 35


@pytest.mark.parametrize("row", REQUIREMENTS, ids=lambda row: row[0])
def test_every_requirement_has_a_verdict_and_tests(row: list[str]) -> None:
    """Each row says what becomes of the requirement, how, and what proves it."""
    _, _, asks, verdict, how, tests = row
    assert asks
    assert how
    assert verdict in VERDICTS
    assert _missing(tests) == []


def test_no_requirement_was_left_out() -> None:
    """The map has the rows of the list of requirements, in its order and with its sources."""
    with (ROOT / "docs" / "standards.csv").open(encoding="utf-8", newline="") as file:
        asked = [(row["number"], row["source"]) for row in csv.DictReader(file)]
    assert len(asked) == 81
    assert [(number, source) for number, source, *_ in REQUIREMENTS] == asked


def test_every_deviation_is_explained() -> None:
    """What is not met, or not by default, has its reason in a note."""
    text = (ROOT / "docs" / "standards.md").read_text(encoding="utf-8")
    notes = text.split("## Deviations")[1]
    explained = set(re.findall(r"\d+", " ".join(re.findall(r"\*\*Rows? ([0-9 ,and]+)", notes))))
    differing = {
        row[0] for row in REQUIREMENTS if row[3] in {"met in part", "profile only", "not met"}
    }
    assert differing <= explained
