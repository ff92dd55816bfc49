"""Opaque bytes: what must not be printed, pickled, compared or copied by accident.

A plain `__slots__` class on purpose: `attrs.asdict` and msgspec would dump a field that
`repr=False` only hides.
"""

from __future__ import annotations

from typing import Any, Never, final

from msgspec import Struct


@final
class Secret:  # noqa: PLW1641 - not hashable, because not comparable
    """Hold bytes so that only `reveal()` shows them.

    Args:
        value: Any bytes: a seed, a typed code in UTF-8, a key.
    """

    __slots__ = ("__value",)

    def __init__(self, value: bytes) -> None:
        self.__value = value

    def reveal(self) -> bytes:
        """Return the bytes. Use them in the same expression; do not keep them in a local."""
        return self.__value

    def __repr__(self) -> str:
        return "<Secret>"

    def __format__(self, spec: str) -> str:
        return "<Secret>"

    def __eq__(self, other: object) -> Never:
        # SECURITY: `==` would leak by timing; compare with hmac.compare_digest.
        raise TypeError("A Secret cannot be compared.")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("A Secret cannot be pickled or copied.")


class Value(Struct, frozen=True, kw_only=True):
    """The base of every value inside the library: immutable, and its `repr` shows no field.

    A Struct, not an attrs class: forty times cheaper to define and eight times to make.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
