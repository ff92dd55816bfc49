"""Tracebacks with locals, as error trackers record them: no frame of mfakit shows what was typed.

Each public method is driven to its refusals with secrets that are right (the spent code, the real
token) and to operational failures below it: a missing key, a store that fails, lost races, no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from attrs import asdict
from unit_world import KEY, PASSWORD, Owner, World

import mfakit
from aio_world import Blocked
from mfakit import KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from mfakit.core.encoding import decode_base64
from mfakit.core.secret import Secret
from mfakit.errors import ContentionError, HashingError, MFAKitError
from mfakit.storage.memory import MemoryStore
from mfakit.testing import CheapHasher

PACKAGE = str(Path(mfakit.__file__).parent)
OTHER_KEY = bytes(range(7, 39))


@pytest.fixture(autouse=True, params=["MFA", "AsyncMFA"])
def _driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whether it blocks or awaits, on a store in threads."""
    if request.param == "MFA":
        yield
        return
    opened: list[AsyncMFA | InThreads] = []
    with asyncio.Runner() as runner:

        def make(store: Any, keys: KeyRing, **options: Any) -> Blocked:
            threads = InThreads(store, threads=1)
            mfa = AsyncMFA(threads, keys, **options)
            opened.extend((mfa, threads))
            return Blocked(mfa, runner.get_loop())

        monkeypatch.setattr("unit_world.MFA", make)
        yield
        for one in opened:
            runner.run(one.aclose())


def _frames(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield place and repr of every local in mfakit's frames, of the error and all behind it."""
    queue, seen = [error], set()
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        queue += [behind for behind in (one.__cause__, one.__context__) if behind is not None]
        trace: TracebackType | None = one.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename.startswith(PACKAGE) and "/testing/" not in code.co_filename:
                for name, value in trace.tb_frame.f_locals.items():
                    yield f"{Path(code.co_filename).name}:{code.co_name}:{name}", repr(value)
            trace = trace.tb_next


def _forms(secret: str) -> set[str]:
    """A secret as it was typed, without its gaps, and (of a token) its bytes as a repr shows them."""
    forms = {secret, secret.replace(" ", ""), secret.replace("-", ""), secret.replace(" ", "")[4:]}
    raw = decode_base64(secret)
    if raw is not None and len(raw) > 24:
        forms.add(repr(raw[-24:])[2:-1])
    return {one for one in forms if len(one) > 5}


def _assert_hidden(error: BaseException, *secrets: str) -> None:
    for where, shown in _frames(error):
        for secret in secrets:
            for form in _forms(secret):
                assert form not in shown, f"{where} shows a secret"
    for secret in secrets:
        for form in _forms(secret):
            assert form not in str(error)
            assert form not in repr(error.args)


def _refused(call: Callable[[], Any], *secrets: str) -> MFAKitError:
    with pytest.raises(MFAKitError) as caught:
        call()
    _assert_hidden(caught.value, *secrets)
    return caught.value


Refusal = Callable[[World, Owner], tuple[Callable[[], Any], list[str]]]
REFUSALS: dict[str, Refusal] = {}


def _refusal(make: Refusal) -> Refusal:
    REFUSALS[make.__name__.strip("_")] = make
    return make


@_refusal
def _replayed_code(w: World, o: Owner) -> Any:
    code, challenge = o.phone.code(w.clock.now), w.challenge()
    return lambda: w.mfa.complete_login(challenge, code), [code, challenge]


@_refusal
def _replayed_code_step_up(w: World, o: Owner) -> Any:
    code = o.phone.code(w.clock.now)
    return lambda: w.mfa.verify_code("ann", code, bound_to="session-id-4711"), [
        code,
        "session-id-4711",
    ]


@_refusal
def _throttled(w: World, o: Owner) -> Any:
    for _ in range(5):
        with pytest.raises(MFAKitError):
            w.mfa.verify_code("ann", o.phone.code(w.clock.now))
    code = o.phone.code(w.clock.now, steps=1)
    return lambda: w.mfa.verify_code("ann", code), [code]


@_refusal
def _spent_challenge(w: World, o: Owner) -> Any:
    challenge, code = w.challenge(), o.phone.code(w.clock.now, steps=1)
    w.mfa.complete_login(challenge, code)
    other = o.recovery_codes[0]
    return lambda: w.mfa.complete_login(challenge, other, method="recovery"), [challenge, other]


@_refusal
def _method_unknown(w: World, o: Owner) -> Any:
    code = o.phone.code(w.clock.now, steps=1)
    return lambda: w.mfa.verify_code("ann", code, method="sms"), [code]  # type: ignore[arg-type]


@_refusal
def _used_recovery_code(w: World, o: Owner) -> Any:
    code = o.recovery_codes[3]
    w.mfa.verify_code("ann", code, method="recovery")
    return lambda: w.mfa.verify_code("ann", code, method="recovery"), [code]


@_refusal
def _challenge_of_another_session(w: World, o: Owner) -> Any:
    challenge, code = w.challenge(bound_to="session-id-4711"), o.phone.code(w.clock.now, steps=1)
    call = lambda: w.mfa.complete_login(challenge, code, bound_to="session-id-4712")  # noqa: E731
    return call, [challenge, code, "session-id-4712"]


@_refusal
def _device_label_refused(w: World, o: Owner) -> Any:
    challenge, code = w.challenge(), o.phone.code(w.clock.now, steps=1)
    call = lambda: w.mfa.complete_login(  # noqa: E731
        challenge, code, trust_device="a\nb", device_id="device-4711"
    )
    return call, [challenge, code, "device-4711"]


@_refusal
def _binding_refused(w: World, o: Owner) -> Any:
    challenge, code = w.challenge(), o.phone.code(w.clock.now, steps=1)
    return lambda: w.mfa.complete_login(challenge, code, bound_to=""), [challenge, code]


@_refusal
def _password_not_verified(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.begin_login(  # noqa: E731
        "ann", password_verified=False, trusted_device=o.device_token, bound_to="session-id-4711"
    )
    return call, [o.device_token, "session-id-4711"]


@_refusal
def _password_not_verified_for_a_proof(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.password_proof("ann", password_verified=False, bound_to="session-4711")  # noqa: E731
    return call, ["session-4711"]


@_refusal
def _begin_login_binding_refused(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.begin_login(  # noqa: E731
        "ann", password_verified=True, trusted_device=o.device_token, bound_to=""
    )
    return call, [o.device_token]


@_refusal
def _account_refused(w: World, o: Owner) -> Any:
    code = o.phone.code(w.clock.now, steps=1)
    return lambda: w.mfa.verify_code("", code), [code]


def _with_proof(name: str, *args: Any, **options: Any) -> None:
    def binding(w: World, o: Owner) -> Any:
        call = lambda: getattr(w.mfa, name)("ann", *args, proof=o.proof, bound_to="", **options)  # noqa: E731
        return call, [o.proof]

    def other_session(w: World, o: Owner) -> Any:
        call = lambda: getattr(w.mfa, name)(  # noqa: E731
            "ann", *args, proof=o.proof, bound_to="session-4711", **options
        )
        return call, [o.proof, "session-4711"]

    def account(w: World, o: Owner) -> Any:
        return lambda: getattr(w.mfa, name)("a\0", *args, proof=o.proof, **options), [o.proof]

    def stale(w: World, o: Owner) -> Any:
        w.clock.advance(3600)
        return lambda: getattr(w.mfa, name)("ann", *args, proof=o.proof, **options), [o.proof]

    for make in (binding, other_session, account, stale):
        REFUSALS[f"{name}_{make.__name__}"] = make


_with_proof("remove_authenticator", "x")
_with_proof("resync", "x", "471104", "471105")
_with_proof("disable")
_with_proof("regenerate_recovery_codes")
_with_proof("create_passcode", label="l")
_with_proof("begin_enrollment", account_name="ann")


@_refusal
def _resync_wrong(w: World, o: Owner) -> Any:
    codes = o.phone.code(w.clock.now, steps=1), o.phone.code(w.clock.now, steps=5)
    call = lambda: w.mfa.resync("ann", o.authenticator_id, *codes, proof=o.proof)  # noqa: E731
    return call, [*codes, o.proof]


@_refusal
def _passcode_input_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.create_passcode("ann", label="", proof=o.proof), [o.proof]


@_refusal
def _enrollment_input_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.begin_enrollment("ann", account_name="a:b", proof=o.proof), [o.proof]


def _offer(w: World, o: Owner) -> tuple[str, str, Any]:
    proof = w.mfa.verify_code("ann", o.phone.code(w.clock.now, steps=1))
    offer = w.mfa.begin_enrollment("ann", account_name="ann", proof=proof)
    return offer.token, offer.secret_text, type(o.phone)(offer.uri)


@_refusal
def _confirm_wrong(w: World, o: Owner) -> Any:
    token, seed, phone = _offer(w, o)
    code = phone.code(w.clock.now, steps=7)
    return lambda: w.mfa.confirm_enrollment(token, code), [token, seed, code]


@_refusal
def _confirm_over(w: World, o: Owner) -> Any:
    token, seed, phone = _offer(w, o)
    w.mfa.cancel_enrollment(token)
    code = phone.code(w.clock.now)
    return lambda: w.mfa.confirm_enrollment(token, code), [token, seed, code]


@_refusal
def _confirm_binding(w: World, o: Owner) -> Any:
    token, seed, phone = _offer(w, o)
    code = phone.code(w.clock.now)
    return lambda: w.mfa.confirm_enrollment(token, code, bound_to=""), [token, seed, code]


@_refusal
def _show_expired(w: World, o: Owner) -> Any:
    token, seed, _ = _offer(w, o)
    w.clock.advance(600)
    return lambda: w.mfa.show_offer(token), [token, seed]


@_refusal
def _show_in_another_session(w: World, o: Owner) -> Any:
    token, seed, _ = _offer(w, o)
    return lambda: w.mfa.show_offer(token, bound_to="session-4711"), [token, seed, "session-4711"]


@_refusal
def _cancel_twice(w: World, o: Owner) -> Any:
    token, seed, _ = _offer(w, o)
    w.mfa.cancel_enrollment(token)
    return lambda: w.mfa.cancel_enrollment(token), [token, seed]


@_refusal
def _client_password(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.authenticate_client("ann", PASSWORD, protocol="imap", check_password=str)  # noqa: E731
    return call, [PASSWORD]


@_refusal
def _client_wrong_passcode(w: World, o: Owner) -> Any:
    wrong = o.passcode[:-1] + ("a" if o.passcode[-1] != "a" else "b")
    call = lambda: w.mfa.authenticate_client("ann", wrong, protocol="imap", check_password=str)  # noqa: E731
    return call, [wrong, o.passcode]


@_refusal
def _client_unknown_protocol(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.authenticate_client("ann", o.passcode, protocol="web", check_password=str)  # noqa: E731
    return call, [o.passcode]


@_refusal
def _client_account_refused(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.authenticate_client("", o.passcode, protocol="imap", check_password=str)  # noqa: E731
    return call, [o.passcode]


@_refusal
def _client_wrong_password_when_off(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.authenticate_client(  # noqa: E731
        "bob", PASSWORD, protocol="imap", check_password=lambda _: None
    )
    return call, [PASSWORD]


@_refusal
def _client_password_check_fails(w: World, o: Owner) -> Any:
    def check(password: str) -> str:
        raise TimeoutError

    call = lambda: w.mfa.authenticate_client("bob", PASSWORD, protocol="imap", check_password=check)  # noqa: E731
    return call, [PASSWORD]


@_refusal
def _describe_account_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.describe_passcode("", o.passcode), [o.passcode]


@_refusal
def _devices_account_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.trusted_devices("", token=o.device_token), [o.device_token]


@_refusal
def _devices_device_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.trusted_devices("ann", token=o.device_token, device_id=""), [
        o.device_token
    ]


@_refusal
def _keep_account_refused(w: World, o: Owner) -> Any:
    return lambda: w.mfa.revoke_other_devices("", keep=o.device_token), [o.device_token]


@_refusal
def _import_duplicate(w: World, o: Owner) -> Any:
    call = lambda: w.mfa.import_authenticator("ann", o.secret_text, actor="op", reason="r")  # noqa: E731
    return call, [o.secret_text]


@_refusal
def _import_refused(w: World, o: Owner) -> Any:
    uri = f"otpauth://hotp/a?secret={o.secret_text}&counter=1"
    return lambda: w.mfa.import_authenticator("ann", uri, actor="op", reason="r"), [o.secret_text]


@_refusal
def _import_actor_refused(w: World, o: Owner) -> Any:
    uri = f"otpauth://totp/a?secret={o.secret_text}"
    return lambda: w.mfa.import_authenticator("ann", uri, actor="", reason="r"), [o.secret_text]


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    """Neither the error nor any frame of mfakit behind it shows the secrets of the call."""
    world = World()
    owner = world.owner()
    call, secrets = REFUSALS[name](world, owner)
    _refused(call, *secrets)


# ------------------------------------------------------------------------- operational failures

Call = Callable[[World, Owner], tuple[Callable[[], Any], list[str]]]
CALLS: dict[str, Call] = {
    "verify_code": lambda w, o: (
        lambda: w.mfa.verify_code("ann", o.phone.code(w.clock.now, steps=1)),
        [o.phone.code(w.clock.now, steps=1)],
    ),
    "recovery": lambda w, o: (
        lambda: w.mfa.verify_code("ann", o.recovery_codes[0], method="recovery"),
        [o.recovery_codes[0]],
    ),
    "regenerate": lambda w, o: (
        lambda: w.mfa.regenerate_recovery_codes("ann", proof=o.proof), [o.proof],
    ),
    "disable": lambda w, o: (lambda: w.mfa.disable("ann", proof=o.proof), [o.proof]),
    "create_passcode": lambda w, o: (
        lambda: w.mfa.create_passcode("ann", label="new", proof=o.proof), [o.proof],
    ),
    "begin_enrollment": lambda w, o: (
        lambda: w.mfa.begin_enrollment("ann", account_name="ann", proof=o.proof), [o.proof],
    ),
    "resync": lambda w, o: (
        lambda: w.mfa.resync(
            "ann", o.authenticator_id, o.phone.code(w.clock.now, steps=1),
            o.phone.code(w.clock.now, steps=2), proof=o.proof,
        ),
        [o.proof, o.phone.code(w.clock.now, steps=1), o.phone.code(w.clock.now, steps=2)],
    ),
    "client": lambda w, o: (
        lambda: w.mfa.authenticate_client("ann", o.passcode, protocol="imap", check_password=str),
        [o.passcode],
    ),
    "client_password_and_code": lambda w, o: (
        lambda: w.mfa.authenticate_client(
            "ann", PASSWORD + o.phone.code(w.clock.now, steps=1), protocol="imap",
            check_password=lambda _: "ann",
        ),
        [PASSWORD, o.phone.code(w.clock.now, steps=1)],
    ),
    "import": lambda w, o: (
        lambda: w.mfa.import_authenticator("ann", "MZXW6YTBOI" * 4, actor="op", reason="r"),
        ["MZXW6YTBOI" * 4],
    ),
    "trusted_device": lambda w, o: (
        lambda: w.mfa.begin_login("ann", password_verified=True, trusted_device=o.device_token),
        [o.device_token],
    ),
    "keep": lambda w, o: (
        lambda: w.mfa.revoke_other_devices("ann", keep=o.device_token), [o.device_token],
    ),
}  # fmt: skip
NEEDS_NO_WRITE = {"keep"}
POLICY = Policy(password_with_code=True)
# A secret of an account that was given in one second and belongs to it for good.
STANDING = ("secret_text", "passcode", "device_token")


def _standing(owner: Owner) -> list[str]:
    return [getattr(owner, name) for name in STANDING]


class FailingStore(MemoryStore):
    """Fails, or loses every race, once it is told to."""

    mode = "works"

    def load(self, account_id: str) -> Any:
        if self.mode == "down":
            raise OSError("connection refused")
        return super().load(account_id)

    def replace(self, new: Any, *, expected: int) -> bool:
        if self.mode == "read only":
            raise OSError("disk full")
        return self.mode != "lost" and super().replace(new, expected=expected)


@pytest.mark.parametrize("mode", ["down", "read only", "lost"])
@pytest.mark.parametrize("name", CALLS)
def test_store_failures(name: str, mode: str) -> None:
    """The store is down, cannot write, or every race is lost: still nothing is shown.

    Not even what the lost decisions would have answered: a proof or new codes.
    """
    store = FailingStore()
    world = World(policy=POLICY, store=store)
    owner = world.owner()
    call, secrets = CALLS[name](world, owner)
    store.mode = mode
    if mode != "down" and name in NEEDS_NO_WRITE:
        call()
        return
    error = _refused(call, *secrets, *_standing(owner))
    if mode == "lost":
        assert isinstance(error, ContentionError)
        for where, shown in _frames(error):
            assert "outcome=" not in shown, where


@pytest.mark.parametrize(
    "name", sorted(set(CALLS) - NEEDS_NO_WRITE - {"trusted_device", "disable"})
)
def test_a_missing_key_of_a_value(name: str) -> None:
    """The document opens and a value in it does not: the operator dropped the key too early."""
    world = World(policy=POLICY, keys=KeyRing({"2026": OTHER_KEY}))
    owner = world.owner()
    both = World(policy=POLICY, store=world.store, keys=KeyRing({"2027": KEY, "2026": OTHER_KEY}))
    both.clock.now = world.clock.now + 30
    proof = both.mfa.verify_code("ann", owner.phone.code(both.clock.now))  # tags under 2027
    owner.proof = proof
    late = World(policy=POLICY, store=world.store, keys=KeyRing({"2027": KEY}))
    late.clock.now = both.clock.now
    call, secrets = CALLS[name](late, owner)
    if name in {"regenerate", "create_passcode", "begin_enrollment"}:
        call()  # seals, and opens nothing old
        return
    error = _refused(call, *secrets, *_standing(owner))
    assert error.code == "key_unavailable"


def test_a_missing_key_of_an_offer() -> None:
    """Nor does showing or confirming an offer show its token then."""
    world = World(keys=KeyRing({"2026": OTHER_KEY, "2027": KEY}))
    owner = world.owner()
    token, seed, phone = _offer(world, owner)
    both = World(store=world.store, keys=KeyRing({"2027": KEY, "2026": OTHER_KEY}))
    both.clock.now = world.clock.now
    both.mfa.rename_authenticator("ann", owner.authenticator_id, "again")  # tags under 2027
    for confirm in (False, True):
        late = World(store=world.store, keys=KeyRing({"2027": KEY, "2026": OTHER_KEY}))
        late.clock.now = world.clock.now
        vault = late.mfa._env.vault
        # The token opens (its key is there); the value's cipher cannot be derived any more.
        original = vault.open_value

        def open_value(*_: Any, **__: Any) -> Secret:
            from mfakit.errors import KeyUnavailableError

            raise KeyUnavailableError

        vault.open_value = open_value  # type: ignore[method-assign]
        code = phone.code(late.clock.now)
        if confirm:
            _refused(lambda: late.mfa.confirm_enrollment(token, code), token, seed, code)  # noqa: B023
        else:
            _refused(lambda: late.mfa.show_offer(token), token, seed)  # noqa: B023
        vault.open_value = original  # type: ignore[method-assign]


def test_a_key_service_that_fails_while_a_token_is_opened() -> None:
    """The token's key cannot be fetched: operational, and the token is not in sight."""
    world = World()
    owner = world.owner()

    def fetch(_: str) -> bytes:
        raise TimeoutError

    late = World(store=world.store, keys=KeyRing.from_callable(fetch, key_ids=["2027"]))
    challenge = world.challenge()
    code = owner.phone.code(world.clock.now, steps=1)
    _refused(lambda: late.mfa.complete_login(challenge, code), challenge, code)
    _refused(lambda: late.mfa.disable("ann", proof=owner.proof), owner.proof)


def test_hashing_that_fails() -> None:
    """No memory for Argon2: passcode, recovery code and new codes stay out of sight."""

    class Failing(CheapHasher):
        def verify(self, stored: str, secret: Secret) -> bool:
            raise HashingError

        def hash(self, secret: Secret, policy: Policy) -> str:
            raise HashingError

    world = World()
    owner = world.owner()
    late = World(store=world.store, hasher=Failing())
    late.clock.now = world.clock.now
    for name in ("recovery", "regenerate", "create_passcode", "client"):
        call, secrets = CALLS[name](late, owner)
        assert _refused(call, *secrets, *owner.recovery_codes).code == "hashing_failed"


def test_an_impatient_owner_of_the_record_limit() -> None:
    """A document that would not fit is refused without showing the codes that were made for it."""
    from msgspec.structs import replace

    from mfakit.views import row_of

    world = World()
    owner = world.owner()
    record, vault = world.record(), world.mfa._env.vault
    filler = replace(record.authenticators[0], label="l" * 512)
    room = (65_536 - 256 - len(row_of(replace(record, history=()), vault).document)) // 900
    while True:
        big = replace(record, authenticators=(*record.authenticators, *[filler] * room), history=())
        try:
            row = row_of(big, vault)
        except MFAKitError:
            break
        room += 1
    row = row_of(replace(big, authenticators=big.authenticators[:-1]), vault)
    world.store._rows["ann"] = row
    device = [replace(record.devices[0], label="d" * 512) for _ in range(4)]
    assert len(device) == 4
    call = lambda: world.mfa.create_passcode(  # noqa: E731
        "ann",
        label="x" * 64,
        proof=owner.proof,
        networks=[f"2001:db8:{n:x}::/48" for n in range(20)],
    )
    error = _refused(call, owner.proof)
    assert error.code == "limit_reached"
    for where, shown in _frames(error):
        assert "passcode=" not in shown, where


# ----------------------------------------------------------------------------- events and logs


def test_events_and_logs_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """After a whole life of an account: no code, passcode, key or token in any event or record."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    def sink(event: Any) -> None:
        told.append(f"{event!r} {event} {asdict(event)!r}")
        raise RuntimeError("the sink is down")

    world = World(policy=POLICY, events=sink)
    owner = world.owner()
    secrets = [
        owner.secret_text,
        owner.passcode,
        owner.device_token,
        owner.proof,
        *owner.recovery_codes,
    ]
    for name, call in CALLS.items():
        if name == "disable":
            continue
        run, given = call(world, owner)
        secrets += [one for one in given if len(one) > 6]
        try:
            run()
        except MFAKitError:
            continue
    for name in ("replayed_code", "client_password", "client_wrong_passcode"):
        run, given = REFUSALS[name](world, owner)
        secrets += [one for one in given if len(one) > 6]
        with pytest.raises(MFAKitError):
            run()
    assert len(told) > 15
    assert caplog.records
    for text in (*told, caplog.text, *[str(record.__dict__) for record in caplog.records]):
        for secret in secrets:
            assert not [form for form in _forms(secret) if form in text]
