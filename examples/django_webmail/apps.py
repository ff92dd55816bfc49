"""The webmail as Django knows it."""

from __future__ import annotations

from django.apps import AppConfig


class WebmailConfig(AppConfig):
    """Accounts and messages."""

    name = "examples.django_webmail"
    label = "webmail"
    verbose_name = "Webmail"
