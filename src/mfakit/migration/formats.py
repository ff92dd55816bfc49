"""The table of formats: name, reader, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from mfakit.errors import ConfigurationError, MFAKitError
from mfakit.migration import apps, files, tables
from mfakit.migration.rows import Reading, Source, require

__all__ = ["FORMATS", "Format"]


@frozen
class Format:
    """One format.

    Args:
        text: What it is, for people.
        reader: What makes rows of a source.
        needs: Modules that the reader imports on use.
    """

    text: str
    reader: Callable[[Source], Iterator[Reading]]
    needs: tuple[str, ...] = ()

    def read(self, source: Source) -> Iterator[Reading]:
        """Read a source, row by row.

        Raises:
            ConfigurationError: A module is missing, or the source is not of this format.
        """
        require(*self.needs)
        return _contained(self.reader(source))


def _contained(rows: Iterator[Reading]) -> Iterator[Reading]:
    """Yield the rows. SECURITY: what a parser raises may quote the row, and so is not passed on."""
    try:
        yield from rows
    except MFAKitError:
        raise
    except Exception:
        raise ConfigurationError("SOURCE has an entry that cannot be parsed.") from None


FORMATS: dict[str, Format] = {
    "csv": Format("CSV with account_id, label, secret_or_uri; `mfakit export`", files.read_csv),
    "otpauth": Format("otpauth:// URIs, one a line", apps.read_uris),
    "google": Format("otpauth-migration:// URIs, one a line", apps.read_uris),
    "qr": Format("QR image, or a directory of them", apps.read_qr, ("PIL", "zxingcpp")),
    "aegis": Format("plain JSON export of Aegis", apps.read_aegis),
    "2fas": Format("plain backup of 2FAS", apps.read_2fas),
    "django-otp": Format("table, or dumpdata JSON", tables.read_django_otp, ("sqlalchemy",)),
    "allauth": Format("table, or dumpdata JSON", tables.read_allauth, ("sqlalchemy",)),
    "flask-security": Format(
        "table of users; sealed by passlib", tables.read_flask_security, ("sqlalchemy", "passlib")
    ),
    "pskc": Format("PSKC, RFC 6030", files.read_pskc, ("pskc", "defusedxml")),
    "oath-csv": Format("serial, hex key, type, digits, period", files.read_oath_csv),
    "ldif": Format("directory entries with clear secrets", files.read_ldif, ("ldif",)),
}
