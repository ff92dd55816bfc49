"""The app as Django knows it: label `mfakit`, table `mfakit_account`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _

__all__ = ["MFAKitConfig"]


class MFAKitConfig(AppConfig):
    """Two-step verification."""

    name = "mfakit.storage.django"
    label = "mfakit"
    verbose_name: Any = _("Two-step verification")

    def ready(self) -> None:
        """Register the system checks."""
        from mfakit.storage.django.checks import check_mfakit

        register(check_mfakit, "mfakit")
