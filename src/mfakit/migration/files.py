"""Files of keys: CSV of our own, OATH CSV, PSKC (RFC 6030), LDIF (RFC 2849)."""

from __future__ import annotations

import csv
from binascii import Error as HexError
from binascii import unhexlify
from collections.abc import Iterator
from io import BytesIO, StringIO
from itertools import groupby
from typing import Any

from mfakit.errors import ConfigurationError
from mfakit.migration.apps import row_of_uri
from mfakit.migration.rows import Reading, Source, bad_row, make_row

__all__ = ["read_csv", "read_ldif", "read_oath_csv", "read_pskc"]


def read_csv(source: Source) -> Iterator[Reading]:
    """Read what `mfakit export` writes: account_id, label, secret_or_uri, with a head line."""
    return _well_formed(_rows_of_csv(source))


def _well_formed(rows: Iterator[Reading]) -> Iterator[Reading]:
    try:
        yield from rows
    except csv.Error:  # a cell without end
        raise ConfigurationError("SOURCE is not a CSV file.") from None


def _rows_of_csv(source: Source) -> Iterator[Reading]:
    reader = csv.DictReader(StringIO(source.text(), newline=""))
    if not {"account_id", "secret_or_uri"} <= set(reader.fieldnames or ()):
        raise ConfigurationError("The first line must name account_id, label, secret_or_uri.")
    for one in reader:
        place, account = f"line {reader.line_num}", one["account_id"] or ""
        text = str(one["secret_or_uri"] or "").strip()
        if not text.lower().startswith("otpauth:"):
            yield make_row(place, account, text, label=one.get("label"))
            continue
        yield row_of_uri(place, text, account=account, label=one.get("label") or "")


def read_oath_csv(source: Source) -> Iterator[Reading]:
    """Read `serial, key in hex, type, digits, period` as privacyIDEA does: HOTP unless it says TOTP.

    Its rule for the hash is kept, too: a key of 32 bytes is for SHA256, of 64 for SHA512.
    """
    return _well_formed(_rows_of_oath_csv(source))


def _rows_of_oath_csv(source: Source) -> Iterator[Reading]:
    for number, line in enumerate(source.text().split("\n"), 1):
        cells = [cell.strip() for cell in next(csv.reader([line]), [])]
        if not cells or not cells[0] or cells[0].startswith("#"):
            continue
        serial, key, kind, digits, period = [*cells, "", "", "", ""][:5]
        secret = _unhex(key)
        yield make_row(
            f"line {number}",
            serial,
            secret,
            kind=kind or "hotp",
            algorithm={32: "SHA256", 64: "SHA512"}.get(len(secret or b""), "SHA1"),
            digits=digits or 6,
            period=period or 30,
        )


def _unhex(text: str) -> bytes | None:
    try:
        return unhexlify(text)
    except (HexError, ValueError):
        return None


def read_pskc(source: Source) -> Iterator[Reading]:
    """Read a PSKC file; sealed keys open with the passphrase (or the key in hex).

    The account is the key's user, else the device's serial number, else the key's id.
    """
    from pskc.exceptions import PSKCError

    container = _container(source)
    for number, key in enumerate(container.keys, 1):
        place = f"key {number}"
        account = key.userid or key.serial or key.id
        try:
            secret, period = key.secret, key.time_interval
        except (PSKCError, ValueError):
            reason = "The key does not open. Is the passphrase the right one?"
            yield bad_row(place, account, None, reason)
            continue
        yield make_row(
            place,
            account,
            secret,
            label=key.friendly_name,
            issuer=key.issuer,
            kind=(key.algorithm or "").rpartition(":")[2].partition("#")[0],
            algorithm=key.algorithm_suite,
            digits=key.response_length or 6,
            period=period or 30,
        )


def _container(source: Source) -> Any:
    from defusedxml.ElementTree import parse as parse_defused
    from pskc import PSKC

    try:
        # SECURITY: looked at first by a parser that refuses entities; the package may use another.
        parse_defused(source.place, forbid_dtd=True)
        container = PSKC(source.place)
        if source.passphrase and container.encryption.is_encrypted:
            _open_container(container, source.passphrase)
    except Exception:  # the parsers' own, which name no common one for a file of any kind
        raise ConfigurationError("SOURCE is no PSKC file, or does not open.") from None
    return container


def _open_container(container: Any, passphrase: str) -> None:
    if container.encryption.derivation.algorithm:
        container.encryption.derive_key(passphrase)
    else:
        container.encryption.key = unhexlify(passphrase)


def read_ldif(source: Source) -> Iterator[Reading]:
    """Read entries of a directory whose secrets were put in in clear, as base32.

    Names are Zimbra's unless `id_field` and `secret_field` say others. Zimbra keeps the time after a
    bar; entries without a secret, or with two-step off, are left out.
    """
    id_name = (source.id_field or "zimbraId").lower()
    secret_name = (source.secret_field or "zimbraTwoFactorAuthSecret").lower()
    for number, block in _blocks(source):
        entry = _entry(block)
        place = f"line {number}"
        if entry is None:
            yield bad_row(place, None, None, "Not an LDIF entry.")
            continue
        stored = entry.get(secret_name)
        if stored is None or entry.get("zimbratwofactorauthenabled") == "FALSE":
            continue
        secret = _decrypt(source, stored.partition("|")[0]) if isinstance(stored, str) else "?"
        yield make_row(place, entry.get(id_name), secret)


def _decrypt(source: Source, stored: str) -> str:
    try:
        return source.decrypt(stored)
    except Exception:  # it is the platform's
        return "?"  # no base32


def _blocks(source: Source) -> Iterator[tuple[int, bytes]]:
    """Take the file apart at empty lines, so that an entry that does not parse ends nothing else."""
    numbered = enumerate(source.text().split("\n"), 1)
    for is_entry, lines in groupby(numbered, key=lambda one: bool(one[1].strip())):
        if is_entry:
            block = list(lines)
            yield block[0][0], "\n".join(line for _, line in block).encode() + b"\n"


def _entry(block: bytes) -> dict[str, object] | None:
    """Return each attribute's value as it is: bytes if it is no text, all of them if it has several."""
    from ldif import LDIFParser

    try:
        for dn, entry in LDIFParser(BytesIO(block)).parse():
            if dn is not None:
                return {
                    name.lower(): values[0] if len(values) == 1 else values
                    for name, values in entry.items()
                }
    except (ValueError, IndexError):
        return None
    return {}
