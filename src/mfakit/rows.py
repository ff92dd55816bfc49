"""A row: what the core and a store hand each other. Neither looks into the other's part."""

from __future__ import annotations

from msgspec import Struct

from mfakit.core.secret import Value

__all__ = ["StoredRecord", "Summary"]


class Summary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a report may show without opening the document. Never an input to a decision."""

    state: str
    enrolled_at: int | None = None
    authenticators: int = 0
    recovery_codes_left: int = 0
    passcodes: int = 0
    trusted_devices: int = 0
    last_login_at: int | None = None
    key_ids: tuple[str, ...] = ()


class StoredRecord(Value, frozen=True, kw_only=True):
    """One row of a store.

    Args:
        account_id: 1-255 UTF-8 bytes, compared byte for byte.
        revision: 1 to 2**63 - 1; each write of the row gives another.
        document: The record, at most 64 KiB; opaque to the store.
        summary: Counts and times for reports.
    """

    account_id: str
    revision: int
    document: bytes
    summary: Summary
