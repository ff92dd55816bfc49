"""Nobody enrols anew: what an owner's phone shows signs in after the import, whatever the format.

Codes come from `oathtool`, tables and sealed files from the software whose they are, exports of apps
from what these publish; sources are named beside each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from base64 import b32decode, b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("click")
pytest.importorskip("pskc")
pytest.importorskip("zxingcpp")

import segno
from foreign_tables import WALLET

from cli_world import Platform, on_sqlite, run
from mfakit import CodeRequired, SignedIn

HERE = Path(__file__).parent
FILES = HERE / "files"
APPLY = ["--reason", "moving", "--actor", "ops", "--apply"]
MASON, JAMES = "4SJHB4GSD43FZBAI7C2HLRJGPQ", "5OM4WOOGPLQEF6UGN3CPEOOLWU"  # 128 bits each
WEAK = "JBSWY3DPEHPK3PXP"
# The example in the documentation of dim13/otpauth: "Hello!" and DEADBEEF, 80 bits.
PUBLISHED = "otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC"


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return on_sqlite(tmp_path)


def told(platform: Platform, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = run("import", *arguments, *platform.options, "--json")
    assert done.exit_code == status, done.output
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def counts(data: dict[str, Any]) -> tuple[int, int, int, int]:
    return data["imported"], data["unchanged"], data["skipped"], len(data["failed"])


def reasons(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["source"], one["reason"]) for one in data["failed"]]


def code_of(*arguments: str) -> str:
    """Return what `oathtool` shows now."""
    if shutil.which("oathtool") is None and not os.environ.get("CI"):
        pytest.skip("apt-get install oathtool")
    command = ["oathtool", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="ascii", timeout=30, check=True)
    return done.stdout.strip()


def signs_in(platform: Platform, account_id: str, code: str) -> bool:
    step = platform.mfa.begin_login(account_id, password_verified=True)
    assert isinstance(step, CodeRequired)
    done = platform.mfa.complete_login(step.challenge, code, method="totp")
    return isinstance(done, SignedIn)


def foreign(kind: str, directory: Path) -> dict[str, str]:
    command = [sys.executable, str(HERE / "foreign_tables.py"), kind, str(directory)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    made: dict[str, str] = json.loads(done.stdout)
    return made


# ---------------------------------------------------------------------------------------- URIs and apps


def test_uris(platform: Platform, tmp_path: Path) -> None:
    """Parameters that apps add are let by; each bad line says why, and stops no other."""
    (tmp_path / "uris.txt").write_text(
        "# from the old help desk\n\n"
        f"otpauth://totp/Example:ann?secret={MASON}&issuer=Example&lock=false\n"
        f"otpauth://totp/bob?secret={JAMES}&algorithm=SHA256&digits=8&period=60\n"
        f"otpauth://hotp/carl?secret={MASON}&counter=3\n"
        "otpauth://totp/dora?secret=1nope\n"
        "https://example.com\n"
        f"otpauth://totp/eve?secret={MASON}&period=600\n"
        f"otpauth://totp/?secret={MASON}\n"
        f"otpauth://totp/steam?secret={MASON}&encoder=steam\n"
        f"otpauth://totp/gil?secret={'A' * 13}\n"
        f"otpauth://totp/hal?secret={'A' * 112}\n"
    )
    done = told(platform, "otpauth", "uris.txt", *APPLY, status=1)
    assert counts(done) == (2, 0, 0, 8)
    assert reasons(done) == [
        ("line 5", "Not time-based (TOTP). The owner must enrol anew."),
        ("line 6", "The secret is not base32."),
        ("line 7", "Not a URI that authenticator apps know."),
        ("line 8", "A code lives 15 to 120 seconds."),
        ("line 9", "No account is named."),
        ("line 10", "Not time-based (TOTP). The owner must enrol anew."),
        ("line 11", "The secret is shorter than 80 bits."),
        ("line 12", "The secret is longer than 512 bits."),
    ]
    assert signs_in(platform, "ann", code_of("--totp", "-b", MASON))
    assert signs_in(platform, "bob", code_of("--totp=SHA256", "-d8", "-s60s", "-b", JAMES))
    assert platform.mfa.history("ann")[-1].actor == "ops"


def test_googles_published_example(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "google.txt").write_text(PUBLISHED)
    refused = told(platform, "google", "google.txt", *APPLY, status=1)
    assert "fewer than 128 bits" in refused["failed"][0]["reason"]
    done = told(platform, "google", "google.txt", *APPLY, "--allow-weak")
    assert (counts(done), done["weak"]) == ((1, 0, 0, 0), ["alice@google.com"])
    assert signs_in(platform, "alice@google.com", code_of("--totp", "-b", WEAK))


def varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def message(**fields: tuple[int, bytes | int]) -> bytes:
    """Encode as the wire format of protobuf says (protobuf.dev/programming-guides/encoding)."""
    encoded = b""
    for number, value in fields.values():
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            encoded += varint(number << 3 | 2) + varint(len(value)) + value
    return encoded


def parameters(name: str, secret: str, algorithm: int, digits: int, kind: int) -> bytes:
    key = b32decode(secret + "=" * (-len(secret) % 8))
    return message(
        secret=(1, key),
        name=(2, name.encode()),
        issuer=(3, b"Example"),
        algorithm=(4, algorithm),
        digits=(5, digits),
        type=(6, kind),
        counter=(7, 0),
    )


def test_googles_batch(platform: Platform, tmp_path: Path) -> None:
    """Hash and digits are numbers there; HOTP and MD5 are told, and stop nothing."""
    entries = [
        parameters("Example:ann", MASON, 1, 1, 2),
        parameters("bob", JAMES, 2, 2, 2),
        parameters("carl", MASON, 1, 1, 1),
        parameters("dora", MASON, 4, 1, 2),
    ]
    payload = b"".join(message(one=(1, entry)) for entry in entries) + message(version=(2, 1))
    uri = f"otpauth-migration://offline?data={quote(b64encode(payload), safe='')}"
    (tmp_path / "google.txt").write_text(f"{uri}\notpauth-migration://offline?data=!!\n")
    done = told(platform, "google", "google.txt", *APPLY, status=1)
    assert counts(done) == (2, 0, 0, 3)
    assert reasons(done) == [
        ("line 1, entry 3", "Not time-based (TOTP). The owner must enrol anew."),
        ("line 1, entry 4", "The hash is none of SHA1, SHA256, SHA512."),
        ("line 2", "Not an export of Google Authenticator."),
    ]
    assert signs_in(platform, "ann", code_of("--totp", "-b", MASON))
    assert signs_in(platform, "bob", code_of("--totp=SHA256", "-d8", "-b", JAMES))


def test_qr_images(platform: Platform, tmp_path: Path) -> None:
    """One image, or a directory of them; what is no image or has no code is told."""
    images = tmp_path / "images"
    images.mkdir()
    segno.make(f"otpauth://totp/ann?secret={MASON}").save(str(images / "1.png"), scale=4)
    segno.make(PUBLISHED).save(str(images / "2.png"), scale=3)
    segno.make("just text").save(str(images / "3.png"), scale=4)
    (images / "4.png").write_bytes(b"no image")
    from PIL import Image

    Image.new("L", (90, 90), 255).save(images / "5.png")
    (images / "notes.txt").write_text("left out")
    done = told(platform, "qr", "images", *APPLY, "--allow-weak", status=1)
    assert counts(done) == (2, 0, 0, 3)
    assert reasons(done) == [
        ("3.png", "Not a URI that authenticator apps know."),
        ("4.png", "The image cannot be read."),
        ("5.png", "There is no QR code in the image."),
    ]
    one = told(platform, "qr", "images/1.png", *APPLY, "--account", "dora")
    assert counts(one) == (1, 0, 0, 0)
    assert signs_in(platform, "ann", code_of("--totp", "-b", MASON))
    assert signs_in(platform, "dora", code_of("--totp", "-b", MASON))


def test_aegis(platform: Platform) -> None:
    """Entries of the plain vault that beemdevelopment/Aegis tests its own importers with."""
    done = told(platform, "aegis", str(FILES / "aegis.json"), *APPLY, status=1)
    assert counts(done) == (2, 0, 0, 2)
    assert [one["account"] for one in done["failed"]] == ["Benjamin", "Sophia"]
    assert signs_in(platform, "Mason", code_of("--totp", "-b", MASON))
    assert signs_in(platform, "James", code_of("--totp=SHA256", "-d7", "-s20s", "-b", JAMES))


def test_2fas(platform: Platform) -> None:
    """Entries of the backup that beemdevelopment/Aegis tests its importer of 2FAS with; later fields."""
    done = told(platform, "2fas", str(FILES / "2fas.json"), *APPLY, status=1)
    assert counts(done) == (2, 0, 0, 1)
    assert signs_in(platform, "Mason", code_of("--totp", "-b", MASON))
    assert signs_in(platform, "James", code_of("--totp=SHA512", "-d7", "-s60s", "-b", JAMES))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "aegis",
            '{"version": 1, "header": {"slots": []}, "db": "c2VhbGVk"}',
            "without a password",
        ),
        ("2fas", '{"services": [], "servicesEncrypted": "a:b:c"}', "without a password"),
        ("aegis", "[]", "is not the export of that app"),
        ("2fas", "{", "is not the export of that app"),
        ("csv", "name,secret\n", "must name account_id"),
        ("django-otp", "{}", "neither a database URL nor a dump"),
        ("pskc", "<a/>", "is no PSKC file"),
        ("pskc", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "is no PSKC file"),
        ("otpauth", "\udcff", "cannot be read as text"),
    ],
)
def test_another_file_is_wrong_usage(
    platform: Platform, tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / "file").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run("import", name, "file", *APPLY, *platform.options)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


# ------------------------------------------------------------------------------------------------ tables


def test_django_otp_and_allauth(platform: Platform, tmp_path: Path) -> None:
    """Tables and a dump that the packages themselves made; ids are Django's, or names in the dump."""
    phones = foreign("django", tmp_path)
    devices = told(platform, "django-otp", "sqlite:///old.db", *APPLY, status=1)
    assert counts(devices) == (2, 0, 0, 1)
    assert reasons(devices) == [("row 4", "Its time begins elsewhere (t0).")]
    assert signs_in(platform, "1", code_of("--totp", phones["ann"]))
    assert signs_in(platform, "2", code_of("--totp", "-d8", "-s60s", phones["bob"]))
    assert platform.mfa.status("1").authenticators[0].label == "Ann's phone"
    apps = told(platform, "allauth", "sqlite:///old.db", *APPLY)
    assert counts(apps) == (1, 0, 0, 0)
    assert signs_in(platform, "3", code_of("--totp", "-b", phones["carl"]))

    dumped = told(platform, "django-otp", "dump.json", *APPLY, "--prefix", "t/", status=1)
    assert counts(dumped) == (2, 0, 0, 1)
    assert counts(told(platform, "allauth", "dump.json", *APPLY, "--prefix", "t/")) == (1, 0, 0, 0)
    assert signs_in(platform, "t/ann", code_of("--totp", phones["ann"]))
    assert signs_in(platform, "t/carl", code_of("--totp", "-b", phones["carl"]))


def test_allauth_with_sealed_secrets(platform: Platform, tmp_path: Path) -> None:
    """A platform whose adapter seals secrets gives the function that opens them."""
    (tmp_path / "adapter_of_tests.py").write_text(
        "def decrypt(text):\n    return text.removeprefix('sealed:')[::-1]\n"
    )
    one = {"user": 7, "type": "totp", "data": {"secret": f"sealed:{MASON[::-1]}"}}
    two = {"user": 8, "type": "totp", "data": {"secret": 9}}
    dump = [{"model": "mfa.authenticator", "pk": 1, "fields": fields} for fields in (one, two)]
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    decrypt = ["--decrypt", "adapter_of_tests:decrypt"]
    assert reasons(told(platform, "allauth", "dump.json", *APPLY, status=1)) == [
        ("object 1", "The secret is not base32."),
        ("object 2", "There is no secret."),
    ]
    assert counts(told(platform, "allauth", "dump.json", *APPLY, *decrypt, status=1)) == (
        1,
        0,
        0,
        1,
    )
    assert signs_in(platform, "7", code_of("--totp", "-b", MASON))


def test_flask_security(platform: Platform, tmp_path: Path) -> None:
    """Secrets sealed by passlib's wallet; who uses SMS has no app and is left out."""
    phones = foreign("flask", tmp_path)
    (tmp_path / "wallet").write_text(WALLET)
    (tmp_path / "other").write_text('{"9": "of another platform"}')
    names = ["--id-field", "fs_uniquifier", "--passphrase-file"]
    source = ["flask-security", "sqlite:///flask.db", *APPLY]
    wrong = told(platform, *source, *names, "other", status=1)
    assert reasons(wrong) == [
        ("row 1", "The secret does not open. Is the passphrase the right one?")
    ]
    assert counts(told(platform, *source, *names, "wallet")) == (1, 0, 0, 0)
    assert signs_in(platform, "ann", code_of("--totp", "-b", phones["ann"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["django-otp", "sqlite:///none.db"], "The table otp_totp_totpdevice cannot be read there"),
        (["allauth", "nothing://x"], "no URL of a database"),
        (["allauth", "sqlite:///old.db", "--table", "t", "--id-field", "mail"], "no field mail"),
    ],
)
def test_a_database_of_something_else(
    platform: Platform, tmp_path: Path, arguments: list[str], words: str
) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, type TEXT, data TEXT)")
        connection.execute("INSERT INTO t VALUES (1, 'totp', '{}')")
    connection.close()
    done = run("import", *arguments, *APPLY, *platform.options)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


# ------------------------------------------------------------------------------------------ files of keys


def test_pskc(platform: Platform, tmp_path: Path) -> None:
    """A TOTP key as RFC 6030 §4 describes it, with the secret of its examples."""
    done = told(platform, "pskc", str(FILES / "rfc6030.xml"), *APPLY, status=1)
    assert counts(done) == (1, 0, 0, 1)
    assert reasons(done) == [("key 2", "Not time-based (TOTP). The owner must enrol anew.")]
    secret = "3132333435363738393031323334353637383930"
    assert signs_in(platform, "UID=ann", code_of("--totp", "-d8", secret))
    assert platform.mfa.status("UID=ann").authenticators[0].label == "Grey token"


def test_sealed_pskc(platform: Platform, tmp_path: Path) -> None:
    """Sealed by python-pskc, once under a passphrase, once under a key."""
    from pskc import PSKC

    key_hex = "00112233445566778899aabbccddeeff"
    totp = "urn:ietf:params:xml:ns:keyprov:pskc:totp"
    for name in ("derived", "shared"):
        container = PSKC()
        container.add_key(
            id=name, serial=name, secret=b"12345678901234567890123456789012", algorithm=totp,
            algorithm_suite="HMAC-SHA256", response_length=6, time_interval=30,
        )  # fmt: skip
        if name == "derived":
            container.encryption.setup_pbkdf2("qwerty")
        else:
            container.encryption.setup_preshared_key(key=bytes.fromhex(key_hex))
        container.write(str(tmp_path / f"{name}.xml"))
    (tmp_path / "pass").write_text("qwerty\n")
    (tmp_path / "hex").write_text(key_hex)
    assert reasons(told(platform, "pskc", "derived.xml", *APPLY, status=1)) == [
        ("key 1", "The key does not open. Is the passphrase the right one?")
    ]
    for name, opened_by in (("derived", "pass"), ("shared", "hex")):
        done = told(platform, "pskc", f"{name}.xml", *APPLY, "--passphrase-file", opened_by)
        assert counts(done) == (1, 0, 0, 0)
        code = code_of("--totp=SHA256", b"12345678901234567890123456789012".hex())
        assert signs_in(platform, name, code)


def test_oath_csv(platform: Platform, tmp_path: Path) -> None:
    """As privacyIDEA's documentation of its import: HOTP is the default, 32 bytes mean SHA256."""
    key20, key32 = "31" * 20, "32" * 32
    (tmp_path / "tokens.csv").write_text(
        f"# serial, key, type, digits, seconds\nann, {key20}, totp\n"
        f"bob, {key32}, TOTP, 8, 60\ncarl, {key20}\ndora, xyz, totp\n\n"
    )
    done = told(platform, "oath-csv", "tokens.csv", *APPLY, status=1)
    assert counts(done) == (2, 0, 0, 2)
    assert reasons(done) == [
        ("line 4", "Not time-based (TOTP). The owner must enrol anew."),
        ("line 5", "There is no secret."),
    ]
    assert signs_in(platform, "ann", code_of("--totp", key20))
    assert signs_in(platform, "bob", code_of("--totp=SHA256", "-d8", "-s60s", key32))


def test_ldif(platform: Platform) -> None:
    """Folded lines, base64 and names in another case, as RFC 2849 has them; other names by option."""
    source = ["ldif", str(FILES / "zimbra.ldif"), *APPLY, "--allow-weak"]
    done = told(platform, *source, status=1)
    assert counts(done) == (2, 0, 0, 2)
    assert reasons(done) == [
        ("line 29", "Not an LDIF entry."),
        ("line 31", "The secret is not base32."),
    ]
    prefix = "0a8b4bb9-2d29-4d8e-9f3c-00000000000"
    assert done["weak"] == [f"{prefix}2"]
    assert signs_in(platform, f"{prefix}1", code_of("--totp", "-b", MASON))
    assert signs_in(platform, f"{prefix}2", code_of("--totp", "-b", WEAK))
    by_name = told(platform, *source, "--id-field", "uid", status=1)
    assert counts(by_name) == (2, 0, 0, 2)
    assert platform.mfa.status("bob").authenticators[0].is_weak
