"""A Django app that keeps the records in one of the platform's databases.

Add "mfakit.storage.django" to `INSTALLED_APPS`, run `migrate`, and give a `DjangoStore` to `MFA`.
The admin then lists the accounts; the setting `MFAKIT` lets it show and reset them.
"""

from __future__ import annotations

try:
    import django as _django  # noqa: F401
except ImportError as _missing:
    raise ImportError(
        "mfakit.storage.django needs Django. Install it: pip install 'mfakit[django]'"
    ) from _missing

from mfakit.storage.django.store import AsyncDjangoStore, DjangoStore

__all__ = ["AsyncDjangoStore", "DjangoStore"]
