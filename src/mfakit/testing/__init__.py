"""What tests of a platform and of a store adapter need.

`StoreContract` (`AsyncStoreContract`) proves an adapter; `VirtualAuthenticator` is a phone in memory; `FixedClock` is time
that stands still; `CheapHasher` makes tests fast; `SteppedMFA` and `every_interleaving` try every
order in which concurrent operations can meet.
"""

from mfakit.testing.authenticator import VirtualAuthenticator
from mfakit.testing.clock import FixedClock
from mfakit.testing.contract import AsyncStoreContract, StoreContract
from mfakit.testing.hashing import CheapHasher
from mfakit.testing.interleaving import SteppedMFA, every_interleaving

__all__ = [
    "AsyncStoreContract",
    "CheapHasher",
    "FixedClock",
    "SteppedMFA",
    "StoreContract",
    "VirtualAuthenticator",
    "every_interleaving",
]
