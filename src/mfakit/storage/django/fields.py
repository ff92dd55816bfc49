"""The column of account ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["AccountIdField"]

if TYPE_CHECKING:
    CharField = models.CharField[str, str]
else:
    CharField = models.CharField


class AccountIdField(CharField):
    """An account id, 1-255 UTF-8 bytes, compared byte for byte on every engine.

    What an engine takes for equal by default (case, accents, trailing spaces) would let one account
    find another's row. PostgreSQL: `COLLATE "C"`. MySQL and MariaDB: `VARBINARY`, since their
    `_bin` collations pad with spaces. SQLite: BINARY, its default.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = 255
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Describe the field to migrations; its length is no choice."""
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_length"]
        return name, path, args, kwargs

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type."""
        types = {
            "mysql": "varbinary(255)",
            # Spelled out: for "varchar" Django adds an index for LIKE, which "C" does not need.
            "postgresql": "character varying(255)",
        }
        return types.get(connection.vendor) or super().db_type(connection)

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        """Return the column's type and collation."""
        collation = "C" if connection.vendor == "postgresql" else None
        return {**super().db_parameters(connection), "collation": collation}

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001, FBT002 - Django's own signature
    ) -> Any:
        """Return what the driver gets: bytes for `VARBINARY`."""
        value = super().get_db_prep_value(value, connection, prepared)
        is_binary = connection.vendor == "mysql" and isinstance(value, str)
        return value.encode() if is_binary else value

    def from_db_value(self, value: Any, *_: Any) -> Any:
        """Return text, whatever the driver gave."""
        return value.decode() if isinstance(value, bytes) else value
