"""One target under atheris, in a process of its own: `python -m tests.fuzz.one NAME FLAG… FOLDER…`."""

from __future__ import annotations

import logging
import sys

import atheris

READ_TOO = ("csv", "json", "ldif", "mfakit", "pskc", "urllib.parse")

with atheris.instrument_imports(include=list(READ_TOO)):
    from .targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends it; it exits by itself."""
    name, *flags = sys.argv[1:]
    target = TARGETS[name]()
    logging.disable()
    atheris.enabled_hooks.add("RegEx")
    atheris.enabled_hooks.add("str")

    def run(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *flags], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
