"""Two-step verification in Django: session, cookies, forms and errors around the shared pages.

Every page is closed to those who have not signed in, unless its name is in `OPEN`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from examples.django_webmail.models import Account
from examples.django_webmail.services import mfa
from examples.webmail_shared import answers, pages, two_step

from mfakit import ClientInfo, RefusedError, SignedIn, UnavailableError

OPEN = {"static", "two_step.sign_in", "two_step.code", "sign_out"}


def visit(request: Any, account: Account | None = None) -> two_step.Visit:
    """Return this request as the shared pages take it."""
    agent = request.headers.get("User-Agent", "")
    return two_step.Visit(
        mfa=mfa(),
        session=request.session,
        account=account or request.account,
        form=two_step.Fields(request.POST if request.method == "POST" else request.GET),
        client=ClientInfo(remote_ip=request.META["REMOTE_ADDR"] or None, user_agent=agent),
        trusted_device=request.COOKIES.get(pages.TRUST_COOKIE),
        now=settings.WEBMAIL_CLOCK(),
    )


class TwoStepMiddleware(MiddlewareMixin):
    """Stands last in `MIDDLEWARE`. Where it does not reach, `views.failed` answers."""

    def process_request(self, request: Any) -> HttpResponse | None:
        """Find out who asks, on every request."""
        try:
            request.signed_in = is_current(request)
        except (RefusedError, UnavailableError) as error:  # `process_exception` hears of views only
            return problem(error)
        request.account = request.user if request.signed_in else None
        return None

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Close what is not open to them; after the CSRF check."""
        if error := two_step.stale(request.session, request.POST):
            return problem(error)
        if not request.account and kwargs.get("page") in two_step.WIZARD:
            request.account = owner(request, "enrolling")
        if request.account or request.resolver_match.view_name in OPEN:
            return None
        return redirect(reverse("two_step.sign_in", query={"next": request.get_full_path()}))

    def process_exception(self, request: Any, error: Exception) -> HttpResponse | None:
        """Answer what mfakit raised, in whatever view."""
        if isinstance(error, RefusedError):
            return refused(request, error)
        return problem(error) if isinstance(error, UnavailableError) else None


def is_current(request: Any) -> bool:
    """Say whether this is a full session; end it if mfakit has ended it."""
    user, epoch = request.user, request.session.get("epoch", "")
    if user.is_authenticated and not mfa().session_is_current(user.pk, epoch):
        logout(request)
        messages.info(request, "This session has ended. Sign in again.")
    return request.user.is_authenticated


def owner(request: HttpRequest, stage: str) -> Account | None:
    """Return whose sign-in has come to a stage, None if it has not."""
    return Account.objects.filter(pk=request.session.get(stage)).first()


def follow(request: HttpRequest, go: two_step.Go) -> HttpResponse:
    """Redirect, with the message for the next page."""
    if go.text:
        messages.info(request, go.text)
    return redirect(reverse(go.name, kwargs=go.arguments, query=go.query))


def refused(request: Any, error: RefusedError) -> HttpResponse:
    """Say what is wrong on the page with the form, or on the page that helps."""
    page = request.resolver_match.kwargs.get("page", "")
    go = answers.page_after(error, page, request.POST.get("id") or request.GET.get("id", ""))
    if not go and not answers.has_form(error, request.method):
        return problem(error)
    messages.error(request, answers.explain(error), extra_tags=answers.field_of(error))
    return follow(request, go) if go else redirect(request.get_full_path())


def problem(error: BaseException | None) -> HttpResponse:
    """Show what went wrong, on a page that no context processor, session or store can break."""
    page, status, headers = answers.problem(error)
    return HttpResponse(render_to_string("problem.html", page), status=status, headers=headers)


def enter(request: Any, done: SignedIn) -> None:
    """Begin a new session, with nothing in it from the one before that was not needed."""
    two_step.entered(visit(request), done)
    login(request, Account.objects.get(pk=done.account_id))  # gives the session a new id
    request.account, request.signed_in = request.user, True


def welcome(request: Any, done: SignedIn) -> HttpResponse:
    """Go where the person was heading, signed in."""
    response = redirect(pages.safe_path(request.session.get("next"), reverse("inbox")))
    enter(request, done)
    for text in answers.sign_in_notices(done):
        messages.warning(request, text, extra_tags="warning")
    if done.trusted_device:
        response.set_cookie(pages.TRUST_COOKIE, done.trusted_device, **pages.TRUST_COOKIE_OPTIONS)
    return response


def sign_in(request: Any) -> HttpResponse:
    """Check the password, then ask what it is worth."""
    if request.method != "POST":
        return render(request, "sign_in.html")
    form = two_step.Fields(request.POST)
    account = authenticate(request, username=form["address"], password=form["password"])
    if account is None:
        messages.error(request, "The address or the password is wrong.", extra_tags="address")
        return redirect(request.get_full_path())
    step, begun = two_step.begin(visit(request, account), request.GET.get("next"))
    logout(request)  # ends the session that was there, whosever it was; the next has another id
    request.session.update(begun)
    return welcome(request, step) if isinstance(step, SignedIn) else follow(request, step)


def code(request: Any, method: str) -> HttpResponse:
    """Take the code of a sign-in."""
    page = two_step.code_page(owner(request, "coming"), request.session, method)
    if request.method == "POST":
        return welcome(request, two_step.complete(visit(request, page["owner"]), method))
    return render(request, "code.html", page)


def preferences(request: Any, page: str) -> HttpResponse:
    """Show a page under Preferences, or do what its form says."""
    answer = two_step.preferences(page, visit(request), is_post=request.method == "POST")
    if isinstance(answer, two_step.Go):
        return follow(request, answer)
    if answer.signed_in:
        enter(request, answer.signed_in)
    return render(request, answer.template, answer.context)
