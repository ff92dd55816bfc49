"""What authenticator apps export: `otpauth:` URIs, QR images, Google's batches, Aegis, 2FAS."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mfakit.core.secret import Secret
from mfakit.errors import ConfigurationError
from mfakit.migration.names import could_be_key
from mfakit.migration.rows import Reading, Source, bad_row, make_row, require
from mfakit.provisioning import split_uri

__all__ = ["read_2fas", "read_aegis", "read_qr", "read_uris", "row_of_uri"]

_MIGRATION = "otpauth-migration:"
_IMAGES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"}


def read_uris(source: Source) -> Iterator[Reading]:
    """Read `otpauth://` and `otpauth-migration://` URIs, one a line; `#` begins a comment."""
    for number, line in enumerate(source.text().split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield from _rows_of_uri(f"line {number}", text)


def read_qr(source: Source) -> Iterator[Reading]:
    """Read the QR codes of one image, or of every image of a directory, by name."""
    path = source.path
    if not path.is_dir():
        yield from _rows_of_image("image 1", path)
        return
    images = [one for one in sorted(path.iterdir()) if one.suffix.lower() in _IMAGES]
    for number, one in enumerate(images, 1):
        yield from _rows_of_image(f"image {number}", one)


def _rows_of_image(numbered: str, path: Path) -> Iterator[Reading]:
    from PIL import Image, UnidentifiedImageError
    from zxingcpp import BarcodeFormat, BarcodeFormats, read_barcodes

    place = numbered if could_be_key(path.name) else path.name
    try:
        with Image.open(path) as image:
            found = read_barcodes(image.convert("L"), formats=BarcodeFormats(BarcodeFormat.QRCode))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        yield bad_row(place, None, None, "The image cannot be read.")
        return
    if not found:
        yield bad_row(place, None, None, "There is no QR code in the image.")
    for one in found:
        yield from _rows_of_uri(place, one.text)


def _rows_of_uri(place: str, text: str) -> Iterator[Reading]:
    if text.lower().startswith(_MIGRATION):
        yield from _rows_of_batch(place, text)
        return
    yield row_of_uri(place, text)


def row_of_uri(place: str, text: str, *, account: str | None = None, label: str = "") -> Reading:
    """Read one `otpauth://` URI; what an app would not mind, as a parameter of its own, is let by.

    Args:
        place: Where it stands.
        text: The URI.
        account: Whose it is; None is whom the URI names.
        label: Name of the authenticator.
    """
    parts = split_uri(Secret(text.encode()))
    if parts is None:
        return bad_row(place, account, None, "Not a URI that authenticator apps know.")
    kind, named, parameters = parts
    issuer, _, owner = named.rpartition(":")
    return make_row(
        place,
        owner.strip() if account is None else account,
        parameters.get("secret"),
        label=label,
        issuer=parameters.get("issuer") or issuer,
        kind=parameters.get("encoder") or kind,  # Steam's codes have letters
        algorithm=parameters.get("algorithm"),
        digits=parameters.get("digits") or 6,
        period=parameters.get("period") or 30,
    )


# -------------------------------------------------------------------------------- Google Authenticator

# Google has not published this message; numbers as in every open-source reader of it.
_FIELDS = {
    "Parameters": (
        ("secret", 1, "BYTES"),
        ("name", 2, "STRING"),
        ("issuer", 3, "STRING"),
        ("algorithm", 4, "INT32"),
        ("digits", 5, "INT32"),
        ("type", 6, "INT32"),
    ),
    "Payload": (("parameters", 1, "Parameters"),),
}
_ALGORITHMS = {0: "SHA1", 1: "SHA1", 2: "SHA256", 3: "SHA512"}
_DIGITS = {0: 6, 1: 6, 2: 8}
_TOTP = 2


@cache
def _payload_class() -> Any:
    """Return the class of Google's message, put together without generated code."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="migration.proto", package="mfakit", syntax="proto3")
    for message, members in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind in members:
            member = described.field.add(name=name, number=number)
            is_message = kind in _FIELDS
            member.label = (
                FieldDescriptorProto.LABEL_REPEATED
                if is_message
                else FieldDescriptorProto.LABEL_OPTIONAL
            )
            member.type = getattr(
                FieldDescriptorProto, "TYPE_MESSAGE" if is_message else f"TYPE_{kind}"
            )
            if is_message:
                member.type_name = f".mfakit.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("mfakit.Payload"))


def _rows_of_batch(place: str, text: str) -> Iterator[Reading]:
    require("google.protobuf")
    from google.protobuf.message import DecodeError

    try:
        data = parse_qs(urlsplit(text).query, strict_parsing=True)["data"][0]
        payload = _payload_class().FromString(b64decode(data.replace(" ", "+"), validate=True))
    except (DecodeError, ValueError, KeyError):
        yield bad_row(place, None, None, "Not an export of Google Authenticator.")
        return
    for number, one in enumerate(payload.parameters, 1):
        issuer, _, name = one.name.rpartition(":")
        yield make_row(
            f"{place}, entry {number}",
            name.strip(),
            one.secret,
            issuer=one.issuer or issuer,
            kind="totp" if one.type == _TOTP else "other",
            algorithm=_ALGORITHMS.get(one.algorithm, "unknown"),
            digits=_DIGITS.get(one.digits),
        )


# ----------------------------------------------------------------------------------------- Aegis, 2FAS


def read_aegis(source: Source) -> Iterator[Reading]:
    """Read a plain export of Aegis: vault version 1, `db` an object and not a sealed text."""
    entries = _entries(_document(source).get("db"), "entries")
    for number, one in enumerate(entries, 1):
        info = _mapping(one.get("info"))
        yield make_row(
            f"entry {number}",
            one.get("name"),
            info.get("secret"),
            issuer=one.get("issuer"),
            kind=one.get("type"),
            algorithm=info.get("algo"),
            digits=info.get("digits"),
            period=info.get("period", 30),
        )


def read_2fas(source: Source) -> Iterator[Reading]:
    """Read a plain backup of 2FAS. Its first version wrote only what is not usual."""
    entries = _entries(_document(source), "services")
    for number, one in enumerate(entries, 1):
        otp = _mapping(one.get("otp"))
        yield make_row(
            f"entry {number}",
            otp.get("account") or str(otp.get("label") or "").rpartition(":")[2],
            one.get("secret"),
            issuer=otp.get("issuer") or one.get("name"),
            kind=otp.get("tokenType") or "TOTP",
            algorithm=otp.get("algorithm"),
            digits=otp.get("digits") or 6,
            period=otp.get("period") or 30,
        )


def _document(source: Source) -> dict[str, Any]:
    try:
        document = json.loads(source.text())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError("SOURCE is not the export of that app.")
    return document


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(holder: object, name: str) -> list[dict[str, Any]]:
    entries = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        text = f"SOURCE has no {name} in clear. Export it again without a password."
        raise ConfigurationError(text)
    if not entries and isinstance(holder, dict) and holder.get("servicesEncrypted"):
        raise ConfigurationError("SOURCE is sealed. Export it again without a password.")
    return entries
