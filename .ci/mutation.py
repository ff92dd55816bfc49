"""Mutation testing: does a test notice when a line of the audited code is altered?

    python .ci/mutation.py                    everything
    python .ci/mutation.py totp throttle      these modules
    python .ci/mutation.py --shard 2/4        every fourth module, the second one first

mutmut writes the mutants; what it alters and the tests that judge stand in `[tool.mutmut]` of
pyproject.toml. Its own runner starts pytest once for each mutant. Here pytest collects once; for
each mutant a fork of that process runs the tests that reach the function, the quickest first, up
to the first that fails. A mutant that no test notices must stand in `tests/mutation/equivalent.toml`
with the reason why nobody could notice it; else the command fails. Mutants that stand there are not
run, unless `--known` asks whether they still survive.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import gc
import json
import os
import shutil
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from attrs import define, field
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "mutants"
EQUIVALENT = ROOT / "tests" / "mutation" / "equivalent.toml"
LEAST_SCORE = 95.0  # per cent of the mutants of core/ that a test notices


@define(frozen=True, kw_only=True)
class Mutant:
    """One altered function. `removed` and `added` are its changed lines, as `ast.unparse` writes them."""

    name: str  # what switches it on: the module and mutmut's name of the altered copy
    module: str
    function: str
    removed: str
    added: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.function, self.removed, self.added)

    def __str__(self) -> str:
        changed = [f"  - {line}" for line in self.removed.splitlines()]
        return "\n".join(
            [self.function, *changed, *(f"  + {line}" for line in self.added.splitlines())]
        )

    @property
    def reached_as(self) -> str:
        return self.name.rpartition("__mutmut_")[0]


def write_mutants(settings: dict[str, Any]) -> list[Mutant]:
    """Copy the project into `mutants/`, the code with every mutant in it; return the mutants."""
    shutil.rmtree(WORK, ignore_errors=True)
    for name in ("src", *settings["also_copy"]):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, WORK / name)
    mutants: list[Mutant] = []
    for pattern in settings["only_mutate"]:
        for path in sorted(ROOT.glob(pattern)):
            relative = path.relative_to(ROOT)
            code = mutate_file_contents(str(relative), path.read_text("utf-8")).code
            (WORK / relative).write_text(code, "utf-8")
            mutants.extend(_mutants_in(code, ".".join(relative.with_suffix("").parts[1:])))
    return mutants


def _mutants_in(code: str, module: str) -> Iterator[Mutant]:
    copies: dict[str, dict[str, ast.FunctionDef]] = defaultdict(dict)
    tree = ast.parse(code)
    bodies = [tree.body, *(one.body for one in tree.body if isinstance(one, ast.ClassDef))]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
                name, _, number = node.name.rpartition("__mutmut_")
                copies[name][number] = node
    for name, numbered in copies.items():
        plain = name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        original = _lines(numbered.pop("orig"), plain)
        for number, node in numbered.items():
            changes = list(difflib.ndiff(original, _lines(node, plain)))
            yield Mutant(
                name=f"{module}.{name}__mutmut_{number}",
                module=module,
                function=f"{module.removeprefix('mfakit.')}.{plain}",
                removed="\n".join(line[2:].strip() for line in changes if line.startswith("- ")),
                added="\n".join(line[2:].strip() for line in changes if line.startswith("+ ")),
            )


def _lines(node: ast.FunctionDef, name: str) -> list[str]:
    node.name, node.decorator_list = name.rpartition(".")[2], []
    return ast.unparse(node).splitlines()


@define
class Judge:
    """The pytest plugin in whose place of a test loop every mutant meets its tests."""

    mutants: list[Mutant]
    outcomes: dict[str, str] = field(factory=dict)  # mutant -> the test that noticed, or ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        answer = _in_fork(partial(_what_tests_reach, session.items))
        if answer is None or "failed" in (found := json.loads(answer)):
            pytest.exit(f"without a mutant, this test fails: {answer}", returncode=3)
        gc.freeze()  # else each fork copies every page that its collector marks
        # First what noticed other mutants of the function, then what notices much in little time.
        noticed_before: dict[str, Counter[str]] = defaultdict(Counter)
        seconds, ever = found["seconds"], Counter[str]()
        for number, mutant in enumerate(self.mutants, 1):
            often = noticed_before[mutant.reached_as]
            tests = found["reached"].get(mutant.reached_as, [])
            tests = sorted(tests, key=partial(_turn, often, ever, seconds))
            timed = [(items[one], 5 + 10 * seconds[one]) for one in tests]
            noticed = _in_fork(partial(_first_to_fail, mutant.name, timed))
            self.outcomes[mutant.name] = "time or process" if noticed is None else noticed
            if noticed:
                often[noticed] += 1
                ever[noticed] += 1
            elif noticed is not None:
                print(f"\n{number} of {len(self.mutants)} survived: {mutant}", flush=True)
        # What noticed a mutant must hold without one, still now: else it failed by itself.
        noticing = [(items[one], 60.0) for one in {*self.outcomes.values()} & {*items}]
        if _in_fork(partial(_first_to_fail, "", noticing)) != "":
            pytest.exit("a test fails without a mutant too: no result counts", returncode=3)
        return True


def _turn(
    often: Counter[str], ever: Counter[str], seconds: dict[str, float], test: str
) -> tuple[float, float, float]:
    return (-often[test], -ever[test] / seconds[test], seconds[test])


def _in_fork(work: Callable[[], str]) -> str | None:
    """Return what `work()` answers in a fork of this process, None if it dies."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(silent, stream)
        try:
            with os.fdopen(writing, "w", encoding="utf-8") as answer:
                answer.write("=" + work())
        finally:  # whatever happens, this copy of the process never goes on
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text[1:] if text else None


def _run(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run one test; say whether it held."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def _what_tests_reach(items: list[pytest.Item]) -> str:
    """Run every test without a mutant: which functions it reaches, how long it takes, as JSON."""
    set_mutant_under_test("stats")
    reached: dict[str, list[str]] = defaultdict(list)
    seconds: dict[str, float] = {}
    for item, following in zip(items, [*items[1:], None], strict=True):
        state()._stats.clear()
        begun = time.monotonic()
        if not _run(item, following):
            return json.dumps({"failed": item.nodeid})
        seconds[item.nodeid] = time.monotonic() - begun
        for function in state()._stats:
            reached[function].append(item.nodeid)
    return json.dumps({"reached": reached, "seconds": seconds})


def _first_to_fail(mutant: str, timed: list[tuple[pytest.Item, float]]) -> str:
    """Run the tests on the mutant; return the first that fails, "" if none does.

    A test that takes much longer than without the mutant ends this process: that notices it too.
    """
    set_mutant_under_test(mutant)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    following = [item for item, _ in timed[1:]]
    for (item, seconds), next_item in zip(timed, [*following, None], strict=False):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        if not _run(item, next_item):
            return item.nodeid
    return ""


def explained() -> dict[tuple[str, str, str], str]:
    """Return the mutants that stand in the file of equivalents, each with its reason."""
    if not EQUIVALENT.exists():
        return {}
    entries = tomllib.loads(EQUIVALENT.read_text("utf-8")).get("mutant", [])
    return {(one["function"], one["removed"], one["added"]): one["reason"] for one in entries}


def report(
    mutants: list[Mutant], noticed: dict[str, str], known: dict[tuple[str, str, str], str]
) -> int:
    """Print the score of each module and what is wrong; return the exit status."""
    modules: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        modules[mutant.module].append(mutant)
    print(f"{'module':32}{'mutants':>9}{'noticed':>9}{'explained':>11}{'open':>6}{'score':>8}")
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for module, ones in modules.items():
        killed = sum(bool(noticed.get(one.name)) for one in ones)
        why = sum(not noticed.get(one.name) and one.key in known for one in ones)
        left = len(ones) - killed - why
        print(f"{module:32}{len(ones):9}{killed:9}{why:11}{left:6}{100 * killed / len(ones):7.1f}%")
        total = totals["core" if ".core." in module else "others"]
        total[0], total[1] = total[0] + killed, total[1] + len(ones)
    survivors = [one for one in mutants if not noticed.get(one.name) and one.key not in known]
    stale = [one for one in mutants if noticed.get(one.name) and one.key in known]
    for one in stale:
        print(f"\nexplained, but {noticed[one.name]} notices it: {one.key}")
    low = False
    for where, (killed, count) in totals.items():
        print(f"{where}: {killed} of {count} noticed, {100 * killed / count:.1f} %")
        low |= where == "core" and 100 * killed / count < LEAST_SCORE
    return int(bool(survivors or stale or low))


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    arguments = argparse.ArgumentParser(description="Mutation testing of the audited code.")
    arguments.add_argument("modules", nargs="*", help="names such as totp; none for all")
    arguments.add_argument("--shard", default="1/1", help="part/parts, by modules")
    arguments.add_argument("--known", action="store_true", help="run the explained mutants too")
    asked = arguments.parse_args()
    os.chdir(ROOT)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    mutants = write_mutants(settings)
    modules: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        modules[mutant.module.rpartition(".")[2]].append(mutant)
    part, parts = map(int, asked.shard.split("/"))
    chosen = (asked.modules or list(modules))[part - 1 :: parts]
    mutants = [mutant for module in chosen for mutant in modules[module]]
    known = explained()
    judge = Judge([one for one in mutants if asked.known or one.key not in known])
    sys.path.insert(0, str(WORK / "src"))
    os.chdir(WORK)
    set_mutant_under_test("")
    status = pytest.main(
        [*settings["pytest_add_cli_args"], *settings["pytest_add_cli_args_test_selection"]],
        plugins=[judge],
    )
    if status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        return int(status)
    return report(mutants, judge.outcomes, known)


if __name__ == "__main__":
    sys.exit(main())
