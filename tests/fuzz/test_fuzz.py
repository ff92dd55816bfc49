"""Every kept input, what once broke, and a short run of each kind where atheris is installed."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .__main__ import fuzz
from .target import crashes, kept
from .targets import TARGETS

# What a first look or a long run found, too long or too deep for a line of a corpus.
BROKE = {
    "aegis": (b"[" * 100_000, b'{"db":' * 100_000),
    "2fas": (b'{"services":' * 100_000,),
    "csv": (b"account_id,secret_or_uri\n" + b"a" * 200_000, b"a" * 200_000),
    "oath-csv": (b"a" * 200_000,),
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_keeps_its_promises(name: str) -> None:
    """Among the inputs are some that are accepted and some that are refused: both ways are taken."""
    target = TARGETS[name]()
    inputs = (*target.seeds, *kept(name), *crashes(name), *BROKE.get(name, ()))
    try:
        assert {target.check(one) for one in inputs} == {True, False}
    finally:
        target.close()


@pytest.mark.parametrize("name", ["body", "sasl"])
def test_a_short_run_finds_its_way(name: str, tmp_path: Path) -> None:
    """The command works: it runs the target, reaches code, and breaks nothing."""
    if find_spec("atheris") is None:
        has_wheel = os.environ.get("CI") == "true" and sys.version_info < (3, 14)
        (pytest.fail if has_wheel else pytest.skip)("pip install atheris")
    run = fuzz(name, seconds=1, work=tmp_path / "work", crashes=tmp_path / "crashes", seed=1)
    assert run.crashes == 0
    assert run.executions > 100
    assert run.features > 50
