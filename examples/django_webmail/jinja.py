"""The names and filters that the shared templates are written for."""

from __future__ import annotations

from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.urls import reverse
from examples.webmail_shared import pages
from examples.webmail_shared.two_step import flow_name
from jinja2 import Environment
from markupsafe import Markup


def environment(**options: Any) -> Environment:
    """Return the Jinja2 environment of the site."""
    made = Environment(**options)  # Django asks for autoescape in `options`
    pages.prepare(made)
    made.filters["sent_at"] = pages.moment
    made.globals.update(url=_url, static=static)
    return made


def _url(name: str, **arguments: Any) -> str:
    return reverse(name, kwargs=arguments)


def names(request: HttpRequest) -> dict[str, Any]:
    """Give a page what belongs to its request."""
    return {
        "csrf_field": lambda: _csrf_field(request),
        "flashes": lambda: _flashes(request),
        "account": getattr(request, "account", None),
        "signed_in": getattr(request, "signed_in", False),
    }


def _csrf_field(request: HttpRequest) -> Markup:
    # Called by pages with a form only: the answer to a stranger's forged form must set no cookie,
    # or it would put out the session of the person who was made to send it.
    field = Markup('<input type="hidden" name="{}" value="{}">')
    flow = field.format("flow", flow_name(request.session))
    return field.format("csrfmiddlewaretoken", get_token(request)) + flow


def _flashes(request: Any) -> list[tuple[str, str]]:
    if not hasattr(request, "flashes"):
        found = get_messages(request)
        request.flashes = [(one.extra_tags or "message", str(one.message)) for one in found]
    return request.flashes
