"""Settings of the webmail. What mfakit asks for is marked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

from examples.webmail_shared import pages

from mfakit import KeyRing


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file that only this user may read; make it the first time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


DATA = Path(os.environ.get("WEBMAIL_DATA", "webmail-data/django"))
DATA.mkdir(parents=True, exist_ok=True, mode=0o700)

WEBMAIL_SMTP = os.environ.get("WEBMAIL_SMTP", "")  # HOST:PORT; without it notices go to the inbox
WEBMAIL_CLOCK = time.time
WEBMAIL_MFA_KEYS = _kept(DATA / "mfa.keys", lambda: KeyRing.generate_entry("k1"))  # mfakit

SECRET_KEY = _kept(DATA / "session.key", token_hex)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "examples.django_webmail.urls"
INSTALLED_APPS = [
    "examples.django_webmail.apps.WebmailConfig",
    "mfakit.storage.django",  # mfakit
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MFAKIT = "examples.django_webmail.services.mfa"  # mfakit: for its pages in the admin

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "examples.django_webmail.views.headers",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "examples.django_webmail.two_step.TwoStepMiddleware",  # mfakit
]
# mfakit: no ATOMIC_REQUESTS, or a wrong code would be forgotten with the request that fails.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "webmail.db",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode = WAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

AUTH_USER_MODEL = "webmail.Account"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    }
]

# In the database: signing out deletes the row, so a cookie that was kept is worth nothing.
SESSION_COOKIE_NAME = "__Host-session"
SESSION_COOKIE_SECURE = True
CSRF_USE_SESSIONS = True
CSRF_FAILURE_VIEW = "examples.django_webmail.views.forged"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [pages.TEMPLATES],
        "OPTIONS": {
            "environment": "examples.django_webmail.jinja.environment",
            "context_processors": ["examples.django_webmail.jinja.names"],
        },
    },
    {  # the admin's
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [pages.STATIC]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
