"""What a store tells operators about a driver's error.

A driver's text may quote the row: PostgreSQL's `Failing row contains (…)`, MariaDB's `Duplicate
entry '…'`. So it stays behind, except where the server had no part in it: there it says why there
is no connection.
"""

from __future__ import annotations

__all__ = ["DriverError"]


class DriverError(Exception):
    """The cause of a `StoreUnavailableError`: the driver's class of error, and the server's code.

    Args:
        error: What the driver raised. It is not kept.
        code: What the server gave: an SQLSTATE, an error number. None if it gave none.
        is_quotable: True if the text is the client library's own, and is shown in place of a code.
    """

    def __init__(self, error: BaseException, code: object, *, is_quotable: bool = False) -> None:
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        known = f": {error}" if is_quotable else "" if code is None else f" ({code})"
        super().__init__(name + known)
