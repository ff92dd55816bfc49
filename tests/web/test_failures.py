"""A store that fails, wherever in a request it is asked: 503 and a plain page, never 500."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from examples.flask_webmail import create_app
from examples.webmail_shared import demo

from browser.sites import PASSWORD, ROOT
from mfakit import errors

pytestmark = pytest.mark.slow

PAGES = (
    "/",
    "/messages/1",
    "/password",
    "/sign-in",
    "/nothing",
    "/admin/",
    "/admin/x/",
    *(f"/preferences/{one}" for one in ("accounts", "setup", "key", "passcode", "disable", "x")),
)
FORMS: dict[str, dict[str, str]] = {
    "/preferences/passcode": {"label": "Phone", "protocols": "imap"},
    "/preferences/codes": {},
    "/preferences/disable": {},
    "/password": {"password": PASSWORD, "new": "another long password"},
}


def _says_later(answer, what):
    assert answer.status == 503, (what, answer.status, answer.shown)
    assert answer.headers["retry-after"] == "30", what
    assert "no-store" in answer.headers["cache-control"], what
    assert "Try again later" in answer.shown, what
    for told in ("Traceback", "StoreUnavailable", "account store", "Local vars"):
        assert told not in answer.text, what


def test_a_store_that_fails_is_503_on_every_page_and_ends_no_session(browser, owner):
    ann, tab = owner("operator"), browser.tab()
    ann.set_up(tab)
    browser.site.beside("break_store", ann.address)
    for path in PAGES:
        _says_later(browser.send("GET", path), path)
    browser.site.beside("mend_store", ann.address)
    assert ann.address in tab.go("/").text


@pytest.mark.parametrize("path", FORMS)
def test_a_store_that_fails_is_503_for_every_form_and_nothing_is_done(browser, owner, path):
    """The same form is taken when the store answers again."""
    ann, tab = owner(), browser.tab()
    ann.set_up(tab)
    tab.go(path)
    form = [*tab.fields(), *FORMS[path].items()]
    browser.site.beside("break_store", ann.address)
    _says_later(browser.post(path, form), path)
    browser.site.beside("mend_store", ann.address)
    assert ann.is_on()
    assert ann.address in tab.go("/").text
    assert browser.post(path, form).status in {200, 302}


def test_a_store_that_fails_at_a_sign_in_lets_nobody_in_and_nobody_out(browser, owner):
    """Neither at the password nor at the code; and the session that was there goes on."""
    ann, cleo = owner(), owner()
    ann.set_up(type(browser)(browser.site).tab())
    tab = browser.tab()
    cleo.sign_in(tab)
    tab.go("/sign-in")
    form = [*tab.fields(), ("address", ann.address), ("password", PASSWORD)]
    browser.site.beside("break_store", ann.address)
    _says_later(browser.post("/sign-in", form), "password")
    browser.site.beside("mend_store", ann.address)
    assert cleo.address in tab.go("/").text

    ann.give_password(tab)
    form = [*tab.fields(), ("code", ann.next_code())]
    browser.site.beside("break_store", ann.address)
    _says_later(browser.post("/sign-in/totp", form), "code")
    browser.site.beside("mend_store", ann.address)
    assert browser.post("/sign-in/totp", form).status == 302
    assert ann.address in tab.go("/").text


# ----------------------------------------------------------------------- where no handler is expected


def _in_a_context_processor(app, fail):
    app.context_processor(fail)


def _before(app, fail):
    app.before_request(fail)


def _after(app, fail):
    app.after_request(lambda _: fail())


def _in_a_handler(app, fail):
    app.register_error_handler(404, lambda _: fail())


PLACES = (_in_a_context_processor, _before, _after, _in_a_handler)


@pytest.fixture
def flask_app(tmp_path):
    app = create_app(tmp_path)
    app.extensions["mailboxes"].open(demo.ACCOUNTS[:1], demo.PASSWORD)
    yield app
    app.extensions["mfakit"]._store.close()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
def test_flask_answers_503_wherever_the_store_fails(flask_app, place):
    def fail():
        raise errors.StoreUnavailableError

    place(flask_app, fail)
    path = "/static/nothing" if place is _in_a_handler else "/sign-in"
    answer = flask_app.test_client().get(path, base_url="https://localhost")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert "Try again later" in answer.text
    assert "StoreUnavailable" not in answer.text


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
def test_flask_answers_4xx_for_a_refusal_that_nobody_handles(flask_app, place):
    """And sends nobody in a circle."""

    def fail():
        raise errors.NotAllowedNowError

    place(flask_app, fail)
    path = "/static/nothing" if place is _in_a_handler else "/sign-in"
    answer = flask_app.test_client().get(path, base_url="https://localhost")
    assert answer.status_code == 409
    assert "That is not possible" in answer.text


def test_flask_answers_500_plainly_for_what_is_not_of_mfakit(flask_app):
    def fail():
        raise LookupError("a secret")

    flask_app.context_processor(fail)
    answer = flask_app.test_client().get("/sign-in", base_url="https://localhost")
    assert answer.status_code == 500
    assert "a secret" not in answer.text
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.fixture(scope="module")
def django_answers(tmp_path_factory):
    """What the Django example answers with failures in different places; in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "web" / "django_places.py")],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "WEBMAIL_DATA": str(tmp_path_factory.mktemp("django"))},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Place in the request: answered when settings.DEBUG is on, too?
DJANGO_PLACES = {
    "session check": True,
    "view": True,
    "template response": True,
    "context processor": True,
    "other middleware": False,
    "view middleware": False,
    "error handler": False,
}


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
@pytest.mark.parametrize("debug", [False, True], ids=["DEBUG off", "DEBUG on"])
@pytest.mark.parametrize("place", DJANGO_PLACES)
def test_django_answers_503_wherever_the_store_fails(django_answers, place, debug, client):
    """With DEBUG, Django itself answers for other middleware; the documentation says so."""
    if debug and not DJANGO_PLACES[place]:
        return
    answer = django_answers[f"{place}, {debug}, {client}, StoreUnavailableError"]
    assert answer["status"] == 503, answer
    assert answer["retry"] == "30"
    assert "Try again later" in answer["text"]
    for told in ("Traceback", "StoreUnavailable", "Local vars"):
        assert told not in answer["text"]


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
@pytest.mark.parametrize("place", DJANGO_PLACES)
def test_django_answers_4xx_for_a_refusal_that_nobody_handles(django_answers, place, client):
    answer = django_answers[f"{place}, False, {client}, NotAllowedNowError"]
    assert answer["status"] == 409, answer
    assert "That is not possible" in answer["text"]


def test_django_has_no_sign_in_beside_the_one_with_two_steps(django_answers):
    """The stock admin's own sign-in is closed: it would ask for the password alone."""
    assert django_answers["admin sign-in"] == {"in": 403, "out": "/sign-in", "session": False}
