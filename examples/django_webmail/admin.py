"""The operator's pages: the webmail's accounts, each with a link to the admin of mfakit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from examples.django_webmail.models import Account

from mfakit.storage.django.models import STATES
from mfakit.storage.django.models import Account as TwoStepAccount


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    """Lists the accounts. Nothing is changed here."""

    list_display = ("account", "plan", "two_step")
    list_display_links = None
    search_fields = ("^address",)
    exclude = ("password",)
    has_add_permission = has_change_permission = has_delete_permission = lambda *_, **__: False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        """Return the accounts with the state of each, in one query."""
        records = TwoStepAccount.objects.filter(account_id=OuterRef("pk"))
        return super().get_queryset(request).annotate(state=Subquery(records.values("state")))

    @admin.display(ordering="address")
    def account(self, owner: Any) -> str:
        """Link to where the account stands, and to the reset; there is none before first use."""
        there = reverse("admin:mfakit_account_change", args=[owner.pk])
        return format_html('<a href="{}">{}</a>', there, owner) if owner.state else owner.address

    @admin.display(description="two-step verification", ordering="state")
    def two_step(self, owner: Any) -> str:
        """Say it in the words of mfakit's own list."""
        return dict(STATES).get(owner.state, "Off")
