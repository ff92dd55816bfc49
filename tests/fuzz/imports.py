"""Files that operators take authenticators from: each entry is read, or refused with its reason."""

from __future__ import annotations

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from mfakit.arguments import parse_secret_text
from mfakit.errors import ConfigurationError
from mfakit.migration import FORMATS, BadRow, Row, Source
from mfakit.migration.rows import Reading
from mfakit.provisioning import build_uri, encode_base32, parse_secret_or_uri

from .target import Target

KEY = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
HEX = "3132333435363738393031323334353637383930"
# Written down apart from the code: an entry's reason, and what is said of a whole file.
_REASONS = {
    "A code lives 15 to 120 seconds.",
    "Codes have 6, 7 or 8 digits.",
    "No account is named.",
    "Not a URI that authenticator apps know.",
    "Not an LDIF entry.",
    "Not an export of Google Authenticator.",
    "Not time-based (TOTP). The owner must enrol anew.",
    "The hash is none of SHA1, SHA256, SHA512.",
    "The account's id is neither text nor a whole number.",
    "The key does not open. Is the passphrase the right one?",
    "The secret is longer than 512 bits.",
    "The secret is not base32.",
    "The secret is shorter than 80 bits.",
    "There is no secret.",
}
_OF_FILES = {
    "SOURCE cannot be read as text.",
    "SOURCE has no entries in clear. Export it again without a password.",
    "SOURCE has no services in clear. Export it again without a password.",
    "SOURCE is no PSKC file, or does not open.",
    "SOURCE is not the export of that app.",
    "SOURCE is not a CSV file.",
    "SOURCE is sealed. Export it again without a password.",
    "The first line must name account_id, label, secret_or_uri.",
}


def _target(name: str, seeds: Sequence[str], words: Sequence[str] = ()) -> Callable[[], Target]:
    """Return the factory of one format's target."""

    def make() -> Target:
        folder = tempfile.TemporaryDirectory(prefix="mfakit-fuzz-")
        file = Path(folder.name) / "file"
        read = FORMATS[name].read

        def check(data: bytes) -> bool:
            file.write_bytes(data)
            try:
                found = list(read(Source(place=str(file), passphrase="31" * 16)))
            except ConfigurationError as error:
                assert str(error) in _OF_FILES
                assert error.__cause__ is None
                assert error.__suppress_context__ or error.__context__ is None
                return False
            return any([_is_row(one) for one in found])

        encoded = tuple([seed.encode() for seed in (*seeds, "", "\ufeff", "\0")])
        return Target(
            check=check,
            seeds=(*encoded, b"\xff"),
            words=tuple([one.encode() for one in words]),
            close=folder.cleanup,
        )

    return make


def _is_row(reading: Reading) -> bool:
    """Say whether an entry was taken; what was taken can be imported, and means the same again."""
    assert isinstance(reading.account, str)
    assert isinstance(reading.source, str)
    reading.account.encode()
    if isinstance(reading, BadRow):
        assert reading.reason in _REASONS
        return False
    assert isinstance(reading, Row)
    assert isinstance(reading.label, str)
    assert isinstance(reading.issuer, str)
    (reading.label + reading.issuer).encode()
    assert reading.account
    secret = parse_secret_or_uri(parse_secret_text(reading.uri), allow_weak=True)
    assert reading.is_weak == (len(secret.secret.reveal()) < 16)
    assert reading.uri == build_uri(
        encode_base32(secret.secret),
        account_name="account",
        issuer="import",
        algorithm=secret.algorithm,
        digits=secret.digits,
        period_seconds=secret.period_seconds,
    )
    return True


# Google's message by hand: field 1 of the payload holds fields 1 secret, 2 name, 4-6 parameters.
_ENTRY = b"\x0a\x14" + bytes.fromhex(HEX) + b"\x12\x06Ex:ann" + b"\x20\x01\x28\x01\x30\x02"
_BATCH = quote(b64encode(b"\x0a" + bytes([len(_ENTRY)]) + _ENTRY))
_AEGIS = {
    "version": 1,
    "header": {"slots": None, "params": None},
    "db": {
        "version": 2,
        "entries": [
            {
                "type": "totp",
                "uuid": "1",
                "name": "ann",
                "issuer": "Ex",
                "info": {"secret": KEY, "algo": "SHA1", "digits": 6, "period": 30},
            }
        ],
    },
}
_2FAS = {
    "services": [
        {
            "name": "Ex",
            "secret": KEY,
            "otp": {
                "label": "Ex:ann",
                "account": "ann",
                "issuer": "Ex",
                "digits": 6,
                "period": 30,
                "algorithm": "SHA1",
                "tokenType": "TOTP",
            },
        },
        {"name": "Ex", "secret": KEY, "otp": {"label": "Ex:bob"}},
    ],
    "schemaVersion": 4,
}
_PSKC = f"""<?xml version="1.0" encoding="UTF-8"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">
<KeyPackage><DeviceInfo><SerialNo>1</SerialNo></DeviceInfo>
<Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp"><Issuer>Ex</Issuer>
<AlgorithmParameters><ResponseFormat Encoding="DECIMAL" Length="6"/></AlgorithmParameters>
<Data><Secret><PlainValue>{b64encode(bytes.fromhex(HEX)).decode()}</PlainValue></Secret>
<TimeInterval><PlainValue>30</PlainValue></TimeInterval></Data>
<UserId>ann</UserId></Key></KeyPackage></KeyContainer>"""
_DTD = '<!DOCTYPE a [<!ENTITY b "c">]>'
_JSON = ("null", "true", "[]", "{}", "0", "-1", "1e999", "NaN", '"\\ud800"', "[[[[[[[[")

otpauth = _target(
    "otpauth",
    (
        f"# my keys\notpauth://totp/Ex:ann?secret={KEY}&issuer=Ex&digits=8\n",
        f"otpauth-migration://offline?data={_BATCH}",
        f"otpauth://hotp/ann?secret={KEY}\notpauth://totp/?secret=\nnonsense",
        f"otpauth://totp/ann?secret={KEY}&encoder=steam",
    ),
    ("otpauth://totp/", "otpauth-migration://offline?data=", "&digits=", "&period=", "%0A", "\n"),
)
aegis = _target(
    "aegis",
    (
        json.dumps(_AEGIS),
        json.dumps(_AEGIS | {"db": "c2VhbGVk"}),
        "[]",
        '{"db":{"entries":[{}]}}',
        '{"db":{"entries":[{"info":[1]}]}}',
        '{"db":{"entries":[{"type":"totp","name":"a","info":{"secret":5}}]}}',
        json.dumps(_AEGIS).replace('"digits": 6', '"digits": 5'),
        json.dumps(_AEGIS).replace('"ann"', '"\\ud800"'),
    ),
    (*_JSON, '"db":', '"entries":', '"info":', '"secret":', '"digits":', '"period":', '"algo":'),
)
two_fas = _target(
    "2fas",
    (
        json.dumps(_2FAS),
        '{"services":[],"servicesEncrypted":"a"}',
        '{"services":[{}]}',
        '{"services":[{"otp":5}]}',
        "[]",
    ),
    (*_JSON, '"services":', '"otp":', '"secret":', '"label":', '"account":', '"tokenType":'),
)
csv = _target(
    "csv",
    (
        f"account_id,label,secret_or_uri\nann,Phone,{KEY}\nbob,,otpauth://totp/b?secret={KEY}\n",
        f'account_id,secret_or_uri\n"a,b",{KEY}\nshort\n\n,,,\nann,otpauth://totp\n',
        f"account_id,secret_or_uri\n,otpauth://totp/ann?secret={KEY}\nshort\n",
        "account_id\nann\n",
    ),
    ("account_id", "secret_or_uri", "label", "otpauth://totp/a?secret=", '"', '""', "\r", "\x85"),
)
oath_csv = _target(
    "oath-csv",
    (f"# serial\nann,{HEX},totp,6,30\n", f"bob,{HEX},TOTP,8,60\ncarl,{HEX}\n", 'a,zz,totp\n"'),
    ("totp", "hotp", ",", '"', "\r\n", "\x1e", HEX),
)
ldif = _target(
    "ldif",
    (
        f"dn: uid=ann\nzimbraId: 1\nzimbraTwoFactorAuthSecret: {KEY}|2027\n\ndn: uid=bob\ncn: b\n",
        f"version: 1\ndn:: dWlkPWFubg==\nzimbraId: 1\nzimbraTwoFactorAuthSecret:: {KEY}\n",
        "dn: a\nzimbraId:< file:///etc/passwd\nzimbraTwoFactorAuthSecret: A\n",
        "cn: a\n b\n\ndn\n",
    ),
    (
        "dn: ",
        "zimbraId: ",
        "zimbraTwoFactorAuthSecret: ",
        "zimbraTwoFactorAuthEnabled: FALSE",
        ":: ",
        ":< ",
        "\n ",
    ),
)
pskc = _target(
    "pskc",
    (
        _PSKC,
        _PSKC.replace('"UTF-8"', '"UTF-1"'),
        _PSKC.replace("totp", "hotp"),
        _DTD + _PSKC[38:],
        "<a/>",
        _PSKC[:-20],
    ),
    (
        "<Secret>",
        "<PlainValue>",
        "</PlainValue>",
        "<EncryptedValue>",
        "<EncryptionKey>",
        "Length=",
        "DECIMAL",
        "<!ENTITY",
        "&#0;",
        "&b;",
        "<Suite>HMAC-SHA256</Suite>",
        "<StartDate>",
        "<DerivedKey>",
    ),
)
