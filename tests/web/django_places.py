"""Run the Django example with mfakit's errors raised in different places; print the answers as JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_webmail.settings"

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from mfakit import errors

HERE = "web_places"


class Raising:
    """What the process raises at the moment."""

    place: str = ""
    error: type[Exception] = errors.StoreUnavailableError


def maybe(place: str) -> None:
    if Raising.place == place:
        raise Raising.error


class Lazy:
    def __str__(self) -> str:
        raise Raising.error


def in_view(request: Any) -> HttpResponse:
    maybe("view")
    return HttpResponse("fine")


def in_response(request: Any) -> TemplateResponse:
    return TemplateResponse(request, "problem.html", {"title": Lazy(), "text": ""})


def in_processor(request: Any) -> HttpResponse:
    from django.shortcuts import render

    return render(request, "problem.html", {"title": "fine", "text": ""})


def processor(request: Any) -> dict[str, Any]:
    maybe("context processor")
    return {}


class Other:
    """Somebody else's middleware."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        maybe("other middleware")
        return self.get_response(request)

    def process_view(self, request: Any, *_: Any) -> None:
        maybe("view middleware")


def not_found(request: Any, exception: Exception) -> HttpResponse:
    maybe("error handler")
    return HttpResponse("no such page", status=404)


PATHS = {
    "session check": "/view",
    "view": "/view",
    "template response": "/response",
    "context processor": "/processor",
    "other middleware": "/view",
    "view middleware": "/view",
    "error handler": "/static/nothing",
}


@contextmanager
def failing(place: str, error: str) -> Iterator[None]:
    from mfakit.storage.django import DjangoStore

    Raising.place, Raising.error = place, getattr(errors, error)
    if place != "session check":
        yield
        return
    # A refusal cannot come out of a store: of `session_is_current`, then, as any of mfakit's.
    from examples.django_webmail.services import mfa

    kind, name = (DjangoStore, "load") if "Store" in error else (type(mfa()), "session_is_current")
    with mock.patch.object(kind, name, side_effect=Raising.error):
        yield


def answers() -> Iterator[tuple[str, Any]]:
    from examples.django_webmail.models import Account

    from mfakit import SignedIn

    account = Account.objects.get(address="ann@example.com")
    from examples.django_webmail.services import mfa

    done = mfa().begin_login(account.pk, password_verified=True)
    assert isinstance(done, SignedIn)
    failures = ("StoreUnavailableError", "NotAllowedNowError")
    for place, debug, kind, error in itertools.product(
        PATHS, (False, True), (AsyncClient, Client), failures
    ):
        client: Any = kind(raise_request_exception=False)
        client.force_login(account)
        session = client.session
        session["epoch"] = done.epoch
        session.save()
        with failing(place, error), override_settings(DEBUG=debug):
            found = client.get(PATHS[place], secure=True)
            answer = asyncio.run(found) if kind is AsyncClient else found
        yield (
            f"{place}, {debug}, {kind.__name__}, {error}",
            {
                "status": answer.status_code,
                "retry": answer.headers.get("Retry-After"),
                "text": answer.content.decode(),
            },
        )
    Raising.place = ""
    sent = {"username": "operator@example.com", "password": "correct horse battery"}
    stranger = Client()
    elsewhere = stranger.post("/admin/login/", sent, secure=True).headers["Location"]
    yield (
        "admin sign-in",
        {
            "in": client.post("/admin/login/", sent, secure=True).status_code,
            "out": elsewhere.partition("?")[0],
            "session": "_auth_user_id" in stranger.session,
        },
    )


def main() -> None:
    sys.modules[HERE] = sys.modules["__main__"]
    settings.ROOT_URLCONF = HERE
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.MIDDLEWARE.insert(-1, f"{HERE}.Other")
    settings.TEMPLATES[0]["OPTIONS"]["context_processors"].append(f"{HERE}.processor")
    django.setup()
    logging.disable()
    call_command("migrate", verbosity=0)
    from examples.django_webmail import urls, views
    from examples.django_webmail.models import Account
    from examples.webmail_shared.demo import ACCOUNTS, PASSWORD

    Account.objects.open(ACCOUNTS, PASSWORD)
    globals().update(
        urlpatterns=[
            path("view", in_view),
            path("response", in_response),
            path("processor", in_processor),
            *urls.urlpatterns,
        ],
        handler404=not_found,
        handler500=views.failed,
    )
    json.dump(dict(answers()), sys.stdout)


if __name__ == "__main__":
    main()
