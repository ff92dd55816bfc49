"""What people type and paste: codes, passcodes, recovery codes, keys, `otpauth://` URIs."""

from __future__ import annotations

import re
from hmac import compare_digest
from urllib.parse import unquote_plus

from mfakit.arguments import parse_secret_text
from mfakit.core.encoding import parse_digits
from mfakit.core.passcode import format_passcode, parse_passcode
from mfakit.core.recovery import parse_recovery_code
from mfakit.core.secret import Secret
from mfakit.errors import CredentialRefusedError, InvalidInputError, WrongCodeError
from mfakit.provisioning import (
    ImportedSecret,
    build_uri,
    decode_base32,
    encode_base32,
    parse_secret_or_uri,
)

from .platform import ANN, Platform
from .target import Target, as_text, attempt

# What is a code, written down apart from the code that reads it.
_CODE = re.compile(r"[ -]*(?:[0-9][ -]*){6,8}")
_PASSCODE = re.compile(r"[ -]*(?:[abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ][ -]*){20}")
_RECOVERY = re.compile(r"[ -]*(?:[0-9A-TV-Za-tv-z][ -]*){16}")
_KEY = re.compile(r"[ \t-]*(?:[A-Za-z2-7][ \t-]*)+(?:=[ \t-]*)*")
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TYPED_MAX = 64


def _is_like(form: re.Pattern[str], text: str) -> bool:
    is_text = text.encode("utf-8", "replace").decode() == text
    return is_text and len(text.encode()) <= _TYPED_MAX and form.fullmatch(text) is not None


def _bare(text: str, dropped: str = " -") -> str:
    return "".join(one for one in text if one not in dropped)


def code() -> Target:
    """An authenticator's code: right, wrong and counted, or malformed and not counted."""
    ann = Platform()
    right = {ann.code(steps) for steps in (-1, 0, 1)}

    def check(data: bytes) -> bool:
        text = as_text(data)
        is_code = _is_like(_CODE, text)
        parsed = parse_digits(parse_secret_text(text), range(6, 9))
        assert (parsed is not None) == is_code
        if parsed is not None:
            again = parse_digits(parsed, range(6, 9))
            assert again is not None
            assert again.reveal() == parsed.reveal() == _bare(text).encode()
        ann.put_back()
        proof = attempt(lambda: ann.mfa.verify_code(ANN, text), WrongCodeError)
        assert (proof is not None) == (is_code and _bare(text) in right)
        is_counted = is_code and len(_bare(text)) == 6
        assert (ann.row is not ann.rows[-1]) == is_counted
        return proof is not None

    one = ann.code()
    near = (str((int(one[0]) + 1) % 10) + one[1:], one[:-1] + str((int(one[-1]) + 1) % 10))
    seeds = (
        *right,
        *near,
        f" {one[:3]}-{one[3:]} ",
        "000000",
        "1234567",
        "12345",
        "²870820",
        "1" * 65,
    )
    return Target(check=check, seeds=_encoded(*seeds), bytes_max=96)


def passcode() -> Target:
    """An application passcode, as a mail client sends it: in, or out and nothing written."""
    ann = Platform()
    right = _bare(ann.passcode)

    def refuse_password(_: str) -> None:
        raise AssertionError("A password was checked although two-step is on.")

    def check(data: bytes) -> bool:
        text = as_text(data)
        is_passcode = _is_like(_PASSCODE, text)
        parsed = parse_passcode(parse_secret_text(text))
        assert (parsed is not None) == is_passcode
        if parsed is not None:
            shown = format_passcode(*parsed)
            assert _bare(shown) == _bare(text).lower()
            again = parse_passcode(parse_secret_text(shown))
            assert again is not None
            assert format_passcode(*again) == shown
        ann.put_back()
        signed_in = attempt(
            lambda: ann.mfa.authenticate_client(
                ANN, text, protocol="imap", check_password=refuse_password
            ),
            CredentialRefusedError,
        )
        is_right = is_passcode and _bare(text).lower() == right
        assert (signed_in is not None) == is_right
        assert is_right or ann.row is ann.rows[-1]
        return signed_in is not None

    shown = ann.passcode
    seeds = (shown, shown.upper(), right, shown[:-1] + "a", shown.replace(" ", "-"), "", "i" * 20)
    return Target(check=check, seeds=_encoded(*seeds), words=(right[:4].encode(),), bytes_max=96)


def recovery() -> Target:
    """A recovery code: right, wrong and counted, or malformed and not counted."""
    ann = Platform()
    read_as = str.maketrans("OIL", "011")
    right = {_bare(one) for one in ann.recovery_codes}

    def check(data: bytes) -> bool:
        text = as_text(data)
        is_code = _is_like(_RECOVERY, text)
        parsed = parse_recovery_code(parse_secret_text(text))
        assert (parsed is not None) == is_code
        symbols = _bare(text).upper().translate(read_as)
        if parsed is not None:
            slot, secret = parsed
            assert secret.reveal() == symbols.encode()
            assert slot == "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(symbols[0])
            assert parse_recovery_code(secret) is not None
        ann.put_back()
        proof = attempt(lambda: ann.mfa.verify_code(ANN, text, method="recovery"), WrongCodeError)
        assert (proof is not None) == (is_code and symbols in right)
        assert (ann.row is not ann.rows[-1]) == is_code
        return proof is not None

    one, other = ann.recovery_codes[:2]
    seeds = (one, other.lower(), _bare(one), one[:-1] + "U", "Z" + one[1:], one + "0", "O1L" * 5)
    return Target(check=check, seeds=_encoded(*seeds), words=(_bare(one).encode(),), bytes_max=96)


def base32() -> Target:
    """A typed key, against arithmetic: five bits a symbol, what is left over dropped."""

    def check(data: bytes) -> bool:
        key = decode_base32(Secret(data))
        wanted = _decode_by_hand(data.decode("latin-1"))
        if key is None or wanted is None:
            assert key is None
            assert wanted is None
            return False
        assert key.reveal() == wanted
        again = decode_base32(Secret(encode_base32(key).encode()))
        assert again is not None
        assert compare_digest(again.reveal(), wanted)
        return True

    seeds = (b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", b"gezd gnbv-gy3t", b"MY======", b"MZXW6YQ", b"A")
    return Target(
        check=check, seeds=(*seeds, b"A" * 257, b"", b"=", b"M=Y", b"1890"), bytes_max=320
    )


def _decode_by_hand(text: str) -> bytes | None:
    symbols = _bare(text, " \t-").rstrip("=").upper()
    if not _KEY.fullmatch(text) or len(symbols) > 256 or len(symbols) % 8 in {1, 3, 6}:
        return None
    number = 0
    for symbol in symbols:
        number = number * 32 + _BASE32.index(symbol)
    bits = len(symbols) * 5
    return (number >> bits % 8).to_bytes(bits // 8, "big")


def uri() -> Target:
    """A key or an `otpauth://` URI for one account: what is taken can be shown and taken again."""

    def parse(text: str, *, allow_weak: bool) -> ImportedSecret | None:
        return attempt(
            lambda: parse_secret_or_uri(parse_secret_text(text), allow_weak=allow_weak),
            InvalidInputError,
        )

    def check(data: bytes) -> bool:
        text = as_text(data)
        weak, strong = parse(text, allow_weak=True), parse(text, allow_weak=False)
        if weak is None:
            assert strong is None
            return False
        length = len(weak.secret.reveal())
        assert 10 <= length <= 64
        assert (strong is not None) == (length >= 16)
        assert weak.algorithm in {"SHA1", "SHA256", "SHA512"}
        assert weak.digits in {6, 7, 8}
        assert 15 <= weak.period_seconds <= 120
        assert len(set(_names_in(text))) == len(_names_in(text))
        again = parse(_uri_of(weak), allow_weak=True)
        assert again is not None
        assert _parts(again) == _parts(weak)
        return True

    key = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    seeds = (
        key,
        f"otpauth://totp/Example:ann@example.com?secret={key}&issuer=Example",
        f"otpauth://TOTP/ann?secret={key}&algorithm=SHA512&digits=8&period=60",
        f"otpauth://totp/?secret={key[:16]}&image=https%3A%2F%2Fexample.com%2Fa.png",
        f"otpauth://totp/A:ann?secret={key}&issuer=B",
        f"otpauth://hotp/ann?secret={key}&counter=1",
        f"otpauth://totp/ann?secret={key}&digits=8&digits=6",
        "otpauth://[totp/?secret=%FF&secret=x",
    )
    words = ("otpauth://", "totp/", "hotp/", "?secret=", "&issuer=", "&algorithm=", "SHA256")
    more = ("&digits=", "&period=", "%3A", "%20", "%00", "&image=", "://[", key)
    return Target(check=check, seeds=_encoded(*seeds), words=_encoded(*words, *more), bytes_max=512)


def _names_in(text: str) -> list[str]:
    """Return the names of a URI's parameters: one that is there twice means two things."""
    _, _, query = text.partition("?")
    return [unquote_plus(one.partition("=")[0]) for one in query.partition("#")[0].split("&")]


def _uri_of(imported: ImportedSecret) -> str:
    return build_uri(
        encode_base32(imported.secret),
        account_name="ann",
        issuer="Example",
        algorithm=imported.algorithm,
        digits=imported.digits,
        period_seconds=imported.period_seconds,
    )


def _parts(imported: ImportedSecret) -> tuple[bytes, str, int, int]:
    secret = imported.secret.reveal()
    return secret, imported.algorithm, imported.digits, imported.period_seconds


def _encoded(*texts: str) -> tuple[bytes, ...]:
    return tuple([text.encode() for text in texts])
