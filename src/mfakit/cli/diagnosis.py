"""Why records do not open: these are damaged, or realm and keys are not those of the platform.

A record under a wrong realm or key looks exactly like a damaged one, so nobody can tell from it alone.
Other records can: commands try some before they advise to restore or to throw away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from mfakit.core.record import decode_record, document_key_id
from mfakit.errors import (
    KeyUnavailableError,
    MFAKitError,
    RecordIntegrityError,
    RecordSchemaError,
    StoreConfigurationError,
    UnavailableError,
    UnknownAccountError,
)
from mfakit.operations import Load
from mfakit.rows import StoredRecord
from mfakit.service import MFA

__all__ = ["UNOPENED", "Diagnosis", "diagnose", "opening_error", "probe"]

PROBED = 20  # records: enough to meet a wrong realm or a missing key
UNOPENED = (RecordIntegrityError, KeyUnavailableError, RecordSchemaError)
_CODES = frozenset(error.code for error in UNOPENED)
_CHECK = "Check --realm and --keys: a wrong one looks the same as damage."


@frozen(kw_only=True)
class Diagnosis:
    """What other records tell about those that do not open.

    Attributes:
        tried: How many records were tried.
        opened: How many of them opened.
        missing_key_ids: Keys that records ask for and the ring lacks.
        is_newer: A newer mfakit wrote one of them.
    """

    tried: int
    opened: int
    missing_key_ids: tuple[str, ...] = ()
    is_newer: bool = False

    @property
    def is_widespread(self) -> bool:
        """Most do not open, or none is there to compare with: suspect realm and keys."""
        return self.opened == 0 or 2 * self.opened < self.tried

    def on_one(self) -> str:
        """Say what to do about one account; the others were tried."""
        if self.is_widespread:
            return self._join(self._cause("other records"))
        return self._join(
            f"{self.opened} of {self.tried} other records tried open: this one is damaged, or its"
            " key is gone. Restore it from a backup. If there is none, use `mfakit reset` with --force"
            " to throw it away."
        )

    def on_many(self) -> str:
        """Say what to do about several accounts; these and the others were tried."""
        if self.is_widespread:
            return self._join(self._cause("records"), "Reset none of these.")
        return self._join(
            f"{self.opened} of {self.tried} records tried open, so the others are damaged, or"
            " their keys are gone. Restore these from a backup. Only if there is none, use"
            " `mfakit reset` with --force to throw one away."
        )

    def as_data(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "likely_cause": "realm_or_keys" if self.is_widespread else "record",
            "tried": self.tried,
            "opened": self.opened,
            "missing_key_ids": list(self.missing_key_ids),
        }

    def _cause(self, records: str) -> str:
        if not self.tried:
            return f"There is no other record to compare with. {_CHECK}"
        count = f"Only {self.opened}" if self.opened else "None"
        verb = "open" if self.opened > 1 else "opens"
        found = f"{count} of {self.tried} {records} tried {verb}"
        return f"{found} with this realm and these keys. {_CHECK}"

    def _join(self, *sentences: str) -> str:
        keys = ", ".join(self.missing_key_ids)
        more = (
            (keys, f"The key ring lacks keys that records ask for: {keys}. Add these first."),
            (self.is_newer, "A newer mfakit wrote some of them: upgrade this one first."),
        )
        return " ".join([*sentences, *[text for is_so, text in more if is_so]])


def opening_error(mfa: MFA, account_id: str) -> MFAKitError | None:
    """Return why an account's record does not open, `UnknownAccountError` if it has none, or None.

    Raises:
        StoreUnavailableError: Try again later.
    """
    stored = mfa._load(Load(account_id))
    return UnknownAccountError() if stored is None else _error_of(mfa, stored)


def probe(mfa: MFA, *, besides: str | None = None) -> Diagnosis:
    """Try some records, and name the keys that they, and the one of `besides`, ask for.

    Raises:
        StoreUnavailableError: Try again later.
    """
    try:
        rows = mfa._scan(None, PROBED + 1, "").records
    except StoreConfigurationError:  # it cannot be walked
        rows = ()
    others = [row for row in rows if row.account_id != besides][:PROBED]
    failed = [row for row in others if isinstance(_error_of(mfa, row), UNOPENED)]
    own = None if besides is None else mfa._load(Load(besides))
    return _diagnosis(mfa, failed if own is None else [own, *failed], len(others), len(failed))


def diagnose(mfa: MFA, failed: Iterable[tuple[str, str]], *, opened: int) -> Diagnosis | None:
    """Return what a walk over many records tells of those that failed; None if each opened.

    Args:
        mfa: The one that walked.
        failed: Account id and error code of each account that failed.
        opened: How many records opened.
    """
    unopened = [account_id for account_id, code in failed if code in _CODES]
    if not unopened:
        return None
    rows = _loaded(mfa, unopened[:PROBED])
    return _diagnosis(mfa, rows, opened + len(unopened), len(unopened))


def _loaded(mfa: MFA, account_ids: Sequence[str]) -> list[StoredRecord]:
    try:
        rows = [mfa._load(Load(account_id)) for account_id in account_ids]
    except UnavailableError:  # the walk says that the store failed
        return []
    return [row for row in rows if row is not None]


def _diagnosis(mfa: MFA, rows: Sequence[StoredRecord], tried: int, failed: int) -> Diagnosis:
    held = mfa._env.vault.keys.key_ids
    asked_for = {key_id for row in rows for key_id in _key_ids(row)}
    return Diagnosis(
        tried=tried,
        opened=tried - failed,
        missing_key_ids=tuple(sorted(asked_for.difference(held))),
        is_newer=any(isinstance(_error_of(mfa, row), RecordSchemaError) for row in rows),
    )


def _error_of(mfa: MFA, stored: StoredRecord) -> MFAKitError | None:
    try:
        record = decode_record(stored, mfa._env.vault)
    except UNOPENED as error:
        return error
    return UnknownAccountError() if record.forgotten else None


def _key_ids(stored: StoredRecord) -> tuple[str, ...]:
    try:
        return (document_key_id(stored.document),)
    except UNOPENED:  # torn
        return ()
