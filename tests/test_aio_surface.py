"""`AsyncMFA` offers what `MFA` offers: names, parameters, defaults, types, promises."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from inspect import Parameter, getdoc, iscoroutinefunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import mfakit
from mfakit import MFA
from mfakit.aio import AsyncMFA

SOURCE = Path(mfakit.__file__).parent
MAKE = Path(__file__).resolve().parent.parent / ".ci" / "make_aio.py"
# What differs, by hand: (method, parameter) -> type in `AsyncMFA`.
DIFFERENT = {
    ("__init__", "store"): "AsyncStore",
    ("__init__", "policy"): "Policy | Callable[[str], Policy | Awaitable[Policy]]",
    (
        "authenticate_client",
        "check_password",
    ): "Callable[[str], str | Awaitable[str | None] | None]",
    **dict.fromkeys(
        (("begin_login", "check_password"), ("password_proof", "check_password")),
        "Callable[[str], str | Awaitable[str | None] | None] | None",
    ),
}
ONLY_ASYNC = {"aclose"}


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


METHODS = sorted(_public(MFA))


def _shape(method: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in signature(method).parameters.values()]


def test_there_are_methods() -> None:
    assert len(METHODS) > 30
    assert {"begin_login", "complete_login", "verify_code", "authenticate_client"} <= set(METHODS)


def test_both_have_the_same_names() -> None:
    assert _public(AsyncMFA) - _public(MFA) == ONLY_ASYNC
    assert _public(MFA) <= _public(AsyncMFA)


@pytest.mark.parametrize("name", [*METHODS, "__init__"])
def test_parameters_are_the_same(name: str) -> None:
    """Names, order, kinds and defaults; and types, but for what is awaited."""
    blocking, awaiting = getattr(MFA, name), getattr(AsyncMFA, name)
    assert _shape(awaiting) == _shape(blocking)
    for parameter in signature(blocking).parameters.values():
        other: Parameter = signature(awaiting).parameters[parameter.name]
        expected = DIFFERENT.get((name, parameter.name), parameter.annotation)
        assert other.annotation == expected, parameter.name
    assert get_type_hints(awaiting)  # each name in them is known where it stands


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_a_coroutine_with_the_same_result_and_promises(name: str) -> None:
    blocking, awaiting = getattr(MFA, name), getattr(AsyncMFA, name)
    assert iscoroutinefunction(awaiting)
    assert not iscoroutinefunction(blocking)
    assert signature(awaiting).return_annotation == signature(blocking).return_annotation
    promised = (getdoc(awaiting) or "").replace("; plain or awaitable.", ".")
    assert promised == getdoc(blocking)
    assert awaiting.__qualname__ == f"AsyncMFA.{name}"


def test_the_class_says_what_is_different() -> None:
    text = getdoc(AsyncMFA) or ""
    for word in ("AsyncStore", "InThreads", "aclose", "awaitable", "hash_queue"):
        assert word in text


def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_aio", MAKE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tree(text: str) -> str:
    return ast.dump(ast.parse(text))


def test_the_written_file_is_not_stale() -> None:
    """It is what the script makes of `service.py` as it is now, whatever the layout."""
    written = (SOURCE / "aio" / "service.py").read_text(encoding="utf-8")
    blocking = (SOURCE / "service.py").read_text(encoding="utf-8")
    make = _make()
    assert _tree(make.render(blocking)) == _tree(written)
    assert _tree(make.render(blocking.replace("parse_secret_text(code)", "code"))) != _tree(written)


def test_a_rule_that_finds_nothing_is_an_error() -> None:
    with pytest.raises(SystemExit, match="nothing to replace"):
        _make().render("class Other: ...\n")


def test_only_who_wants_it_loads_asyncio() -> None:
    script = "import {}, sys; print('asyncio' in sys.modules)"
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    for module, loads in (("mfakit", "False"), ("mfakit.aio", "True")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(module)],
            env=kept,
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == loads, module
