"""Every public method, every argument that takes text, every hostile value: a typed error or a result.

The arguments come from the signatures, so a new method or argument is tested from its first day. All
other arguments are right, so that the hostile one is really reached.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace
from unit_world import Owner, World

from mfakit import MFA, ClientInfo
from mfakit.errors import (
    ClockError,
    ConfigurationError,
    CredentialRefusedError,
    InvalidInputError,
    LastAuthenticatorError,
    MFAKitError,
    RefusedError,
    StoreConfigurationError,
    UnknownAccountError,
)
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore


class Odd:
    """Refuses to be compared, hashed, measured or printed."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __len__ = __bool__ = __repr__  # type: ignore[assignment]


class Text(str):
    """A subclass of str, as template engines and translation catalogues hand out."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


HOSTILE: dict[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "int": 123456,
    "huge int": 10**5000,
    "float": float("nan"),
    "bytes": b"123456",
    "list": ["123456"],
    "dict": {"$ne": ""},
    "function": len,
    "odd": Odd(),
    "subclass": Text("123456"),
    "empty": "",
    "space": " ",
    "10 MB": "1" * 10_000_000,
    "10 MB of letters": "kqzr " * 2_000_000,
    "4096": "x" * 4096,
    "nul": "123\x00456",
    "newline": "123456\n",
    "surrogate": "\ud800",
    "full width": "\uff11\uff12\uff13\uff14\uff15\uff16",
    "superscript": "\u00b2\u2078\u2077\u2070\u2078\u00b2",
    "plus": "+12345",
    "minus": "-12345",
    "underscore": "12_345",
    "exponent": "1e5000",
    "direction": "a\u202eb",
    "percent": "%s%n{0}${jndi:x}",
    "sql": "'; DROP TABLE mfakit; --",
    "base64": "_" * 512,
    "uri": "otpauth://[totp/?secret=%FF&secret=x",
}

# What is not meant to be text: callables, dates, numbers, switches and ClientInfo are the
# platform's own code, not input.
NOT_TEXT = {
    "self",
    "client",
    "check_password",
    "force",
    "limit",
    "password_verified",
    "purge",
    "reenroll",
}


def _right_arguments(world: World, owner: Owner, name: str) -> dict[str, Any]:
    """Arguments with which the call would be reached to its end (a fresh world for each call)."""
    mfa, now = world.mfa, world.clock.now
    right: dict[str, Any] = {
        "account_id": "ann",
        "account_name": "ann@example.com",
        "password_verified": True,
        "code": owner.phone.code(now, steps=1),
        "code1": owner.phone.code(now, steps=1),
        "code2": owner.phone.code(now, steps=2),
        "method": "totp",
        "label": "Another name",
        "proof": owner.proof,
        "authenticator_id": owner.authenticator_id,
        "passcode_id": owner.passcode_id,
        "trusted_device_id": mfa.trusted_devices("ann")[0].device_id,
        "epoch": owner.epoch,
        "text": owner.passcode,
        "credential": owner.passcode,
        "protocol": "imap",
        "check_password": lambda _: None,
        "keep": owner.device_token,
        "actor": "operator",
        "reason": "lost phone",
        "secret_or_uri": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
    }
    if name in {"show_offer", "confirm_enrollment", "cancel_enrollment"}:
        proof = mfa.verify_code("ann", owner.phone.code(now, steps=1))
        offer = mfa.begin_enrollment("ann", account_name="ann", proof=proof)
        right["token"] = offer.token
        right["code"] = type(owner.phone)(offer.uri).code(now)
    if name == "complete_login":
        right["challenge"] = world.challenge()
    return right


def _methods() -> dict[str, Callable[..., Any]]:
    return {
        name: method
        for name, method in inspect.getmembers(MFA, inspect.isfunction)
        if not name.startswith("_") and name.isascii()  # mutants of a method lie beside it
    }


CASES = [
    (name, argument)
    for name, method in _methods().items()
    for argument in inspect.signature(method).parameters
    if argument not in NOT_TEXT
]


def _call(world: World, owner: Owner, name: str, **changes: Any) -> Any:
    right = _right_arguments(world, owner, name)
    needed = {
        argument: right[argument]
        for argument, parameter in inspect.signature(_methods()[name]).parameters.items()
        if argument in right
        and (parameter.default is inspect.Parameter.empty or argument in {"label", "method"})
    }
    if name in {"begin_login", "password_proof"}:
        way = "check_password" if "password" in changes else "password_verified"
        needed[way] = right[way]
    return getattr(world.mfa, name)(**needed | changes)


def test_every_method_is_here() -> None:
    """The signatures were found, and the odd value is odd."""
    assert len(_methods()) >= 33
    assert len(CASES) >= 70


@pytest.mark.parametrize("name", _methods())
def test_right_arguments_are_right(name: str) -> None:
    """Without a hostile value each call succeeds: so it is that value which is judged below."""
    world = World()
    owner = world.owner()
    if name == "remove_authenticator":  # refused at the last moment only: it is the only one
        with pytest.raises(LastAuthenticatorError):
            _call(world, owner, name)
        return
    _call(world, owner, name)


@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_hostile_values(name: str, argument: str, off: bool) -> None:
    """It works or raises a refusal; afterwards the account's record still opens."""
    for value in HOSTILE.values():
        world = World()
        owner = world.owner()
        if off:
            world.mfa.disable("ann", proof=owner.proof)
        call = _call_when_off if off else _call
        try:
            call(world, owner, name, **{argument: value})
        except RefusedError as error:
            assert len(error.args) == 1
            assert str(error).startswith(error.text)
            assert error.__cause__ is None
        assert world.mfa.status("ann").account_id == "ann"


def _call_when_off(world: World, owner: Owner, name: str, **changes: Any) -> None:
    stand_in: dict[str, Any] = {
        "account_id": "ann",
        "password_verified": True,
        "protocol": "imap",
        "check_password": lambda _: None,
        "actor": "operator",
        "reason": "lost phone",
        "account_name": "ann",
        "label": "name",
        "proof": owner.proof,
    }
    needed = {
        one: stand_in.get(one, "x")
        for one, parameter in inspect.signature(_methods()[name]).parameters.items()
        if one != "self" and parameter.default is inspect.Parameter.empty
    }
    if name in {"begin_login", "password_proof"}:
        way = "check_password" if "password" in changes else "password_verified"
        needed[way] = stand_in[way]
    getattr(world.mfa, name)(**needed | changes)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=list(HOSTILE))
def test_only_true_is_a_verified_password(value: object) -> None:
    """Not 1, not "yes", not an object that is truthy, not a coroutine."""
    from mfakit.errors import PasswordNotVerifiedError

    world = World()
    if value is True:
        value = 1
    for call in (world.mfa.password_proof, world.mfa.begin_login):
        with pytest.raises(PasswordNotVerifiedError):
            call("ann", password_verified=value)


@pytest.mark.parametrize("value", [None, 0, -1, 10_001, True, "5", 1.5, 2**70, [], b"1"], ids=str)
def test_page_limits(value: object) -> None:
    """A whole number from 1 to 10,000; not what a query string holds."""
    mfa = World().mfa
    for call in (
        lambda: mfa.accounts(limit=value),
        lambda: mfa.rotate_keys(limit=value),
        lambda: mfa.reset_group(actor="a", reason="r", limit=value),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.field == "limit"


@pytest.mark.parametrize("value", ["yes", 1, [1], "", 0, None], ids=ascii)
def test_a_truthy_switch_does_not_spoil_the_record(value: Any) -> None:
    """`reset(reenroll="yes")` writes a record that still opens."""
    world = World()
    world.owner()
    world.mfa.reset("ann", actor="op", reason="r", reenroll=value)
    assert world.mfa.status("ann").is_required is bool(value)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=list(HOSTILE))
def test_client_info(value: Any) -> None:
    """An odd address is refused, an odd User-Agent becomes one clean line or nothing."""
    if value is not None:
        with pytest.raises(InvalidInputError) as caught:
            ClientInfo(remote_ip=value)
        assert caught.value.field == "remote_ip"
        assert caught.value.__cause__ is None
    agent = ClientInfo(user_agent=value).user_agent
    assert agent is None or (len(agent) <= 256 and agent.isprintable())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_client_addresses_are_canonical(text: str, address: str) -> None:
    """One text for one address, as a dual-stack socket may report it either way."""
    assert ClientInfo(remote_ip=text).remote_ip == address


def test_unknown_accounts_can_be_operational() -> None:
    """With `unknown_account="refuse"` a lost row is an outage, for every method that needs one."""
    from mfakit import Policy

    world = World(policy=Policy(unknown_account="refuse"))
    for call in (
        lambda: world.mfa.begin_login("zoe", password_verified=True),
        lambda: world.mfa.password_proof("zoe", password_verified=True),
        lambda: world.mfa.status("zoe"),
        lambda: world.mfa.session_is_current("zoe", "none"),
        lambda: world.mfa.authenticate_client("zoe", "x", protocol="imap", check_password=str),
    ):
        with pytest.raises(UnknownAccountError):
            call()
    assert world.mfa.open_account("zoe") is True
    assert world.mfa.open_account("zoe") is False
    assert world.mfa.status("zoe").state == "not_enrolled"


def test_errors_of_the_platform_are_typed() -> None:
    """A store, a policy callable, a password check or a sink that raises: typed, or without effect."""

    class BrokenStore:
        def load(self, account_id: str) -> None:
            raise OSError("postgresql://user:hunter2@db")

    def broken(*_: object) -> Any:
        raise RuntimeError("hunter2")

    world = World()
    cases: list[tuple[MFA, str]] = [
        (World(store=BrokenStore()).mfa, "store_unavailable"),
        (MFA(world.store, world.keys, policy=broken, hasher=world.hasher), "policy_unavailable"),
        (
            MFA(world.store, world.keys, policy=lambda _: None, hasher=world.hasher),  # type: ignore[arg-type,return-value]
            "policy_unavailable",
        ),
    ]
    for mfa, code in cases:
        with pytest.raises(MFAKitError) as caught:
            mfa.status("ann")
        assert caught.value.code == code
        assert "hunter2" not in str(caught.value)
    with pytest.raises(MFAKitError) as caught:
        world.mfa.authenticate_client("bob", "pw", protocol="imap", check_password=broken)
    assert caught.value.code == "password_check_failed"
    loud = World(events=broken)
    loud.clock.now = world.clock.now
    assert loud.mfa.open_account("ann") is True


@pytest.mark.parametrize("row", [(), b"", "row", 7])
def test_a_store_that_gives_no_row_says_so(row: object) -> None:
    """A mistake of the adapter's author: no bare exception, and no advice to reset the account."""

    class Tuples(MemoryStore):
        def load(self, account_id: str) -> Any:
            return row

    with pytest.raises(StoreConfigurationError, match="StoredRecord"):
        World(store=Tuples()).mfa.status("ann")


def test_a_document_that_is_no_bytes_is_the_stores_mistake() -> None:
    class Views(MemoryStore):
        def load(self, account_id: str) -> Any:
            row = super().load(account_id)
            return row and replace(row, document=memoryview(row.document))

    world = World()
    world.enroll()
    mfa = World(store=Views()).mfa
    row = world.store.load("ann")
    assert row is not None
    mfa._store.create(row)
    with pytest.raises(StoreConfigurationError, match="bytes"):
        mfa.status("ann")


@pytest.mark.parametrize("says", [None, 1, 0])
def test_a_store_whose_write_does_not_say_who_won(says: object) -> None:
    """As a count of rows would be: never taken for lost, which would be told as a used challenge."""

    class Counts(MemoryStore):
        def create(self, new: StoredRecord) -> Any:
            super().create(new)
            return says

    with pytest.raises(StoreConfigurationError, match="True or False"):
        World(store=Counts()).mfa.open_account("ann")


@pytest.mark.parametrize("name", ["policy", "events"])
def test_a_coroutine_function_needs_the_asynchronous_mfa(name: str) -> None:
    async def unawaited(_: object) -> Any:
        raise AssertionError

    world = World()
    with pytest.raises(ConfigurationError, match=r"mfakit\.aio"):
        MFA(world.store, world.keys, **{name: unawaited})


def test_an_asynchronous_store_needs_the_asynchronous_mfa() -> None:
    class Awaited(MemoryStore):
        async def load(self, account_id: str) -> Any:  # type: ignore[override]
            raise AssertionError

    with pytest.raises(ConfigurationError, match=r"mfakit\.aio"):
        MFA(Awaited(), World().keys)


@pytest.mark.parametrize("answer", [True, 1, {"id": "ann"}])
def test_a_password_check_that_does_not_name_the_account_is_logged(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    """It lets nobody in, and the developer finds out why."""
    with pytest.raises(CredentialRefusedError):
        World().mfa.authenticate_client(
            "ann",
            "pw",
            protocol="imap",
            check_password=lambda _: answer,  # type: ignore[arg-type,return-value]
        )
    assert "check_password must return the account id or None" in caplog.text
    caplog.clear()
    for no in (None, False, "bob"):
        with pytest.raises(CredentialRefusedError):
            World().mfa.authenticate_client(
                "ann",
                "pw",
                protocol="imap",
                check_password=lambda _, no=no: no,  # type: ignore[misc,arg-type,return-value]
            )
    assert caplog.text == ""


def test_a_clock_that_fails_or_tells_no_seconds_is_typed() -> None:
    def failing() -> float:
        raise OSError

    world = World()
    for clock in (failing, datetime.now, lambda: "noon", lambda: float("nan")):
        with pytest.raises(ClockError):
            MFA(world.store, world.keys, clock=clock).open_account("ann")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="clock"):
        MFA(world.store, world.keys, clock=None)  # type: ignore[arg-type]
    assert world.store.load("ann") is None


def test_a_store_without_scan_says_so() -> None:
    """Reports and rotation need one; sign-in does not."""

    class Bare:
        load = staticmethod(lambda _: None)

    with pytest.raises(MFAKitError) as caught:
        World(store=Bare()).mfa.accounts()
    assert caught.value.code == "store_configuration"
