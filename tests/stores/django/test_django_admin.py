"""The admin: a list to search and filter, a page in words, and a reset that asks for a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any
from unittest.mock import patch

import django_platform
import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_platform import enroll, mfa
from django_rows import row

from mfakit import MFA, KeyRing, Policy
from mfakit.errors import WrongCodeError
from mfakit.storage import Summary
from mfakit.storage.django import DjangoStore
from mfakit.storage.django.models import Account

LIST = "/admin/mfakit/account/"
ODD = "tenant/ünï ©'\"<b>&_2F"


@pytest.fixture(autouse=True)
def _platform(settings: Any) -> None:
    settings.MFAKIT = "django_platform.mfa"
    django_platform.clock.now = 1_800_000_000
    LogEntry.objects.all().delete()
    User.objects.all().delete()


def client_of(*permissions: str, csrf: bool = False, **fields: Any) -> Client:
    """Sign in a member of the staff who has just these permissions."""
    user = User.objects.create_user("olga", is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user)
    return client


def operator(**fields: Any) -> Client:
    return client_of("view_account", "reset_account", **fields)


def page(account_id: str) -> str:
    return f"{LIST}{quote(account_id)}/change/"


def text(response: Any) -> str:
    """What a reader of a page sees."""
    assert response.status_code == 200
    html = re.sub(r"<(style|script).*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def listed(client: Client, query: str = "") -> list[str]:
    return [one.account_id for one in client.get(LIST + query).context_data["cl"].result_list]


def reset(client: Client, *account_ids: str, **data: str) -> Any:
    data = {"action": "reset_two_step", "confirmed": "yes"} | data
    return client.post(LIST, {ACTION_CHECKBOX_NAME: list(account_ids), **data}, follow=True)


def store_row(account_id: str, **summary: Any) -> None:
    new = row(account_id)
    given = Summary(**{"state": "enrolled", **summary})
    DjangoStore().create(
        type(new)(account_id=account_id, revision=1, document=b"{}", summary=given)
    )


# -------------------------------------------------------------------------------------- the list


def test_the_list_tells_states_in_words_and_loads_no_document() -> None:
    enroll("ann")
    client = operator()
    with CaptureQueriesContext(connections["default"]) as queries:
        seen = text(client.get(LIST))
    assert "ann On Jan. 15, 2027" in seen
    asked = [one["sql"] for one in queries if "mfakit_account" in one["sql"]]
    assert asked
    assert not [sql for sql in asked if "document" in sql]


def test_search_is_by_the_beginning_of_the_id_byte_for_byte() -> None:
    for account_id in ("ann", "anna", "Ann", "joann", "an%", "bob", "ann\u10ff"):
        store_row(account_id)
    client = operator()
    assert set(listed(client, "?q=ann")) == {"ann", "anna", "ann\u10ff"}
    assert listed(client, "?q=an%25") == ["an%"]
    assert listed(client, "?q=zoe") == []
    assert len(listed(client)) == 7


def test_filters() -> None:
    store_row("off", state="not_enrolled")
    store_row("many", authenticators=1, recovery_codes_left=10, passcodes=2)
    store_row("few", authenticators=1, recovery_codes_left=3)
    store_row("none", state="locked", authenticators=1, recovery_codes_left=0)
    client = operator()
    assert listed(client, "?state__exact=locked") == ["none"]
    assert listed(client, "?recovery=few") == ["few", "none"]
    assert listed(client, "?recovery=none") == ["none"]
    assert listed(client, "?recovery=unheard-of") == ["few", "many", "none", "off"]
    assert listed(client, "?passcodes=some") == ["many"]
    assert listed(client, "?passcodes=none") == ["few", "none", "off"]
    assert listed(client, "?passcodes=unheard-of") == ["few", "many", "none", "off"]


@pytest.mark.parametrize("lookup", ["contains", "startswith", "regex", "gte", "exact", "isnull"])
def test_the_list_does_not_tell_what_a_document_holds(lookup: str) -> None:
    """A filter in the address would be answered bit by bit: addresses, networks, hashes."""
    enroll("ann")
    assert operator().get(f"{LIST}?document__{lookup}=1").status_code == 400


def test_nothing_can_be_added_changed_or_deleted() -> None:
    """Not even by a superuser: only the library writes records."""
    enroll("ann")
    before = DjangoStore().load("ann")
    client = client_of(is_superuser=True)
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}add/", {"account_id": "bob"}).status_code == 403
    assert client.post(page("ann"), {"state": "not_enrolled"}).status_code == 405
    assert client.post(f"{LIST}ann/delete/", {"post": "yes"}).status_code == 403
    client.post(LIST, {ACTION_CHECKBOX_NAME: ["ann"], "action": "delete_selected", "post": "yes"})
    assert DjangoStore().load("ann") == before
    assert DjangoStore().load("bob") is None


def test_without_permission_nothing_is_shown() -> None:
    enroll("ann")
    client = client_of()
    assert client.get(LIST).status_code == 403
    assert client.get(page("ann")).status_code == 403
    assert client.get(page("nobody")).status_code == 403  # and does not tell who exists
    assert "admin/login" in Client().get(page("ann")).url


# ----------------------------------------------------------------------------------- one account


def test_the_page_of_an_account_in_words() -> None:
    done = enroll("ann")
    mfa.create_passcode("ann", label="iPhone", proof=done.proof or "")
    client = operator()
    seen = text(client.get(page("ann")))
    for words in (
        "Two-step verification of ann",
        "State On",
        "Required No",
        "Recovery codes left 10",
        "Application passcodes 1",
        "Keys in use 2027",
        "Ann's phone Jan. 15, 2027",
        "Enrolled Ann's phone the owner",
        "Passcode created iPhone the owner",
    ):
        assert words in seen, words
    stored = DjangoStore().load("ann")
    assert stored is not None
    assert stored.document.decode() not in unescape(client.get(page("ann")).content.decode())


def test_a_deadline_is_shown(settings: Any) -> None:
    """Policy requires two-step from a date on: the page says which, until it is reached."""
    policy = Policy(issuer="Example", required=True, required_from=datetime(2027, 3, 1, tzinfo=UTC))
    strict = MFA(DjangoStore(), KeyRing({"2027": b"k" * 32}), policy=policy, clock=mfa._env.clock)
    settings.TIME_ZONE = "UTC"
    enroll("ann")
    with patch.object(django_platform, "mfa", strict):
        assert "Required March 1, 2027, midnight" in text(operator().get(page("ann")))
        django_platform.clock.now = 1_811_000_000  # in May
        User.objects.all().delete()
        assert "Required Yes" in text(operator().get(page("ann")))


def test_a_locked_account_is_called_locked() -> None:
    enroll("ann")
    for _ in range(10):
        django_platform.clock.advance(3600)
        with pytest.raises(WrongCodeError):
            mfa.verify_code("ann", "000000")
    assert "State Locked after wrong codes" in text(operator().get(page("ann")))


def test_a_record_that_does_not_verify_is_shown_by_its_summary() -> None:
    store_row("ann", recovery_codes_left=7)
    seen = text(operator().get(page("ann")))
    assert "could not be asked: The account's record does not verify." in seen
    assert "State On" in seen
    assert "Recovery codes left 7" in seen


def test_without_the_setting_the_page_says_so(settings: Any) -> None:
    enroll("ann")
    settings.MFAKIT = None
    client = operator()
    assert "The setting MFAKIT is missing" in text(client.get(page("ann")))
    assert "Not reset: ann. The setting MFAKIT is missing" in text(
        reset(client, "ann", reason="ticket 1")
    )
    assert mfa.status("ann").is_on


def test_an_account_that_is_not_there() -> None:
    assert operator().get(page("nobody")).status_code == 404


def test_an_id_of_many_characters() -> None:
    """It is found, shown and reset as it is, and is no markup."""
    enroll(ODD)
    client = operator()
    assert listed(client, "?q=tenant/") == [ODD]
    answer = client.get(page(ODD))
    assert f"Two-step verification of {ODD}" in text(answer)
    assert "<b>" not in answer.content.decode()
    assert "1 account was reset" in text(reset(client, ODD, reason="ticket 1"))
    assert not mfa.status(ODD).is_on


# -------------------------------------------------------------------------------------- the reset


def test_the_action_asks_before_it_does_anything() -> None:
    enroll("ann")
    answer = operator().post(LIST, {ACTION_CHECKBOX_NAME: ["ann"], "action": "reset_two_step"})
    assert "Check first that the request comes from the owner" in text(answer)
    html = answer.content.decode()
    assert '<label for="id_reason">' in html
    assert 'name="confirmed" value="yes"' in html
    assert 'role="alert"' not in html
    assert mfa.status("ann").is_on


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_a_reason_is_required(reason: str) -> None:
    enroll("ann")
    answer = reset(operator(), "ann", reason=reason)
    assert "Please correct the error below." in text(answer)
    assert 'role="alert"' in answer.content.decode()
    assert mfa.status("ann").is_on


@pytest.mark.parametrize("path", ["django_platform.mfa", "django_platform.get_mfa"])
def test_a_reset_names_its_actor_and_its_reason(settings: Any, path: str) -> None:
    settings.MFAKIT = path
    for account_id in ("ann", "bob", "zoe"):
        enroll(account_id)
    client = operator()
    assert "2 accounts were reset." in text(reset(client, "ann", "bob", reason="x" * 200))
    assert [mfa.status(one).is_on for one in ("ann", "bob", "zoe")] == [False, False, True]
    entry = mfa.history("ann")[-1]
    olga = User.objects.get()
    assert (entry.kind, entry.actor, entry.reason) == ("reset", f"olga ({olga.pk})", "x" * 200)
    assert "Reset olga" not in text(client.get(page("zoe")))
    assert f"olga ({olga.pk}) {'x' * 200}" in text(client.get(page("ann")))
    logged = {(one.object_id, one.user.username) for one in LogEntry.objects.all()}
    assert logged == {("ann", "olga"), ("bob", "olga")}


def test_a_long_user_name_does_not_stop_a_reset() -> None:
    """Django allows 150 characters, an actor has 64; the key at its end stays whole."""
    enroll("ann")
    client = operator()
    User.objects.update(username="o" * 150)
    reset(client, "ann", reason="ticket 1")
    actor = mfa.history("ann")[-1].actor
    assert actor is not None
    assert len(actor) == 64
    assert actor.endswith(f"oo ({User.objects.get().pk})")


def test_set_up_can_be_required_after_a_reset() -> None:
    enroll("ann")
    enroll("bob")
    client = operator()
    reset(client, "ann", reason="ticket 1", reenroll="on")
    reset(client, "bob", reason="ticket 1")
    assert mfa.status("ann").is_required
    assert not mfa.status("bob").is_required
    assert "Required Yes" in text(client.get(page("ann")))


def test_a_record_that_does_not_verify_is_not_reset_here() -> None:
    """A wrong realm or key file looks the same. By `reset(force=True)` it can be."""
    store_row("ann")
    stored = row("ann")
    answer = text(reset(operator(), "ann", reason="ticket 1"))
    assert "Not reset: ann. The account's record does not verify." in answer
    assert row("ann") == stored
    mfa.reset("ann", actor="root", reason="ticket 1", force=True)
    assert mfa.status("ann").state == "not_enrolled"


def test_who_may_only_look_cannot_reset() -> None:
    enroll("ann")
    client = client_of("view_account")
    assert "Reset two-step verification" not in text(client.get(page("ann")))
    assert "Reset two-step verification" not in text(client.get(LIST))
    reset(client, "ann", reason="ticket 1")
    assert mfa.status("ann").is_on


def test_a_forged_request_is_refused() -> None:
    enroll("ann")
    client = client_of("view_account", "reset_account", csrf=True)
    assert reset(client, "ann", reason="ticket 1").status_code == 403
    assert mfa.status("ann").is_on
    token = re.search(
        r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(page("ann")).content.decode()
    )
    assert token is not None
    reset(client, "ann", reason="ticket 1", csrfmiddlewaretoken=token[1])
    assert not mfa.status("ann").is_on


def test_a_group_is_not_reset_in_one_request() -> None:
    for number in range(101):
        store_row(f"user-{number:03}")
    client = operator()
    answer = reset(client, "user-000", reason="ticket 1", select_across="1")
    assert "Choose at most 100 accounts" in text(answer)
    assert DjangoStore().load("user-000") == DjangoStore().load("user-000")
    assert not LogEntry.objects.exists()
    assert Account.objects.filter(revision=1).count() == 101


def test_a_list_on_the_same_database_as_atomic_requests_says_why(settings: Any) -> None:
    """A mistake in the settings is told to the operator, and nothing is half done."""
    enroll("ann")
    client = operator()
    settings_dict = connections["default"].settings_dict
    settings_dict["ATOMIC_REQUESTS"] = True
    try:
        answer = reset(client, "ann", reason="ticket 1")
    finally:
        settings_dict["ATOMIC_REQUESTS"] = False
    assert "Not reset: ann. The store was called inside atomic()" in text(answer)
    assert mfa.status("ann").is_on


def test_the_history_of_the_admin_is_there() -> None:
    enroll("ann")
    client = operator()
    reset(client, "ann", reason="ticket 1")
    seen = text(client.get(f"{LIST}ann/history/"))
    assert "Reset two-step verification: ticket 1" in seen


def test_the_app_is_called_by_its_name() -> None:
    assert "Two-step verification" in text(operator().get("/admin/"))
    assert django_platform.get_mfa() is mfa
