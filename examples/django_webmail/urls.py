"""The addresses of the webmail: the same as those of the Flask example."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path, re_path
from django.views.generic import RedirectView
from examples.django_webmail import two_step, views

_OPERATOR = RedirectView.as_view(pattern_name="admin:webmail_account_changelist")

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("messages/<int:message_id>", views.message, name="message"),
    path("password", views.password, name="password"),
    path("sign-out", views.sign_out, name="sign_out"),
    path("sign-in", two_step.sign_in, name="two_step.sign_in"),
    re_path("^sign-in/(?P<method>totp|recovery)$", two_step.code, name="two_step.code"),
    path("preferences/<page>", two_step.preferences, name="two_step.preferences"),
    # The admin has a sign-in with a password alone, and a change of password that mfakit would not
    # hear of.
    path("admin/login/", views.forbidden),
    path("admin/password_change/", views.forbidden),
    path("admin/", admin.site.urls),
    path("operator", _OPERATOR, name="admin.accounts"),
    # A web server does this elsewhere.
    path("static/<path:path>", serve, {"insecure": True}, name="static"),
]
handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.failed  # mfakit
