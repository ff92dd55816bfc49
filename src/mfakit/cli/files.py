"""What the demo keeps between two runs: the store, its key, and with `--auto` the phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from mfakit.errors import ConfigurationError
from mfakit.keyring import KeyRing
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import VirtualAuthenticator

__all__ = ["DemoFiles"]


class DemoFiles:
    """Files side by side, each readable by their owner only (mode 0600).

    Args:
        store: The SQLite file; the others have its name and another suffix.
    """

    KEY_SUFFIX = ".key"
    PHONE_SUFFIX = ".phone"
    SUFFIXES: ClassVar = (KEY_SUFFIX, PHONE_SUFFIX)

    def __init__(self, store: Path) -> None:
        self.store = store
        self.key: Path = store.with_suffix(self.KEY_SUFFIX)
        # SECURITY: this file plays the phone, so that `--auto` can be run again. It holds the secret
        # of the authenticator in clear: a platform must never keep such a file.
        self.phone: Path = store.with_suffix(self.PHONE_SUFFIX)

    def open_keys(self) -> KeyRing:
        """Read the key, made on the first run.

        Raises:
            ConfigurationError: It does not parse, cannot be written, or is gone: another would not
                open what the store holds.
        """
        if not self.key.exists():
            if self.store.exists():
                raise ConfigurationError(f"{self.key} is missing, and {self.store} needs it.")
            _create_private(self.key, KeyRing.generate_entry("demo") + "\n")
        return KeyRing.from_file(self.key)

    def open_store(self) -> SQLiteStore:
        """Open the store, made on the first run. SQLite gives its side files the same mode.

        Raises:
            ConfigurationError: It cannot be written.
            StoreUnavailableError: It is no SQLite file.
        """
        if not self.store.exists():
            _create_private(self.store, "")
        return SQLiteStore(self.store)

    def keep_phone(self, uri: str) -> VirtualAuthenticator:
        """Scan a QR code with the phone that the file plays; one of an earlier run is replaced.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        self.drop_phone()
        _create_private(self.phone, uri + "\n")
        return VirtualAuthenticator(uri)

    def drop_phone(self) -> None:
        """Forget the phone of an earlier run: it would show codes of another key."""
        self.phone.unlink(missing_ok=True)

    def load_phone(self) -> VirtualAuthenticator | None:
        """Return the phone of the earlier run, None if that was a real one.

        Raises:
            ConfigurationError: The file does not hold a phone's URI.
        """
        try:
            return VirtualAuthenticator(self.phone.read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            text = f"{self.phone} cannot be read."
        raise ConfigurationError(text)


def _create_private(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written. Check its directory.") from error
