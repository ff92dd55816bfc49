"""The webmail: inbox, messages, password, errors. Where mfakit comes in is marked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from examples.django_webmail import two_step
from examples.django_webmail.services import mfa
from examples.webmail_shared import pages
from examples.webmail_shared.two_step import Fields, ForgedFormError, stale

FOR_AN_HOUR = {"Cache-Control": "max-age=3600"}


def headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Middleware: give every answer the headers of the site."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_file = request.path.startswith(settings.STATIC_URL)
        for name, value in (pages.HEADERS | (FOR_AN_HOUR if is_file else pages.NO_STORE)).items():
            response[name] = value
        return response

    return answer


def inbox(request: Any) -> HttpResponse:
    """Show the list of messages."""
    return render(request, "inbox.html", {"messages": request.account.messages.all()})


def message(request: Any, message_id: int) -> HttpResponse:
    """Show one message."""
    found = get_object_or_404(request.account.messages, pk=message_id)
    return render(request, "message.html", {"message": found})


def password(request: Any) -> HttpResponse:
    """Change the password; mfakit ends what hung on the old one."""
    if request.method != "POST":
        return render(request, "password.html")
    account, form = request.account, Fields(request.POST)
    new = form["new"]
    if not account.check_password(form["password"]):
        text = "That is not the password of this account."
        messages.error(request, text, extra_tags="password")
        return redirect("password")
    try:
        validate_password(new, account)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages), extra_tags="new")
        return redirect("password")
    account.set_password(new)
    account.save()
    update_session_auth_hash(request, account)
    request.session["epoch"] = mfa().password_changed(account.pk)  # mfakit
    messages.info(request, "The password is changed.")
    return redirect("two_step.preferences", page="accounts")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session, here and in the table."""
    logout(request)
    messages.info(request, "You are signed out.")
    return redirect("two_step.sign_in")


def _problem(status: int, text: str) -> Callable[..., HttpResponse]:
    """Return a view that shows an error as a page of the site."""

    def problem(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        context = {"title": HTTPStatus(status).phrase, "text": text}
        return render(request, "problem.html", context, status=status)

    return problem


bad_request = _problem(400, "The browser sent something that this page does not understand.")
forbidden = _problem(403, "This page is not open to you.")
not_found = _problem(404, "There is nothing at this address.")


def failed(_: HttpRequest) -> HttpResponse:
    """Answer what is raised outside of views: in other middleware, in a handler of errors."""
    return two_step.problem(sys.exc_info()[1])


def forged(request: HttpRequest, **_: Any) -> HttpResponse:
    """Refuse a form of another site, or of another sign-in, without a cookie."""
    return two_step.problem(stale(request.session, request.POST) or ForgedFormError())
