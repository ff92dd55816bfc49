"""Moments between mfakit (aware UTC, integer seconds) and Django (as `USE_TZ` says)."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.utils import timezone

__all__ = ["from_seconds", "in_django", "to_seconds"]


def in_django(moment: datetime | None) -> datetime | None:
    """Return an aware moment as Django wants it: naive local time if `USE_TZ` is off."""
    if moment is None or settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def from_seconds(seconds: int | None) -> datetime | None:
    """Return Unix seconds as a moment for Django."""
    return None if seconds is None else in_django(datetime.fromtimestamp(seconds, UTC))


def to_seconds(moment: datetime | None) -> int | None:
    """Return a moment from Django as Unix seconds."""
    if moment is None:
        return None
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return int(moment.timestamp())
