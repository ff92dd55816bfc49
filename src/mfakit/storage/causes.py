"""What a store tells operators of a driver's error: never what may quote the row.

PostgreSQL says `Failing row contains (…)`, MariaDB `Duplicate entry '…'`. So where the server gave a
code, that and the class of the error are told, and its text is not. Where it gave none, the client
library speaks for itself: why there is no connection.
"""

from __future__ import annotations

__all__ = ["DriverError"]

_CLIENT_ERRNOS = range(2000, 3000)  # MySQL's and MariaDB's client library


class DriverError(Exception):
    """The cause of a `StoreUnavailableError`, for logs.

    Args:
        error: What the driver raised. It is not kept.
        code: What the engine gave: an SQLSTATE, an error number, SQLite's name; None if nothing.

    Attributes:
        code: The same.
        name: The class of the error, and its code.
    """

    def __init__(self, error: BaseException, code: object) -> None:
        self.code: object = code
        given = "" if code is None else f" ({code})"
        self.name: str = f"{type(error).__module__}.{type(error).__qualname__}{given}"
        super().__init__(f"{self.name}: {error}" if _quotes_no_row(code) else self.name)


def _quotes_no_row(code: object) -> bool:
    return code is None or code in _CLIENT_ERRNOS or str(code).startswith("SQLITE_")
