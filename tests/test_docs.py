"""The documentation is true: its Python runs, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from mfakit import ASVS_5, DEFAULT, NIST_800_63B, Policy, errors
from mfakit.core.lifecycle import TRANSITIONS, State
from mfakit.events import OWNER_KINDS, EventKind
from mfakit.policy import LIMITS
from mfakit.testing import StoreContract
from mfakit.testing.contract import check_names, run_check

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")),
]
DEMO = "python3 -m venv .venv && .venv/bin/pip install '.[cli]' && .venv/bin/mfakit demo --auto"
TEST = "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest -n 2"
WITHOUT_PYTHON = {"index.md", "glossary.md", "decisions.md", "security-model.md", "CHANGELOG.md"}
WITHOUT_PYTHON |= {"CONTRIBUTING.md", "SECURITY.md"}
WITHOUT_PYTHON |= {"benchmarks.md"}
WITHOUT_PYTHON |= {
    "comparison.md",
    "document.md",
    "ideas.md",
    "standards.md",
    *(page.name for page in (ROOT / "docs").glob("api*.md")),
}
WITHOUT_PYTHON |= {"commands.md"}  # what it shows is tested as processes
WITHOUT_PYTHON |= {"write-a-store.md"}  # tests/stores/test_etcd.py runs what it shows
WITHOUT_PYTHON |= {"django.md"}  # the files of a project, run by tests/stores/django
WITHOUT_PYTHON |= {"faults.md", "proof.md", "RELEASING.md"}
WITHOUT_PYTHON |= {"fastapi.md"}  # its Python is in examples, run by tests/test_fastapi_example.py


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _run(page: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python of a page from top to bottom, in a directory of its own."""
    monkeypatch.chdir(directory)
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(page)
    examples = list(document.examples())
    assert bool(examples) == (page.name not in WITHOUT_PYTHON)
    for example in examples:
        example.evaluate()
    namespace: dict[str, Any] = document.namespace
    return namespace


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who pastes the blocks of a page one after another gets no error."""
    _run(page, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("page", "name"), [("storage.md", "TestFileStore"), ("scale.md", "TestShardedStore")]
)
def test_the_stores_in_the_documentation_keep_the_contract(
    page: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store that a page writes passes the tests that the page tells the reader to run."""
    contract = _run(ROOT / "docs" / page, tmp_path, monkeypatch)[name]
    assert issubclass(contract, StoreContract)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = [run_check(contract(), name) for name in check_names(contract)]
    assert [one.text for one in results if one.outcome == "failed"] == []
    assert [one.outcome for one in results].count("passed") > 20


def test_readme_is_short_and_has_both_commands() -> None:
    """The first page is read to its end, and its two commands stand in blocks of their own."""
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    blocks = re.findall(r"```(?:console|sh)\n(.*?)\n```", text, re.DOTALL)
    assert {DEMO, TEST} <= set(blocks)


def _errors() -> list[type[errors.MFAKitError]]:
    found = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    return [one for one in found if issubclass(one, errors.MFAKitError)]


@pytest.mark.parametrize("error", _errors(), ids=lambda error: error.__name__)
def test_every_error_is_documented(error: type[errors.MFAKitError]) -> None:
    """Each error stands under its family with its code and its status."""
    refusals, operational = _text("docs/errors.md").split("## Operational failures")
    if error is errors.MFAKitError:
        assert f"`{error.__name__}` (code `{error.code}`)" in refusals
        return
    row = f"| `{error.__name__}` | `{error.code}` | {error.http_status} |"
    is_refusal = issubclass(error, errors.RefusedError)
    assert (row in refusals) == is_refusal
    assert (row in operational) != is_refusal


@pytest.mark.parametrize("field", fields(Policy), ids=lambda field: field.name)
def test_every_policy_field_is_documented(field: Any) -> None:
    """Each field has a row with its default, its range and where the range comes from."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in _text("docs/policy.md").splitlines()
        if line.startswith(f"| `{field.name}` |")
    ]
    described = [row for row in rows if len(row) == 5]
    assert len(described) == 1
    assert described[0][1] == f"`{field.default!r}`"
    if field.name in LIMITS:
        lowest, highest, source = LIMITS[field.name]
        assert described[0][2].removesuffix(" or `None`") == f"{lowest:,}–{highest:,}"
        assert described[0][3] == source


def test_every_difference_of_the_profiles_is_documented() -> None:
    """The table of profiles has each field in which they differ, and no other."""
    table = _text("docs/policy.md").split("## Profiles")[1]
    expected = set()
    for field in fields(Policy):
        values = [repr(getattr(one, field.name)) for one in (DEFAULT, NIST_800_63B, ASVS_5)]
        if len(set(values)) > 1:
            expected.add(" | ".join([f"| `{field.name}`", *[f"`{one}`" for one in values]]) + " |")
    rows = {line for line in table.splitlines() if line.startswith("| `")}
    assert rows == expected


def test_every_kind_of_event_is_documented() -> None:
    """Each kind has one row that says for whom it is."""
    rows = re.findall(
        r"^\| `([a-z_]+)` \| (owner|audit) \| ", _text("docs/events.md"), re.MULTILINE
    )
    kinds = [(kind.value, "owner" if kind in OWNER_KINDS else "audit") for kind in EventKind]
    assert sorted(rows) == sorted(kinds)


def test_every_code_of_the_monitoring_page_exists() -> None:
    """No alert waits for a code that no error has."""
    table = _text("docs/monitoring.md").split("| code |")[1].split("```")[0]
    named = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    codes = re.findall(r"`([a-z_]+)`", " ".join(named))
    assert len(codes) == len(set(codes)) == 11
    operational = [one for one in _errors() if issubclass(one, errors.UnavailableError)]
    assert set(codes) <= {one.code for one in operational}


# Not for callers: the audited core, the command, and what the public modules are made of.
INTERNAL = ("core.", "cli", "aio.", "mail.", "migration.", "testing.", "storage.django.")
INTERNAL += (
    "arguments",
    "driver",
    "forks",
    "gate",
    "operations",
    "rows",
    "storage.causes",
    "storage.columns",
    "storage.poolers",
    "views",
    "__",
)


def test_every_public_module_is_in_the_reference() -> None:
    """A module is on an API page, or is known to be internal."""
    pages = "".join(_text(f"docs/{page.name}") for page in (ROOT / "docs").glob("api*.md"))
    documented = set(re.findall(r"automodule:: mfakit\.([\w.]+)", pages))
    package = ROOT / "src" / "mfakit"
    paths = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    assert documented <= modules
    assert {one for one in modules - documented if not one.startswith(INTERNAL)} <= {"core"}


def test_the_lifecycle_page_is_the_table() -> None:
    """The events of the page lead where the code leads, in all states."""
    letters = dict(zip("NGEPLR", State, strict=True))
    rows = re.findall(
        r"^\| ([A-Z_]{5,})[^|]*\|((?:[^|]+\|){6})", _text("docs/lifecycle.md"), re.MULTILINE
    )
    documented = {
        (state, event.lower()): cell.strip()
        for event, cells in rows
        for state, cell in zip(State, cells.split("|"), strict=False)
    }
    assert len(documented) == 10 * 6
    reached = {key: letters[cell] for key, cell in documented.items() if cell != "–"}
    assert reached == {
        (state, str(event)): after
        for state, events in TRANSITIONS.items()
        for event, (after, _) in events.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """No page points to a file that is not there."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_table_of_contents() -> None:
    """A page that no reader finds is no documentation."""
    trees = _text("docs/index.md").split("```")[1::2]
    listed = [name for tree in trees for name in tree.split("\n\n")[1].split()]
    assert sorted(listed) == sorted(
        {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    )
