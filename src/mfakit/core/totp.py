"""RFC 6238: which time steps a code belongs to. Nothing here knows accounts, clocks or stores.

The check is `hmac.digest` over each candidate; every candidate is computed and compared, so neither
the position of a wrong digit nor the step that matched shows in the time taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest, digest
from struct import Struct

_HASHES = {"SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_MODULUS = {6: 10**6, 7: 10**7, 8: 10**8}
_FORMAT = {6: b"%06d", 7: b"%07d", 8: b"%08d"}
_read_32_bits = Struct(">I").unpack_from


def time_step(unix_seconds: int, period_seconds: int) -> int:
    """Return the number of the time step that holds a moment.

    Reference: RFC 6238 §4.2, T = (now - T0) / X with T0 = 0, in integers only.
    """
    return unix_seconds // period_seconds


def match_time_steps(
    secret: bytes, code: bytes, steps: Iterable[int], *, algorithm: str = "SHA1", digits: int = 6
) -> list[int]:
    """Return those of `steps` whose code is `code`, in the order given.

    Args:
        secret: The shared secret, 16-64 bytes.
        code: ASCII digits, already parsed; another length than `digits` matches nothing.
        steps: Candidate time steps; negative ones match nothing.
        algorithm: "SHA1", "SHA256" or "SHA512".
        digits: 6, 7 or 8.

    Reference: RFC 6238 §5.2. No early exit (CWE-208): the whole window is always scanned.
    """
    # Dynamic truncation (RFC 4226 §5.3, §5.4), then leading zeros kept.
    name, modulus, form = _HASHES[algorithm], _MODULUS[digits], _FORMAT[digits]
    matched = []
    for step in steps:
        if step < 0:
            continue
        mac = digest(secret, step.to_bytes(8, "big"), name)
        number = _read_32_bits(mac, mac[-1] & 0x0F)[0] & 0x7FFFFFFF
        if compare_digest(form % (number % modulus), code):
            matched.append(step)
    return matched
