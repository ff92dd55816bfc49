"""Check branch coverage: the core and the operations wholly, the rest nearly."""

from __future__ import annotations

import json
import sys
from pathlib import Path

REST_PERCENT_LEAST = 95.0


def is_audited(path: str) -> bool:
    """Say whether a file belongs to what must be covered wholly."""
    return "/core/" in path or path.endswith("/operations.py")


def main() -> int:
    """Print what is short, and return the exit status."""
    files = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["files"]
    short = [
        f"{path}: {entry['summary']['percent_covered']:.1f} % of an audited file"
        for path, entry in files.items()
        if is_audited(path) and entry["summary"]["percent_covered"] < 100
    ]
    rest = [entry["summary"] for path, entry in files.items() if not is_audited(path)]
    covered = sum(one["covered_lines"] + one["covered_branches"] for one in rest)
    total = sum(one["num_statements"] + one["num_branches"] for one in rest)
    if 100 * covered / total < REST_PERCENT_LEAST:
        short.append(f"the rest: {100 * covered / total:.1f} %, at least {REST_PERCENT_LEAST} %")
    sys.stdout.write("\n".join([*short, f"coverage: {len(short)} short"]) + "\n")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
