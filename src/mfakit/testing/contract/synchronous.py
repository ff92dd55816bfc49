"""The contract of a `Store`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from mfakit.storage import Store
from mfakit.testing.contract.base import NotTestedError, Opener
from mfakit.testing.contract.failures import FailureChecks
from mfakit.testing.contract.races import RaceChecks
from mfakit.testing.contract.rows import RowChecks
from mfakit.testing.contract.scanning import ScanChecks
from mfakit.testing.contract.values import ValueChecks

__all__ = ["StoreContract"]


class StoreContract(FailureChecks, RaceChecks, ScanChecks, ValueChecks, RowChecks):
    """Tests that every store must pass.

    Override `make_store`, and the hooks that apply: what needs a hook that is missing is skipped.
    Override `document_bytes_max` if the store holds less than 64 KiB (the adapter's documentation
    must then say so), and `THREADS`, `PROCESSES`, `ROUNDS` to press harder.
    """

    def make_store(self) -> Store:
        """Return a store for one check; closed afterwards by its `close()`, if it has one.

        It may stand on data that other checks used: ids begin with `mfakit-check/` and a random
        part.
        """
        raise TypeError("Override make_store() and return an empty store.")

    def opener(self, store: Any) -> Callable[[], Store]:
        """Return what opens the same data as `store` in another process.

        Must be picklable: `functools.partial(SQLiteStore, path)`. Not for a store that ends with
        its process.
        """
        raise NotTestedError("opener")

    def cut_connections(self, store: Any) -> object:
        """Cut every connection that `store` has to its server, as the server's operator would.

        `pg_terminate_backend`, `KILL`, `CLIENT KILL`; called while threads are writing.
        """
        raise NotTestedError("cut_connections")

    def caller_transaction(self, store: Any) -> AbstractContextManager[object]:
        """Begin a transaction of the platform on the same database; roll it back at exit.

        Begin it as a platform would, where the store could join it (its session, its thread). It
        must hold no lock that stops other writers.
        """
        raise NotTestedError("caller_transaction")

    # -- how the checks reach it

    def _open_store(self) -> Store:
        return self.make_store()

    def _opener_of(self, store: Store) -> Opener:
        return self.opener(store)

    def _cut(self, store: Store) -> None:
        self.cut_connections(store)

    def _in_caller_transaction(self, store: Store) -> AbstractContextManager[object]:
        return self.caller_transaction(store)
