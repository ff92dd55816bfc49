"""`mfakit doctor`: each finding says what to do, and the scratch account leaves nothing behind."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")
pytest.importorskip("segno")

from cli_world import STORES, Platform, on_sqlite, platforms, run
from mfakit import KeyRing
from mfakit.core.encoding import encode_base64

posix = pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")


@pytest.fixture(params=STORES)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    yield from platforms(request.param, tmp_path)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    one = on_sqlite(tmp_path)
    (tmp_path / "keys").chmod(0o600)
    return one


def found(*arguments: str, status: int = 0) -> dict[str, list[dict[str, str]]]:
    """Run it and return the findings by what they are about."""
    done = run(*arguments, "--json")
    assert done.exit_code == status, done.output
    by_what: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout)["findings"]:
        assert bool(one["todo"]) == (one["level"] != "ok")
        by_what.setdefault(one["what"], []).append(one)
    return by_what


def levels(findings: dict[str, list[dict[str, str]]]) -> dict[str, list[str]]:
    return {what: [one["level"] for one in several] for what, several in findings.items()}


def test_a_sound_platform_as_a_process(platform: Platform) -> None:
    """Nothing to do; the promises of the store are checked on rows that are gone afterwards.

    The cost of hashing says something about the machine that runs the tests, so it is left out here.
    """
    (platform.directory / "keys").chmod(0o600)
    platform.enroll("ann")
    told = platform.told("doctor", "--scratch-account", "scratch")
    assert {one["level"] for one in told["findings"] if one["what"] != "hashing"} == {"ok"}
    assert any("promises that were checked" in one["text"] for one in told["findings"])
    left = platform.store.scan(cursor=None, limit=500).records
    assert [row.account_id for row in left] == ["ann"]


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Stop the clock that doctor compares, and return its moment: a slow machine is not late."""
    moment = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    clock = SimpleNamespace(now=lambda zone: moment.astimezone(zone))
    monkeypatch.setattr("mfakit.cli.doctor.datetime", clock)
    return moment


@posix
@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, "ok"), (0o640, "warning"), (0o644, "problem"), (0o660, "problem")]
)
def test_who_may_read_the_keys(local: Platform, mode: int, level: str) -> None:
    (local.directory / "keys").chmod(mode)
    findings = found("doctor", *local.options, status=int(level == "problem"))
    assert levels(findings)["key file"] == [level]


def test_keys_that_are_no_keys(local: Platform) -> None:
    """A key that somebody typed, and one key under two ids."""
    typed = f"typed:{encode_base64(b'correct horse ' * 3)}"
    one = KeyRing.generate_entry("one")
    (local.directory / "keys").write_text(f"{typed}\n{one}\ntwo{one[3:]}\n")
    findings = found("doctor", *local.options, status=1)
    texts = [finding["text"] for finding in findings["keys"]]
    assert texts == ["Key typed does not look random.", "Keys one, two are one key."]


@pytest.mark.parametrize(
    ("off", "level"),
    [(0, "ok"), (2, "ok"), (3, "warning"), (-15, "warning"), (16, "problem"), (90, "problem")],
)
def test_the_clock_against_a_moment(local: Platform, still: datetime, off: int, level: str) -> None:
    reference = (still + timedelta(seconds=off)).isoformat()
    findings = found("doctor", *local.options, "--clock", reference, status=int(off > 15))
    assert levels(findings)["clock"] == [level]


@pytest.mark.parametrize(("seconds", "level"), [(0.0, "warning"), (1e9, "ok")])
def test_the_cost_of_hashing(
    local: Platform, monkeypatch: pytest.MonkeyPatch, seconds: float, level: str
) -> None:
    """A hash that takes longer than half a second is worth a warning; here, than this."""
    monkeypatch.setattr("mfakit.cli.doctor._SLOW_HASH_SECONDS", seconds)
    assert levels(found("doctor", *local.options))["hashing"] == [level]


def test_the_clock_against_a_web_server(local: Platform, still: datetime) -> None:
    class Late(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int(still.timestamp()) - 60)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        findings = found("doctor", *local.options, "--clock", url, status=1)
        server.shutdown()
        thread.join()
    assert findings["clock"][0]["text"] == "60 seconds from the reference."
    silent = found("doctor", *local.options, "--clock", url, status=1)
    assert "did not tell the time" in silent["clock"][0]["text"]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("required = true", "a lost row must not pass"),
        ("password_with_code = true", "password_with_code=False"),
        ("digits = 8", "Many apps ignore that"),
        ("reset_enrolled_before = 2999-01-01T00:00:00Z", "a moment that has passed"),
        ("window_past_steps = 0\nwindow_future_steps = 0", "allow one step"),
    ],
)
def test_what_a_policy_allows_and_hardly_means(local: Platform, policy: str, words: str) -> None:
    config = local.directory / "mfakit.toml"
    config.write_text(f"[policy]\n{policy}\n")
    findings = found("--config", str(config), "doctor", *local.options)
    assert levels(findings)["policy"] == ["warning"]
    assert words in findings["policy"][0]["todo"]


def test_a_contradiction_is_a_finding(local: Platform) -> None:
    config = local.directory / "mfakit.toml"
    config.write_text("[policy]\nrequired = true\navailable = false\n")
    findings = found("--config", str(config), "doctor", *local.options, status=1)
    assert findings["set-up"][0]["text"] == "required contradicts available=False."


def test_a_record_that_does_not_open_is_a_finding(local: Platform) -> None:
    local.enroll("ann")
    (local.directory / "other").write_text(KeyRing.generate_entry("other"), encoding="utf-8")
    (realm,) = found("doctor", *local.options, "--realm", "web", status=1)["store"]
    assert realm["text"] == "1 of 1 records that were tried do not open."
    assert "Check --realm and --keys" in realm["todo"]
    (key,) = found("doctor", *local.options[:2], "--keys", "other", status=1)["store"]
    assert "ask for: first. Add these first." in key["todo"]
    config = local.directory / "mfakit.toml"
    config.write_text('[policy]\nunknown_account = "refuse"\n')
    assert levels(found("--config", str(config), "doctor", *local.options))["store"] == ["ok"]


def test_a_broken_store_is_a_finding(local: Platform) -> None:
    """A store whose replace forgets the revision: the kit says which promise, and where to look."""
    (local.directory / "careless_stores.py").write_text(
        dedent("""
        from mfakit import MFA, KeyRing, Policy
        from mfakit.storage.memory import MemoryStore

        class Careless(MemoryStore):
            def replace(self, new, *, expected):
                row = self.load(new.account_id)
                return row is not None and super().replace(new, expected=row.revision)

        class Unwalkable:
            def __init__(self):
                store = MemoryStore()
                self.load, self.create = store.load, store.create
                self.replace, self.delete = store.replace, store.delete

        def platform():
            return MFA(Unwalkable(), KeyRing.from_file("keys"), policy=lambda account_id: Policy())
        """)
    )
    careless = ["--store", "careless_stores:Careless", "--keys", "keys"]
    findings = found("doctor", *careless, "--scratch-account", "scratch", status=1)
    promises = [one["text"] for one in findings["store"] if one["level"] == "problem"]
    assert any("another revision than the row's" in one for one in promises)
    unwalkable = found("doctor", "--store", "careless_stores:platform", status=1)
    assert levels(unwalkable) == {
        "key file": ["warning"],
        "keys": ["ok"],
        "policy": ["ok"],
        "store": ["problem"],
    }


def test_what_people_see(local: Platform) -> None:
    """A store without anybody enrolled may be the wrong one; a slow hash is told."""
    local.mfa.open_account("ann")
    config = local.directory / "mfakit.toml"
    config.write_text("[policy]\nargon2_time_cost = 20\nargon2_memory_kib = 262144\n")
    done = run("--config", str(config), "doctor", *local.options)
    assert done.exit_code == 0
    assert "Is it the right one?" in done.stdout
    assert "Lower argon2_time_cost" in done.stdout
    wrong = run("doctor", *local.options, "--scratch-account", "x" * 200)
    assert "account_id" in wrong.stdout
    assert wrong.exit_code == 1
