"""The table of targets."""

from __future__ import annotations

from collections.abc import Callable

from . import imports, mail, sealed, typed
from .target import Target

TARGETS: dict[str, Callable[[], Target]] = {
    "code": typed.code,
    "passcode": typed.passcode,
    "recovery": typed.recovery,
    "base32": typed.base32,
    "uri": typed.uri,
    "token": sealed.token,
    "device": sealed.device,
    "document": sealed.document,
    "body": sealed.body,
    "http": mail.http,
    "sasl": mail.sasl,
    "otpauth": imports.otpauth,
    "aegis": imports.aegis,
    "2fas": imports.two_fas,
    "csv": imports.csv,
    "oath-csv": imports.oath_csv,
    "ldif": imports.ldif,
    "pskc": imports.pskc,
}
