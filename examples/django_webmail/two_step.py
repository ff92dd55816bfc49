"""Two-step verification in Django: session, cookies, forms and errors around the shared pages.

Every page is closed to those who have not signed in, unless its name is in `OPEN`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
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
        form=request.POST if request.method == "POST" else request.GET,
        client=ClientInfo(remote_ip=request.META["REMOTE_ADDR"] or None, user_agent=agent),
        trusted_device=request.COOKIES.get(pages.TRUST_COOKIE),
        now=settings.WEBMAIL_CLOCK(),
    )


class TwoStepMiddleware(MiddlewareMixin):
    """Stands after `AuthenticationMiddleware` and `MessageMiddleware`."""

    def process_request(self, request: Any) -> HttpResponse | None:
        """Find out who asks, on every request."""
        try:
            request.signed_in = is_current(request)
        except UnavailableError as error:
            return unavailable(request, error)
        request.account = request.user if request.signed_in else None
        return None

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Close what is not open to them; after the CSRF check."""
        if "enrolling" in request.session and kwargs.get("page") in two_step.WIZARD:
            request.account = Account.objects.filter(pk=request.session["enrolling"]).first()
        if request.account or request.resolver_match.view_name in OPEN:
            return None
        return redirect(reverse("two_step.sign_in", query={"next": request.get_full_path()}))

    def process_exception(self, request: Any, error: Exception) -> HttpResponse | None:
        """Answer what mfakit raised, in whatever view."""
        if isinstance(error, RefusedError):
            return refused(request, error)
        return unavailable(request, error) if isinstance(error, UnavailableError) else None


def is_current(request: Any) -> bool:
    """Say whether this is a full session; end it if mfakit has ended it."""
    owner, epoch = request.user, request.session.get("epoch", "")
    if owner.is_authenticated and not mfa().session_is_current(owner.pk, epoch):
        logout(request)
        messages.info(request, "This session has ended. Sign in again.")
    return request.user.is_authenticated


def follow(request: HttpRequest, go: two_step.Go) -> HttpResponse:
    """Redirect, with the message for the next page."""
    if go.text:
        messages.info(request, go.text)
    return redirect(reverse(go.name, kwargs=go.arguments, query=go.query))


def refused(request: Any, error: RefusedError) -> HttpResponse:
    """Say what is wrong on the page with the form, or on the page that helps."""
    page = request.resolver_match.kwargs.get("page", "")
    item_id = request.POST.get("id") or request.GET.get("id", "")
    go = answers.page_after(error, page, item_id)
    messages.error(request, answers.explain(error), extra_tags=answers.field_of(error))
    return follow(request, go) if go else redirect(request.get_full_path())


def unavailable(request: HttpRequest, error: UnavailableError) -> HttpResponse:
    """Nothing was decided: say so, tell the operator, let nobody in."""
    page = render(request, "problem.html", answers.report(error), status=error.http_status)
    page["Retry-After"] = answers.RETRY_AFTER_SECONDS
    return page


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
    address, password = request.POST["address"], request.POST["password"]
    account = authenticate(request, username=address, password=password)
    if account is None:
        messages.error(request, "The address or the password is wrong.", extra_tags="address")
        return redirect(request.get_full_path())
    request.session.cycle_key()  # it is worth more now: whoever knew the id before has nothing
    request.session["next"] = request.GET.get("next")
    step = two_step.begin(visit(request, account), password_verified=True)
    return welcome(request, step) if isinstance(step, SignedIn) else follow(request, step)


def code(request: Any, method: str) -> HttpResponse:
    """Take the code of a sign-in."""
    if request.method == "POST":
        return welcome(request, two_step.complete(visit(request), method))
    owner = Account.objects.filter(pk=request.session.get("coming")).first()
    if owner is None:
        return redirect("two_step.sign_in")
    context = {"owner": owner, "method": method, "methods": request.session["methods"]}
    return render(request, "code.html", context)


def preferences(request: Any, page: str) -> HttpResponse:
    """Show a page under Preferences, or do what its form says."""
    answer = two_step.preferences(page, visit(request), is_post=request.method == "POST")
    if isinstance(answer, two_step.Go):
        return follow(request, answer)
    if answer is None:
        raise Http404
    if answer.signed_in:
        enter(request, answer.signed_in)
    return render(request, answer.template, answer.context)
