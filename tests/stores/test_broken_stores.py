"""The contract kit finds what is wrong with an adapter: each of seven mistakes, by a named check."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import broken_stores
import pytest

from mfakit.testing import StoreContract
from mfakit.testing.contract import CheckResult, check_names, run_check

# What each mistake must be caught by. The kit may fail on other checks as well.
CAUGHT_BY = {
    broken_stores.LostUpdateStore: {
        "counter_counts_exactly",
        "one_winner_among_threads",
        "one_winner_among_processes",
    },
    broken_stores.WriteBehindStore: {"answered_writes_survive_kill"},
    broken_stores.NewerRevisionStore: {"replace_needs_the_expected_revision"},
    broken_stores.CaseFoldingStore: {"ids_that_differ_in_case_are_different"},
    broken_stores.TrailingSpaceStore: {"ids_that_differ_in_trailing_space_are_different"},
    broken_stores.OverwritingStore: {"create_never_overwrites", "one_creator_wins"},
    broken_stores.JoiningStore: {"caller_rollback_loses_nothing"},
}


class Contract(StoreContract):
    """Every check that SQLite can be put to, a little shorter than usual."""

    PROCESSES = 2
    KILLS = 2

    def __init__(self, kind: Callable[[Path], Any], path: Path) -> None:
        self.kind, self.path = kind, path

    def make_store(self) -> Any:
        return self.kind(self.path)

    def opener(self, store: Any) -> Callable[[], Any]:
        return partial(self.kind, self.path)

    def caller_transaction(self, store: Any) -> AbstractContextManager[None]:
        if isinstance(store, broken_stores.JoiningStore):
            return store.platform_transaction()
        return transaction_beside(self.path)


@contextmanager
def transaction_beside(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as platform:
        platform.execute("BEGIN")
        platform.execute("SELECT count(*) FROM mfakit_account").fetchone()
        yield
        platform.execute("ROLLBACK")


def outcomes(kind: Callable[[Path], Any], path: Path) -> dict[str, CheckResult]:
    return {name: outcome(kind, name, path) for name in check_names(Contract)}


def outcome(kind: Callable[[Path], Any], name: str, path: Path) -> CheckResult:
    """Run one check. In a race, a store that loses updates does not leave the loss to luck."""
    is_race = kind is broken_stores.LostUpdateStore and name in CAUGHT_BY[kind]
    return run_check(Contract(partial(kind, contended="") if is_race else kind, path), name)


def test_the_untouched_original_passes(tmp_path: Path) -> None:
    """What the seven are made from keeps every promise; only connections to cut there are none."""
    results = outcomes(broken_stores.EditedStore, tmp_path / "mfa.db")
    assert [one.text for one in results.values() if one.outcome == "failed"] == []
    assert {name for name, one in results.items() if one.outcome == "not tested"} == {
        "store_recovers_after_a_cut",
        "cut_connections_never_make_an_answer_false",
    }


@pytest.mark.parametrize(
    ("kind", "caught_by"), CAUGHT_BY.items(), ids=[one.__name__ for one in CAUGHT_BY]
)
def test_a_broken_adapter_is_caught_by_a_named_check(
    kind: Callable[[Path], Any], caught_by: set[str], tmp_path: Path
) -> None:
    """The named checks fail, and the adapter is not so broken that everything does."""
    results = outcomes(kind, tmp_path / "mfa.db")
    failed = {name: one for name, one in results.items() if one.outcome == "failed"}
    assert caught_by <= set(failed)
    assert results["created_row_is_loaded_whole"].outcome == "passed"
    for name in caught_by:
        lines = failed[name].text.splitlines()
        assert lines[0].startswith(f"Promise {name} is broken: ")
        assert [line.split(": ")[0] for line in lines[1:]] == ["Seen", "Harm", "Look"]


@pytest.mark.parametrize(
    ("kind", "check", "outcome"),
    [
        (broken_stores.RefusingStore, "caller_rollback_loses_nothing", "passed"),
        (broken_stores.RefusingStore, "load_is_not_of_the_callers_snapshot", "passed"),
        (broken_stores.SnapshotStore, "load_is_not_of_the_callers_snapshot", "failed"),
    ],
)
def test_inside_the_callers_transaction(
    kind: Callable[[Path], Any], check: str, outcome: str, tmp_path: Path
) -> None:
    """To refuse is right there; to read what the caller's transaction sees is wrong."""
    result = run_check(Contract(kind, tmp_path / "mfa.db"), check)
    assert result.outcome == outcome
