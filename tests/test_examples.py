"""The webmail examples without a browser: how long they are, what they say, what they mail."""

from __future__ import annotations

import inspect
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest
from examples.flask_webmail import create_app
from examples.webmail_shared import answers, demo, notices, pages

from mfakit import AuditEvent, ClientInfo, EventKind, RefusedError, SignedIn, errors
from mfakit.events import OWNER_KINDS
from test_budgets import _count, _long_functions

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
GLUE = dict.fromkeys(["django", "flask"], ("two_step.py", "admin.py", "services.py"))
SHARED = ("two_step.py", "answers.py")
GLUE_LINES_MAX = 150
AT = datetime(2027, 1, 15, 8, tzinfo=UTC)


# ------------------------------------------------------------------------------------ lines of code


@pytest.mark.parametrize("framework", GLUE)
def test_the_glue_of_a_framework_is_short_and_counted(framework):
    """At most 150 lines; the documentation and the README give the true numbers."""
    page = (ROOT / "docs" / f"{framework}.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `([a-z_/.]+)` \|.*\| (\d+) \|$", page, re.MULTILINE))
    own = {f"{framework}_webmail/{name}" for name in GLUE[framework]}
    assert set(stated) == own | {f"webmail_shared/{name}" for name in SHARED}
    assert {name: int(lines) for name, lines in stated.items()} == {
        name: _count(EXAMPLES / name) for name in stated
    }
    total = sum(_count(EXAMPLES / name) for name in own)
    assert total <= GLUE_LINES_MAX
    assert f"{total} lines together" in page
    shared = sum(_count(EXAMPLES / "webmail_shared" / name) for name in SHARED)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| webmail in .*docs/{framework}.*$", readme, re.MULTILINE)
    assert f" {total} lines" in row
    assert f" {shared}" in row


def test_the_readme_counts_the_glue_of_the_service():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    total = sum(_count(EXAMPLES / "fastapi_service" / name) for name in ("api.py", "problems.py"))
    assert f"| API in [FastAPI](docs/fastapi.md) | {total} lines |" in readme
    platform = _count(EXAMPLES / "dovecot_postfix" / "mail_platform.py")
    assert (
        f"| [Dovecot and Postfix](examples/dovecot_postfix/README.md) | {platform} lines |"
        in readme
    )


def test_functions_of_examples_are_short():
    paths = sorted(EXAMPLES.glob("*webmail*/**/*.py"))
    assert len(paths) > 10
    assert [one for path in paths for one in _long_functions(path)] == []


def test_no_page_has_inline_script_or_style():
    """The policy forbids it, so it would silently not work."""
    for path in sorted(pages.TEMPLATES.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=)", text), path.name


# ------------------------------------------------------------------------------------- small matters


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("/preferences/accounts?id=1", True),
        ("/", True),
        ("//evil.example/", False),
        ("/\\evil.example/", False),
        ("https://evil.example/", False),
        ("javascript:alert(1)", False),
        ("evil", False),
        ("/a\\b", False),
        ("/a\nb", False),
        ("/\t/evil.example", False),
        ("/ä", False),
        ("", False),
        (None, False),
    ],
)
def test_a_path_of_this_site_is_kept_and_nothing_else(text, safe):
    assert pages.safe_path(text, "/default") == (text if safe else "/default")


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
                " Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0"
            ),
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Firefox on Linux",
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
                " (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
            ),
            "Safari on iPhone",
        ),
        (
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
                " Chrome/130.0.0.0 Mobile Safari/537.36"
            ),
            "Chrome on Android",
        ),
        ("curl/8.5.0", "Browser on a computer"),
        ("", "Browser on a computer"),
    ],
)
def test_a_device_is_named_after_its_browser(user_agent, name):
    assert pages.device_name(user_agent) == name


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        (1, "1 second"),
        (90, "90 seconds"),
        (91, "2 minutes"),
        (120, "2 minutes"),
        (3600, "60 minutes"),
    ],
)
def test_a_wait_is_told_in_words(seconds, wait):
    text = answers.explain(errors.ThrottledError(1_800_000_000, seconds))
    assert text == f"Too many wrong codes. Wait {wait}, then try again."


def _refusals() -> list[RefusedError]:
    made = {"ThrottledError": (1_800_000_000, 30), "InvalidInputError": ("label",)}
    return [
        one(*made.get(name, ()))
        for name, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, RefusedError) and one is not RefusedError
    ]


@pytest.mark.parametrize("error", _refusals(), ids=lambda error: error.code)
def test_what_a_person_is_told_speaks_to_a_person(error):
    """One or two sentences; nothing about arguments, and no advice to a developer."""
    text = answers.explain(error)
    assert re.fullmatch(r"[A-Z].*\.", text)
    assert not re.search(r"then call|Field:|argument|_", text)


def test_what_the_owner_hears_at_sign_in():
    """Wrong codes meanwhile, few recovery codes, a deadline; nothing if there is nothing."""
    done = {"account_id": "a", "amr": (), "epoch": "e", "authenticated_at": AT}

    def heard(**fields):
        return list(answers.sign_in_notices(SignedIn(**done | fields)))

    assert heard(method="totp", recovery_codes_left=4) == []
    assert heard(method="password", recovery_codes_left=0) == []
    assert heard(method="totp", recovery_codes_left=3, failed_since_last=2) == [
        ("Wrong codes since your last sign-in: 2. If that was not you, change your password."),
        "Recovery codes left: 3. Make new ones in Preferences > Accounts.",
    ]
    [deadline] = heard(method="password", enroll_by=AT + timedelta(days=1))
    assert "required from 16 Jan 2027, 08:00 UTC" in deadline


# ------------------------------------------------------------------------------------------- notices


def _event(kind: EventKind, **fields: object) -> AuditEvent:
    return AuditEvent(kind=kind, account_id="a", realm="r", at=AT, revision=1, **fields)


def test_each_kind_for_the_owner_has_a_subject():
    assert set(notices.SUBJECTS) == OWNER_KINDS
    assert len(set(notices.SUBJECTS.values())) == len(OWNER_KINDS)


def test_a_notice_says_what_when_and_where_from():
    client = ClientInfo(remote_ip="192.0.2.7", user_agent="Firefox\r\nBcc: x@evil.example")
    mail = notices.notice(
        _event(EventKind.PASSCODE_CREATED, client=client, label="iPhone Mail"), "ann@example.com"
    )
    assert mail["To"] == "ann@example.com"
    assert mail["Subject"] == "An application passcode was added"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Bcc"] is None
    for line in ("When: 15 Jan 2027, 08:00 UTC", "Name: iPhone Mail", "From: 192.0.2.7"):
        assert line in mail.get_content().splitlines()


def test_only_what_is_for_the_owner_is_mailed_and_a_failing_relay_stops_nothing():
    sent: SimpleQueue = SimpleQueue()

    def send(mail):
        sent.put(mail["Subject"])
        if sent.qsize() == 1:
            raise OSError

    sink = notices.OwnerNotices(send, lambda account_id: "ann@example.com")
    for kind in (EventKind.ENROLLED, EventKind.CODE_REFUSED, EventKind.DISABLED):
        sink(_event(kind))
    assert sent.get(timeout=30) == "Two-step authentication is on"
    assert sent.get(timeout=30) == "Two-step authentication was turned off"


def test_an_account_without_an_address_gets_no_mail():
    sink = notices.OwnerNotices(pytest.fail, lambda account_id: None)
    sink(_event(EventKind.ENROLLED))
    assert sink._queue.empty()


# --------------------------------------------------------------------------------------------- Flask


def _start(directory):
    app = create_app(directory)
    app.extensions["mailboxes"].open(demo.ACCOUNTS, demo.PASSWORD)
    app.extensions["mfakit"]._store.close()
    keys = [(directory / name).read_bytes() for name in ("mfa.keys", "session.key")]
    return keys, [one.id for one in app.extensions["mailboxes"].find("")]


def test_the_flask_example_starts_again_with_its_keys_and_accounts(tmp_path):
    """Keys are for this user only, and a second start changes nothing."""
    first, again = _start(tmp_path), _start(tmp_path)
    assert first == again
    _, ids = first
    assert len(ids) == len(demo.ACCOUNTS)
    for name in ("mfa.keys", "session.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_terminal_names_each_demo_account():
    text = demo.announce("http://127.0.0.1:5000/")
    assert all(one.address in text for one in demo.ACCOUNTS)
    assert demo.PASSWORD in text
