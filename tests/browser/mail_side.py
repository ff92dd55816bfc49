"""The mail side of a webmail under test, for `mfakit serve-auth`: the same store, keys and realm.

MAIL_SIDE_EXAMPLE and MAIL_SIDE_DIRECTORY say which webmail, and where it keeps its data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sites import clock_of

from mfakit import KeyRing
from mfakit.aio import AsyncMFA, InThreads
from mfakit.mail import Platform, log_event
from mfakit.storage.sqlite import SQLiteStore

IdOf = Callable[[str], str | None]


def make_platform() -> Platform:
    """Called by `mfakit serve-auth` at its start."""
    example = os.environ["MAIL_SIDE_EXAMPLE"]
    directory = Path(os.environ["MAIL_SIDE_DIRECTORY"])
    store, keys, policy, id_of = OPENERS[example](directory)
    return Platform(
        mfa=AsyncMFA(
            store,
            KeyRing.from_text(keys),
            policy=policy,
            realm=f"{example}-webmail",
            clock=clock_of(directory),
            events=log_event,
        ),
        resolve_account=id_of,
        check_password=lambda _login, _password: None,  # two-step is on for all who come
    )


def _flask(directory: Path) -> tuple[Any, str, Callable[[str], Any], IdOf]:
    from examples.flask_webmail.mailboxes import Mailboxes

    data = directory / "data"
    boxes = Mailboxes(data / "webmail.db", clock_of(directory))

    def id_of(login: str) -> str | None:
        account = boxes.by_address(login)
        return account and account.id

    store = InThreads(SQLiteStore(data / "mfa.db"))
    return store, (data / "mfa.keys").read_text(encoding="ascii"), boxes.policy_of, id_of


def _django(directory: Path) -> tuple[Any, str, Callable[[str], Any], IdOf]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_webmail.settings"
    os.environ["WEBMAIL_DATA"] = str(directory / "data")
    import django
    from asgiref.sync import sync_to_async
    from django.conf import settings

    django.setup()
    from examples.django_webmail.models import Account

    from mfakit.storage.django import AsyncDjangoStore

    def id_of(login: str) -> str | None:
        account = Account.objects.filter(address=login).first()
        return account and account.pk

    keys: str = settings.WEBMAIL_MFA_KEYS
    policy = sync_to_async(Account.objects.policy_of)  # a query: not on the event loop
    return AsyncDjangoStore(threads=1), keys, policy, id_of


OPENERS = {"django": _django, "flask": _flask}
