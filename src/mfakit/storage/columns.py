"""What stores with four columns keep alike: account_id, revision, document, summary (as JSON)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import MsgspecError, json

from mfakit.rows import StoredRecord, Summary
from mfakit.storage import Page

__all__ = ["decode_summary", "encode_summary", "page_of", "stored_row"]

encode_summary: Callable[[Summary], bytes] = json.Encoder().encode
_decode = json.Decoder(Summary).decode


def decode_summary(text: str | bytes) -> Summary:
    """Return a summary; one that cannot be read says so.

    It is for reports only: a torn one must not keep anybody out.
    """
    try:
        return _decode(text)
    except MsgspecError:
        return Summary(state="unknown")


def stored_row(row: Sequence[Any]) -> StoredRecord:
    """Return the row of the four columns, in their order."""
    account_id, revision, document, summary = row
    return StoredRecord(
        account_id=account_id, revision=revision, document=document, summary=decode_summary(summary)
    )


def page_of(rows: Sequence[Sequence[Any]], limit: int, prefix: str) -> Page:
    """Return the page of up to `limit` rows, of `limit + 1` that were read in the order of ids."""
    found = [stored_row(row) for row in rows if row[0].startswith(prefix)]
    page = tuple(found[:limit])
    return Page(page, page[-1].account_id if len(found) > limit else None)
