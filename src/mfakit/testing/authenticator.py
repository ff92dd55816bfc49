"""An authenticator app in memory, by an independent implementation of RFC 6238 (pyotp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyotp import TOTP

__all__ = ["VirtualAuthenticator"]


class VirtualAuthenticator:
    """Read an `otpauth://` URI as a phone does, and show codes.

    Args:
        uri: From `AuthenticatorOffer.uri`.

    Raises:
        ValueError: It is no `otpauth://totp/` URI.
    """

    def __init__(self, uri: str) -> None:
        from pyotp import TOTP, parse_uri

        otp = parse_uri(uri)
        if not isinstance(otp, TOTP):
            raise ValueError("Not an otpauth://totp/ URI.")
        self._totp: TOTP = otp

    @property
    def issuer(self) -> str | None:
        """The platform's name as the app shows it."""
        return self._totp.issuer

    @property
    def account_name(self) -> str:
        """The account's name as the app shows it."""
        return self._totp.name

    @property
    def period_seconds(self) -> int:
        """How long a code is shown."""
        return self._totp.interval

    def code(self, at: float, *, steps: int = 0) -> str:
        """Return the code shown at Unix seconds `at`, or `steps` codes later."""
        return self._totp.at(int(at) + steps * self._totp.interval)
