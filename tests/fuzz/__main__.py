"""`python -m tests.fuzz [--minutes 10] [TARGET…]`, from the repository's root: the long run.

Each target runs under atheris in a process of its own, one after another, on the seeds, the kept inputs
and what earlier runs left under `.fuzz/`. An input that breaks a promise is saved under
`tests/fuzz/crashes/`, where the suite replays it. `--keep` adds the smallest new inputs to the corpora.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from .target import CORPUS, CRASHES, Target, kept
from .targets import TARGETS

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".fuzz"
_KEPT_MAX, _KEPT_BYTES_MAX = 60, 400
_PROGRESS = re.compile(r"^#\d+\s+\S+\s+cov: (\d+) ft: (\d+)", re.MULTILINE)
_STAT = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)


@frozen(kw_only=True)
class Run:
    """What one target's run came to."""

    name: str
    executions: int
    seconds: int
    blocks: int
    features: int
    inputs: int
    crashes: int

    def row(self) -> str:
        """Return a line of the summary."""
        rate = self.executions // max(1, self.seconds)
        return (
            f"| {self.name:<9} | {self.seconds:>7,} | {self.executions:>11,} | {rate:>8,} "
            f"| {self.blocks:>6,} | {self.features:>8,} | {self.inputs:>6,} | {self.crashes:>7} |"
        )


HEAD = """\
| target    | seconds |  executions | a second | blocks | features | inputs | crashes |
|:----------|--------:|------------:|---------:|-------:|---------:|-------:|--------:|"""


def main(given: Sequence[str] | None = None) -> int:
    """Fuzz what was named, or all; 1 if anything broke."""
    arguments = _parse(given)
    if find_spec("atheris") is None:
        print("atheris is not here: pip install atheris (CPython 3.11-3.13 on Linux, x86-64)")
        return 2
    print(HEAD, flush=True)
    broken = 0
    for name in arguments.targets or TARGETS:
        run = fuzz(name, seconds=round(arguments.minutes * 60))
        print(run.row(), flush=True)
        broken += run.crashes
        if arguments.keep:
            _keep(name)
    return 1 if broken else 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--keep", action="store_true", help="add new inputs to tests/fuzz/corpus")
    arguments = parser.parse_args(given)
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return arguments


def fuzz(
    name: str, *, seconds: int, work: Path = WORK, crashes: Path = CRASHES, seed: int = 0
) -> Run:
    """Run one target.

    Args:
        name: Of the target.
        seconds: How long.
        work: Folder for the grown corpus and the log.
        crashes: Folder for what broke.
        seed: Of the fuzzer's choices; 0 takes another one each time.
    """
    target = TARGETS[name]()
    target.close()
    folders = {one: work.resolve() / name / one for one in ("found", "seeds")}
    broken = crashes.resolve() / name
    for folder in (*folders.values(), broken):
        folder.mkdir(parents=True, exist_ok=True)
    _write_inputs(folders["seeds"], (*target.seeds, *kept(name)))
    words = work.resolve() / name / "words"
    words.write_text("".join(_as_entries(target.words)), encoding="ascii")
    before = set(broken.iterdir())
    log = _run(
        name,
        f"-max_total_time={seconds}",
        f"-max_len={target.bytes_max}",
        f"-dict={words}",
        f"-artifact_prefix={broken}/",
        f"-seed={seed}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        str(folders["found"]),
        str(folders["seeds"]),
    )
    (work / name / "log").write_text(log, encoding="utf-8")
    new = set(broken.iterdir()) - before
    if not any(broken.iterdir()):
        broken.rmdir()
    return _summarize(name, log, seconds, len(list(folders["found"].iterdir())), len(new))


def _run(name: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", name, *flags],
        check=False,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout.decode("utf-8", "replace")


def _summarize(name: str, log: str, seconds: int, inputs: int, crashes: int) -> Run:
    progress = _PROGRESS.findall(log) or [("0", "0")]
    stats = dict(_STAT.findall(log))
    executions = int(stats.get("number_of_executed_units", 0))
    rate = int(stats.get("average_exec_per_sec", 0))
    if not executions and not crashes:
        raise RuntimeError(f"{name} did not run:\n{log[-2000:]}")
    return Run(
        name=name,
        executions=executions,
        seconds=executions // rate if crashes and rate else seconds,
        blocks=int(progress[-1][0]),
        features=int(progress[-1][1]),
        inputs=inputs,
        crashes=crashes,
    )


def _write_inputs(folder: Path, inputs: Sequence[bytes]) -> None:
    for one in inputs:
        (folder / sha256(one).hexdigest()[:20]).write_bytes(one)


def _as_entries(words: Sequence[bytes]) -> Iterator[str]:
    """Return libFuzzer's form of a dictionary, which must have a word."""
    for word in words or (b"\0",):
        yield '"' + "".join([f"\\x{byte:02x}" for byte in word]) + '"\n'


def _keep(name: str) -> None:
    """Put the smallest inputs that reached something new beside the kept ones."""
    target: Target = TARGETS[name]()
    target.close()
    found = [path.read_bytes() for path in (WORK / name / "found").iterdir()]
    small = sorted(
        {one for one in found if len(one) <= _KEPT_BYTES_MAX}, key=lambda one: (len(one), one)
    )
    merged = dict.fromkeys((*kept(name), *small[:_KEPT_MAX]))
    lines = [f"{one!r}\n" for one in merged if one not in target.seeds]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(lines[:_KEPT_MAX]), encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
