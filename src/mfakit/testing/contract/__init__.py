"""The promises of a store, as tests: inherit, give a store, run pytest.

    class TestMyStore(StoreContract):
        def make_store(self):
            return MyStore(a_new_empty_database())

Each failure says in words which promise is broken, what would go wrong for owners of mailboxes, and
where to look. `mfakit check-store module:factory` runs the same checks without pytest.
"""

from mfakit.testing.contract.asynchronous import AsyncStoreContract
from mfakit.testing.contract.base import BrokenPromiseError, NotTestedError
from mfakit.testing.contract.runner import CheckResult, check_names, run_check
from mfakit.testing.contract.synchronous import StoreContract

__all__ = [
    "AsyncStoreContract",
    "BrokenPromiseError",
    "CheckResult",
    "NotTestedError",
    "StoreContract",
    "check_names",
    "run_check",
]
