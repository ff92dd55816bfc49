"""The service's configuration file, TOML. It holds no secret: the key is in a file of its own."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import msgspec

from mfakit.core.secret import Secret
from mfakit.errors import ConfigurationError

__all__ = ["Settings", "parse_address", "read_key", "read_settings"]

Seconds = Annotated[float, msgspec.Meta(ge=0.05, le=60)]
Number = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
KEY_CHARACTERS_MIN = 32


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all have: an unknown name in the file is an error, not a wish unheard."""


class Sockets(_Section, frozen=True, kw_only=True):
    """Where an interface listens: "unix:/path", "127.0.0.1:9143", "[::1]:9143".

    Unix sockets get this mode and group: who may connect may ask.
    """

    listen: tuple[str, ...] = ()
    mode: Annotated[str, msgspec.Meta(pattern="^0[0-7]{3}$")] = "0660"
    group: str | None = None


class HttpSettings(Sockets, frozen=True, kw_only=True):
    """The HTTP interface. `key_file` may be missing if all its sockets are unix sockets."""

    key_file: str | None = None


class SaslSettings(Sockets, frozen=True, kw_only=True):
    """The SASL interface for Postfix and Exim."""

    connections_max: Number = 1000


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file; `MailLogins` explains the limits.

    Attributes:
        platform: "module:factory"; called without arguments, plain or async, on start and reload.
        shutdown_seconds: How long attempts may go on after a stop or a reload.
    """

    platform: Annotated[str, msgspec.Meta(pattern=r"^[\w.]+:[\w.]+$")]
    refusal_seconds: Seconds = 0.5
    attempt_seconds: Seconds = 8.0
    shutdown_seconds: Seconds = 10.0
    working_max: Number = 256
    held_max: Number = 10_000
    http: HttpSettings = HttpSettings()
    sasl: SaslSettings = SaslSettings()


def read_settings(path: Path) -> Settings:
    """Read and check the file.

    Raises:
        ConfigurationError: The text says what to correct.
    """
    try:
        settings = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Settings)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    addresses = [parse_address(one) for one in (*settings.http.listen, *settings.sasl.listen)]
    if not addresses:
        raise ConfigurationError(f"{path}: give [http] or [sasl] something to listen on.")
    by_tcp = any(not isinstance(parse_address(one), Path) for one in settings.http.listen)
    if by_tcp and settings.http.key_file is None:
        raise ConfigurationError(f"{path}: [http] listens on TCP and needs a key_file.")
    read_key(settings)
    return settings


def parse_address(text: str) -> Path | tuple[str, int]:
    """Return the path of a unix socket, or host and port of this machine itself.

    Raises:
        ConfigurationError: It is neither. Passwords do not travel over a network in clear.
    """
    scheme, _, path = text.partition(":")
    if scheme == "unix" and path.startswith("/"):
        return Path(path)
    host, _, port = text.rpartition(":")
    try:
        if ip_address(host.strip("[]")).is_loopback and 0 <= int(port) < 65_536:
            return host.strip("[]"), int(port)
    except ValueError:
        pass
    raise ConfigurationError(f"{text}: listen on unix:/path or a port of 127.0.0.1 or [::1].")


def read_key(settings: Settings) -> Secret | None:
    """Return the key that callers of the HTTP interface show; None if there is none.

    Raises:
        ConfigurationError: It cannot be read, everybody can read it, or it is too short.
    """
    if settings.http.key_file is None:
        return None
    path = Path(settings.http.key_file)
    try:
        is_open, key = path.stat().st_mode & 0o007, path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read.") from error
    if is_open:
        raise ConfigurationError(f"{path} can be read by everybody: chmod 0640.")
    if len(key) < KEY_CHARACTERS_MIN or not key.isascii() or len(key.split()) != 1:
        raise ConfigurationError(f"{path}: the key is one word of 32 or more ASCII characters.")
    return Secret(key)
