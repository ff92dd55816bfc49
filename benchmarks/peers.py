"""django-otp and allauth, each checking a fresh right code as its own login form does.

Both run on the database that `use_database` was given last, through Django as it ships: the
statements, transactions and locks are theirs. Where one has a choice, it has the faster one.
"""

from __future__ import annotations

import os
import threading
import uuid
from base64 import b32encode
from binascii import hexlify
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "mfakit.storage.django",
)


def sqlite(file: Path, synchronous: str) -> dict[str, Any]:
    """Return a database of `DATABASES`: a file that waits for its turn instead of failing."""
    options = {
        "transaction_mode": "IMMEDIATE",
        "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};",
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": options}


def postgresql(port: int, name: str) -> dict[str, Any]:
    """Return a database of `DATABASES`."""
    place = {"HOST": "127.0.0.1", "PORT": port, "USER": "postgres", "NAME": name}
    return {"ENGINE": "django.db.backends.postgresql", **place}


def use_database(database: dict[str, Any], *, is_ready: bool = False) -> None:
    """Make it the only database of Django, with all tables; the one before is left.

    Args:
        database: What `DATABASES` says of it.
        is_ready: It has the tables already.
    """
    set_up()
    from django.core.management import call_command
    from django.db import connections

    leave_database()
    connections.settings["default"] = connections.configure_settings({"default": database})[
        "default"
    ]
    if not is_ready:
        call_command("migrate", verbosity=0, skip_checks=True)
        call_command("createcachetable", verbosity=0)


def leave_database() -> None:
    """Close the connection and forget it."""
    from django.db import connections

    with suppress(AttributeError):  # there was none
        connections["default"].close()
        del connections["default"]


class DjangoOTP:
    """The way of django-otp's `verify_token`: a transaction, a locked read, the device's check."""

    def __init__(self, checks: int) -> None:
        from django_otp.plugins.otp_totp import models

        key = os.urandom(20)
        device = models.TOTPDevice.objects.create(user=_new_user("ann"), key=hexlify(key).decode())
        self._devices, self._device_id = models.TOTPDevice.objects, device.pk
        self._time = models.time = _TIME  # type: ignore[assignment]
        self._codes = _fresh_codes(key, checks)

    def check(self) -> None:
        """Check the next code."""
        from django.db import transaction

        self._time.now, code = next(self._codes)
        with transaction.atomic():
            device = self._devices.select_for_update().get(pk=self._device_id)
            assert device.verify_token(code)


class Allauth:
    """The way of allauth's `AuthenticateForm`, without its rate limit, its form and its session.

    Its replay block is a cache; processes share it only in a database (or a server more). The window
    is one step to each side, as the others'. The cache keeps Django's limit of 300 entries, with
    which its adding is fastest.
    """

    def __init__(self, checks: int) -> None:
        from allauth.mfa.models import Authenticator
        from allauth.mfa.totp.internal import auth

        key = os.urandom(20)
        self._user = _new_user("bob")
        auth.TOTP.activate(self._user, b32encode(key).decode())
        self._authenticators: Any = Authenticator.objects
        self._time = auth.time = _TIME  # type: ignore[attr-defined]
        self._codes = _fresh_codes(key, checks)

    def check(self) -> None:
        """Check the next code."""
        self._time.now, code = next(self._codes)
        of_user = self._authenticators.filter(user=self._user).exclude(type="webauthn")
        for authenticator in of_user:
            assert authenticator.wrap().validate_code(code)
            authenticator.record_usage()


class Time(threading.local):
    """Takes the place of the module `time` inside a peer; each thread has its own."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


_TIME = Time()


def _fresh_codes(key: bytes, number: int) -> Iterator[tuple[float, str]]:
    """Return times and their codes, none twice: allauth remembers digits, not time steps."""
    from pyotp import HOTP

    phone, found = HOTP(b32encode(key).decode()), dict[str, float]()
    step = 60_000_000
    while len(found) < number:
        step += 1
        found.setdefault(phone.at(step), 30.0 * step)
    return iter([(seconds, code) for code, seconds in found.items()])


def _new_user(name: str) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create(username=f"{name}-{uuid.uuid4()}")


def set_up() -> None:
    """Set Django up for the peers, once."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    settings.configure(
        DATABASES={"default": {}},
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.db.DatabaseCache",
                "LOCATION": "cache",
            }
        },
        INSTALLED_APPS=_APPS,
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        SECRET_KEY=os.urandom(32).hex(),
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MFA_TOTP_TOLERANCE=1,
        USE_TZ=True,
    )
    django.setup()
