"""Budgets: lines of code, what an import loads, how often Argon2 would run."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import mfakit
from mfakit import MFA, Enrolled, KeyRing
from mfakit.errors import CredentialRefusedError
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher, FixedClock, VirtualAuthenticator

AUDITED_LINES_MAX = 3000
CORE_MODULE_LINES_MAX = 250
OPERATIONS_LINES_MAX = 400
FUNCTION_LINES_MAX = 30
NOT_LOADED = (
    "asyncio",
    "django",
    "flask",
    "sqlalchemy",
    "segno",
    "click",
    "rich",
    "cryptography",
    "argon2",
    "pyotp",
    "sqlite3",
)
ACCOUNT = "account-17"
SOURCE = Path(mfakit.__file__).parent
CORE = sorted((SOURCE / "core").glob("*.py"))
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


# ------------------------------------------------------------------------------------ lines of code


def _docstring(node: ast.AST) -> ast.Expr | None:
    """Return the docstring's statement of a module, class or function."""
    if not isinstance(node, ast.Module | ast.ClassDef | _Function) or not node.body:
        return None
    first = node.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first if is_text and isinstance(first.value.value, str) else None


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _code_lines(text: str) -> int:
    """Count the lines that hold a token of code; docstrings and comments are not code."""
    prose = {
        line
        for node in ast.walk(ast.parse(text))
        if (docstring := _docstring(node))
        for line in _lines(docstring)
    }
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - prose)


def _count(path: Path) -> int:
    return _code_lines(path.read_text(encoding="utf-8"))


def _long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, _Function):
            continue
        body = node.body[1:] if _docstring(node) else node.body
        length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if length > FUNCTION_LINES_MAX:
            yield f"{path.name}:{node.lineno} {node.name}: {length} lines"


def test_counting_leaves_prose_out():
    text = (
        '"""Module.\n\nMore."""\n\n# comment\ndef f():\n    """Doc."""\n    return (\n        1)\n'
    )
    assert _code_lines(text) == 3


def test_a_string_that_is_no_docstring_counts_every_line():
    assert _code_lines('SQL = """\nSELECT\n"""\n') == 3


def _imported(path: Path) -> Iterator[Path]:
    """Yield the modules of mfakit that a module imports, type checking aside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("mfakit"):
            continue
        named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in named:
            file = SOURCE.parent / f"{name.replace('.', '/')}.py"
            if file.exists():
                yield file


def _audited() -> set[Path]:
    """Return the core and all that it imports: what an auditor reads before the procedure."""
    read: set[Path] = set()
    to_read = [*CORE]
    while to_read:
        path = to_read.pop()
        if path not in read:
            read.add(path)
            to_read += _imported(path)
    return read


def test_what_is_audited_is_what_is_really_read():
    """Knowledge that moves out of `core/` and is imported back still counts."""
    names = {path.name for path in _audited()}
    assert {"record.py", "policy.py", "provisioning.py", "arguments.py", "events.py"} <= names
    assert not {"service.py", "sqlite.py", "gate.py"} & names


def test_what_an_auditor_reads_stays_small():
    counted = {str(path.relative_to(SOURCE)): _count(path) for path in _audited()}
    assert sum(counted.values()) <= AUDITED_LINES_MAX, (sum(counted.values()), counted)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_module_stays_small(path):
    assert _count(path) <= CORE_MODULE_LINES_MAX


def test_operations_stay_small():
    assert _count(SOURCE / "operations.py") <= OPERATIONS_LINES_MAX


def test_functions_stay_short():
    assert [one for path in sorted(SOURCE.rglob("*.py")) for one in _long_functions(path)] == []


# ------------------------------------------------------------------------------------------- imports


def test_import_loads_no_framework_and_no_native_crypto():
    script = f"import mfakit, sys; print(*[one for one in {NOT_LOADED!r} if one in sys.modules])"
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=kept, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []


# -------------------------------------------------------------------------------------- Argon2 runs


class World:
    def __init__(self, passcodes: int) -> None:
        self.hasher, self.clock = CheapHasher(), FixedClock()
        keys = KeyRing.from_text(KeyRing.generate_entry("k"))
        self.mfa = MFA(MemoryStore(), keys, clock=self.clock, hasher=self.hasher)
        proof = self.mfa.password_proof(ACCOUNT, password_verified=True)
        offer = self.mfa.begin_enrollment(ACCOUNT, account_name="ann@example.com", proof=proof)
        self.phone = VirtualAuthenticator(offer.uri)
        self.enrolled = self.mfa.confirm_enrollment(offer.token, self.phone.code(self.clock.now))
        assert isinstance(self.enrolled, Enrolled)
        self.passcodes = [self.create_passcode(f"Phone {one}") for one in range(passcodes)]

    def next_code(self) -> str:
        self.clock.advance(30)
        return self.phone.code(self.clock.now)

    def create_passcode(self, label: str) -> str:
        proof = self.mfa.verify_code(ACCOUNT, self.next_code())
        return self.mfa.create_passcode(ACCOUNT, label=label, proof=proof).passcode

    def login(self, credential: str) -> bool:
        try:
            self.mfa.authenticate_client(
                ACCOUNT, credential, protocol="imap", check_password=lambda _: None
            )
        except CredentialRefusedError:
            return False
        return True

    def runs_of(self, credential: str, *, accepted: bool) -> int:
        before = self.hasher.verified
        assert self.login(credential) is accepted
        return self.hasher.verified - before


@pytest.mark.parametrize("passcodes", [1, 25])
def test_a_wrong_passcode_costs_one_run_however_many_there_are(passcodes):
    world = World(passcodes)
    last = world.passcodes[-1]
    wrong = last[:5] + ("a" if last[5] != "a" else "b") * 16
    assert world.runs_of(wrong, accepted=False) == 1
    assert world.runs_of(wrong, accepted=False) == 1  # a failure is never remembered


@pytest.mark.parametrize("passcodes", [1, 25])
def test_a_right_passcode_costs_one_run_and_then_none(passcodes):
    world = World(passcodes)
    assert world.runs_of(world.passcodes[-1], accepted=True) == 1
    assert world.runs_of(world.passcodes[-1], accepted=True) == 0


def test_an_unknown_selector_costs_no_run():
    world = World(1)
    taken = world.passcodes[0][:4]
    unknown = ("a" if taken != "aaaa" else "b") * 20
    assert world.runs_of(unknown, accepted=False) == 0


@pytest.mark.parametrize("credential", ["correct horse", "123456", "", "x" * 5000, "0BCD-EFGH"])
def test_what_is_no_passcode_costs_no_run(credential):
    assert World(1).runs_of(credential, accepted=False) == 0


def test_an_authenticator_code_costs_no_run():
    world = World(0)
    before = world.hasher.verified, world.hasher.hashed
    world.mfa.verify_code(ACCOUNT, world.next_code())
    assert (world.hasher.verified, world.hasher.hashed) == before


def test_a_recovery_code_costs_one_run():
    world = World(0)
    world.mfa.verify_code(ACCOUNT, world.enrolled.recovery_codes[3], method="recovery")
    assert world.hasher.verified == 1
