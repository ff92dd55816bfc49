"""What a target is, and the checks that all of them share."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from mfakit.errors import InvalidInputError, MFAKitError

CORPUS = Path(__file__).parent / "corpus"
CRASHES = Path(__file__).parent / "crashes"
# The names that an error may give of what came from outside.
_FIELDS = {"account_name", "bound_to", "device_id", "secret_or_uri"}

T = TypeVar("T")


@frozen(kw_only=True)
class Target:
    """One thing that takes input from outside.

    Args:
        check: Takes one input; True if it was accepted, False if it was refused as documented, and
            raises whatever else happens.
        seeds: Inputs to begin with, of which some are accepted.
        words: What inputs are made of; the fuzzer puts them in.
        bytes_max: Longest input that is worth trying.
        close: Lets go of what the check holds.
    """

    check: Callable[[bytes], bool]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    bytes_max: int = 4096
    close: Callable[[], object] = list


def kept(name: str) -> Iterator[bytes]:
    """Return the inputs that earlier runs found worth keeping: one bytes literal a line."""
    path = CORPUS / f"{name}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    yield from (literal_eval(line) for line in lines)


def crashes(name: str) -> Iterator[bytes]:
    """Return the inputs that a long run ended with."""
    folder = CRASHES / name
    yield from (path.read_bytes() for path in sorted(folder.glob("*")))


def as_text(data: bytes) -> str:
    """Return any text: what is no UTF-8 becomes lone surrogates, as Python's own arguments do."""
    return data.decode("utf-8", "surrogateescape")


def attempt(call: Callable[[], T], *refusals: type[MFAKitError]) -> T | None:
    """Return what a call gives, or None if it raises one of these, with its static text alone."""
    try:
        return call()
    except refusals as error:
        require_static(error)
        return None


def require_static(error: MFAKitError) -> None:
    """Raise unless an error says nothing of what it is about, and drags nothing along that would."""
    wanted = error.text
    if isinstance(error, InvalidInputError):
        assert error.field in _FIELDS
        wanted = f"{error.text} Field: {error.field}."
    assert str(error) == wanted
    assert error.args == (wanted,)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
