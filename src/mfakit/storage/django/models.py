"""The table: one row for each account. Only `document` is believed; the rest is for reports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from mfakit.storage.django.fields import AccountIdField

__all__ = ["Account"]

STATES = (
    ("not_enrolled", _("Off")),
    ("enrolling", _("Off, set-up begun")),
    ("enrolled", _("On")),
    ("enrolled_offer", _("On, set-up of another authenticator begun")),
    ("locked", _("Locked after wrong codes")),
    ("locked_offer", _("Locked after wrong codes, set-up begun")),
    ("forgotten", _("Forgotten")),
)


class Account(models.Model):
    """One account's row. Write it through `MFA` only: a document that was edited does not verify.

    The columns from `state` to `key_ids` repeat what the document holds, as of the last write, for
    reports and for the admin. Nothing is decided by them.
    """

    account_id: AccountIdField = AccountIdField(_("account"), primary_key=True)
    revision: models.BigIntegerField[int, int] = models.BigIntegerField(_("revision"))
    state: models.CharField[str, str] = models.CharField(_("state"), max_length=32, choices=STATES)
    enrolled_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("set up"), null=True
    )
    last_login_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("last sign-in"), null=True
    )
    authenticators: models.IntegerField[int, int] = models.IntegerField(
        _("authenticators"), default=0
    )
    recovery_codes_left: models.IntegerField[int, int] = models.IntegerField(
        _("recovery codes left"), default=0
    )
    passcodes: models.IntegerField[int, int] = models.IntegerField(
        _("application passcodes"), default=0
    )
    trusted_devices: models.IntegerField[int, int] = models.IntegerField(
        _("trusted devices"), default=0
    )
    key_ids: models.TextField[str, str] = models.TextField(
        _("keys"), default="", help_text=_("Separated by spaces.")
    )
    # Last: SQLite reads a long row from its front, and reports want what is there.
    document: models.BinaryField[bytes, bytes] = models.BinaryField(_("document"))

    class Meta:
        """Names, permissions, and an index for "who is locked?"."""

        verbose_name: Any = _("account")
        verbose_name_plural: Any = _("accounts")
        default_permissions: Any = ("view",)
        permissions: Any = (("reset_account", "Can reset two-step verification"),)
        indexes: Any = (models.Index(fields=["state"], name="mfakit_account_state"),)

    def __str__(self) -> str:
        return str(self.account_id)
