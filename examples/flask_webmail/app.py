"""The webmail: factory, inbox, messages. Where mfakit comes in is marked."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from examples.flask_webmail import admin, two_step
from examples.flask_webmail.mailboxes import Mailboxes, Message
from examples.flask_webmail.services import add_mfakit, mailboxes, mfa
from examples.webmail_shared import pages
from examples.webmail_shared.notices import Send
from examples.webmail_shared.two_step import ForgedFormError, flow_name, stale
from flask import (
    Flask,
    abort,
    flash,
    g,
    get_flashed_messages,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from mfakit import KeyRing


def create_app(
    data: Path, *, clock: Callable[[], float] = time.time, send: Send | None = None
) -> Flask:
    """Return the webmail.

    Args:
        data: Directory for the databases and keys; made if it is not there.
        clock: Unix seconds.
        send: Sends a notice to an owner; by default it is put into the inbox.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    app = Flask(__name__, template_folder=pages.TEMPLATES, static_folder=pages.STATIC)
    app.config.update(
        SECRET_KEY=_kept(data / "session.key", secrets.token_hex),
        SESSION_COOKIE_NAME="__Host-session",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    boxes = Mailboxes(data / "webmail.db", clock)
    app.extensions.update(clock=clock, mailboxes=boxes)
    keys = KeyRing.from_text(_kept(data / "mfa.keys", lambda: KeyRing.generate_entry("k1")))
    add_mfakit(app, data, boxes, send or boxes.deliver, keys)
    CSRFProtect(app)
    app.register_blueprint(two_step.views)
    app.register_blueprint(admin.views)
    _add_pages(app)
    return app


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file that only this user may read; make it the first time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


def _add_pages(app: Flask) -> None:
    pages.prepare(app.jinja_env)
    app.jinja_env.globals.update(url=url_for, static=_static)
    app.jinja_env.filters["sent_at"] = lambda at: pages.moment(datetime.fromtimestamp(at, UTC))
    app.add_url_rule("/", "inbox", inbox)
    app.add_url_rule("/messages/<int:message_id>", "message", message)
    app.add_url_rule("/password", "password", password, methods=["GET", "POST"])
    app.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])
    app.register_error_handler(HTTPException, problem)
    app.register_error_handler(CSRFError, forged)
    app.context_processor(_names)
    app.after_request(_add_headers)


def _static(name: str) -> str:
    return url_for("static", filename=name)


def _names() -> dict[str, object]:
    """Give the templates the names that they are written for."""
    return {
        "csrf_field": _csrf_field,
        "flashes": lambda: get_flashed_messages(with_categories=True),
        "account": g.get("account"),
        "signed_in": g.get("signed_in", False),
    }


def _csrf_field() -> Markup:
    # Called by pages with a form only: the answer to a stranger's forged form must set no cookie,
    # or it would put out the session of the person who was made to send it.
    field = Markup('<input type="hidden" name="{}" value="{}">')
    flow = field.format("flow", flow_name(session))
    return field.format("csrf_token", generate_csrf()) + flow


def _add_headers(response: Response) -> Response:
    response.headers.update(pages.HEADERS)
    if request.endpoint != "static":
        response.headers.update(pages.NO_STORE)
    return response


def _messages() -> list[Message]:
    return mailboxes().messages(g.account)


def inbox() -> str:
    """Show the list of messages."""
    return render_template("inbox.html", messages=_messages())


def message(message_id: int) -> str:
    """Show one message."""
    found = [one for one in _messages() if one.id == message_id]
    return render_template("message.html", message=found[0]) if found else abort(404)


def password() -> Response | str:
    """Change the password; mfakit ends what hung on the old one."""
    if request.method == "GET":
        return render_template("password.html")
    form = two_step.visit().form
    if not g.account.check_password(form["password"]):
        flash("That is not the password of this account.", "password")
        return redirect(request.path)
    if len(form["new"]) < 12:
        flash("A password has at least 12 characters.", "new")
        return redirect(request.path)
    mailboxes().change_password(g.account, form["new"])
    session["epoch"] = mfa().password_changed(g.account.id)
    flash("The password is changed.")
    return redirect(url_for("two_step.preferences", page="accounts"))


def sign_out() -> Response:
    """End the session."""
    two_step.leave()
    flash("You are signed out.")
    return redirect(url_for("two_step.sign_in"))


def forged(_: CSRFError) -> two_step.Answer:
    """Refuse a form of another site, or of another sign-in, without a cookie."""
    return two_step.problem(stale(session, request.form) or ForgedFormError())


def problem(error: HTTPException) -> tuple[str, int]:
    """Show an error as a page of the site."""
    page = render_template("problem.html", title=error.name, text=error.description)
    return page, error.code or 500
