"""What commands have in common: the store, the keys, JSON, who asks, and how they end."""

from __future__ import annotations

import getpass
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from mfakit.cli.config import Configuration, configured
from mfakit.cli.diagnosis import UNOPENED, probe
from mfakit.errors import ConfigurationError, InvalidInputError, MFAKitError
from mfakit.keyring import KeyRing
from mfakit.service import MFA
from mfakit.storage import Store
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing.contract.bridge import bridge
from mfakit.testing.contract.factory import Named, is_asynchronous

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOT_OPENED",
    "Option",
    "TakesItemId",
    "account_argument",
    "authority_options",
    "confirm",
    "is_terminal",
    "item_id_argument",
    "json_option",
    "key_ring",
    "keys_option",
    "on_a_store",
    "opened",
    "status",
    "store_options",
    "yes_option",
]

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
DONE, FAILED, INTERRUPTED = 0, 1, 130  # 130: 128 + SIGINT, as shells report it; 2 is click's
NOT_OPENED = "The account's record does not open."
KEYS_VARIABLE = "MFAKIT_KEYS"

# One id in 64 begins with a hyphen, as an option does. Until it is an argument it has a space before it.
_HYPHENATED_ID = re.compile(r"-[A-Za-z0-9_-]{21}", re.ASCII)


def _unmarked(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    return None if value is None else value.removeprefix(" ")


def item_id_argument(name: str) -> Option:
    """Return an argument of a `TakesItemId`: the id of a passcode or device, or nothing."""
    return click.argument(name, required=False, callback=_unmarked)


class TakesItemId(click.Command):
    """A command with an `item_id_argument`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; what looks like an id and names no option is an id."""
        options = {name for one in self.get_params(ctx) for name in one.opts}
        marked = [
            f" {one}" if _HYPHENATED_ID.fullmatch(one) and one not in options else one
            for one in args
        ]
        return super().parse_args(ctx, marked)


def _account_id(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    if value is not None and value.lstrip().lower().startswith("otpauth"):
        raise click.UsageError("ACCOUNT is the account's id, not the URI of an authenticator.")
    return value


def account_argument(*, required: bool = True) -> Option:
    """Return the argument that names an account."""
    return click.argument("account_id", required=required, callback=_account_id)


def _given(context: click.Context, option: click.Parameter, store: str | None) -> str:
    # Not `required`: since click 8.3 a default that is called and returns None counts as given.
    if store is None:
        more = "Or name it in the file of --config."
        raise click.MissingParameter(more, context, option)
    return store


json_option: Option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
yes_option: Option = click.option("--yes", is_flag=True, help="Do not ask.")
keys_option: Option = click.option(
    "--keys",
    default=partial(configured, "keys"),
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"The key ring, newest key first; without it the variable {KEYS_VARIABLE}.",
)
_STORE_OPTIONS = (
    click.option(
        "--store",
        envvar="MFAKIT_STORE",
        show_envvar=True,
        default=partial(configured, "store"),
        required=True,
        callback=_given,
        metavar="URL|MODULE:FACTORY",
        help="sqlite:///relative.db, sqlite:////absolute.db, postgresql://…, mariadb://…, or a"
        " function without arguments that returns a store, or the platform's own MFA.",
    ),
    keys_option,
    click.option(
        "--realm",
        envvar="MFAKIT_REALM",
        show_envvar=True,
        default=lambda: configured("realm") or "mail",
        show_default="mail",
        help="As the platform names it.",
    ),
    json_option,
)
_AUTHORITY_OPTIONS = (
    click.option("--reason", required=True, help="Why; kept in each account's history."),
    click.option("--actor", default=getpass.getuser, help="Who does it; by default your name."),
)


def _with(options: tuple[Option, ...], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


store_options: Option = partial(_with, _STORE_OPTIONS)
authority_options: Option = partial(_with, _AUTHORITY_OPTIONS)


def on_a_store(command: Callable[..., int]) -> Callable[..., None]:
    """Give a command the options of a store, and the `mfa` that they make; it returns its status."""

    @status
    @wraps(command)
    def run(*, store: str, keys: Path | None, realm: str, **rest: Any) -> int:
        with opened(store, keys, realm) as mfa:
            try:
                return command(mfa=mfa, **rest)
            except UNOPENED as error:
                found = probe(mfa, besides=rest.get("account_id"))
                raise click.ClickException(f"{NOT_OPENED} {found.on_one()}") from error

    return store_options(run)


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


def is_terminal() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed, unless `--yes` says it all; end the command on a no."""
    if yes:
        return
    if not is_terminal():
        raise click.UsageError("There is no terminal to ask at. Add --yes if you mean it.")
    click.confirm(question, abort=True, err=True)


@contextmanager
def opened(target: str, keys: Path | None, realm: str) -> Iterator[MFA]:
    """Open what `--store` names, close it afterwards.

    Raises:
        ConfigurationError: It cannot be opened; the text says why.
    """
    made = _open(target)
    if isinstance(made, MFA):
        if keys is not None:
            raise ConfigurationError("That MFA has its own keys: leave --keys out.")
        yield made
        return
    store = bridge(lambda: made) if is_asynchronous(made) else made
    found = click.get_current_context().find_object(Configuration)
    policy = (found or Configuration({})).policy()
    try:
        yield MFA(store, key_ring(keys), realm=realm, policy=policy)
    finally:
        getattr(store, "close", _nothing)()


def _open(target: str) -> Any:
    scheme, is_url, _ = target.partition("://")
    if not is_url and _FACTORY.fullmatch(target) is None:
        raise ConfigurationError("--store takes a URL with ://, or MODULE:FACTORY.")
    if not is_url:
        return Named(target)()
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"No store for {scheme}: URLs; give MODULE:FACTORY.")
    try:
        return _SCHEMES[scheme](target)
    except MFAKitError:
        raise
    except Exception:
        # SECURITY: what a driver raises may quote the URL, and that may have a password.
        raise ConfigurationError("The store of that URL cannot be opened.") from None


def _open_sqlite(target: str) -> Store:
    path = Path(target.partition("://")[2].removeprefix("/"))
    if not path.is_file():
        # A new, empty file would make every account look done.
        raise ConfigurationError(f"There is no file {path}.")
    return SQLiteStore(path)


def _open_postgres(target: str) -> Store:
    try:
        from mfakit.storage.postgres import PostgresStore
    except ImportError as error:
        raise ConfigurationError(str(error)) from error
    # Written for SQLAlchemy, a URL names the driver too.
    return PostgresStore(target.replace("postgresql+psycopg://", "postgresql://", 1))


def _open_mariadb(target: str) -> Store:
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError

        from mfakit.storage.sqlalchemy import SQLAlchemyStore
    except ImportError as error:
        raise ConfigurationError(_NO_DRIVER.format(error.name)) from error
    try:
        url = make_url(target)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        engine = create_engine(url)
    except ImportError as error:
        raise ConfigurationError(_NO_DRIVER.format(error.name)) from error
    except (ArgumentError, ValueError):
        raise ConfigurationError("That is no URL of a database.") from None
    click.get_current_context().call_on_close(engine.dispose)
    return SQLAlchemyStore(engine)


_FACTORY = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_NO_DRIVER = "{} not found: pip install 'mfakit[mariadb]'"
_DRIVERS = {"mariadb": "mariadb+pymysql", "mysql": "mysql+pymysql"}
_SCHEMES: dict[str, Callable[[str], Store]] = {
    "sqlite": _open_sqlite,
    **dict.fromkeys(("postgresql", "postgres", "postgresql+psycopg"), _open_postgres),
    **dict.fromkeys((*_DRIVERS, *_DRIVERS.values()), _open_mariadb),
}


def key_ring(keys: Path | None) -> KeyRing:
    """Read the key ring of a file, or of the environment."""
    return KeyRing.from_environment(KEYS_VARIABLE) if keys is None else KeyRing.from_file(keys)


def _nothing() -> None:
    pass
