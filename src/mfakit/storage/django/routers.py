"""A database router for a platform that sets `ATOMIC_REQUESTS`, or keeps the records elsewhere."""

from __future__ import annotations

from typing import Any

__all__ = ["OwnAliasRouter"]


class OwnAliasRouter:
    """Send the records, reads and writes alike, to the alias "mfakit" of `DATABASES`."""

    def db_for_read(self, model: type[Any], **hints: Any) -> str | None:
        """Return "mfakit" for our model: the writer, for a replica may show a spent code unspent."""
        return "mfakit" if model._meta.app_label == "mfakit" else None

    def db_for_write(self, model: type[Any], **hints: Any) -> str | None:
        """Return "mfakit" for our model."""
        return self.db_for_read(model)
