"""What `import mfakit` costs in a fresh interpreter whose byte code is cached."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.timing import Claim, Section

TIMES_ATTRS_AND_MSGSPEC = 1.8
NOT_LOADED = ("asyncio", "click", "django", "flask", "rich", "segno", "sqlalchemy")
_TIMED = """
from time import perf_counter_ns
begun = perf_counter_ns()
import {modules}
print(perf_counter_ns() - begun)
"""
_LOADED = """
import mfakit, sys
print(*[name for name in {names!r} if name in sys.modules])
"""


def run(*, is_quick: bool) -> Section:
    """Measure the import against that of its two eager dependencies."""
    with tempfile.TemporaryDirectory() as directory:
        ours, base = "mfakit", "attrs, msgspec"
        nanoseconds: dict[str, list[int]] = {ours: [], base: []}
        for modules in nanoseconds:
            _import(modules, directory)  # writes the byte code
        for _ in range(11 if is_quick else 51):
            for modules, taken in nanoseconds.items():
                taken.append(_import(modules, directory))
        loaded = _child(_LOADED.format(names=NOT_LOADED), directory).split()
    pairs = zip(nanoseconds[ours], nanoseconds[base], strict=True)
    return Section(
        title="Import, fresh interpreter",
        microseconds={
            f"import {name}": median(taken) / 1000 for name, taken in nanoseconds.items()
        },
        claims=(
            Claim(
                name="of attrs and msgspec",
                value=median([one / other for one, other in pairs]),
                at_most=TIMES_ATTRS_AND_MSGSPEC,
            ),
            Claim(name="frameworks loaded", value=len(loaded), at_most=0),
        ),
    )


def _import(modules: str, byte_code: str) -> int:
    return int(_child(_TIMED.format(modules=modules), byte_code))


def _child(script: str, byte_code: str) -> str:
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    environment = kept | {"PYTHONPYCACHEPREFIX": byte_code}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(byte_code),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
