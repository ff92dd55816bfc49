"""Nothing of a row is shown but its number and what is certain to be a name, whatever stands where.

Each format gets rows in which columns are swapped, hold the key in another encoding, or a URI. The
encodings are written by hand here, and looked for in all that a run prints, logs, raises or stores.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import warnings
from base64 import b32encode, b64encode, urlsafe_b64encode
from binascii import unhexlify
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

pytest.importorskip("click")
pytest.importorskip("pskc")
pytest.importorskip("zxingcpp")

import segno
from hypothesis import given
from hypothesis import strategies as st

from cli_world import Platform, on_sqlite, run
from mfakit.errors import ConfigurationError
from mfakit.migration import FORMATS, BadRow, Row, Source, import_row, rehearsal_of
from mfakit.migration.names import could_be_key, holds_secret

KEY = unhexlify("9f3a51c07be24d6688d1f00ab3c47e5512ed9a07")  # 160 bits
OTHER = unhexlify("e4a1b2059cdd78134f6a2be0915c3d8877aa66f3")
AUTHORITY = ["--reason", "moving", "--actor", "ops"]


def base32(key: bytes) -> str:
    return b32encode(key).decode()


def spaced(text: str) -> str:
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


WAYS: dict[str, Callable[[bytes], str]] = {
    "base32": base32,
    "lower": lambda key: base32(key).lower(),
    "spaced": lambda key: spaced(base32(key).lower()),
    "hyphens": lambda key: spaced(base32(key)).replace(" ", "-"),
    "hex": lambda key: key.hex(),
    "HEX": lambda key: key.hex().upper(),
    "base64": lambda key: b64encode(key).decode(),
    "base64url": lambda key: urlsafe_b64encode(key).decode().rstrip("="),
    "uri": lambda key: f"otpauth://totp/ann?secret={base32(key)}",
    "quoted uri": lambda key: quote(f"otpauth://totp/ann?secret={base32(key)}", safe=""),
    "among words": lambda key: f"ann {base32(key)}",
    "half": lambda key: base32(key)[:16],
}


def betrays(text: str, key: bytes) -> bool:
    """Say whether a text has ten characters in a row of the key, in an encoding of the above."""
    plain = re.sub(r"[^a-z0-9]", "", unquote(unquote(text)).lower())
    for form in (base32(key), key.hex(), b64encode(key).decode()):
        folded = re.sub(r"[^a-z0-9]", "", form.lower())
        if any(folded[at : at + 10] in plain for at in range(len(folded) - 9)):
            return True
    return False


# --------------------------------------------------------------------------- the twelve formats, by hand
# Each writes one row: what stands where the account is expected, and where the secret is. `secret` is
# bytes when the column holds the key as the format writes it.

Cell = str | bytes


def as_base32(cell: Cell) -> str:
    return base32(cell) if isinstance(cell, bytes) else cell


def as_hex(cell: Cell) -> str:
    return cell.hex() if isinstance(cell, bytes) else cell


def write_csv(at: Path, account: str, secret: Cell) -> None:
    at.write_text(f'account_id,label,secret_or_uri\n"{account}",Phone,"{as_base32(secret)}"\n')


def write_csv_of_uris(at: Path, account: str, secret: Cell) -> None:
    uri = f"otpauth://totp/x?secret={quote(as_base32(secret))}"
    at.write_text(f'account_id,label,secret_or_uri\n"{account}",Phone,"{uri}"\n')


def write_uris(at: Path, account: str, secret: Cell) -> None:
    at.write_text(f"otpauth://totp/{quote(account)}?secret={quote(as_base32(secret))}\n")


def write_google(at: Path, account: str, secret: Cell) -> None:
    key = secret if isinstance(secret, bytes) else secret.encode()
    name = account.encode()
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(name)]) + name
    entry += b"\x20\x01\x28\x01\x30\x02"
    payload = b"\x0a" + varint(len(entry)) + entry
    at.write_text(f"otpauth-migration://offline?data={quote(b64encode(payload).decode())}\n")


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


def write_qr(at: Path, account: str, secret: Cell) -> None:
    uri = f"otpauth://totp/{quote(account)}?secret={quote(as_base32(secret))}"
    segno.make(uri, micro=False).save(str(at), kind="png", scale=4)


def write_aegis(at: Path, account: str, secret: Cell) -> None:
    info = {"secret": as_base32(secret), "algo": "SHA1", "digits": 6, "period": 30}
    entry = {"type": "totp", "name": account, "issuer": "Ex", "info": info}
    at.write_text(json.dumps({"version": 1, "db": {"version": 2, "entries": [entry]}}))


def write_2fas(at: Path, account: str, secret: Cell) -> None:
    otp = {"account": account, "issuer": "Ex", "tokenType": "TOTP"}
    entry = {"name": "Ex", "secret": as_base32(secret), "otp": otp}
    at.write_text(json.dumps({"services": [entry]}))


def write_dump(at: Path, model: str, fields: dict[str, Any]) -> None:
    at.write_text(json.dumps([{"model": model, "pk": 1, "fields": fields}]))


def write_django_otp(at: Path, account: str, secret: Cell) -> None:
    fields = {"user": [account], "name": "Phone", "key": as_hex(secret), "digits": 6, "step": 30}
    write_dump(at, "otp_totp.totpdevice", fields)


def write_allauth(at: Path, account: str, secret: Cell) -> None:
    fields = {"user": [account], "type": "totp", "data": {"secret": as_base32(secret)}}
    write_dump(at, "mfa.authenticator", fields)


def write_flask_security(at: Path, account: str, secret: Cell) -> None:
    stored = as_base32(secret)
    if isinstance(secret, bytes):
        stored = f'{{"enckey": null, "key": "{stored}", "type": "totp", "v": 1}}'
        stored = stored.replace('"enckey": null, ', "")
    with sqlite3.connect(at) as connection:
        connection.execute("CREATE TABLE user (id TEXT PRIMARY KEY, tf_totp_secret TEXT)")
        connection.execute("INSERT INTO user VALUES (?, ?)", (account, stored))
    connection.close()


def write_pskc(at: Path, account: str, secret: Cell) -> None:
    value = b64encode(secret).decode() if isinstance(secret, bytes) else secret
    at.write_text(
        '<?xml version="1.0"?><KeyContainer Version="1.0"'
        ' xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage>'
        f"<DeviceInfo><SerialNo>{account}</SerialNo></DeviceInfo>"
        f'<Key Id="{account}" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp">'
        '<AlgorithmParameters><ResponseFormat Encoding="DECIMAL" Length="6"/></AlgorithmParameters>'
        f"<Data><Secret><PlainValue>{value}</PlainValue></Secret>"
        "<TimeInterval><PlainValue>30</PlainValue></TimeInterval></Data>"
        f"<UserId>{account}</UserId></Key></KeyPackage></KeyContainer>"
    )


def write_oath_csv(at: Path, account: str, secret: Cell) -> None:
    at.write_text(f"{account}, {as_hex(secret)}, totp, 6, 30\n")


def write_ldif(at: Path, account: str, secret: Cell) -> None:
    at.write_text(
        f"dn: uid=x\nzimbraId: {account}\nzimbraTwoFactorAuthSecret: {as_base32(secret)}\n"
    )


Writer = Callable[[Path, str, Cell], None]
WRITERS: list[tuple[str, Writer]] = [
    ("csv", write_csv),
    ("csv", write_csv_of_uris),
    ("otpauth", write_uris),
    ("google", write_google),
    ("google", write_uris),
    ("qr", write_qr),
    ("aegis", write_aegis),
    ("2fas", write_2fas),
    ("django-otp", write_django_otp),
    ("allauth", write_allauth),
    ("flask-security", write_flask_security),
    ("pskc", write_pskc),
    ("oath-csv", write_oath_csv),
    ("ldif", write_ldif),
]
every_format = pytest.mark.parametrize(
    ("name", "write"), WRITERS, ids=[write.__name__ for _, write in WRITERS]
)


def test_every_format_is_tried() -> None:
    assert {name for name, _ in WRITERS} == FORMATS.keys()


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    return on_sqlite(tmp_path)


def place(name: str, path: Path) -> str:
    return f"sqlite:///{path}" if name == "flask-security" else str(path)


def all_told(platform: Platform, name: str, at: Path, log: pytest.LogCaptureFixture) -> str:
    """Run the import in every way there is; return all that it printed, logged, raised and stored."""
    seen: list[str] = []
    log.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        source = Source(place=place(name, at))
        seen.append(repr(source))
        try:
            for reading in FORMATS[name].read(source):
                seen += [repr(reading), reading.source]
                if isinstance(reading, BadRow):
                    seen += [reading.account, reading.reason]
                else:
                    used = rehearsal_of(platform.mfa)
                    done = import_row(used, reading, reading.account, actor="o", reason="r")
                    seen += [repr(done), done.reason]
        except ConfigurationError as error:
            seen += [repr(error), str(error)]
        for options in (["--json"], ["--allow-weak"], ["--apply", "--json"], ["--apply"]):
            command = ["import", name, place(name, at), *AUTHORITY, *options]
            done = run(*command, *platform.options)
            assert not isinstance(done.exception, Exception), done.exception
            seen += [done.stdout, done.stderr]
    seen += [str(one.message) for one in warned]
    seen += [record.getMessage() for record in log.records]
    for row in platform.store.scan(cursor=None, limit=99).records:
        seen += [row.account_id, row.document.decode()]
    return "\n".join(seen)


# ---------------------------------------------------------------------------------- the same for each


@every_format
def test_an_honest_row_is_imported_and_named(
    platform: Platform, tmp_path: Path, name: str, write: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "source", "ann@example.com", KEY)
    told = all_told(platform, name, tmp_path / "source", caplog)
    assert not betrays(told, KEY)
    assert platform.mfa.status("ann@example.com").is_on


@every_format
@pytest.mark.parametrize("way", WAYS)
def test_swapped_columns_tell_nothing(
    platform: Platform,
    tmp_path: Path,
    name: str,
    write: Writer,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The secret stands where the account is expected, and a name where the secret is."""
    write(tmp_path / "source", WAYS[way](KEY), "ann")
    assert not betrays(all_told(platform, name, tmp_path / "source", caplog), KEY)
    assert platform.mfa.accounts().accounts == ()


@every_format
@pytest.mark.parametrize("way", WAYS)
def test_a_secret_that_stands_for_the_account_too_is_refused(
    platform: Platform,
    tmp_path: Path,
    name: str,
    write: Writer,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A column was mapped twice, or to the wrong one: the row is refused before it is written."""
    write(tmp_path / "source", WAYS[way](KEY), KEY)
    assert not betrays(all_told(platform, name, tmp_path / "source", caplog), KEY)
    assert platform.mfa.accounts().accounts == ()
    forced = ["--allow-key-like-ids", "--apply", *platform.options]
    run("import", name, place(name, tmp_path / "source"), *AUTHORITY, *forced)
    assert platform.mfa.accounts().accounts == ()


@every_format
@pytest.mark.parametrize("way", ["base32", "spaced", "hex", "base64", "quoted uri"])
def test_another_key_that_stands_for_the_account_is_refused(
    platform: Platform,
    tmp_path: Path,
    name: str,
    write: Writer,
    way: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "source", WAYS[way](OTHER), KEY)
    told = all_told(platform, name, tmp_path / "source", caplog)
    assert not betrays(told, KEY)
    assert not betrays(told, OTHER)
    assert platform.mfa.accounts().accounts == ()


# ------------------------------------------------------------------------------------ one or the other


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("oath-csv", f"otpauth://totp/ann?secret={base32(KEY)}\n"),
        ("oath-csv", f"{base32(KEY)}\n{KEY.hex()}\n"),
        ("oath-csv", f"ann,{base32(KEY)},totp\n"),
        ("oath-csv", f"totp,ann,{KEY.hex()}\n"),
        ("csv", f"{base32(KEY)},ann,secret\n"),
        ("csv", f"account_id,label,secret_or_uri\nann,{base32(KEY)},phone\n"),
        ("csv", f"account_id,label,secret_or_uri\nann,{base32(KEY)},{base32(KEY)}\n"),
        ("csv", f"account_id,label,secret_or_uri\nann,{base32(OTHER)},{base32(KEY)}\n"),
        ("csv", f'account_id,label,secret_or_uri\n"{base32(KEY)}'),
        ("csv", f"secret_or_uri,{base32(KEY)}\nann,bob\n"),
        ("otpauth", f"{base32(KEY)}\n{KEY.hex()}\notpauth://{base32(KEY)}\n"),
        ("google", f"otpauth-migration://offline?data={b64encode(KEY).decode()}\n"),
        ("aegis", json.dumps({base32(KEY): KEY.hex()})),
        ("2fas", f'{{"services": [{{"secret": "{base32(KEY)}"'),
        ("django-otp", json.dumps([{"model": "otp_totp.totpdevice", "fields": [base32(KEY)]}])),
        ("ldif", f"{base32(KEY)}\n\ndn: uid=x\n{base32(KEY)}: {KEY.hex()}\n"),
        ("pskc", f"<a>{b64encode(KEY).decode()}</a>"),
    ],
)
def test_a_source_of_another_form_tells_nothing(
    platform: Platform, tmp_path: Path, name: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Files without a head line, of plain URIs or keys, cells of another column, torn files."""
    (tmp_path / "source").write_text(text)
    told = all_told(platform, name, tmp_path / "source", caplog)
    assert not betrays(told, KEY)
    assert not betrays(told, OTHER)


def test_a_wrong_column_by_option_tells_nothing(platform: Platform, tmp_path: Path) -> None:
    """`--id-field` and `--secret-field` name each other's column."""
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE otp_totp_totpdevice (id INTEGER PRIMARY KEY, key, t0)")
        connection.executemany(
            "INSERT INTO otp_totp_totpdevice (key, t0) VALUES (?, ?)",
            [(KEY.hex(), 0), (KEY.hex(), 7)],
        )
    connection.close()
    write_ldif(tmp_path / "file", "ann", KEY)
    swapped = ["--id-field", "zimbraTwoFactorAuthSecret", "--secret-field", "zimbraId"]
    for source in (
        ["django-otp", "sqlite:///old.db", "--id-field", "key"],
        ["ldif", "file", *swapped],
        ["ldif", "file", "--id-field", base32(KEY)],
        ["django-otp", "sqlite:///old.db", "--id-field", base32(KEY)],
        ["django-otp", "sqlite:///old.db", "--table", base32(KEY)],
    ):
        for form in ([], ["--json"]):
            done = run("import", *source, *AUTHORITY, "--apply", *form, *platform.options)
            assert done.exit_code in (1, 2), done.output
            assert not betrays(done.stdout + done.stderr, KEY)
    assert platform.mfa.accounts().accounts == ()


def test_a_list_of_accounts_with_a_key_in_it_tells_nothing(
    platform: Platform, tmp_path: Path
) -> None:
    write_csv(tmp_path / "source", "ann", KEY)
    importing = ["import", "csv", "source", *AUTHORITY, "--apply", "--allow-key-like-ids"]
    for text in (f"ann,{base32(KEY)}\n", f"{base32(KEY)},ann\n", f"ann,{base32(KEY)},x\n", "\0,"):
        (tmp_path / "names").write_text(text)
        done = run(*importing, "--accounts", "names", *platform.options)
        assert done.exit_code in (1, 2)
        assert not betrays(done.stdout + done.stderr, KEY)
    done = run(*importing, "--account", base32(KEY), *platform.options)
    assert done.exit_code == 1
    assert not betrays(done.stdout + done.stderr, KEY)
    assert platform.mfa.accounts().accounts == ()


def test_a_label_that_looks_like_a_key_is_left_out(platform: Platform, tmp_path: Path) -> None:
    """It would be stored, and shown by `status`; the row's own key in it refuses the row."""
    text = "account_id,label,secret_or_uri\nann,{0},{1}\nbob,{1},{1}\n"
    (tmp_path / "source").write_text(text.format(base32(OTHER), base32(KEY)))
    done = run("import", "csv", "source", *AUTHORITY, "--apply", "--json", *platform.options)
    assert json.loads(done.stdout)["failed"] == [
        {
            "source": "line 3",
            "account": "bob",
            "reason": "Its account or label holds a secret. Are columns swapped?",
        }
    ]
    assert platform.mfa.status("ann").authenticators[0].label == "Authenticator"


@given(key=st.binary(min_size=10, max_size=64))
def test_every_key_is_known_as_one(key: bytes) -> None:
    """In capitals, in hex, in padded base64; and as the row's own in whatever way it is written."""
    assert could_be_key(base32(key).rstrip("="))
    assert could_be_key(key.hex())
    assert could_be_key(f"ann: {key.hex().upper()}")
    assert could_be_key(quote(quote(WAYS["uri"](key))))
    if len(key) % 3:
        assert could_be_key(b64encode(key).decode())
    for way, written in WAYS.items():
        assert holds_secret(written(key), key), way


@given(key=st.binary(min_size=10, max_size=64), name=st.from_regex(r"[a-z]{1,7}@[a-z]{1,7}"))
def test_a_name_does_not_hold_a_key(key: bytes, name: str) -> None:
    assert not holds_secret(f"{name}.example", key)
    assert not could_be_key(name)


@pytest.mark.parametrize(
    "account_id",
    [
        "17",
        "ann",
        "ann.maria.schmidt@mail.example.com",
        "christopherjones",
        "Maximilian-Schneider",
        "0a8b4bb9-2d29-4d8e-9f3c-000000000001",
        "tenant/0a8b4bb9-2d29-4d8e-9f3c-000000000001",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "cn=Ann Schmidt,ou=Sales,dc=example,dc=com",
        "4915112345678901",
        "müller@example.org",
    ],
)
def test_names_are_names(platform: Platform, tmp_path: Path, account_id: str) -> None:
    """Addresses, words, UUIDs, ULIDs, numbers and DNs are taken, and shown."""
    write_csv(tmp_path / "source", account_id, KEY[:10])
    done = run("import", "csv", "source", *AUTHORITY, "--allow-weak", "--json", *platform.options)
    assert json.loads(done.stdout)["weak"] == [account_id]


@pytest.mark.parametrize(
    "account_id", ["6fa459eaee8a4ca4894edb77e160355e", "V1StGXR8_Z5jdHi6B-myT", "KUVJJOM753IHTNDS"]
)
def test_ids_that_look_like_keys_are_taken_when_asked_for(
    platform: Platform, tmp_path: Path, account_id: str
) -> None:
    """UUIDs in hex, nano ids: refused and not shown; with the option taken, and not shown either."""
    write_csv(tmp_path / "source", account_id, KEY[:10])
    importing = ["import", "csv", "source", *AUTHORITY, "--allow-weak", "--apply", "--json"]
    refused = json.loads(run(*importing, *platform.options).stdout)
    assert [one["account"] for one in refused["failed"]] == [""]
    assert "--allow-key-like-ids" in refused["failed"][0]["reason"]
    assert not platform.mfa.status(account_id).is_on
    done = json.loads(run(*importing, "--allow-key-like-ids", *platform.options).stdout)
    assert (done["imported"], done["weak"]) == (1, ["line 2"])
    assert platform.mfa.status(account_id).is_on


def test_a_parser_that_fails_otherwise_tells_nothing(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception of somebody else's parser may quote the row."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(base32(KEY))

    write_csv(tmp_path / "source", "ann", KEY)
    monkeypatch.setattr("mfakit.migration.files.make_row", fail)
    done = run("import", "csv", "source", *AUTHORITY, *platform.options)
    assert done.exit_code == 2
    assert not betrays(done.stdout + done.stderr, KEY)


def test_a_row_shows_where_it_stands_and_nothing_else(tmp_path: Path) -> None:
    write_csv(tmp_path / "source", "ann", KEY)
    (row,) = FORMATS["csv"].read(Source(place=str(tmp_path / "source")))
    assert isinstance(row, Row)
    assert repr(row) == "Row(source='line 2', is_weak=False)"
    assert (row.shown("ann"), row.shown(base32(KEY)), row.shown(base32(OTHER))) == ("ann", "", "")


# ---------------------------------------------------------------------------- SOURCE, and what click says


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_key_in_place_of_a_source_is_not_repeated(
    platform: Platform, name: str, way: str
) -> None:
    done = run("import", name, WAYS[way](KEY), *AUTHORITY, *platform.options)
    assert done.exit_code in (1, 2)  # an image that is none is a row that fails
    assert not betrays(done.stdout + done.stderr, KEY)


@pytest.mark.parametrize("name", FORMATS)
def test_the_password_of_a_database_is_not_repeated(platform: Platform, name: str) -> None:
    url = "postgresql+psycopg://reader:hunter2@127.0.0.1:1/db?bad%option=1"
    for place_of_it in (url, url.replace("psycopg", "nothing"), url.replace(":1/", ":port/")):
        done = run("import", name, place_of_it, *AUTHORITY, *platform.options)
        assert done.exit_code in (1, 2)
        assert "hunter2" not in done.stdout + done.stderr
    assert "hunter2" not in repr(Source(place=url))
