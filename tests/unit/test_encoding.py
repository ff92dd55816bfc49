"""Untrusted text: every pitfall is a value, None or `InvalidInputError`, never another exception."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfakit import arguments, provisioning
from mfakit.core import encoding
from mfakit.core.passcode import parse_passcode
from mfakit.core.recovery import parse_recovery_code
from mfakit.core.secret import Secret
from mfakit.errors import InvalidInputError
from mfakit.events import to_datetime

NOT_TEXT: list[Any] = [
    None,
    123456,
    1.5,
    True,
    b"123456",
    bytearray(b"1"),
    ["1"],
    {"a": 1},
    Ellipsis,
]
HUGE = "1" * 10_000_000
LONE = "123\ud800456"


def _digits(text: object, lengths: tuple[int, ...] = (6,)) -> bytes | None:
    found = encoding.parse_digits(arguments.parse_secret_text(text), lengths)
    return None if found is None else found.reveal()


# ----------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("value", [*NOT_TEXT, HUGE, LONE, "a" * 4097], ids=lambda one: str(one)[:9])
def test_what_is_no_text_becomes_none(value: object) -> None:
    """No exception, whatever a framework hands over."""
    assert arguments.parse_secret_text(value) is None


@pytest.mark.parametrize("text", ["", "a", "ä\0\n", "🙂" * 4096])
def test_text_is_kept_as_utf_8(text: str) -> None:
    """Passwords may hold anything, and go on unchanged."""
    found = arguments.parse_secret_text(text)
    assert found is not None
    assert found.reveal() == text.encode("utf-8")


# ---------------------------------------------------------------------------------------- digits


@pytest.mark.parametrize(
    "text", ["123456", "123 456", "123-456", " 1 2 3 4 5 6 ", "12-34-56", "---123456   ", "000000"]
)
def test_spaces_and_hyphens_do_not_matter(text: str) -> None:
    """People type a code as the app shows it."""
    assert _digits(text) == "".join(one for one in text if one not in " -").encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "      ",
        "12345",
        "1234567",
        "١٢٣٤٥٦",  # Arabic-Indic
        "²⁸⁷⁰⁸²",
        "①②③④⑤⑥",
        "12345²",
        "+12345",
        "-12345+",
        "12_345",
        "123\t456",
        "123\n456",
        "123\u2003456",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff2112345",  # full-width A
        "\uff10\uff11\uff12\uff13\uff14",  # five full-width digits
        "\u200b123456",  # a zero-width space is no whitespace
        "123456\ufeff",
        "123456\0",
        "\x00123456",
        "123\u2010456",
        "1e5000",
        "0x1234",
        "12345a",
        "1234.5",
        "123\u200b456",
        "1" + " " * 70 + "23456",
        HUGE,
        LONE,
        *NOT_TEXT,
    ],
    ids=lambda one: ascii(one)[:14],
)
def test_what_is_no_code_becomes_none(text: object) -> None:
    """Only ASCII digits of exactly the right number: all that `int` or `isdigit` let through is not."""
    assert _digits(text) is None


def test_a_code_of_another_length_is_no_code() -> None:
    """Each authenticator has its own length."""
    assert _digits("12345678", (6, 8)) == b"12345678"
    assert _digits("1234567", (6, 8)) is None


PIECES = st.sampled_from(
    "0123456789 -\u00a0\u202f\uff10\uff15\uff19\t\n\u2003\u200b\u00b2\u0661\uff21a"
)


@given(st.text(max_size=80) | st.text(PIECES, max_size=12))
def test_digits_are_ascii_or_none(text: str) -> None:
    """What comes out was typed: only separators are dropped, and only full-width digits are folded."""
    found = _digits(text, (6, 7, 8))
    kept = [one for one in text.strip() if one not in " -\u00a0\u202f"]
    folded = "".join([str(int(one)) if "\uff10" <= one <= "\uff19" else one for one in kept])
    is_code = len(folded) in {6, 7, 8} and set(folded) <= set("0123456789")
    is_short = len(text.encode("utf-8", "surrogatepass")) <= 64
    assert found == (folded.encode() if is_code and is_short else None)


# ---------------------------------------------------------------- passcodes and recovery codes


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("kqzr abcd efgh jkmn pqrs", "kqzr"),
        ("KQZR-ABCD-EFGH-JKMN-PQRS", "kqzr"),
        ("kqzrabcdefghjkmnpqrs", "kqzr"),
        ("Kqzr  abcd efgh-jkmn pqrs ", "kqzr"),
    ],
)
def test_a_passcode_as_phones_type_it(text: str, selector: str) -> None:
    """Case, spaces and hyphens are ignored."""
    parsed = parse_passcode(arguments.parse_secret_text(text))
    assert parsed is not None
    assert parsed[0] == selector
    assert parsed[1].reveal() == b"abcdefghjkmnpqrs"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kqzr abcd efgh jkmn pqr",
        "kqzr abcd efgh jkmn pqrst",
        "iqzr abcd efgh jkmn pqrs",  # i, l and o are in no passcode
        "lqzr abcd efgh jkmn pqrs",
        "oqzr abcd efgh jkmn pqrs",
        "kqzr abcd efgh jkmn pqr1",
        "kqzr\nabcd efgh jkmn pqrs",
        "\uff4bqzr abcd efgh jkmn pqrs",
        "\u212aqzr abcd efgh jkmn pqrs",  # KELVIN SIGN lower-cases to k
        "kqzr abcd efgh jkmn pqr\u017f",  # LONG S upper-cases to S
        "kqzr abcd efgh jkmn pqrs" + " " * 64,
        HUGE,
        LONE,
        *NOT_TEXT,
    ],
    ids=lambda one: ascii(one)[:30],
)
def test_what_is_no_passcode(text: object) -> None:
    """Anything else is no passcode, and no exception."""
    assert parse_passcode(arguments.parse_secret_text(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "123456\n",
        "\r\n123456",
        "\t123456\u2003",
        "\u2003\u3000123456",
        "\u00a0123456\u202f",
        "123\u00a0456",
        "123\u202f456",
        "\uff11 \uff12\uff13-\uff14\uff15\u00a0\uff16\n",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "\uff11\uff12\uff13456",
    ],
    ids=ascii,
)
def test_a_code_as_people_paste_it(text: str) -> None:
    """From a page with no-break spaces, with a line's end, from a Japanese keyboard."""
    assert _digits(text) == b"123456"


@pytest.mark.parametrize("text", ["KQZR abcd\u00a0efgh-jkmn pqrs\n", "\tkqzrabcdefghjkmnpqrs\r\n"])
def test_a_passcode_as_people_paste_it(text: str) -> None:
    """Mail programs keep what the clipboard had."""
    parsed = parse_passcode(arguments.parse_secret_text(text))
    assert parsed is not None
    assert (parsed[0], parsed[1].reveal()) == ("kqzr", b"abcdefghjkmnpqrs")


@pytest.mark.parametrize(
    ("text", "slot", "code"),
    [
        ("0BCD-EFGH-JKMN-PQRS", 0, b"0BCDEFGHJKMNPQRS"),
        ("0BCD\u00a0EFGH\u202fJKMN PQRS\n", 0, b"0BCDEFGHJKMNPQRS"),
        ("9bcd efgh jkmn pqrs", 9, b"9BCDEFGHJKMNPQRS"),
        ("OBCD-EFGH-JKMN-PQRS", 0, b"0BCDEFGHJKMNPQRS"),  # Crockford: O is 0
        ("IBCD-EFGH-JKMN-PQRL", 1, b"1BCDEFGHJKMNPQR1"),  # I and L are 1
        ("ZBCDEFGHJKMNPQRS", 31, b"ZBCDEFGHJKMNPQRS"),
    ],
)
def test_a_recovery_code_as_people_type_it(text: str, slot: int, code: bytes) -> None:
    """Case and gaps are ignored, and look-alikes read as Crockford says."""
    parsed = parse_recovery_code(arguments.parse_secret_text(text))
    assert parsed is not None
    assert parsed[0] == slot
    assert parsed[1].reveal() == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0BCD-EFGH-JKMN-PQR",
        "0BCD-EFGH-JKMN-PQRST",
        "UBCD-EFGH-JKMN-PQRS",  # Crockford has no U
        "0BCD-EFGH-JKMN-PQR\u017f",
        "0BCD-EFGH-JKMN-PQR\u0131",
        "0BCD\0EFGH-JKMN-PQR",
        "0BCD-EFGH\nJKMN-PQRS",
        "\uff10BCD-EFGH-JKMN-PQRS",
        "0BCD-EFGH-JKMN-PQRS" + "-" * 64,
        HUGE,
        LONE,
        *NOT_TEXT,
    ],
    ids=lambda one: ascii(one)[:30],
)
def test_what_is_no_recovery_code(text: object) -> None:
    """Anything else is no recovery code, and no exception."""
    assert parse_recovery_code(arguments.parse_secret_text(text)) is None


@pytest.mark.parametrize(
    ("parse", "typed"),
    [
        (lambda text: encoding.parse_digits(text, (6,)), "755224"),
        (parse_passcode, "kqzrabcdefghjkmnpqrs"),
        (parse_recovery_code, "0123456789ABCDEF"),
    ],
)
def test_a_typed_text_has_64_bytes_at_most(parse: Any, typed: str) -> None:
    """Gaps are dropped up to that length; a longer text is not looked at."""
    assert parse(Secret(typed.ljust(64).encode())) is not None
    assert parse(Secret(typed.ljust(65).encode())) is None


# ------------------------------------------------------------------------------------ account ids


@pytest.mark.parametrize(
    "text", ["a", "ann@example.com", "tenant/uuid", " ", "é" * 127, "x" * 255, "\n", "🙂" * 63]
)
def test_account_ids_stay_as_they_are(text: str) -> None:
    """Opaque: no folding, no trimming."""
    assert arguments.parse_account_id(text) == text


@pytest.mark.parametrize(
    "value",
    ["", "a\0b", "\ud800", "x" * 256, "é" * 128, "🙂" * 64, HUGE, *NOT_TEXT],
    ids=lambda one: ascii(one)[:14],
)
def test_what_is_no_account_id(value: object) -> None:
    """Bytes, numbers and what a database would cut off are refused, the value not repeated."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.parse_account_id(value)
    assert caught.value.field == "account_id"
    assert caught.value.args == InvalidInputError("account_id").args


def test_account_ids_are_plain_text() -> None:
    """A subclass of str (a template engine's safe text) is stored as plain text."""

    class SafeText(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

    assert type(arguments.parse_account_id(SafeText("ann"))) is str


# ---------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Ann's phone", "Ann's phone"),
        ("  Phone \n", "Phone"),
        ("Cafe\u0301", "Café"),
        ("x" * 64, "x" * 64),
        ("日本語 🙂", "日本語 🙂"),
        ("a\u0301" * 64, "á" * 64),
    ],
)
def test_labels_are_trimmed_and_composed(text: str, label: str) -> None:
    """Two labels that look the same are the same text."""
    assert arguments.parse_label(text) == label


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "x" * 65,
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "a\u202eb",
        "a\u200fb",
        "a\u2066b",
        "a\u061cb",
        "a\ud800b",
        "\ufb2c" * 64,  # its NFC is longer than itself
        HUGE,
        *NOT_TEXT,
    ],
    ids=lambda one: ascii(one)[:14],
)
def test_what_is_no_label(value: object) -> None:
    """Control and direction characters would make a list or a log lie."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.parse_label(value, field="label")
    assert caught.value.field == "label"


@given(st.text(max_size=300))
def test_labels_are_short_and_printable_or_refused(text: str) -> None:
    """No text makes a long or unprintable label, and a label parses to itself."""
    try:
        label = arguments.parse_label(text)
    except InvalidInputError:
        return
    assert 1 <= len(label) <= 64
    assert label == label.strip()
    assert not any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 for one in label)
    assert arguments.parse_label(label) == label


# ----------------------------------------------------------------------- protocols and networks


@pytest.mark.parametrize(
    ("value", "protocols"),
    [
        (None, None),
        (["smtp", "imap"], ("imap", "smtp")),
        (("imap", "imap"), ("imap",)),
        (
            {"eas", "dav", "sieve", "smtp", "pop3", "imap"},
            ("imap", "pop3", "smtp", "sieve", "dav", "eas"),
        ),
        (frozenset({"pop3"}), ("pop3",)),
    ],
)
def test_protocols(value: object, protocols: object) -> None:
    """Known names, once each, in one order; None is any."""
    assert arguments.parse_protocols(value) == protocols


@pytest.mark.parametrize(
    "value",
    [[], (), set(), "imap", b"imap", ["IMAP"], ["imap", 1], [None], ["imap", "web"], [""], {"imap": 1},
     7, True, ["imap\0"], ["\uff49map"]],
    ids=ascii,
)  # fmt: skip
def test_what_are_no_protocols(value: object) -> None:
    """An empty set could never be used, and a bare text would be taken letter by letter."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.parse_protocols(value)
    assert caught.value.field == "protocols"


@pytest.mark.parametrize(
    ("value", "networks"),
    [
        (None, None),
        (["192.0.2.1"], ("192.0.2.1/32",)),
        (["192.0.2.77/24"], ("192.0.2.0/24",)),
        (["192.0.2.0/255.255.255.0"], ("192.0.2.0/24",)),
        (["192.0.2.7"], ("192.0.2.7/32",)),
        (["192.0.2.7/255.255.255.255"], ("192.0.2.7/32",)),
        (["0.0.0.0/255.255.255.255"], ("0.0.0.0/32",)),  # the one address, as Python and people read it
        (["128.0.0.0/128.0.0.0"], ("128.0.0.0/1",)),
        (["0.0.0.0/0"], ("0.0.0.0/0",)),
        (["2001:DB8::/32"], ("2001:db8::/32",)),
        (["2001:db8::1"], ("2001:db8::1/128",)),
        (["::ffff:192.0.2.0/120"], ("192.0.2.0/24",)),
        (["::ffff:192.0.2.9"], ("192.0.2.9/32",)),
        (["::ffff:0:0/96"], ("0.0.0.0/0",)),
        (["::/0"], ("::/0",)),
        (["::ffff:192.0.2.0/64"], ("::/64",)),
        (["198.51.100.0/24", "192.0.2.0/24", "192.0.2.9/24"], ("192.0.2.0/24", "198.51.100.0/24")),
        ([f"192.0.2.{one}" for one in range(20)], tuple(sorted(f"192.0.2.{one}/32" for one in range(20)))),
    ],
    ids=ascii,
)  # fmt: skip
def test_networks(value: object, networks: object) -> None:
    """Canonical, each once; IPv4 written as IPv6 is IPv4, as a dual-stack socket reports it."""
    assert arguments.parse_networks(value) == networks


@pytest.mark.parametrize(
    "value",
    [[], "192.0.2.0/24", ["192.0.2.0/33"], ["192.0.2"], ["192.0.2.0/24", 1], [3221225984], ["host"],
     [""], ["192.0.2.0/24\n"], ["192.0.2.0/-1"], ["\uff1192.0.2.0/24"], ["192.0.2.0/\uff124"], [HUGE], [None],
     ["10.1.2.3/0.0.0.0"], ["0.0.0.0/0.0.0.0"], ["10.0.0.0/0.0.0.255"], ["192.0.2.0/0.0.255.255"],
     ["10.1.2.3/0"], ["::1/0"], ["0.0.0.0/00"], ["::ffff:10.1.2.3/96"], ["192.0.2.0/255.0.255.0"],
     ["192.0.2.0/"], ["192.0.2.0/24/24"], ["2001:db8::/ffff:ffff::"], ["192.0.2.0/24", "10.1.2.3/0"],
     ["fe80::1%eth0/64"], ["fe80::1%" + "a" * 700], ["192.0.2.1\0"], [LONE], 5, {"192.0.2.0/24": 1},
     [f"10.0.0.{one}" for one in range(21)]],
    ids=lambda one: ascii(one)[:24],
)  # fmt: skip
def test_what_are_no_networks(value: object) -> None:
    """An unknown, empty or too long list is refused, not read as "any"; nor is a mask with two meanings."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.parse_networks(value)
    assert caught.value.field == "networks"


# ---------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 1, 1, tzinfo=UTC), 0),
        (datetime(2027, 1, 15, 8, 0, 0, 999_999, tzinfo=UTC), 1_800_000_000),
        (datetime(2027, 1, 15, 10, 0, tzinfo=timezone(timedelta(hours=2))), 1_800_000_000),
        (datetime.max.replace(tzinfo=UTC), 253_402_300_799),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), 253_402_300_799),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), 0),
    ],
)
def test_moments(value: datetime | None, seconds: int | None) -> None:
    """Aware datetimes become whole Unix seconds."""
    assert arguments.parse_moment(value, field="expires_at") == seconds


@pytest.mark.parametrize(
    "value", [datetime(2027, 1, 1), 1_800_000_000, "2027-01-01", 1.5, True, []], ids=ascii
)
def test_what_is_no_moment(value: object) -> None:
    """A naive datetime means another moment on each server."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.parse_moment(value, field="expires_at")
    assert caught.value.field == "expires_at"


def test_seconds_become_utc() -> None:
    """And come back as aware UTC."""
    assert to_datetime(1_800_000_000) == datetime(2027, 1, 15, 8, 0, tzinfo=UTC)


# ----------------------------------------------------------------------------------------- base64


@given(st.binary(max_size=200))
def test_base64_is_url_safe_and_comes_back(data: bytes) -> None:
    """Python's own encoder says the same, padding aside."""
    text = encoding.encode_base64(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert encoding.decode_base64(text) == data


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=", "AA==", "AAA=", "A A", "AA\n", "AA\n==", "=", "====", "+++A", "///A", "AB", "AAB",
     "\uff21A", "A\0AA", "AA!A", "AA-", "_"],
    ids=ascii,
)  # fmt: skip
def test_base64_that_is_not_canonical(text: str) -> None:
    """RFC 4648 §3.5: padding, line ends, the other alphabet, loose bits at the end: all refused."""
    assert encoding.decode_base64(text) is None


@pytest.mark.parametrize("length", [0, 1, 2, 3, 15, 16, 17, 48])
def test_no_changed_bit_of_base64_goes_unnoticed(length: int) -> None:
    """Every single-bit change of a text decodes to nothing or to other bytes, never to the same."""
    data = hashlib.sha512(bytes([length])).digest()[:length]
    text = encoding.encode_base64(data).encode()
    for place in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[place] ^= 1 << bit
            assert encoding.decode_base64(changed.decode("latin-1")) != data


@given(st.text(max_size=60))
def test_one_text_for_each_value(text: str) -> None:
    """What decodes at all is exactly what encoding gives."""
    data = encoding.decode_base64(text)
    assert data is None or encoding.encode_base64(data) == text


# ----------------------------------------------------------------------------------------- base32

RFC_4648_BASE32 = [
    (b"f", "MY"),
    (b"fo", "MZXQ"),
    (b"foo", "MZXW6"),
    (b"foob", "MZXW6YQ"),
    (b"fooba", "MZXW6YTB"),
    (b"foobar", "MZXW6YTBOI"),
]


def _base32(text: str) -> bytes | None:
    found = provisioning.decode_base32(Secret(text.encode()))
    return None if found is None else found.reveal()


@pytest.mark.parametrize(("data", "text"), RFC_4648_BASE32)
def test_rfc_4648_base32(data: bytes, text: str) -> None:
    """The vectors of RFC 4648 §10 without padding, typed in every usual way."""
    assert provisioning.encode_base32(Secret(data)) == text
    spaced = " ".join(text[place : place + 4] for place in range(0, len(text), 4))
    padded = text + "=" * (-len(text) % 8)
    for typed in (text, text.lower(), spaced, padded, spaced.replace(" ", "-"), f"\t{text} "):
        assert _base32(typed) == data


@pytest.mark.parametrize(
    "text",
    ["", "====", "A", "AAA", "AAAAAA", "MY1", "M0", "MY8", "MY=A", "MZXW6YTBO", "M\u0131", "M\u017f",
     "\u212aY", "MY\n", "MY\0", "A" * 257, "A" * 264, "\uff2d\uff39", "MY+", "MY/"],
    ids=lambda one: ascii(one)[:14],
)  # fmt: skip
def test_what_is_no_base32(text: str) -> None:
    """Impossible lengths, look-alikes of other scripts, digits 0 1 8 9: no key."""
    assert _base32(text) is None


@given(st.binary(min_size=1, max_size=160))
def test_base32_comes_back(data: bytes) -> None:
    """Python's own encoder says the same, padding aside."""
    text = provisioning.encode_base32(Secret(data))
    assert text == base64.b32encode(data).decode().rstrip("=")
    assert _base32(text) == data


# -------------------------------------------------------------------------- frames and randomness

PARTS = st.lists(st.binary(max_size=12), max_size=5)


@given(PARTS, PARTS)
def test_frame_is_injective(first: list[bytes], second: list[bytes]) -> None:
    """Two lists of parts give the same bytes only if they are the same list."""
    assert (encoding.frame(*first) == encoding.frame(*second)) == (first == second)


@given(PARTS)
def test_frame_can_be_read_back(parts: list[bytes]) -> None:
    """Number and lengths in four bytes each, then the parts: it can be undone, so it is injective."""
    framed = encoding.frame(*parts)
    numbers = [int.from_bytes(framed[at : at + 4], "big") for at in range(0, 4 * len(parts) + 4, 4)]
    assert numbers == [len(parts), *map(len, parts)]
    assert framed[4 * len(numbers) :] == b"".join(parts)


def test_frame_keeps_borders() -> None:
    """The classic confusion of joined parts does not happen."""
    assert encoding.frame(b"ab", b"c") != encoding.frame(b"a", b"bc")
    assert encoding.frame(b"a") != encoding.frame(b"a", b"")
    assert encoding.frame() != encoding.frame(b"")


@pytest.mark.parametrize(
    ("alphabet", "highest"),
    [("abcdefghjkmnpqrstuvwxyz", 253), ("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 256), ("0123456789", 250)],
)  # fmt: skip
def test_symbols_are_uniform(alphabet: str, highest: int) -> None:
    """Fed with each byte once, each symbol comes equally often, and bytes too high are dropped."""
    each_byte = bytes(range(256))
    picked = encoding.pick_symbols(lambda _: each_byte, alphabet, highest)
    counts = Counter(picked)
    assert set(counts) == set(alphabet)
    assert set(counts.values()) == {highest // len(alphabet)}
    # The next one needs new bytes: those from `highest` on gave nothing.
    longer = encoding.pick_symbols(lambda _: each_byte, alphabet, highest + 1)
    assert longer == picked + alphabet[0]


def test_symbols_ask_again_until_there_are_enough() -> None:
    """A source that gives only dropped bytes is asked again."""
    feed = iter([b"\xff" * 8, b"\xfd" * 8, bytes(8)])
    assert encoding.pick_symbols(lambda _: next(feed), "abcdefghjkmnpqrstuvwxyz", 4) == "aaaa"


def test_ids_are_128_bits() -> None:
    """ASVS 7.2.3: 22 characters for sixteen bytes from the source."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return b"\xff" * count

    assert encoding.generate_id(random) == "_" * 21 + "w"
    assert asked == [16]


def test_only_spaces_and_hyphens_are_dropped_from_a_code() -> None:
    assert encoding.parse_digits(Secret(b" 123-456 "), {6}) is not None
    for typed in (b"X123456", b"123456X", b"12_3456", b"123.456"):
        assert encoding.parse_digits(Secret(typed), {6}) is None


def test_no_symbol_is_more_likely_than_another() -> None:
    """Of 256 bytes 253 are eleven rounds of 23 letters; the other three would favour the first ones."""
    letters = "abcdefghjkmnpqrstuvwxyz"
    picked = encoding.pick_symbols(lambda _: bytes([252, 253, 1, 254, 255, 2]), letters, 3)
    assert picked == "zbc"
