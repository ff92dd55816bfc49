"""What commands have in common: the store, the keys, JSON, and how they end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from mfakit.errors import ConfigurationError, InvalidInputError, MFAKitError
from mfakit.keyring import KeyRing
from mfakit.service import MFA
from mfakit.storage import Store
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing.contract.bridge import bridge
from mfakit.testing.contract.factory import Named, is_asynchronous

__all__ = ["INTERRUPTED", "json_option", "on_a_store", "status"]

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
DONE, FAILED, INTERRUPTED = 0, 1, 130  # 130: 128 + SIGINT, as shells report it; 2 is click's
KEYS_VARIABLE = "MFAKIT_KEYS"

json_option: Option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_STORE_OPTIONS = (
    click.option(
        "--store",
        envvar="MFAKIT_STORE",
        show_envvar=True,
        required=True,
        metavar="URL|MODULE:FACTORY",
        help="sqlite:///relative.db, sqlite:////absolute.db, or a function without arguments that"
        " returns a store, or the platform's own MFA.",
    ),
    click.option(
        "--keys",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"The key ring, newest key first; without it the variable {KEYS_VARIABLE}.",
    ),
    click.option(
        "--realm",
        envvar="MFAKIT_REALM",
        show_envvar=True,
        default="mail",
        show_default=True,
        help="As the platform names it.",
    ),
    json_option,
)


def on_a_store(command: Callable[..., int]) -> Callable[..., None]:
    """Give a command the options of a store, and the `mfa` that they make; it returns its status."""

    @status
    @wraps(command)
    def run(*, store: str, keys: Path | None, realm: str, **rest: Any) -> int:
        with _opened(store, keys, realm) as mfa:
            return command(mfa=mfa, **rest)

    for option in reversed(_STORE_OPTIONS):
        run = option(run)
    return run


def status(command: Callable[..., int]) -> Callable[..., None]:
    """End the process with what a command returns, or as its error says.

    SIGTERM interrupts like Ctrl-C, so that a long run can say where it was.
    """

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            raise SystemExit(command(*args, **kwargs))
        except (ConfigurationError, InvalidInputError) as error:
            raise click.UsageError(str(error)) from error
        except MFAKitError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


@contextmanager
def _opened(target: str, keys: Path | None, realm: str) -> Iterator[MFA]:
    opened = _open(target)
    if isinstance(opened, MFA):
        if keys is not None:
            raise ConfigurationError("That MFA has its own keys: leave --keys out.")
        yield opened
        return
    store = bridge(lambda: opened) if is_asynchronous(opened) else opened
    try:
        yield MFA(store, _key_ring(keys), realm=realm)
    finally:
        getattr(store, "close", _nothing)()


def _open(target: str) -> Any:
    scheme, found, place = target.partition("://")
    if not found:
        return Named(target)()
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"No store for {scheme}: URLs; give MODULE:FACTORY.")
    return _SCHEMES[scheme](place)


def _open_sqlite(place: str) -> Store:
    path = Path(place.removeprefix("/"))
    if not path.is_file():
        # A new, empty file would make every account look done.
        raise ConfigurationError(f"There is no file {path}.")
    return SQLiteStore(path)


_SCHEMES: dict[str, Callable[[str], Store]] = {"sqlite": _open_sqlite}


def _key_ring(keys: Path | None) -> KeyRing:
    return KeyRing.from_environment(KEYS_VARIABLE) if keys is None else KeyRing.from_file(keys)


def _nothing() -> None:
    pass
