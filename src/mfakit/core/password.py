"""The platform's verdict on a password: asked once in an attempt, and good for one epoch and one text.

A password change raises the epoch, so a verdict from before it lets nobody in afterwards.
"""

from __future__ import annotations

from typing import Any

from mfakit import errors
from mfakit.core.decision import PASSWORD, Case, CheckPassword, Decision
from mfakit.core.guards import is_current_epoch
from mfakit.core.secret import Secret


def ask_password(
    case: Case, password: Secret | None, refused: Decision[Any]
) -> CheckPassword | Decision[Any] | None:
    """Return the question to the platform, or the refusal; None if the password is right.

    Args:
        case: The account at this moment.
        password: What was typed, None if it is no text.
        refused: The answer to a wrong password.
    """
    # SECURITY: an empty password is an anonymous bind to a directory, and succeeds (RFC 4513 §5.1.2).
    if password is None or not password.reveal():
        return refused
    record, fingerprint = case.record, case.vault.fingerprint(password)
    asked = [(key, is_right) for key, is_right in case.evidence.items() if key[0] == PASSWORD]
    if not asked:
        return CheckPassword(
            account_id=record.account_id,
            password=password,
            epoch=record.epoch,
            fingerprint=fingerprint,
        )
    (_, epoch, text), is_right = asked[0]
    # SECURITY: never asked again in this attempt, nor taken for another epoch or another text.
    if text != fingerprint or not is_current_epoch(record, epoch):
        return case.refuse(errors.ContentionError())
    return None if is_right else refused
