"""Three candidates of a TOTP check, a wrong code, all compared."""

from __future__ import annotations

import os
from base64 import b32encode
from hmac import digest

from benchmarks.timing import Claim, Section, interleave

TIMES_FASTER_THAN_PYOTP = 3.0
TIMES_THE_BARE_HMACS = 1.7
_NOW = 1_800_000_000


def run(*, is_quick: bool) -> Section:
    """Measure the match against pyotp and against three HMACs."""
    from pyotp import HOTP, TOTP

    from mfakit.core.totp import match_time_steps

    secret = os.urandom(20)
    base32 = b32encode(secret).decode()
    middle = _NOW // 30
    window = range(middle - 1, middle + 2)
    right = {HOTP(base32).at(step).encode() for step in window}
    wrong = next(b"%06d" % number for number in range(4) if b"%06d" % number not in right)
    typed, messages = wrong.decode(), [step.to_bytes(8, "big") for step in window]
    contenders = {
        "mfakit match_time_steps": lambda: match_time_steps(secret, wrong, window),
        "pyotp TOTP(...).verify": lambda: TOTP(base32).verify(typed, for_time=_NOW, valid_window=1),
        "three hmac.digest": lambda: [digest(secret, message, "sha1") for message in messages],
    }
    rounds = interleave(
        contenders, rounds=101 if is_quick else 601, calls=dict.fromkeys(contenders, 50)
    )
    mfakit, pyotp, bare = contenders
    return Section(
        title="TOTP, three candidates",
        microseconds=rounds.microseconds(),
        claims=(
            Claim(
                name="faster than pyotp",
                value=rounds.ratio(pyotp, mfakit),
                at_least=TIMES_FASTER_THAN_PYOTP,
            ),
            Claim(
                name="of three bare HMACs",
                value=rounds.ratio(mfakit, bare),
                at_most=TIMES_THE_BARE_HMACS,
            ),
        ),
    )
