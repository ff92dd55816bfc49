"""Tables of web frameworks, from their database or from Django's `dumpdata`."""

from __future__ import annotations

import json
from binascii import Error as HexError
from binascii import unhexlify
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mfakit.errors import ConfigurationError
from mfakit.migration.names import without_secrets
from mfakit.migration.rows import Reading, Source, bad_row, make_row

__all__ = ["read_allauth", "read_django_otp", "read_flask_security"]


def read_django_otp(source: Source) -> Iterator[Reading]:
    """Read `otp_totp_totpdevice` of django-otp; what its owner did not confirm is left out."""
    for place, fields in _records(source, "otp_totp_totpdevice", "otp_totp.totpdevice"):
        if not fields.get("confirmed", True):
            continue
        account = _field(fields, source.id_field or "user_id")
        secret = _unhex(fields.get("key"))
        if fields.get("t0"):
            yield bad_row(place, account, secret, "Its time begins elsewhere (t0).")
            continue
        yield make_row(
            place,
            account,
            secret,
            label=fields.get("name"),
            digits=fields.get("digits"),
            period=fields.get("step"),
        )


def read_allauth(source: Source) -> Iterator[Reading]:
    """Read the authenticator apps in `mfa_authenticator` of django-allauth.

    Recovery codes and keys stay behind. Where the platform's adapter seals secrets, `decrypt` is its
    `decrypt`.
    """
    for place, fields in _records(source, "mfa_authenticator", "mfa.authenticator"):
        if fields.get("type") != "totp":
            continue
        account = _field(fields, source.id_field or "user_id")
        data = fields.get("data")
        parsed = _json(data) if isinstance(data, str) else data
        stored = parsed.get("secret") if isinstance(parsed, dict) else None
        yield make_row(place, account, _decrypted(source, stored))


def read_flask_security(source: Source) -> Iterator[Reading]:
    """Read the users of Flask-Security whose second factor is an app.

    `tf_totp_secret` is JSON of passlib's TOTP, sealed under SECURITY_TOTP_SECRETS: the passphrase, in a
    form that passlib reads ("1: secret", or JSON).
    """
    opened = _wallet(source)
    for place, fields in _records(source, "user", ""):
        stored = _field(fields, source.secret_field or "tf_totp_secret")
        if not stored or fields.get("tf_primary_method", "authenticator") != "authenticator":
            continue
        account = _field(fields, source.id_field or "id")
        totp = opened(str(stored))
        if totp is None:
            reason = "The secret does not open. Is the passphrase the right one?"
            yield bad_row(place, account, None, reason)
            continue
        yield make_row(
            place, account, totp.key, algorithm=totp.alg, digits=totp.digits, period=totp.period
        )


def _wallet(source: Source) -> Callable[[str], Any]:
    from passlib.totp import TOTP

    try:
        factory = TOTP.using(secrets=source.passphrase) if source.passphrase else TOTP
    except (TypeError, ValueError):
        raise ConfigurationError("passlib cannot read that passphrase.") from None

    def opened(stored: str) -> Any:
        try:
            return factory.from_source(stored)
        except Exception:  # passlib raises what its parsers raise, with the text in the message
            return None

    return opened


def _decrypted(source: Source, stored: object) -> str | None:
    if not isinstance(stored, str):
        return None
    try:
        return str(source.decrypt(stored))
    except Exception:  # it is the platform's
        return "?"  # no base32


def _unhex(text: object) -> bytes | None:
    try:
        return unhexlify(str(text or ""))
    except (HexError, ValueError):
        return None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


# ---------------------------------------------------------------------------------------------- records


def _records(source: Source, table: str, model: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "://" in source.place:
        yield from _of_database(source, source.table or table)
    else:
        yield from _of_dump(source, model)


def _of_dump(source: Source, model: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    dump = _json(source.text())
    if not isinstance(dump, list):
        raise ConfigurationError("SOURCE is neither a database URL nor a dump in JSON.")
    for number, one in enumerate(dump, 1):
        if isinstance(one, dict) and one.get("model") == model:
            fields = dict(one.get("fields") or {})
            user = fields.get("user")
            # With --natural-foreign a user is the list of what makes its natural key.
            fields["user_id"] = user[0] if isinstance(user, list) and user else user
            yield f"object {number}", fields


def _of_database(source: Source, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from sqlalchemy import MetaData, Table, create_engine, select
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        engine = create_engine(source.place)
    except (ArgumentError, ImportError, ValueError):
        raise ConfigurationError("The source is no URL of a database, or lacks a driver.") from None
    try:
        table = Table(name, MetaData(), autoload_with=engine)
        ordered = select(table).order_by(*table.primary_key)
        with engine.connect() as connection:
            rows = connection.execution_options(yield_per=500).execute(ordered)
            for number, row in enumerate(rows.mappings(), 1):
                yield f"row {number}", dict(row)
    except SQLAlchemyError:
        text = f"The table {without_secrets(name)} cannot be read there."
        raise ConfigurationError(text) from None
    finally:
        engine.dispose()


def _field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise ConfigurationError(f"The source has no field {without_secrets(name)}.")
    return fields[name]
