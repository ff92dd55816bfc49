"""The operator's page in Flask: where an account stands, and a reset with its reason."""

from __future__ import annotations

from examples.flask_webmail.services import mailboxes, mfa
from examples.flask_webmail.two_step import visit
from flask import Blueprint, abort, flash, g, redirect, render_template, request
from werkzeug.wrappers import Response

views = Blueprint("admin", __name__, url_prefix="/admin")


@views.before_request
def require_operator() -> None:
    """Close these pages to everybody else."""
    if not (g.signed_in and g.account.is_admin):
        abort(403)


@views.get("/")
def accounts() -> str:
    """List the accounts whose address begins as asked."""
    wanted = request.args.get("address", "")
    rows = [(one, mfa().status(one.id)) for one in mailboxes().find(wanted)]
    return render_template("admin.html", rows=rows, wanted=wanted)


@views.route("/<account_id>", methods=["GET", "POST"])
def account(account_id: str) -> Response | str:
    """Show an account, or reset it."""
    owner = mailboxes().by_id(account_id) or abort(404)
    if request.method == "GET":
        status, history = mfa().status(owner.id), mfa().history(owner.id)
        return render_template("admin_account.html", owner=owner, status=status, history=history)
    form = visit().form
    reason, again = form["reason"], "reenroll" in form
    mfa().reset(owner.id, actor=g.account.address, reason=reason, reenroll=again)
    flash("Two-step authentication is reset. Every session of the account has ended.")
    return redirect(request.path)
