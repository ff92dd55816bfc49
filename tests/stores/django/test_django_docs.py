"""docs/django.md is true: its blocks make a project that passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

from mfakit import KeyRing
from mfakit.storage.django import checks

PAGE = Path(__file__).resolve().parents[3] / "docs" / "django.md"
TEXT = PAGE.read_text(encoding="utf-8")


def _blocks() -> list[str]:
    return re.findall(r"^```py\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def _manage(directory: Path, *arguments: str) -> str:
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=directory,
        env={**kept, "MFAKIT_KEYS": KeyRing.generate_entry("2026")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(django.VERSION < (5, 1), reason="the page's settings are for 5.1 and later")
def test_the_project_of_the_page_works(tmp_path: Path) -> None:
    """A reader who follows the five steps has a sign-in with two steps, and its tests pass."""
    command = [sys.executable, "-m", "django", "startproject", "project", str(tmp_path)]
    subprocess.run(command, check=True)
    for block in _blocks():
        if named := re.match(r"# (project/\w+\.py)\n", block):
            with (tmp_path / named[1]).open("a", encoding="utf-8") as file:
                file.write("\n" + block)
    _manage(tmp_path, "migrate", "--verbosity", "0")
    _manage(tmp_path, "check", "--fail-level", "WARNING")
    _manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert "Ran 4 tests" in _manage(tmp_path, "test")


@pytest.mark.parametrize("block", _blocks())
def test_every_block_is_python(block: str) -> None:
    compile(block, str(PAGE), "exec")


def test_every_check_is_in_the_table() -> None:
    """And the table has no other."""
    in_code = re.findall(r'"(mfakit\.[EW]\d+)"', Path(checks.__file__).read_text(encoding="utf-8"))
    assert sorted(re.findall(r"^\| `(mfakit\.[EW]\d+)` \|", TEXT, re.MULTILINE)) == sorted(in_code)
