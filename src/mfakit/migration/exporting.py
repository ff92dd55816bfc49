"""The way out: every authenticator in clear, as the format `csv` reads it."""

from __future__ import annotations

from collections.abc import Iterator

from mfakit.core.factors import secret_context
from mfakit.core.record import decode_record
from mfakit.provisioning import build_uri, encode_base32
from mfakit.rows import StoredRecord
from mfakit.service import MFA

__all__ = ["exported"]


def exported(mfa: MFA, stored: StoredRecord) -> Iterator[tuple[str, str, str]]:
    """Yield account id, label and `otpauth://` URI of each authenticator of a row.

    Whoever has the key ring and the store can do this; what comes out opens accounts. Recovery codes,
    passcodes and trusted devices are hashes and cannot be exported.

    Raises:
        UnavailableError: The row does not open.
    """
    vault = mfa._env.vault
    record = decode_record(stored, vault)
    for one in record.authenticators:
        secret = vault.open_value(
            one.sealed_secret, salt=record.salt, context=secret_context(record, one)
        )
        uri = build_uri(
            encode_base32(secret),
            account_name=record.account_id.replace(":", " "),
            issuer="mfakit",
            algorithm=one.algorithm,
            digits=one.digits,
            period_seconds=one.period_seconds,
        )
        yield record.account_id, one.label, uri
