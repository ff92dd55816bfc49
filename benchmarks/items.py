"""What an account pays for what it has: passcodes and authenticator apps, one up to the limit.

In memory, so that the growth is mfakit's own. A wrong passcode of a known selector is one Argon2 run,
however many there are; a code is compared with every authenticator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle

from benchmarks.timing import Claim, Contender, Curves, Section, interleave
from benchmarks.world import World
from mfakit import Argon2Hasher
from mfakit.errors import CredentialRefusedError
from mfakit.storage.memory import MemoryStore

TIMES_ONE_PASSCODE = 1.1
PASSCODES = (1, 5, 10, 25)
AUTHENTICATORS = (1, 2, 3, 5)
_LETTERS = "abcdefghjkmnpqrstuvwxyz"


def run_passcodes(*, is_quick: bool) -> Section:
    """Measure logins of an account with more and more passcodes."""
    wrong, remembered = "wrong passcode, one Argon2 run", "remembered passcode"
    contenders: dict[str, Contender] = {}
    for number in PASSCODES:
        contenders[_name(wrong, number)] = _wrong_logins(number)
        contenders[_name(remembered, number)] = _remembered_logins(number)
    calls = {name: 1 if name.startswith(wrong) else 200 for name in contenders}
    rounds = interleave(contenders, rounds=9 if is_quick else 41, calls=calls)
    taken = rounds.microseconds()
    most, least = max(PASSCODES), min(PASSCODES)
    lines = {remembered: {number: taken[_name(remembered, number)] for number in PASSCODES}}
    return Section(
        title="Growth: passcodes of an account",
        microseconds=taken,
        claims=tuple(
            Claim(
                name=f"{what}, {most} passcodes, times {least}",
                value=rounds.ratio(_name(what, most), _name(what, least)),
                at_most=bound,
            )
            for what, bound in ((wrong, TIMES_ONE_PASSCODE), (remembered, None))
        ),
        curves=Curves(across="passcodes of the account", up="µs", lines=lines),
    )


def run_authenticators(*, is_quick: bool) -> Section:
    """Measure a right code of an account with more and more authenticator apps."""
    what, rounds_count, calls = "verify_code", 9 if is_quick else 41, 200
    checks = (rounds_count + 1) * calls
    contenders = {_name(what, number): _code_checks(number, checks) for number in AUTHENTICATORS}
    rounds = interleave(contenders, rounds=rounds_count, calls=dict.fromkeys(contenders, calls))
    taken = rounds.microseconds()
    least, *others = AUTHENTICATORS
    return Section(
        title="Growth: authenticator apps of an account",
        microseconds=taken,
        claims=tuple(
            Claim(
                name=f"{what}, {number} authenticators, times {least}",
                value=rounds.ratio(_name(what, number), _name(what, least)),
            )
            for number in others
        ),
        curves=Curves(
            across="authenticator apps of the account",
            up="µs",
            lines={what: {number: taken[_name(what, number)] for number in AUTHENTICATORS}},
        ),
    )


RUNS: dict[str, Callable[..., Section]] = {
    "growth-passcodes": run_passcodes,
    "growth-authenticators": run_authenticators,
}


def _wrong_logins(passcodes: int) -> Contender:
    world = World(MemoryStore(), passcodes=passcodes, hasher=Argon2Hasher())
    endings = cycle([16 * letter for letter in _LETTERS])

    def login() -> None:
        with suppress(CredentialRefusedError):
            world.mail_login(world.passcodes[-1][:4] + next(endings))

    return login


def _remembered_logins(passcodes: int) -> Contender:
    world = World(MemoryStore(), passcodes=passcodes)
    world.mail_login(world.passcodes[-1])
    return lambda: world.mail_login(world.passcodes[-1])


def _code_checks(authenticators: int, checks: int) -> Contender:
    world = World(MemoryStore())
    for number in range(2, authenticators + 1):
        world.add_phone(f"Phone {number}")
    codes: Iterator[str] = iter(world.codes(checks))
    return lambda: world.verify_next(next(codes))


def _name(what: str, number: int) -> str:
    return f"{what}, {number}"
