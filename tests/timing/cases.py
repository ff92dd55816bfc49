"""What is timed: each claim of constant time, controls that must show, and one documented leak."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from hmac import digest
from random import Random

from pyotp import TOTP
from tests.fuzz.platform import ANN, KEYS, POLICY
from tests.fuzz.platform import Platform as Ann

from mfakit import CodeRequired
from mfakit.aio import AsyncMFA
from mfakit.core.encoding import decode_base64, encode_base64
from mfakit.core.totp import match_time_steps
from mfakit.errors import ChallengeError, CredentialRefusedError, MFAKitError, WrongCodeError
from mfakit.hashing import Argon2Hasher
from mfakit.mail.logins import LoginAttempt, MailLogins, Outcome, Platform
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore

from .dudect import Case

Login = tuple[str, str, Callable[[Random], str]]
DIGITS = "0123456789"
PLACES = ("first", "last")
LETTERS = "abcdefghjkmnpqrstuvwxyz"
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SECRET, STEPS = bytes(range(20)), (58_000_000, 58_000_001, 58_000_002)
FIRST, LAST = 0, 1


def changed(text: str, place: int, alphabet: str, random: Random) -> str:
    """Return the text with another symbol in one place, as a new object."""
    other = random.choice(alphabet.replace(text[place], ""))
    return text[:place] + other + text[place + 1 :]


def _by_place(text: str, alphabet: str, first: int = 0) -> Callable[[int, Random], str]:
    """Wrong in the first place that is secret, or in the last one."""
    places = {FIRST: first, LAST: len(text) - 1}
    return lambda kind, random: changed(text, places[kind], alphabet, random)


# ------------------------------------------------------------------------------------- one time step


def _match(code: bytes) -> None:
    assert not match_time_steps(SECRET, code, STEPS)


def _match_leaking(code: bytes) -> bool:
    """Compute one code as the core does, and compare it as nobody should."""
    mac = digest(SECRET, STEPS[0].to_bytes(8, "big"), "sha1")
    start = mac[-1] & 15
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFFFFFF
    return _is_equal_leaking(b"%06d" % (number % 10**6), code)


def _is_equal_leaking(one: bytes, other: bytes) -> bool:
    return all(left == right for left, right in zip(one, other, strict=True))


def _code_of_step() -> str:
    return TOTP(base64.b32encode(SECRET).decode()).at(STEPS[0] * 30)


def code_control() -> Case:
    """The same check with an early exit: the method must find it."""
    make = _by_place(_code_of_step(), DIGITS)
    return Case(
        name="CONTROL: one code, compared with an early exit",
        classes=PLACES,
        make=lambda kind, random: make(kind, random).encode(),
        call=_match_leaking,
        leaks=True,
    )


def code_by_place() -> Case:
    """The core's window search, the wrong digit in the first or the last place."""
    make = _by_place(_code_of_step(), DIGITS)
    return Case(
        name="match_time_steps, wrong digit by place",
        classes=PLACES,
        make=lambda kind, random: make(kind, random).encode(),
        call=_match,
    )


def code_fixed() -> Case:
    """The core's window search, one wrong code against any wrong code."""
    right = {TOTP(base64.b32encode(SECRET).decode()).at(step * 30) for step in STEPS}
    fixed = changed(_code_of_step(), 0, DIGITS, Random(1))

    def make(kind: int, random: Random) -> bytes:
        other = f"{random.randrange(10**6):06d}"
        return (fixed if kind == FIRST or other in right else other).encode()

    return Case(
        name="match_time_steps, fixed against random",
        classes=("fixed", "random"),
        make=make,
        call=_match,
    )


# ----------------------------------------------------------------------------------- whole decisions


def _refused(call: Callable[[str], object], error: type[MFAKitError]) -> Callable[[str], None]:
    def run(text: str) -> None:
        try:
            call(text)
        except error:
            return
        raise AssertionError("What is wrong was accepted.")

    return run


def verify_code() -> Case:
    """A wrong code, judged, counted and written."""
    ann = Ann()
    return Case(
        name="MFA.verify_code, wrong digit by place",
        classes=PLACES,
        make=_by_place(ann.code(), DIGITS),
        call=_refused(lambda code: ann.mfa.verify_code(ANN, code), WrongCodeError),
        before=ann.put_back,
        samples=60_000,
    )


def recovery_code() -> Case:
    """A wrong recovery code of a slot that is not used yet."""
    ann = Ann()
    return Case(
        name="recovery code, wrong symbol by place",
        classes=PLACES,
        make=_by_place(ann.recovery_codes[0].replace("-", ""), SYMBOLS, first=1),
        call=_refused(
            lambda code: ann.mfa.verify_code(ANN, code, method="recovery"), WrongCodeError
        ),
        before=ann.put_back,
        samples=60_000,
    )


def recovery_prefix() -> Case:
    """All but the last symbol right, against nothing right but the slot."""
    ann = Ann()
    right = ann.recovery_codes[0].replace("-", "")

    def make(kind: int, random: Random) -> str:
        others = "".join(random.choices(SYMBOLS, k=15))
        return changed(right, 15, SYMBOLS, random) if kind == LAST else right[0] + others

    return Case(
        name="recovery code, right prefix against wrong",
        classes=("wrong", "right but one"),
        make=make,
        call=_refused(
            lambda code: ann.mfa.verify_code(ANN, code, method="recovery"), WrongCodeError
        ),
        before=ann.put_back,
        samples=60_000,
    )


def passcode() -> Case:
    """A wrong verifier while the right one is remembered."""
    ann = Ann()
    letters = ann.passcode.replace(" ", "")

    def sign_in(text: str) -> object:
        return ann.mfa.authenticate_client(
            ANN, text, protocol="imap", check_password=lambda _: None
        )

    sign_in(letters)
    return Case(
        name="remembered passcode, wrong letter by place",
        classes=PLACES,
        make=_by_place(letters, LETTERS, first=4),
        call=_refused(sign_in, CredentialRefusedError),
        before=ann.put_back,
        samples=60_000,
    )


def device_token() -> Case:
    """The right id of a trusted device with a wrong secret."""
    ann = Ann()

    def begin(token: str) -> None:
        step = ann.mfa.begin_login(ANN, password_verified=True, trusted_device=token)
        assert isinstance(step, CodeRequired)

    return Case(
        name="trusted device, wrong character by place",
        classes=PLACES,
        make=_by_place(ann.device_token, URL_SAFE, first=22),
        call=begin,
        before=ann.put_back,
        samples=60_000,
    )


def challenge_tag() -> Case:
    """A challenge with one bit of its tag flipped."""
    ann = Ann()
    sealed = decode_base64(ann.challenge())
    assert sealed is not None

    def make(kind: int, random: Random) -> str:
        altered = bytearray(sealed)
        altered[-16 if kind == FIRST else -1] ^= 1 << random.randrange(8)
        return encode_base64(bytes(altered))

    return Case(
        name="challenge, wrong byte of its tag by place",
        classes=PLACES,
        make=make,
        call=_refused(lambda text: ann.mfa.complete_login(text, "000000"), ChallengeError),
        before=ann.put_back,
        samples=60_000,
    )


# ------------------------------------------------------------------------------- the auth service


class _AsyncStore:
    """The rows of a memory store, awaited."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def load(self, account_id: str) -> StoredRecord | None:
        return self._store.load(account_id)

    async def create(self, new: StoredRecord) -> bool:
        return self._store.create(new)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return self._store.replace(new, expected=expected)

    async def delete(self, account_id: str, *, expected: int) -> bool:
        return self._store.delete(account_id, expected=expected)


class _Service:
    """`MailLogins` as it ships; Bob has no two-step, and nobody else has a mailbox."""

    def __init__(self) -> None:
        self.ann = Ann(Argon2Hasher())
        self.loop = asyncio.new_event_loop()
        mfa = AsyncMFA(_AsyncStore(self.ann.store), KEYS, policy=POLICY, clock=self.ann.clock)
        platform = Platform(
            mfa=mfa, resolve_account={ANN: ANN, "bob": "bob"}.get, check_password=self._check
        )
        self.logins = MailLogins(platform)

    @staticmethod
    def _check(_: str, password: str) -> None:
        pbkdf2_hmac("sha256", password.encode(), b"salt", 20_000)

    def refuse(self, attempt: LoginAttempt) -> None:
        """Judge an attempt that must be refused."""
        answer = self.loop.run_until_complete(self.logins.judge(attempt))
        assert answer.outcome is Outcome.REFUSED

    def case(self, name: str, first: Login, second: Login) -> Case:
        """Compare two kinds of logins, each a class, a login name and what makes the password."""

        def make(kind: int, random: Random) -> LoginAttempt:
            _, login, password = (first, second)[kind]
            return LoginAttempt.parse(
                login, password(random), service="imap", remote_ip="192.0.2.1", interface="t"
            )

        return Case(
            name=f"auth service, {name}",
            classes=(first[0], second[0]),
            make=make,
            call=self.refuse,
            samples=240,
            close=self.close,
        )

    def close(self) -> None:
        """Let go of threads and loop."""
        self.loop.run_until_complete(self.logins.aclose())
        self.loop.close()


def _any_passcode(random: Random) -> str:
    return "zzzz" + "".join(random.choices(LETTERS, k=16))


def service_account() -> Case:
    """Nobody of that name, against an account with two-step on and a wrong passcode."""
    service = _Service()
    known = service.ann.passcode[:4]
    return service.case(
        "unknown account against known",
        ("unknown", "carol", _any_passcode),
        ("known", ANN, lambda random: known + _any_passcode(random)[4:]),
    )


def service_selector() -> Case:
    """No hash, against one run of Argon2."""
    service = _Service()
    known = service.ann.passcode[:4]
    return service.case(
        "unknown selector against known",
        ("unknown", ANN, _any_passcode),
        ("known", ANN, lambda random: known + _any_passcode(random)[4:]),
    )


def service_enrolled() -> Case:
    """Nothing is checked, against a password that is."""
    service = _Service()
    return service.case(
        "two-step on against off",
        ("on", ANN, lambda random: f"password {random.random()}"),
        ("off", "bob", lambda random: f"password {random.random()}"),
    )


def selector_alone() -> Case:
    """As documented: without the service a known selector takes one run of Argon2 longer."""
    ann = Ann(Argon2Hasher())
    known = ann.passcode[:4]
    return Case(
        name="DOCUMENTED: authenticate_client alone, unknown selector against known",
        classes=("unknown", "known"),
        make=lambda kind, random: ("zzzz", known)[kind] + _any_passcode(random)[4:],
        call=_refused(
            lambda text: ann.mfa.authenticate_client(
                ANN, text, protocol="imap", check_password=lambda _: None
            ),
            CredentialRefusedError,
        ),
        before=ann.put_back,
        samples=200,
        leaks=True,
    )


CASES: dict[str, Callable[[], Case]] = {
    "control": code_control,
    "code-place": code_by_place,
    "code-fixed": code_fixed,
    "verify-code": verify_code,
    "recovery-place": recovery_code,
    "recovery-prefix": recovery_prefix,
    "passcode": passcode,
    "device": device_token,
    "challenge": challenge_tag,
    "service-account": service_account,
    "service-selector": service_selector,
    "service-enrolled": service_enrolled,
    "selector-alone": selector_alone,
}
