"""Requests that no page of the webmails sends: each gets an answer below 500."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

import pytest

from browser.sites import ROOT
from web.visitors import encoded

pytestmark = pytest.mark.slow

# Each form, with the fields that it needs: written by hand, and compared with the routes below.
# The ones that end the session or two-step itself come last.
FORMS: dict[str, dict[str, str]] = {
    "/sign-in": {"address": "ann0@example.com", "password": "not it"},
    "/sign-in/totp": {"code": "000000"},
    "/sign-in/recovery": {"code": "AAAA-AAAA-AAAA-AAAA"},
    "/password": {"password": "not it", "new": "another long password"},
    "/preferences/confirm": {"next": "passcode", "id": "x", "method": "totp", "code": "000000"},
    "/preferences/app": {"label": "Tablet"},
    "/preferences/key": {"code": "000000"},
    "/preferences/passcode": {"label": "Phone", "protocols": "imap"},
    "/preferences/rename-authenticator": {"id": "x", "label": "Phone"},
    "/preferences/rename-passcode": {"id": "x", "label": "Phone"},
    "/preferences/rename-device": {"id": "x", "label": "Phone"},
    "/preferences/revoke-passcode": {"id": "x"},
    "/preferences/revoke-device": {"id": "x"},
    "/preferences/remove-authenticator": {"id": "x"},
    "/preferences/others": {},
    "/preferences/codes": {},
    "/admin/{account}": {"reason": "Phone lost", "reenroll": "on"},
    "/preferences/nothing": {"id": "x"},
    "/preferences/disable": {},
    "/sign-out": {},
}
IN_FLASK_ONLY = {"/admin/{account}"}  # Django has the admin of its own
PAGES = (
    "/",
    "/nothing",
    "/messages/1",
    "/messages/99999999999999999999999999",
    "/password",
    "/sign-in",
    "/sign-in/totp",
    "/sign-in/recovery",
    "/admin/",
    "/admin/x",
    *(path for path in FORMS if path.startswith("/preferences/")),
    "/preferences/accounts",
    "/preferences/setup",
)
GARBAGE = {
    "empty": b"",
    "NUL": b"a\0b",
    "a lone surrogate": b"\xed\xa0\x80",
    "no UTF-8": b"\xff\xfe",
    "controls": b"\r\n\x1b[2J",
    "right to left": "\u202e".encode(),
    "five thousand": b"x" * 5000,
    "digits that int() takes": "١٢٣٤٥٦".encode(),
    "a template": b"{{ 7*7 }}%s%n",
}
MANGLED = {
    "left out": lambda name, one: [],
    "twice": lambda name, one: [(name, one), (name, one)],
    "as a list": lambda name, one: [(f"{name}[]", one)],
    **{
        text: partial(lambda data, name, one: [(name, data)], data)
        for text, data in GARBAGE.items()
    },
}
BOUNDARY = "xxXboundaryXxx"


@pytest.fixture
def signed_in(browser, owner):
    """An owner with two-step on who is also an operator, in a browser, just after set-up."""
    ann = owner("operator")
    ann.set_up(browser.tab())
    return ann, browser


def _hidden(browser):
    """Return what each form of this session holds beside its own fields."""
    tab = browser.tab()
    tab.go("/password")
    return tab.fields()


def _ready(ann, browser, path):
    """Return a browser in which the form at `path` is open, and what is hidden in it."""
    if path.startswith("/sign-in/"):
        browser = type(browser)(browser.site)
        tab = browser.tab()
        ann.give_password(tab)
        return browser, tab.fields()
    if path == "/sign-in":
        browser = type(browser)(browser.site)
        tab = browser.tab()
        tab.go(path)
        return browser, tab.fields()
    return browser, _hidden(browser)


def _real(ann, browser, path):
    if "{account}" in path:
        tab = browser.tab()
        found = tab.go(f"/admin/?address={ann.address}").text.split('href="/admin/')
        return "/admin/" + found[-1].split('"')[0]
    return path


def _is_answered(answer, what):
    assert answer.status < 500, (what, answer.status, answer.shown)
    assert "Traceback" not in answer.text, what


@pytest.mark.parametrize("path", FORMS)
def test_a_form_with_a_field_missing_or_mangled_is_refused(signed_in, path):
    """Each field of each form: left out, sent twice, and holding what no keyboard types."""
    ann, browser = signed_in
    if browser.site.name == "django" and path in IN_FLASK_ONLY:
        return
    browser, hidden = _ready(ann, browser, path)
    real = _real(ann, browser, path)
    whole = [*hidden, *FORMS[path].items()]
    for wanted, _ in whole:
        for how, mangle in MANGLED.items():
            if path.endswith(("/sign-out", "/disable", "/codes")) and wanted == "flow":
                continue  # would do it: the framework's own token names the sign-in, too
            form = [
                pair
                for name, one in whole
                for pair in (mangle(name, one) if name == wanted else [(name, one)])
            ]
            answer = browser.post(real, form)
            _is_answered(answer, (path, wanted, how))
            if how == "left out" and wanted in {"code", "password", "label", "reason", "id", "new"}:
                _says_so(browser, answer, (path, wanted))


def _says_so(browser, answer, what):
    """A field that is needed is asked for again, or the request is bad."""
    if answer.status == 302:
        tab = browser.tab()
        tab.go(answer.location)
        assert 'role="alert"' in tab.page.text, what
    else:
        assert 400 <= answer.status < 500, what


@pytest.mark.parametrize("path", FORMS)
def test_a_field_that_is_a_file_is_refused(signed_in, path):
    ann, browser = signed_in
    if browser.site.name == "django" and path in IN_FLASK_ONLY:
        return
    browser, hidden = _ready(ann, browser, path)
    real = _real(ann, browser, path)
    whole = [*hidden, *FORMS[path].items()]
    for wanted, _ in whole:
        if path.endswith(("/sign-out", "/disable", "/codes")) and wanted == "flow":
            continue
        body = b""
        for name, one in whole:
            more = b'; filename="x"\r\nContent-Type: text/plain' if name == wanted else b""
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
            body += head + more + b"\r\n\r\n" + one.encode() + b"\r\n"
        body += f"--{BOUNDARY}--\r\n".encode()
        answer = browser.send("POST", real, body, f"multipart/form-data; boundary={BOUNDARY}")
        _is_answered(answer, (path, wanted))


def test_a_body_that_is_no_form_is_refused(signed_in):
    """Cut, too long, too many fields, another type, another character set."""
    ann, browser = signed_in
    form = "application/x-www-form-urlencoded"
    multipart = "multipart/form-data"
    bodies = {
        "empty": (b"", form),
        "JSON": (b'{"code": "000000"}', "application/json"),
        "no boundary": (b"x", multipart),
        "cut": (b"--x\r\nContent-Disposition: form-data; na", f"{multipart}; boundary=x"),
        "an odd boundary": (b"--x--", f"{multipart}; boundary=\xff"),
        "another character set": (b"code=000000", f"{form}; charset=utf-7"),
        "no character set": (b"code=000000", f"{form}; charset=nothing"),
        "too long": (b"code=" + b"0" * 70_000, form),
        "too many": (b"&".join(b"a%d=1" % one for one in range(2000)), form),
    }
    for path in FORMS:
        for what, (body, kind) in bodies.items():
            answer = browser.send("POST", _real(ann, browser, path), body, kind)
            _is_answered(answer, (path, what))
            assert answer.status >= 400, (path, what)
    assert "<h1>Inbox</h1>" in browser.tab().go("/").text


def test_a_query_of_garbage_is_answered_and_leads_in_no_circle(signed_in):
    """By a page, or a redirection that ends at one."""
    _, browser = signed_in
    names = ("id", "next", "method", "address", "q", "p", "state__exact")
    queries = {what: [(name, data) for name in names] for what, data in GARBAGE.items()}
    queries["twice"] = [(name, one) for name in names for one in ("x", "y")]
    for path in PAGES:
        for what, query in queries.items():
            answer = browser.send("GET", f"{path}?{encoded(query).decode()}")
            for _ in range(4):
                _is_answered(answer, (path, what))
                if answer.status not in {301, 302, 303}:
                    break
                there = urlsplit(answer.location)
                assert there.netloc in {"", urlsplit(browser.site.url).netloc}, (path, what)
                answer = browser.send("GET", f"{there.path}?{there.query}")
            else:
                raise AssertionError((path, what, answer.location))


def test_paths_of_garbage_are_answered(signed_in):
    _, browser = signed_in
    ends = ("%00", "%ED%A0%80", "%FF", "x" * 5000, "..%2f..", "%0d%0aX-Bad:%201", "{{7*7}}")
    starts = ("/", "/messages/", "/preferences/", "/sign-in/", "/admin/", "/static/")
    starts += ("/admin/mfakit/account/",)
    for path in (
        start + end + more for start in starts for end in ends for more in ("", "/change/")
    ):
        answer = browser.send("GET", path)
        _is_answered(answer, path)
        assert "x-bad" not in answer.headers


@pytest.mark.parametrize(
    "name", ["__Host-session", "__Host-trusted_device", "csrftoken", "messages"]
)
def test_cookies_of_garbage_are_as_good_as_none(signed_in, name):
    ann, browser = signed_in
    kept = dict(browser.cookies)
    for value in ("", "x", '"', "a.b.c", "x" * 4000, "\xff", "%00", ".eJw", "=", "\x01"):
        for path in ("/", "/sign-in", "/preferences/accounts", "/preferences/others"):
            browser.cookies = kept | {name: value}
            _is_answered(browser.send("GET", path), path)
        tab = browser.tab()
        _is_answered(ann.give_password(tab), "/sign-in")


def test_the_table_has_every_form_of_the_flask_example(tmp_path):
    from examples.flask_webmail import create_app
    from examples.webmail_shared import two_step

    app = create_app(tmp_path)
    app.extensions["mfakit"]._store.close()
    pages = {f"/preferences/{one}" for one in two_step.FORMS}
    rules = {rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    codes = {"/sign-in/totp", "/sign-in/recovery"}
    rules -= {"/preferences/<page>", "/sign-in/<any(totp, recovery):method>", "/admin/<account_id>"}
    assert rules | pages | codes | IN_FLASK_ONLY == set(FORMS) - {"/preferences/nothing"}


def test_the_django_example_has_the_addresses_of_the_flask_example():
    """So the one table is both examples'."""
    text = (ROOT / "examples" / "django_webmail" / "urls.py").read_text(encoding="utf-8")
    for path in ("password", "sign-out", "sign-in", "preferences/<page>"):
        assert f'path("{path}", ' in text
    assert '"^sign-in/(?P<method>totp|recovery)$"' in text
