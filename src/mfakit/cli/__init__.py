"""The command `mfakit` (extra `cli`)."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; without its packages, say how to get them and exit with 2."""
    try:
        from mfakit.cli.commands import cli
    except ImportError:
        sys.stderr.write("The mfakit command needs more packages: pip install 'mfakit[cli]'\n")
        sys.exit(2)
    cli()
