"""The command line, `mfakit` (extra `cli`)."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("click", "rich", "segno")


def main() -> None:
    """Run the command line; exit with 2 if the extra `cli` is not installed."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"{', '.join(missing)} not found: pip install 'mfakit[cli]'\n")
        raise SystemExit(2)
    from mfakit.cli.commands import commands

    commands(prog_name="mfakit")
