"""What `MFA` is made of is looked at when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from mfakit import MFA, KeyRing
from mfakit.aio import AsyncMFA, InThreads
from mfakit.errors import ConfigurationError
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore

KEYS = KeyRing.from_text(KeyRing.generate_entry("2026"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"store": "mfa.db"}, "load, create, replace and delete"),
        ({"store": SQLiteStore}, "load, create, replace and delete"),
        ({"keys": "2026:AAAA"}, "must be a KeyRing"),
        ({"policy": {"issuer": "Example Mail"}}, "must be a Policy"),
        ({"events": []}, "`events` must be callable"),
    ],
)
def test_an_argument_of_another_kind_is_refused_at_once(
    changed: dict[str, Any], words: str
) -> None:
    """At the first sign-in it would look like a store or a policy that does not answer."""
    with pytest.raises(ConfigurationError, match=words):
        MFA(**{"store": MemoryStore(), "keys": KEYS} | changed)
    with pytest.raises(ConfigurationError, match=words):
        AsyncMFA(**{"store": InThreads(MemoryStore()), "keys": KEYS} | changed)
