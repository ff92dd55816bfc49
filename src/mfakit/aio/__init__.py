"""Two-step verification for an event loop: `AsyncMFA`, on any `mfakit.storage.AsyncStore`."""

from mfakit.aio.service import AsyncMFA
from mfakit.aio.threads import InThreads

__all__ = ["AsyncMFA", "InThreads"]
