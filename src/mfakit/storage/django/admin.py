"""The admin: who has two-step verification, where an account stands, and taking it off.

Everything is read-only but one action, "Reset two-step verification", which asks for a reason. The
record's document is never loaded here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from mfakit.errors import MFAKitError
from mfakit.results import HistoryItem, Status
from mfakit.storage.django.conf import configured_mfa
from mfakit.storage.django.models import STATES, Account
from mfakit.storage.django.times import in_django

__all__ = ["AccountAdmin"]

# A group is reset by `MFA.reset_group`, page by page; one request must not take minutes.
RESET_MAX = 100
REASON_CHARACTERS_MAX = 200
ACTOR_CHARACTERS_MAX = 64
FEW_RECOVERY_CODES = 3
_YES_OR_NO = (_("No"), _("Yes"))

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Account]
else:
    ModelAdmin = admin.ModelAdmin


class _RecoveryCodesFilter(admin.SimpleListFilter):
    """Filter by how many recovery codes are left."""

    title = _("recovery codes left")
    parameter_name = "recovery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("none", _("On, and none left")), ("few", _("On, and 3 or fewer left"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        """Return the accounts of the choice."""
        most = {"none": 0, "few": FEW_RECOVERY_CODES}.get(self.value() or "")
        if most is None:
            return queryset
        return queryset.filter(authenticators__gt=0, recovery_codes_left__lte=most)


class _PasscodesFilter(admin.SimpleListFilter):
    """Filter by whether there are application passcodes."""

    title = _("application passcodes")
    parameter_name = "passcodes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("some", _("Some")), ("none", _("None"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        """Return the accounts of the choice."""
        wanted = {"some": {"passcodes__gt": 0}, "none": {"passcodes": 0}}
        return queryset.filter(**wanted.get(self.value() or "", {}))


class _ResetForm(forms.Form):
    """Why two-step verification is taken off."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_CHARACTERS_MAX,
        help_text=_("Kept in the history of each account, for example a ticket number."),
    )
    reenroll = forms.BooleanField(
        label=_("Require set-up at the next sign-in"), required=False, initial=False
    )


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    """Lists the accounts; shows one in words; resets two-step verification for a reason."""

    list_display: Any = (
        "account_id",
        "state",
        "enrolled_at",
        "last_login_at",
        "authenticators",
        "recovery_codes_left",
        "passcodes",
        "trusted_devices",
    )
    list_filter: ClassVar[Any] = (
        "state",
        _RecoveryCodesFilter,
        _PasscodesFilter,
        "enrolled_at",
        "last_login_at",
    )
    search_fields: ClassVar[Any] = ("account_id",)
    search_help_text: ClassVar[Any] = _("The beginning of an account id, as it is written")
    ordering: ClassVar[Any] = ("account_id",)
    show_full_result_count: ClassVar[Any] = False
    view_on_site: Any = False
    actions: Any = ("reset_two_step",)

    # -- who may do what

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: only `MFA` writes records."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False."""
        return False

    def has_reset_permission(self, request: HttpRequest) -> bool:
        """Return whether the user holds `mfakit.reset_account`."""
        user: Any = request.user
        return bool(user.has_perm("mfakit.reset_account"))

    # -- the list

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Return whether the list may be filtered so: never by what the document holds."""
        # The request comes with Django 5.0.
        given: Any = (lookup, value) if request is None else (lookup, value, request)
        return not lookup.startswith("document") and super().lookup_allowed(*given)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        """Return the accounts as the writer has them: after a reset a replica may lag."""
        return super().get_queryset(request).using(router.db_for_write(Account)).defer("document")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Account], search_term: str
    ) -> tuple[QuerySet[Account], bool]:
        """Return the accounts whose id begins so: a range of the primary key, case and all."""
        found = queryset.filter(account_id__gte=search_term)
        return found.filter(account_id__lt=search_term + "\U0010ffff"), False

    # -- one account

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show where an account stands, in words; there is nothing to change."""
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = self.get_object(request, unquote(object_id))
        if account is None:
            raise Http404
        context = {
            **self._context(request, gettext("Two-step verification of %s") % account),
            **_standing(account),
            "account": account,
            "may_reset": self.has_reset_permission(request),
        }
        return TemplateResponse(request, "admin/mfakit/account/status.html", context)

    # -- the action

    @admin.action(permissions=["reset"], description=_("Reset two-step verification"))
    def reset_two_step(
        self, request: HttpRequest, queryset: QuerySet[Account]
    ) -> HttpResponse | None:
        """Ask for a reason, then reset; a page of its own says what will happen."""
        account_ids = list(queryset.values_list("account_id", flat=True)[: RESET_MAX + 1])
        if len(account_ids) > RESET_MAX:
            text = (
                gettext("Choose at most %d accounts. For a group, use MFA.reset_group.") % RESET_MAX
            )
            self.message_user(request, text, messages.ERROR)
            return None
        form = _ResetForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            self._reset(request, account_ids, **form.cleaned_data)
            return None
        context = {
            **self._context(request, gettext("Reset two-step verification")),
            "account_ids": account_ids,
            "form": form,
        }
        return TemplateResponse(request, "admin/mfakit/account/reset.html", context)

    def _reset(
        self, request: HttpRequest, account_ids: Sequence[str], *, reason: str, reenroll: bool
    ) -> None:
        failed: dict[str, list[str]] = defaultdict(list)
        for account_id in account_ids:
            try:
                configured_mfa().reset(
                    account_id, actor=_actor(request.user), reason=reason, reenroll=reenroll
                )
            except MFAKitError as error:
                failed[str(error)].append(account_id)
            else:
                text = f"Reset two-step verification: {reason}"
                self.log_change(request, Account(account_id=account_id), text)
        done = len(account_ids) - sum(map(len, failed.values()))
        if done:
            text = ngettext("%d account was reset.", "%d accounts were reset.", done) % done
            self.message_user(request, text, messages.SUCCESS)
        for error_text, those in failed.items():
            text = gettext("Not reset: %(accounts)s. %(why)s")
            text = text % {"accounts": ", ".join(those), "why": error_text}
            self.message_user(request, text, messages.ERROR)

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "media": self.media,
        }


def _actor(user: Any) -> str:
    """Name the operator: the user name, which may change, cut short, and the key, which does not."""
    key = f" ({user.pk})"
    return str(user.get_username())[: ACTOR_CHARACTERS_MAX - len(key)] + key


def _standing(account: Account) -> dict[str, Any]:
    """Return what is shown of an account: asked of `MFA`, or if it cannot say, of the summary."""
    try:
        mfa = configured_mfa()
        status, history = mfa.status(account.account_id), mfa.history(account.account_id)
    except MFAKitError as error:
        return {"rows": _summary_rows(account), "problem": str(error)}
    return {
        "rows": _status_rows(status),
        "authenticators": [
            (one.label, in_django(one.created_at), in_django(one.last_used_at))
            for one in status.authenticators
        ],
        "history": [_history_row(one) for one in reversed(history)],
    }


def _summary_rows(account: Account) -> list[tuple[Any, Any]]:
    return [
        (_("State"), dict(STATES).get(account.state, account.state)),
        (_("Set up"), account.enrolled_at),
        (_("Last sign-in"), account.last_login_at),
        (_("Authenticators"), account.authenticators),
        (_("Recovery codes left"), account.recovery_codes_left),
        (_("Application passcodes"), account.passcodes),
        (_("Trusted devices"), account.trusted_devices),
        (_("Keys in use"), account.key_ids),
    ]


def _status_rows(status: Status) -> list[tuple[Any, Any]]:
    return [
        (_("State"), dict(STATES).get(status.state, status.state)),
        (_("Required"), _required(status)),
        (_("Offered by policy"), _YES_OR_NO[status.is_available]),
        (_("Password change required"), _YES_OR_NO[status.password_change_required]),
        (_("Codes refused until"), in_django(status.retry_at)),
        (_("Set up"), in_django(status.enrolled_at)),
        (_("Last sign-in"), in_django(status.last_login_at)),
        (_("Recovery codes left"), status.recovery_codes_left),
        (_("Application passcodes"), status.passcodes),
        (_("Trusted devices"), status.trusted_devices),
        (_("Keys in use"), ", ".join(status.key_ids)),
    ]


def _required(status: Status) -> datetime | Any:
    if status.is_required and status.required_from is not None:
        return in_django(status.required_from)
    return _YES_OR_NO[status.is_required]


def _history_row(item: HistoryItem) -> tuple[Any, ...]:
    kind = item.kind.replace("_", " ").capitalize()
    return in_django(item.at), kind, item.label, item.actor, item.reason
