"""A contract from the name of a factory, for who has not written one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction, signature
from operator import attrgetter
from pathlib import Path
from typing import Any

from attrs import frozen

from mfakit.errors import ConfigurationError
from mfakit.storage import Store, StoredRecord
from mfakit.testing.contract.asynchronous import AsyncStoreContract
from mfakit.testing.contract.base import Checks, NotTestedError, Opener, close
from mfakit.testing.contract.synchronous import StoreContract

__all__ = ["Named", "contract_of", "is_asynchronous"]


@frozen
class Named:
    """What `module:name` names, in this process or another: picklable, whatever it names.

    Args:
        target: A module of the present directory or an installed one, a colon, a dotted name in it.
    """

    target: str

    def find(self) -> Any:
        """Import it.

        Raises:
            ConfigurationError: There is no such module or name; the text says which.
        """
        module, _, name = self.target.partition(":")
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            return attrgetter(name)(import_module(module))
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"{self.target} cannot be imported: {error}") from error

    def __call__(self) -> Any:
        """Call it.

        Raises:
            ConfigurationError: It needs arguments, or cannot be called.
        """
        found = self.find()
        try:
            signature(found).bind()
        except TypeError as error:
            text = f"{self.target} must be a function without arguments: {error}."
            raise ConfigurationError(text) from error
        return found()


def _require_same_data(opener: Opener, store: Store, probe: StoredRecord) -> Opener:
    """Find out whether a factory opens the same data again, or an empty store each time."""
    store.create(probe)
    again = opener()
    try:
        if again.load(probe.account_id) is None:
            raise NotTestedError("opener")
    finally:
        close(again)
    return opener


class _FactoryContract(StoreContract):
    named: Named

    def _opener_of(self, store: Store) -> Opener:
        return _require_same_data(super()._opener_of(store), store, self._row("probe"))

    def make_store(self) -> Store:
        store: Store = self.named()
        return store

    def opener(self, store: Any) -> Callable[[], Store]:
        return self.named


class _AsyncFactoryContract(AsyncStoreContract):
    named: Named

    def _opener_of(self, store: Store) -> Opener:
        return _require_same_data(super()._opener_of(store), store, self._row("probe"))

    async def make_store(self) -> Any:
        made = self.named()
        return await made if iscoroutinefunction(self.named.find()) else made

    def opener(self, store: Any) -> Callable[[], Any]:
        return self.named


def contract_of(target: str) -> Callable[[], Checks]:
    """Return what makes the contract that `module:name` names, or one for the store it makes.

    Args:
        target: A subclass (or instance) of `StoreContract` or `AsyncStoreContract`; or a callable
            without arguments that returns a store, synchronous or asynchronous, or awaits one.

    Raises:
        ConfigurationError: It is none of these.
    """
    named = Named(target)
    found = named.find()
    if isinstance(found, Checks):
        return lambda: found
    if isinstance(found, type) and issubclass(found, Checks):
        return found
    if not callable(found):
        raise ConfigurationError(f"{target} is neither a callable nor a StoreContract.")
    is_async = iscoroutinefunction(found) or is_asynchronous(named())

    def make() -> Checks:
        contract = _AsyncFactoryContract() if is_async else _FactoryContract()
        contract.named = named
        return contract

    return make


def is_asynchronous(store: Any) -> bool:
    """Say whether a store's methods are to be awaited.

    Raises:
        ConfigurationError: It is no store at all.
    """
    missing = [name for name in ("load", "create", "replace", "delete") if not hasattr(store, name)]
    if missing:
        raise ConfigurationError(f"A store was expected; this has no {missing[0]}().")
    return iscoroutinefunction(store.load)
