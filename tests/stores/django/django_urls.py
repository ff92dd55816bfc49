"""The URLs of the tests' Django project: the admin, and a page of the platform that signs in."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from mfakit.storage.django import DjangoStore


def page(request: HttpRequest) -> HttpResponse:
    DjangoStore().load("ann")
    return HttpResponse("ok")


urlpatterns = [path("admin/", admin.site.urls), path("page/", page)]
