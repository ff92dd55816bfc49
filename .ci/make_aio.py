"""Write `AsyncMFA` from `MFA`: the same calls, awaited. With `--check`, say whether it is stale.

The two drivers are written by hand; the calls that both offer, with their signatures and what they
promise, are written once. Each rule must find something, so that none outlives what it was for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "mfakit"
BLOCKING, AWAITING = SOURCE / "service.py", SOURCE / "aio" / "service.py"
MODULE = '''"""`AsyncMFA`: everything a platform calls, awaited. `mfakit.aio.driver` runs the calls.

MADE FROM `mfakit/service.py` BY `.ci/make_aio.py`: change that one, and run this.
'''
CLASS = """\
    Make one for the process and share it. It begins threads for Argon2: close it with `aclose`, or
    use it in `async with`.
"""
EVENTS = """\
        events: Called with each `AuditEvent` after its write, and awaited if awaitable; what it
            raises is logged, no more. While it hangs the call hangs, cancelled or not.
"""
RULES = {
    r"\A.*?\n": MODULE,
    r"^((?: {4}){1,2})def ": r"\1async def ",
    r"\bself\._(run|scan|maintain)\(": r"await self._\1(",
    r"^from mfakit\.driver .*?\n": "",
    r"^from mfakit import .*?\n": r"\g<0>from mfakit.aio.driver import AsyncDriver\n",
    r"\bMFA\(BlockingDriver\)": "AsyncMFA(AsyncDriver)",
    r'"MFA"': '"AsyncMFA"',
    r"import Callable, Collection": "import Awaitable, Callable, Collection",
    r"Callable\[\[str\], str \| None\]": "Callable[[str], str | Awaitable[str | None] | None]",
    r"(whose password it is, or None)\.": r"\1; plain or awaitable.",
    r"^ +Make one for the process .*?\n": CLASS,
    r"(store: Where the records are) .*?\n": r"\1: an `AsyncStore`, or `InThreads` around another.\n",
    r"(callable from account id to `Policy`)\.": r"\1, plain or awaitable.",
    r"^ +events: Called with .*?\n": EVENTS,
}


def render(text: str) -> str:
    """Return the awaiting calls for the blocking ones, not yet formatted."""
    for pattern, replacement in RULES.items():
        text, found = re.subn(pattern, replacement, text, flags=re.MULTILINE | re.DOTALL)
        if not found:
            raise SystemExit(f"make_aio: nothing to replace: {pattern}")
    return text


def formatted(text: str) -> str:
    """Return the text as the project formats it."""
    command = ["ruff", "format", "--stdin-filename", str(AWAITING), "-"]
    return subprocess.run(  # noqa: S603 - a command of constants
        command, input=text, text=True, capture_output=True, check=True
    ).stdout


def main() -> int:
    """Write the file, or compare it; return the exit status."""
    made = formatted(render(BLOCKING.read_text(encoding="utf-8")))
    if "--check" not in sys.argv:
        AWAITING.write_text(made, encoding="utf-8")
    elif made != AWAITING.read_text(encoding="utf-8"):
        sys.stderr.write("mfakit/aio/service.py is stale: run .ci/make_aio.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
