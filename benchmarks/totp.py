"""Three candidates of a TOTP check, a wrong code, all compared."""

from __future__ import annotations

import os
from base64 import b32encode
from collections.abc import Sequence
from contextlib import suppress
from hmac import digest
from unittest.mock import patch

from benchmarks import peers
from benchmarks.timing import Claim, Contender, Section, interleave

TIMES_FASTER_THAN_PYOTP = 3.0
TIMES_THE_BARE_HMACS = 1.7
_NOW = 1_800_000_000
OURS, BARE, PYOTP = "mfakit match_time_steps", "three hmac.digest", "pyotp"


def run(*, is_quick: bool) -> Section:
    """Measure the match against every peer's, and against three HMACs."""
    from pyotp import HOTP

    from mfakit.core.totp import match_time_steps

    secret = os.urandom(20)
    middle = _NOW // 30
    window = range(middle - 1, middle + 2)
    phone = HOTP(b32encode(secret).decode())
    right = {phone.at(step).encode() for step in window}
    wrong = next(b"%06d" % number for number in range(4) if b"%06d" % number not in right)
    messages = [step.to_bytes(8, "big") for step in window]
    contenders: dict[str, Contender] = {
        OURS: lambda: match_time_steps(secret, wrong, window),
        BARE: lambda: [digest(secret, message, "sha1") for message in messages],
        **_peers(secret, wrong.decode(), window),
    }
    with patch("allauth.mfa.totp.internal.auth.time", peers.Time(_NOW)):
        rounds = interleave(
            contenders, rounds=101 if is_quick else 601, calls=dict.fromkeys(contenders, 50)
        )
    claims = [
        Claim(
            name=f"faster than {peer}",
            value=rounds.ratio(peer, OURS),
            at_least=TIMES_FASTER_THAN_PYOTP if peer == PYOTP else 1.0,
        )
        for peer in contenders
        if peer not in (OURS, BARE)
    ]
    bare = Claim(
        name="of three bare HMACs", value=rounds.ratio(OURS, BARE), at_most=TIMES_THE_BARE_HMACS
    )
    return Section(
        title="TOTP, three candidates, a wrong code",
        microseconds=rounds.microseconds(),
        claims=(*claims, bare),
    )


def _peers(secret: bytes, typed: str, window: Sequence[int]) -> dict[str, Contender]:
    """Return what each peer does with a secret that is read already; passlib's object is reused."""
    peers.set_up()
    from allauth.mfa.totp.internal import auth
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor import InvalidToken
    from cryptography.hazmat.primitives.twofactor.totp import TOTP as CRYPTOGRAPHY
    from django_otp.oath import TOTP as DJANGO_OTP
    from passlib.exc import InvalidTokenError
    from passlib.totp import TOTP as PASSLIB
    from pyotp import TOTP

    base32, code = b32encode(secret).decode(), typed.encode()
    passlib, twofactor = PASSLIB(secret, format="raw"), CRYPTOGRAPHY(secret, 6, SHA1(), 30)

    def by_passlib() -> None:
        with suppress(InvalidTokenError):
            passlib.match(typed, time=_NOW, window=30)

    def by_cryptography() -> None:
        for step in window:
            with suppress(InvalidToken):
                twofactor.verify(code, 30 * step)

    def by_django_otp() -> bool:
        totp = DJANGO_OTP(secret)
        totp.time = _NOW
        return bool(totp.verify(int(typed), tolerance=1))

    return {
        PYOTP: lambda: TOTP(base32).verify(typed, for_time=_NOW, valid_window=1),
        "passlib": by_passlib,
        "cryptography": by_cryptography,
        "django-otp": by_django_otp,
        "allauth": lambda: auth.validate_totp_code(base32, typed),
    }
