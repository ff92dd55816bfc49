"""Two-step verification in Flask: session, cookies, forms and errors around the shared pages.

Every page is closed to those who have not signed in, unless its endpoint is in `OPEN`.
"""

from __future__ import annotations

from typing import Any

from examples.flask_webmail.services import clock, mailboxes, mfa, template
from examples.webmail_shared import answers, pages, two_step
from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from werkzeug.exceptions import InternalServerError
from werkzeug.wrappers import Response

from mfakit import ClientInfo, RefusedError, SignedIn, UnavailableError

Answer = Response | str | tuple[str, int, dict[str, str]]

views = Blueprint("two_step", __name__)
OPEN = {"static", "two_step.sign_in", "two_step.code", "sign_out"}


def visit(account: object = None) -> two_step.Visit:
    """Return this request as the shared pages take it."""
    client = ClientInfo(remote_ip=request.remote_addr or None, user_agent=request.user_agent.string)
    return two_step.Visit(
        mfa=mfa(),
        session=session,
        account=account or g.account,
        form=two_step.Fields(request.form if request.method == "POST" else request.args),
        client=client,
        trusted_device=request.cookies.get(pages.TRUST_COOKIE),
        now=clock(),
    )


@views.before_app_request
def require_account() -> Answer | None:
    """Find out who asks, on every request, and close what is not open to them."""
    if error := two_step.stale(session, request.form):
        return problem(error)
    account = mailboxes().by_session(session.get("sid"))
    g.signed_in = bool(account and mfa().session_is_current(account.id, session["epoch"]))
    g.account = account if g.signed_in else None
    if "sid" in session and not g.signed_in:
        session.clear()
        flash("This session has ended. Sign in again.")
    if not g.account and (request.view_args or {}).get("page") in two_step.WIZARD:
        g.account = mailboxes().by_id(session.get("enrolling"))
    if g.account or request.endpoint in OPEN:
        return None
    return redirect(url_for("two_step.sign_in", next=request.full_path.rstrip("?")))


def follow(go: two_step.Go) -> Response:
    """Redirect, with the message for the next page."""
    if go.text:
        flash(go.text)
    return redirect(url_for(go.name, **go.arguments, **go.query))


@views.app_errorhandler(InternalServerError)
@views.app_errorhandler(UnavailableError)
def problem(error: Any) -> Answer:
    """Show what went wrong, on a page that no context processor, session or store can break."""
    page, *rest = answers.problem(getattr(error, "original_exception", error))
    return (template("problem.html").render(page), *rest)


@views.app_errorhandler(RefusedError)
def refused(error: RefusedError) -> Answer:
    """Say what is wrong on the page with the form, or on the page that helps."""
    page = (request.view_args or {}).get("page", "")
    go = answers.page_after(error, page, request.values.get("id", ""))
    if not go and not answers.has_form(error, request.method):
        return problem(error)
    flash(answers.explain(error), answers.field_of(error))
    return follow(go) if go else redirect(request.full_path)


def leave() -> None:
    """End the session, here and in the table, with all that was begun in it."""
    mailboxes().close_session(session.get("sid"))
    session.clear()


def enter(done: SignedIn) -> None:
    """Begin a new session, with nothing in it from the one before that was not needed."""
    mailboxes().close_session(session.get("sid"))
    two_step.entered(visit(), done, sid=mailboxes().open_session(done.account_id))
    g.account, g.signed_in = mailboxes().by_id(done.account_id), True


def welcome(done: SignedIn) -> Response:
    """Go where the person was heading, signed in."""
    response = redirect(pages.safe_path(session.get("next"), url_for("inbox")))
    enter(done)
    for text in answers.sign_in_notices(done):
        flash(text, "warning")
    if done.trusted_device:
        response.set_cookie(pages.TRUST_COOKIE, done.trusted_device, **pages.TRUST_COOKIE_OPTIONS)
    return response


@views.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response | str:
    """Check the password, then ask what it is worth."""
    if request.method == "GET":
        return render_template("sign_in.html")
    form = visit().form
    account = mailboxes().by_address(form["address"])
    if not mailboxes().password_is_right(account, form["password"]):
        flash("The address or the password is wrong.", "address")
        return redirect(request.full_path)
    step, begun = two_step.begin(visit(account), request.args.get("next"))
    leave()
    session.update(begun)
    return welcome(step) if isinstance(step, SignedIn) else follow(step)


@views.route("/sign-in/<any(totp, recovery):method>", methods=["GET", "POST"])
def code(method: str) -> Response | str:
    """Take the code of a sign-in."""
    page = two_step.code_page(mailboxes().by_id(session.get("coming")), session, method)
    if request.method == "GET":
        return render_template("code.html", **page)
    return welcome(two_step.complete(visit(page["owner"]), method))


@views.route("/preferences/<page>", methods=["GET", "POST"])
def preferences(page: str) -> Response | str:
    """Show a page under Preferences, or do what its form says."""
    answer = two_step.preferences(page, visit(), is_post=request.method == "POST")
    if isinstance(answer, two_step.Go):
        return follow(answer)
    if answer.signed_in:
        enter(answer.signed_in)
    return render_template(answer.template, **answer.context)
