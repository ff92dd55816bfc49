"""What a person is told, and where a person goes on, when mfakit refuses something."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from examples.webmail_shared.pages import PLAIN, moment
from examples.webmail_shared.two_step import Go, PageError, go

from mfakit import DEFAULT, RefusedError, SignedIn, UnavailableError
from mfakit.errors import (
    ChallengeError,
    InvalidInputError,
    NotFoundError,
    OfferError,
    PasswordChangeRequiredError,
    ProofError,
    ThrottledError,
)

RETRY_AFTER_SECONDS = "30"

# Where the library's own sentence speaks to the developer, or a page can say it better.
_TEXTS = {
    "password_not_verified": "That is not the password of this account.",
    "label": "A name has 1 to 64 ordinary characters.",
    "protocols": "Choose at least one use.",
    "reason": "A reason has 1 to 200 ordinary characters.",
}
# What a form or a page may have a field for; whatever else is wrong is told above the page.
_SHOWN_FIELDS = {"address", "password", "new", "code", "label", "protocols", "reason"}
# The id of the field that the text is about.
_FIELDS = {
    "wrong_code": "code",
    "throttled": "code",
    "second_factor_locked": "code",
    "password_not_verified": "password",
    "label_taken": "label",
}


def explain(error: RefusedError) -> str:
    """Return the sentence for the person."""
    if isinstance(error, ThrottledError):
        return f"Too many wrong codes. Wait {_duration(error.retry_after_seconds)}, then try again."
    key = error.field if isinstance(error, InvalidInputError) else error.code
    return _TEXTS.get(key, error.text)


def field_of(error: RefusedError) -> str:
    """Return the id of the field to correct, or "error"."""
    if isinstance(error, InvalidInputError):
        return error.field if error.field in _SHOWN_FIELDS else "error"
    return _FIELDS.get(error.code, "error")


def page_after(error: RefusedError, page: str, item_id: str) -> Go | None:
    """Return the page that helps, None for the one with the form.

    Args:
        error: What was raised.
        page: The page under Preferences that was asked for, "" if it was another.
        item_id: What that page was about, or "".
    """
    if isinstance(error, ProofError):
        return go("confirm", next=page, id=item_id)
    if isinstance(error, NotFoundError):
        return go("accounts")
    if isinstance(error, OfferError):
        return go("setup")
    if isinstance(error, ChallengeError):  # the inbox leads to the sign-in if nobody is signed in
        return Go("inbox", {}, {}, "")
    if isinstance(error, PasswordChangeRequiredError):
        return Go("two_step.sign_in", {}, {}, "")
    return None


def has_form(error: RefusedError, method: str) -> bool:
    """Say whether the page that was asked for can show its form again, with this refusal."""
    return method == "POST" and not isinstance(error, PageError)


def problem(error: object) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Return what the page about an error shows, its status and headers.

    Nothing is on it that a stranger can use. Render it without context processors: they may be what
    failed. What mfakit could not decide goes to the operator's log; the framework logs the rest.
    """
    if isinstance(error, RefusedError):
        text = {"title": "That is not possible", "text": explain(error)}
        return PLAIN | text, error.http_status, {}
    if not isinstance(error, UnavailableError):
        return PLAIN | {"title": "Something went wrong", "text": "Try again later."}, 500, {}
    logging.getLogger(__name__).error("mfakit: %s", error.code, exc_info=error)
    text = {"title": "Try again later", "text": UnavailableError.text}
    return PLAIN | text, error.http_status, {"Retry-After": RETRY_AFTER_SECONDS}


def sign_in_notices(done: SignedIn) -> Iterator[str]:
    """Yield what the owner should hear right after signing in."""
    if done.failed_since_last:
        yield (
            f"Wrong codes since your last sign-in: {done.failed_since_last}."
            " If that was not you, change your password."
        )
    if done.method != "password" and done.recovery_codes_left <= DEFAULT.recovery_codes_low:
        yield (
            f"Recovery codes left: {done.recovery_codes_left}."
            " Make new ones in Preferences > Accounts."
        )
    if done.enroll_by:
        yield (
            f"Two-step authentication is required from {moment(done.enroll_by)}."
            " Set it up in Preferences > Accounts before then."
        )


def _duration(seconds: int) -> str:
    if seconds <= 90:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return f"{-(-seconds // 60)} minutes"
