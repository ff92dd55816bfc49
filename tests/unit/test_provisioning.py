"""The `otpauth://` URI: what an app reads is what was meant, and nothing odd is imported."""

from __future__ import annotations

from base64 import b32encode
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pyotp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mfakit import AuthenticatorOffer, Policy
from mfakit.arguments import parse_secret_text
from mfakit.core.secret import Secret
from mfakit.errors import InvalidInputError, PolicyError
from mfakit.events import to_datetime
from mfakit.provisioning import ImportedSecret, build_uri, parse_account_name, parse_secret_or_uri
from mfakit.results import OfferToken
from mfakit.testing import VirtualAuthenticator

# RFC 6238's seed of 20 bytes in base32, as every authenticator's tests have it.
SEED, TEXT = b"12345678901234567890", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
ALGORITHMS = st.sampled_from(["SHA1", "SHA256", "SHA512"])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=40)


def _uri(**changes: object) -> str:
    given: dict[str, object] = {
        "account_name": "ann@example.com",
        "issuer": "Example Mail",
        "algorithm": "SHA1",
        "digits": 6,
        "period_seconds": 30,
    }
    return build_uri(TEXT, **given | changes)  # type: ignore[arg-type]


def _import(text: object) -> ImportedSecret:
    return parse_secret_or_uri(parse_secret_text(text))


def test_uri_to_the_letter() -> None:
    """Literal colon between issuer and account, spaces as %20 (a plus would be shown), no padding."""
    assert _uri() == (
        f"otpauth://totp/Example%20Mail:ann%40example.com?secret={TEXT}&issuer=Example%20Mail"
    )


def test_uri_names_what_is_not_usual() -> None:
    """Other parameters are named as apps expect them: SHA256 without a hyphen."""
    uri = _uri(algorithm="SHA256", digits=8, period_seconds=60)
    query = parse_qs(urlsplit(uri).query)
    assert query["algorithm"] == ["SHA256"]
    assert query["digits"] == ["8"]
    assert query["period"] == ["60"]


@example(seed=bytes(16), name="0", issuer="/", algorithm="SHA1", digits=6, period=15)
@given(
    seed=st.binary(min_size=16, max_size=64),
    name=NAMES,
    issuer=NAMES,
    algorithm=ALGORITHMS,
    digits=st.integers(6, 8),
    period=st.integers(15, 120),
)
def test_an_app_reads_what_was_meant(
    seed: bytes, name: str, issuer: str, algorithm: str, digits: int, period: int
) -> None:
    """pyotp, as the app, gets every parameter back; so does our own import."""
    try:
        account_name = parse_account_name(name)
        issuer = Policy(issuer=issuer).issuer.strip()
    except (InvalidInputError, PolicyError):
        return
    offer = AuthenticatorOffer(
        token=OfferToken(""),
        secret_text=b32encode(seed).decode().rstrip("="),
        issuer=issuer,
        account_name=account_name,
        algorithm=algorithm,
        digits=digits,
        period_seconds=period,
        expires_at=to_datetime(0),
    )
    assert "+" not in offer.uri
    assert offer.uri.isascii()
    phone = pyotp.parse_uri(offer.uri)
    assert isinstance(phone, pyotp.TOTP)
    assert phone.byte_secret() == seed
    assert (phone.name, phone.issuer) == (account_name, issuer)
    assert (phone.digits, phone.interval) == (digits, period)
    assert phone.digest().name.upper() == algorithm
    imported = _import(offer.uri)
    assert imported.secret.reveal() == seed
    assert (imported.algorithm, imported.digits) == (algorithm, digits)
    assert imported.period_seconds == period
    assert VirtualAuthenticator(offer.uri).code(59) == phone.at(59)


@pytest.mark.parametrize(
    "value",
    ["", "  ", "a:b", "https://x", "a\nb", "a\0b", "a\u202eb", "x" * 256, "\ud800", None, 7, b"ann", []],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_account_name(value: object) -> None:
    """Apps split names at a colon, so a name with one would be shown as another's."""
    with pytest.raises(InvalidInputError) as caught:
        parse_account_name(value)
    assert caught.value.field == "account_name"


def test_account_names_may_be_long() -> None:
    """Mail addresses have up to 254 characters."""
    assert parse_account_name(" " + "x" * 255) == "x" * 255


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.lower(),
        "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ",
        "gezd-gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq",
        f"otpauth://totp/ann?secret={TEXT}",
        f"otpauth://totp/Mail:ann?secret={TEXT}&issuer=Mail",
        f"otpauth://totp/Mail%3Aann?secret={TEXT}&issuer=Mail",
        f"otpauth://totp/Mail:ann?secret={TEXT}",
        f"OTPAUTH://totp/ann?secret={TEXT}",
        f"otpauth://totp/ann?secret={TEXT}&algorithm=SHA1&digits=6&period=30",
        f"otpauth://totp/ann?secret={TEXT}&issuer=&algorithm=&digits=&period=",  # empty: as usual
    ],
)
def test_the_same_key_in_every_usual_form(text: str) -> None:
    """A key as people type it and as other systems export it."""
    imported = _import(text)
    assert imported.secret.reveal() == SEED
    assert (imported.algorithm, imported.digits, imported.period_seconds) == ("SHA1", 6, 30)


def test_imported_parameters() -> None:
    """The parameters of the app, where they are within bounds."""
    imported = _import(f"otpauth://totp/a?secret={TEXT}&algorithm=SHA512&digits=8&period=60")
    assert (imported.algorithm, imported.digits, imported.period_seconds) == ("SHA512", 8, 60)


@pytest.mark.parametrize("text", [f"{TEXT}\n", f" otpauth://totp/a?secret={TEXT}\r\n"])
def test_space_around_what_was_pasted_is_dropped(text: str) -> None:
    assert _import(text).secret.reveal() == _import(TEXT).secret.reveal()


@pytest.mark.parametrize("name", ["sha256", "Sha256", "SHA256"])
def test_the_case_of_an_algorithm_does_not_matter(name: str) -> None:
    """Some servers write it in lower case, as pyotp does."""
    uri = f"otpauth://totp/a?secret={TEXT}&algorithm={name}"
    assert _import(uri).algorithm == "SHA256"


def test_a_slash_of_a_name_is_escaped() -> None:
    """Else an app may take what follows for something else; pyotp's reader gets the names back."""
    uri = build_uri(
        TEXT, account_name="a/b@x", issuer="A/B", algorithm="SHA1", digits=6, period_seconds=30
    )
    assert uri.partition("?")[0] == "otpauth://totp/A%2FB:a%2Fb%40x"
    read: Any = pyotp.parse_uri(uri)
    assert (read.issuer, read.name, read.secret) == ("A/B", "a/b@x", TEXT)


REFUSED = [
    "",
    "1" * 32,  # 1 is not in the alphabet
    "GEZDGNBVGY3TQOJQGEZDGNBVG",  # 15 bytes and a bit
    "GEZDGNBVGY3TQOJQGEZDGNBV",  # 15 bytes: less than 128 bits
    "A" * 104,  # 65 bytes
    TEXT[:8] + "\n" + TEXT[8:],
    "\u0131EZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    f"otpauth://hotp/a?secret={TEXT}&counter=1",
    f"otpauth://hotp/a?secret={TEXT}",
    f"otpauth://steam/a?secret={TEXT}",
    f"otpauth:totp/a?secret={TEXT}",
    f"otpauth://totp/a?secret={TEXT}&secret={TEXT}",
    f"otpauth://totp/a?secret={TEXT}&digits=6&digits=8",
    f"otpauth://totp/a?secret={TEXT}&issuer=A&issuer=B",
    f"otpauth://totp/A:a?secret={TEXT}&issuer=B",
    f"otpauth://totp/A%3Aa?secret={TEXT}&issuer=B",
    f"otpauth://totp/A%3AB%3Aa?secret={TEXT}&issuer=A%3AB",
    f"otpauth://totp/a?secret={TEXT}&encoder=steam",
    f"otpauth://totp/a?secret={TEXT}&unknown=1",
    f"otpauth://totp/a?secret={TEXT}&digits=5",
    f"otpauth://totp/a?secret={TEXT}&digits=9",
    f"otpauth://totp/a?secret={TEXT}&digits=x",
    f"otpauth://totp/a?secret={TEXT}&period=14",
    f"otpauth://totp/a?secret={TEXT}&period=121",
    f"otpauth://totp/a?secret={TEXT}&period=0",
    f"otpauth://totp/a?secret={TEXT}&period=-30",
    f"otpauth://totp/a?secret={TEXT}&period=9{'9' * 3000}",
    f"otpauth://totp/a?secret={TEXT}&algorithm=MD5",
    f"otpauth://totp/a?secret={TEXT}&x",
    "otpauth://totp/a?issuer=Mail",
    "otpauth://totp/a?secret=",
    "otpauth://totp/a?secret=GEZDGNBV",
    "otpauth://totp/a?secret=%FF%FE",
    "otpauth://totp/a",
    "otpauth://[totp/a?secret=x",
    "otpauth://",
    "otpauth:",
    f"https://totp/a?secret={TEXT}",
    f"otpauth://totp/a?{'&'.join(f'a{n}={n}' for n in range(50))}",
    "x" * 5000,
    None,
    b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    7,
    "\ud800" * 32,
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda one: ascii(one)[:60])
def test_what_is_not_imported(text: object) -> None:
    """One error with one text for all of it; no part of the key in it, no cause behind it."""
    with pytest.raises(InvalidInputError) as caught:
        _import(text)
    error = caught.value
    assert error.args == InvalidInputError("secret_or_uri").args
    assert error.__cause__ is None
    assert error.__context__ is None


@given(st.text(max_size=200) | st.text(max_size=120).map(lambda one: f"otpauth://totp/{one}"))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    """No text makes another exception, or a key outside 128-512 bits."""
    try:
        imported = _import(text)
    except InvalidInputError:
        return
    assert 16 <= len(imported.secret.reveal()) <= 64


@given(
    st.dictionaries(
        st.sampled_from(["secret", "issuer", "algorithm", "digits", "period", "image", "counter"]),
        st.sampled_from([TEXT, "6", "7", "30", "SHA1", "SHA256", "", "x"]) | st.text(max_size=20),
    ),
    st.text(max_size=20),
)
def test_any_parameters_are_taken_or_refused(query: dict[str, str], label: str) -> None:
    """Nor do odd parameters: what is taken is within the bounds of the standards."""
    pairs = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    try:
        imported = _import(f"otpauth://totp/{quote(label)}?{pairs}")
    except InvalidInputError:
        return
    assert imported.algorithm in {"SHA1", "SHA256", "SHA512"}
    assert imported.digits in {6, 7, 8}
    assert 15 <= imported.period_seconds <= 120


def test_an_imported_secret_shows_nothing() -> None:
    """Its repr has the parameters only."""
    shown = repr(ImportedSecret(secret=Secret(SEED)))
    assert "12345" not in shown
    assert TEXT not in shown


def test_secret_in_groups_of_four() -> None:
    """Easier to type, and the same key."""
    offer = AuthenticatorOffer(
        token=OfferToken(""), secret_text=TEXT, issuer="Mail", account_name="ann", algorithm="SHA1",
        digits=6, period_seconds=30, expires_at=to_datetime(0),
    )  # fmt: skip
    assert offer.secret_groups == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
    assert _import(offer.secret_groups).secret.reveal() == SEED
