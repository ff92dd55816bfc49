"""One row to one account."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from mfakit import errors
from mfakit.migration.names import could_be_key
from mfakit.migration.rows import Row
from mfakit.service import MFA

__all__ = ["Outcome", "import_row"]

# The whole store is out of reach: the next row would fail as this one. Everything else is the row's.
_NOT_OF_THE_ROW = (
    errors.StoreUnavailableError,
    errors.ConfigurationError,
    errors.PolicyUnavailableError,
)
_HOLDS_SECRET = "Its account or label holds a secret. Are columns swapped?"
_KEY_LIKE = "The account id looks like a key. Are columns swapped? If it is an id, say --allow-key-like-ids."
# The error's own text advises to reset, which a wrong realm or key file must not lead to.
_NOT_OPENED = (errors.RecordIntegrityError, errors.KeyUnavailableError, errors.RecordSchemaError)
_NOT_OPENED_TEXT = "The account's record does not open with this realm and these keys."
_WEAK = "The secret has fewer than 128 bits. Say --allow-weak, or have the owner enrol anew."


@frozen(kw_only=True)
class Outcome:
    """What became of a row. `reason` is static text, "" unless it failed."""

    status: Literal["imported", "unchanged", "failed"]
    reason: str = ""


def import_row(
    mfa: MFA,
    row: Row,
    account_id: str,
    *,
    actor: str,
    reason: str,
    allow_weak: bool = False,
    allow_key_like_ids: bool = False,
) -> Outcome:
    """Take over one authenticator. One that the account has already changes nothing.

    Nothing is written if the account id, or the label, holds the row's secret or a URI of a key. A
    label that looks like a key otherwise is left out.

    Args:
        mfa: The platform's, or a rehearsal of it.
        row: What a reader made.
        account_id: The platform's id of the account.
        actor: Who does it.
        reason: Why; kept in the account's history.
        allow_weak: Take secrets under 128 bits, too.
        allow_key_like_ids: Take account ids that look like keys in base32, hex or base64, too.

    Raises:
        StoreUnavailableError, ConfigurationError, PolicyUnavailableError: Nothing can be imported now;
            go on with the same row later.
    """
    checks = (
        (row.holds_secret(account_id) or row.holds_secret(row.label), _HOLDS_SECRET),
        (could_be_key(account_id) and not allow_key_like_ids, _KEY_LIKE),
        (row.is_weak and not allow_weak, _WEAK),
    )
    refusal = next((text for is_so, text in checks if is_so), None)
    if refusal is not None:
        return Outcome(status="failed", reason=refusal)
    try:
        mfa.import_authenticator(
            account_id,
            row.uri,
            actor=actor,
            reason=reason,
            label=row.shown(row.label) or "Authenticator",
            allow_weak=allow_weak,
        )
    except errors.DuplicateSecretError:
        return Outcome(status="unchanged")
    except _NOT_OF_THE_ROW:
        raise
    except _NOT_OPENED:
        return Outcome(status="failed", reason=_NOT_OPENED_TEXT)
    except errors.MFAKitError as error:
        return Outcome(status="failed", reason=str(error))
    return Outcome(status="imported")
