"""RFC 6238 and RFC 4226: the published vectors, two independent implementations, and replay."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from base64 import b32encode

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_world import World

from mfakit.core.totp import match_time_steps, time_step
from mfakit.errors import ClockError, WrongCodeError

# RFC 6238 errata 2866: the seeds have the length of the HMAC output.
SEEDS = {
    "SHA1": b"12345678901234567890",
    "SHA256": b"12345678901234567890123456789012",
    "SHA512": b"1234567890123456789012345678901234567890123456789012345678901234",
}
# RFC 6238 Appendix B: Unix time, T, and the codes of 8 digits.
APPENDIX_B = [
    (59, 0x1, "94287082", "46119246", "90693936"),
    (1111111109, 0x23523EC, "07081804", "68084774", "25091201"),
    (1111111111, 0x23523ED, "14050471", "67062674", "99943326"),
    (1234567890, 0x273EF07, "89005924", "91819424", "93441116"),
    (2000000000, 0x3F940AA, "69279037", "90698825", "38618901"),
    (20000000000, 0x27BC86AA, "65353130", "77737706", "47863826"),
]
VECTORS = [
    (seconds, step, algorithm, code)
    for seconds, step, *codes in APPENDIX_B
    for algorithm, code in zip(SEEDS, codes, strict=True)
]
# RFC 4226 Appendix D: the codes of counters 0 to 9.
# fmt: off
APPENDIX_D = ["755224", "287082", "359152", "969429", "338314",
              "254676", "287922", "162583", "399871", "520489"]
# fmt: on
ALGORITHMS = st.sampled_from(list(SEEDS))
SECRETS = st.binary(min_size=16, max_size=64)


@pytest.mark.parametrize(("seconds", "step", "algorithm", "code"), VECTORS)
def test_s39_s40_s41_rfc_6238_appendix_b(
    seconds: int, step: int, algorithm: str, code: str
) -> None:
    """Each of the 18 published vectors: the time step, the code, and that the code is found."""
    seed = SEEDS[algorithm]
    assert time_step(seconds, 30) == step
    around = range(step - 1, step + 2)
    found = match_time_steps(seed, code.encode(), around, algorithm=algorithm, digits=8)
    assert found == [step]


def test_rfc_6238_negative_control() -> None:
    """The seed of 20 bytes, as the RFC's text has it before the erratum, gives other codes."""
    seed = SEEDS["SHA1"]
    assert match_time_steps(seed, b"32247374", [1], algorithm="SHA256", digits=8) == [1]
    assert match_time_steps(seed, b"69342147", [1], algorithm="SHA512", digits=8) == [1]
    assert match_time_steps(seed, b"46119246", [1], algorithm="SHA256", digits=8) == []
    assert match_time_steps(seed, b"90693936", [1], algorithm="SHA512", digits=8) == []


def test_there_are_18_vectors_and_10_counters() -> None:
    """No vector got lost while copying."""
    assert len(VECTORS) == 18
    assert len(APPENDIX_D) == 10


@pytest.mark.parametrize(("counter", "code"), list(enumerate(APPENDIX_D)))
def test_rfc_4226_appendix_d(counter: int, code: str) -> None:
    """Each published HOTP value: leading zeros, truncation and modulus."""
    assert match_time_steps(SEEDS["SHA1"], code.encode(), range(10)) == [counter]


def _oathtool(seed: bytes, seconds: int, period: int, digits: int, algorithm: str) -> bytes:
    program = shutil.which("oathtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("oathtool is missing, and CI must have it: apt-get install oathtool")
        pytest.skip("install oathtool (apt-get install oathtool) for this independent check")
    command = [program, f"--totp={algorithm.lower()}", "-N", f"@{seconds}", "-s", f"{period}s"]
    command += ["-d", str(digits), seed.hex()]
    return subprocess.run(command, check=True, capture_output=True).stdout.strip()


@pytest.mark.parametrize("algorithm", list(SEEDS))
@pytest.mark.parametrize("step", [2**32 - 1, 2**32, 2**32 + 1, 2**32 + 0x23523EC, 2**33 + 7])
@pytest.mark.parametrize(("period", "digits"), [(30, 6), (15, 8), (60, 7)])
def test_steps_beyond_32_bits(algorithm: str, step: int, period: int, digits: int) -> None:
    """RFC 6238 §4.2: T has more than 32 bits; no published vector reaches that far."""
    seconds = step * period + period - 1
    expected = _oathtool(SEEDS[algorithm], seconds, period, digits, algorithm)
    assert time_step(seconds, period) == step
    around = range(step - 2, step + 3)
    found = match_time_steps(SEEDS[algorithm], expected, around, algorithm=algorithm, digits=digits)
    assert found == [step]


@given(
    seed=SECRETS,
    algorithm=ALGORITHMS,
    digits=st.integers(6, 8),
    period=st.integers(15, 120),
    seconds=st.integers(0, 2**40),
)
def test_agrees_with_pyotp(
    seed: bytes, algorithm: str, digits: int, period: int, seconds: int
) -> None:
    """An independent implementation shows the same code for every parameter."""
    phone = pyotp.TOTP(
        b32encode(seed).decode(),
        digits=digits,
        digest=getattr(hashlib, algorithm.lower()),
        interval=period,
    )
    step = seconds // period
    expected = phone.generate_otp(step).encode()
    assert time_step(seconds, period) == step
    found = match_time_steps(seed, expected, [step], algorithm=algorithm, digits=digits)
    assert found == [step]


@given(seed=SECRETS, step=st.integers(0, 2**34), shift=st.integers(-2, 2))
def test_every_matching_step_in_the_order_given(seed: bytes, step: int, shift: int) -> None:
    """The whole window is scanned, and the answer keeps the order of the candidates."""
    window = [one for one in range(step - 2, step + 3) if one >= 0]
    target = max(0, step + shift)
    phone = pyotp.hotp.HOTP(_text(seed))
    code = phone.at(target).encode()
    expected = [one for one in window if phone.at(one).encode() == code]
    assert match_time_steps(seed, code, window) == expected
    assert match_time_steps(seed, code, reversed(window)) == expected[::-1]
    assert match_time_steps(seed, code, [target, target]) == [target, target]


def _text(seed: bytes) -> str:
    return b32encode(seed).decode()


def test_negative_steps_match_nothing() -> None:
    """Just after 1970 the window reaches below zero: no error, and no match there."""
    seed = SEEDS["SHA1"]
    assert match_time_steps(seed, b"755224", range(-2, 2)) == [0]
    assert match_time_steps(seed, b"755224", [-1, -(2**63)]) == []


@pytest.mark.parametrize("code", [b"", b"75522", b"7552240", b"755225", b"0755224"])
def test_other_lengths_match_nothing(code: bytes) -> None:
    """A code is compared as text of a fixed length, never as a number."""
    assert match_time_steps(SEEDS["SHA1"], code, range(10)) == []


@pytest.mark.parametrize(
    ("steps", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_window_is_one_step_each_way(steps: int, accepted: bool) -> None:
    """RFC 6238 §5.2: one step of delay, one of a fast clock, and no more."""
    world = World()
    _, phone, _ = world.enroll()
    world.clock.advance(300)
    code = phone.code(world.clock.now, steps=steps)
    if accepted:
        assert world.mfa.verify_code("ann", code)
    else:
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", code)


def test_an_accepted_step_and_all_before_it_are_spent() -> None:
    """RFC 6238 §5.2: no second acceptance, and no way back to an older code of the window."""
    world = World()
    _, phone, _ = world.enroll()
    world.clock.advance(300)
    now = world.clock.now
    assert world.mfa.verify_code("ann", phone.code(now))
    for steps in (0, -1):
        with pytest.raises(WrongCodeError):
            world.mfa.verify_code("ann", phone.code(now, steps=steps))
    assert [event.kind for event in world.events[-2:]] == ["code_replayed", "code_replayed"]
    assert world.mfa.verify_code("ann", phone.code(now, steps=1))


def test_a_clock_behind_the_accepted_code_is_no_wrong_code() -> None:
    """The server's clock went back: operational, and nothing is counted."""
    world = World()
    _, phone, _ = world.enroll()
    world.clock.advance(-3600)
    with pytest.raises(ClockError):
        world.mfa.verify_code("ann", phone.code(world.clock.now))
    assert world.record().code_throttle.failures == 0
