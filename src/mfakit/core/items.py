"""What an account has several of: authenticators, passcodes, trusted devices. Each has id and name."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec.structs import replace

from mfakit.core.record import Authenticator, Passcode, TrustedDevice

Item = Authenticator | Passcode | TrustedDevice
ItemT = TypeVar("ItemT", bound=Item)


def find_item(items: tuple[ItemT, ...], item_id: str) -> ItemT | None:
    """Return the item of an id, None if there is none (any more)."""
    return next((one for one in items if one.id == item_id), None)


def with_item(items: tuple[ItemT, ...], item_id: str, **changes: Any) -> tuple[ItemT, ...]:
    """Return the items with one changed."""
    return tuple([replace(one, **changes) if one.id == item_id else one for one in items])


def without_item(items: tuple[ItemT, ...], item_id: str) -> tuple[ItemT, ...]:
    """Return the items but one."""
    return tuple([one for one in items if one.id != item_id])
