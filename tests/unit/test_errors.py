"""The errors: stable codes, static texts, two families."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from mfakit import errors
from mfakit.errors import MFAKitError, RefusedError, UnavailableError


def _all() -> list[type[MFAKitError]]:
    found, queue = [], [MFAKitError]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += one.__subclasses__()
    return sorted((one for one in found if one.__module__ == "mfakit.errors"), key=str)


def _make(kind: type[MFAKitError]) -> MFAKitError:
    if kind is errors.InvalidInputError:
        return errors.InvalidInputError("label")
    if kind is errors.ThrottledError:
        return errors.ThrottledError(1_800_000_030, 30)
    return kind()


ALL = _all()


def test_every_error_is_exported() -> None:
    """`errors.__all__` is sorted and names exactly the classes there are."""
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == {kind.__name__ for kind in ALL}


def test_codes_are_unique() -> None:
    """A code is a translation key, so no two errors share one."""
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(kind) and "text" in vars(kind) for kind in ALL)


@pytest.mark.parametrize("kind", ALL)
def test_shape(kind: type[MFAKitError]) -> None:
    """Name, code and text are of one form; the text is a sentence."""
    assert kind.__name__.endswith("Error")
    assert kind.code.isascii()
    assert kind.code.replace("_", "").isalpha()
    assert kind.code == kind.code.lower()
    assert kind.text.endswith(".")
    assert kind.text.isascii()
    assert kind.__doc__


@pytest.mark.parametrize("kind", ALL)
def test_text_is_static(kind: type[MFAKitError]) -> None:
    """What is printed is the class's own text, two instances alike."""
    error = _make(kind)
    assert str(error).startswith(kind.text)
    assert error.args == _make(kind).args
    if kind is not errors.InvalidInputError:
        assert error.args == (kind.text,)


@pytest.mark.parametrize("kind", ALL)
def test_pickles(kind: type[MFAKitError]) -> None:
    """An error crosses a process boundary and is the same there."""
    error = _make(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is kind
        assert again.args == error.args
        assert vars(again) == vars(error)


@pytest.mark.parametrize("kind", ALL)
def test_status_by_family(kind: type[MFAKitError]) -> None:
    """A refusal is 4xx, an operational failure 5xx; nothing is both."""
    if issubclass(kind, RefusedError):
        assert 400 <= kind.http_status <= 499
        assert not issubclass(kind, UnavailableError)
    else:
        assert 500 <= kind.http_status <= 599
    if issubclass(kind, UnavailableError):
        assert kind.http_status == 503


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.PolicyError, ValueError),
        (errors.NotFoundError, LookupError),
        (errors.UnknownAccountError, LookupError),
        (errors.StoreUnavailableError, ConnectionError),
    ],
)
def test_is_the_builtin_a_pythonista_expects(
    kind: type[MFAKitError], builtin: type[Exception]
) -> None:
    """Code that knows nothing of mfakit still catches the right family."""
    assert issubclass(kind, builtin)


def test_invalid_input_names_the_field() -> None:
    """The field is a name from a fixed list; the value is never in the text."""
    error = errors.InvalidInputError("label")
    assert error.field == "label"
    assert str(error).endswith("Field: label.")


def test_throttled_says_until_when() -> None:
    """`retry_at` is an aware UTC datetime."""
    error = errors.ThrottledError(1_800_000_030, 30)
    assert error.retry_at == datetime(2027, 1, 15, 8, 0, 30, tzinfo=UTC)
    assert error.retry_after_seconds == 30


def test_configuration_keeps_its_own_text() -> None:
    """A set-up error says what to correct, also after a pickle."""
    error = errors.StoreConfigurationError("Give the store an engine.")
    assert str(error) == "Give the store an engine."
    assert str(pickle.loads(pickle.dumps(error))) == "Give the store an engine."
