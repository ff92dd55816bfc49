"""The one `MFA` of the process. The setting `MFAKIT` leads here, too."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from examples.django_webmail.models import Account, deliver
from examples.webmail_shared.notices import OwnerNotices, smtp_sender

from mfakit import MFA, KeyRing
from mfakit.storage.django import DjangoStore


@cache
def mfa() -> MFA:
    """Make it at the first call."""
    host, _, port = settings.WEBMAIL_SMTP.partition(":")
    send = smtp_sender(host, int(port)) if host else deliver
    return MFA(
        DjangoStore(),
        KeyRing.from_text(settings.WEBMAIL_MFA_KEYS),
        policy=Account.objects.policy_of,
        events=OwnerNotices(send, Account.objects.address_of),
        realm="django-webmail",
        clock=settings.WEBMAIL_CLOCK,
    )
