"""The platform's keys: from a mapping, text, a file, the environment, or a key management service."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache

from mfakit.core.encoding import decode_base64, encode_base64
from mfakit.core.sealing import KEY_BYTES
from mfakit.core.secret import Secret
from mfakit.errors import ConfigurationError, KeyUnavailableError

__all__ = ["KeyRing"]

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)
_BAD_KEY_ID = "A key id must be 1 to 24 letters, digits, hyphens or underscores."
_BAD_NUMBER = "A key ring needs at least one key, and each key id once."
KEY_BYTES_MOST = 64


class KeyRing:
    """The platform's keys: the first seals, all of them open.

    To rotate, put a new key first, keep the old ones, run `rotate_keys`, then drop what it no longer
    reports. The `repr` shows key ids only.

    Args:
        keys: Key id (1-24 characters of A-Z a-z 0-9 _ -) to key (32-64 random bytes), newest first.

    Raises:
        ConfigurationError: No key, a bad id, or a key of the wrong length.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self.key_ids: tuple[str, ...] = ()
        keys, held = {}, _hold(keys.items())
        if isinstance(held, str):
            raise ConfigurationError(held)
        self._fetch: Callable[[str], Secret] = held.__getitem__
        self.key_ids = tuple(held)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return self.key_ids[0]

    @classmethod
    def from_text(cls, text: str) -> KeyRing:
        """Read `id:key` entries, the newest first, apart by white space or commas.

        Args:
            text: Keys in URL-safe base64; `#` begins a comment. `KeyRing.generate_entry` makes one.

        Raises:
            ConfigurationError: An entry does not parse, or two have one id.
        """
        text, held = "", _hold(_entries(text))
        return cls._of(held)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> KeyRing:
        """Read the entries of `from_text` from a file.

        Raises:
            ConfigurationError: The file cannot be read or does not parse.
        """
        return cls._of(_hold_file(path))

    @classmethod
    def from_environment(cls, name: str = "MFAKIT_KEYS") -> KeyRing:
        """Read the entries of `from_text` from an environment variable.

        Raises:
            ConfigurationError: The variable is missing or does not parse.
        """
        if name not in os.environ:
            raise ConfigurationError("The environment variable with the keys is not set.")
        return cls._of(_hold(_entries(os.environ[name])))

    @classmethod
    def from_callable(cls, fetch: Callable[[str], bytes], *, key_ids: Sequence[str]) -> KeyRing:
        """Fetch keys on first use, for a key management service.

        Args:
            fetch: Key id to key, 32-64 bytes. Called once per id, again after it raised.
            key_ids: Every id there is, the newest first. Others are unknown without a call, so
                a stranger's token cannot make calls.

        Raises:
            ConfigurationError: No id, or a bad one.
        """
        ring = cls.__new__(cls)
        ring.key_ids = _check_key_ids(tuple(map(_check_key_id, key_ids)))

        @cache
        def fetch_once(key_id: str) -> Secret:
            key = _fetch_quietly(fetch, key_id)
            if key is None:
                raise KeyUnavailableError
            return key

        ring._fetch = fetch_once
        return ring

    @classmethod
    def _of(cls, held: dict[str, Secret] | str) -> KeyRing:
        if isinstance(held, str):
            raise ConfigurationError(held)
        ring = cls.__new__(cls)
        ring._fetch, ring.key_ids = held.__getitem__, tuple(held)
        return ring

    @staticmethod
    def generate_entry(key_id: str) -> str:
        """Return a new `id:key` line for `from_text`; keep it secret."""
        return f"{_check_key_id(key_id)}:{encode_base64(os.urandom(KEY_BYTES))}"

    def key(self, key_id: str) -> Secret:
        """Return one key.

        Raises:
            KeyUnavailableError: The ring has no such key, or it could not be fetched.
        """
        if key_id not in self.key_ids:
            raise KeyUnavailableError
        return self._fetch(key_id)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.key_ids)})"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("A KeyRing cannot be pickled or copied.")


def _entries(text: str) -> Iterator[tuple[str, bytes]]:
    for line in text.splitlines():
        for entry in line.partition("#")[0].replace(",", " ").split():
            key_id, _, encoded = entry.partition(":")
            yield key_id, decode_base64(encoded.rstrip("=")) or b""


def _hold_file(path: str | os.PathLike[str]) -> dict[str, Secret] | str:
    from pathlib import Path

    try:
        return _hold(_entries(Path(path).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return "The key file cannot be read. Check its path and permissions."


def _hold(pairs: Iterable[tuple[str, bytes]]) -> dict[str, Secret] | str:
    """Take keys out of sight; return them, or what is wrong with them.

    SECURITY: no error is raised here or below, where keys are still in sight of a traceback.
    """
    held: dict[str, Secret] = {}
    for key_id, key in pairs:
        if not _is_key_id(key_id):
            return _BAD_KEY_ID
        if key_id in held:
            return _BAD_NUMBER
        if not isinstance(key, bytes) or not KEY_BYTES <= len(key) <= KEY_BYTES_MOST:
            return "A key must be 32 to 64 random bytes, in text as `id:base64url`."
        held[key_id] = Secret(key)
    return held or _BAD_NUMBER


def _is_key_id(key_id: object) -> bool:
    return isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) is not None


def _check_key_id(key_id: str) -> str:
    if not _is_key_id(key_id):
        raise ConfigurationError(_BAD_KEY_ID)
    return key_id


def _check_key_ids(key_ids: tuple[str, ...]) -> tuple[str, ...]:
    if not key_ids or len(set(key_ids)) < len(key_ids):
        raise ConfigurationError(_BAD_NUMBER)
    return key_ids


def _fetch_quietly(fetch: Callable[[str], bytes], key_id: str) -> Secret | None:
    # The service's exception may hold key material or credentials: it goes no further.
    try:
        held = _hold([(key_id, fetch(key_id))])
    except Exception:
        return None
    return None if isinstance(held, str) else held[key_id]
