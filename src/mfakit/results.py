"""What a caller gets back. Only `SignedIn` is a sign-in; what is not, is no truth value.

Fields that exist to be shown once (`recovery_codes`, `passcode`, `secret_text`) and tokens are left
out of every `repr`; `attrs.asdict` gives them, because showing them is what they are for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Never, NewType

from attrs import field, frozen

# URL-safe text of at most 512 characters: fits a cookie, a form, a session, JSON.
ChallengeToken = NewType("ChallengeToken", str)
ProofToken = NewType("ProofToken", str)
OfferToken = NewType("OfferToken", str)
DeviceToken = NewType("DeviceToken", str)


class _NotASignIn:
    __slots__ = ()

    def __bool__(self) -> Never:
        # SECURITY: `if mfa.begin_login(…):` must not let anybody in.
        raise TypeError(
            "This result is not a sign-in. Match on its class: SignedIn, CodeRequired, …"
        )


# RFC 8176, by the method of a sign-in. A trusted device is no factor of its own; a recovery code is
# no "otp".
AMR: dict[str, tuple[str, ...]] = {
    "password": ("pwd",),
    "trusted_device": ("pwd",),
    "totp": ("pwd", "otp", "mfa"),
    "recovery": ("pwd", "mfa"),
}


def in_groups(text: str, separator: str = " ") -> str:
    """Return a text in groups of four, easier to type."""
    return separator.join(text[start : start + 4] for start in range(0, len(text), 4))


@frozen(kw_only=True)
class SignedIn:
    """The person is signed in. Keep `epoch` in the session and ask `session_is_current` with it.

    Attributes:
        account_id: Who.
        amr: RFC 8176 values: ("pwd",), ("pwd", "otp", "mfa") or ("pwd", "mfa").
        method: "password", "trusted_device", "totp" or "recovery".
        epoch: Opaque text; a session with another one has ended.
        authenticated_at: Aware UTC datetime.
        proof: MFA proof for changes in the next minutes, or None if no code was given.
        trusted_device: Token for the cookie of a newly trusted device, or None.
        recovery_codes_left: How many.
        failed_since_last: Wrong codes since the last sign-in; tell the owner.
        enroll_by: When set-up becomes required, or None.
    """

    account_id: str
    amr: tuple[str, ...]
    method: str
    epoch: str
    authenticated_at: datetime
    proof: ProofToken | None = field(default=None, repr=False)
    trusted_device: DeviceToken | None = field(default=None, repr=False)
    recovery_codes_left: int = 0
    failed_since_last: int = 0
    enroll_by: datetime | None = None


@frozen(kw_only=True)
class Enrolled(SignedIn):
    """Two-step verification is on, and this is a sign-in. Show `recovery_codes` once, now."""

    authenticator_id: str
    recovery_codes: tuple[str, ...] = field(repr=False)


@frozen(kw_only=True)
class CodeRequired(_NotASignIn):
    """Password right, code due. Keep `challenge` in the form or the session, then `complete_login`.

    Attributes:
        challenge: Token for `complete_login`.
        methods: What may be used, the usual first: "totp", "recovery".
        expires_at: Until when.
    """

    challenge: ChallengeToken = field(repr=False)
    methods: tuple[str, ...]
    expires_at: datetime


@frozen(kw_only=True)
class EnrollmentRequired(_NotASignIn):
    """Password right, but policy requires set-up first. Only enrolling is open, with `proof`."""

    proof: ProofToken = field(repr=False)
    deadline: datetime | None = None


@frozen(kw_only=True)
class AuthenticatorAdded(_NotASignIn):
    """Another authenticator is live. Not a sign-in. Keep `epoch` in the present session."""

    account_id: str
    authenticator_id: str
    epoch: str


@frozen(kw_only=True)
class AuthenticatorOffer:
    """A new authenticator to add to an app, before it is confirmed by a code.

    Attributes:
        token: Confirms, shows again or cancels the offer.
        secret_text: The key for manual entry, base32 without padding.
        issuer: The platform's name in the app.
        account_name: The account's name in the app.
        algorithm: HMAC hash, for manual entry in apps that ask.
        digits: Length of the codes.
        period_seconds: Life of a code.
        expires_at: Aware UTC datetime.
    """

    token: OfferToken = field(repr=False)
    secret_text: str = field(repr=False)
    issuer: str
    account_name: str
    algorithm: str
    digits: int
    period_seconds: int
    expires_at: datetime

    @property
    def uri(self) -> str:
        """What the QR code says, an `otpauth` URI with the key in it; no cache may keep the page."""
        from mfakit.provisioning import build_uri

        return build_uri(
            self.secret_text,
            account_name=self.account_name,
            issuer=self.issuer,
            algorithm=self.algorithm,
            digits=self.digits,
            period_seconds=self.period_seconds,
        )

    @property
    def secret_groups(self) -> str:
        """The key in groups of four, easier to type."""
        return in_groups(self.secret_text)

    def qr_svg(self, *, scale: int = 4) -> str:
        """Return the QR code as an inline SVG element (needs the extra `qr`)."""
        from mfakit.qr import qr_svg

        return qr_svg(self.uri, scale=scale)


@frozen(kw_only=True)
class NewPasscode:
    """An application passcode. Show `passcode` once, now; it is not stored.

    `expires_at` is the day that was asked for or the one that policy sets, the earlier; None is never.
    """

    passcode: str = field(repr=False)
    passcode_id: str
    hint: str
    label: str
    expires_at: datetime | None = None


@frozen(kw_only=True)
class ClientSignedIn:
    """A mail client is signed in. `via` is "passcode", "password" or "password+code"."""

    account_id: str
    via: str
    passcode_id: str | None = None


@frozen(kw_only=True)
class AuthenticatorInfo:
    """One authenticator, for lists. `is_weak` says that its secret has fewer than 128 bits."""

    authenticator_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None
    is_weak: bool = False


@frozen(kw_only=True)
class PasscodeInfo:
    """One application passcode, for lists. `hint` is its first, public group."""

    passcode_id: str
    label: str
    hint: str
    created_at: datetime
    protocols: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    last_used_protocol: str | None


@frozen(kw_only=True)
class TrustedDeviceInfo:
    """One trusted device, for lists. `is_this` says that it is the one whose token was given.

    Attributes:
        device_id: For `revoke_trusted_device` and `rename_trusted_device`. It is mfakit's, not the
            `device_id` that a platform gives to `begin_login`.
    """

    device_id: str
    label: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    is_this: bool


@frozen(kw_only=True)
class HistoryItem:
    """One lifecycle change."""

    kind: str
    at: datetime
    revision: int
    actor: str | None
    reason: str | None
    item_id: str | None
    label: str | None


@frozen(kw_only=True)
class Status:
    """Where an account stands.

    Attributes:
        state: "not_enrolled", "enrolling", "enrolled", "enrolled_offer", "locked", "locked_offer".
        is_on: A code is asked at sign-in.
        is_locked: Every authenticator is disabled; recovery codes or an operator help.
        is_available: Policy lets the account enrol.
        is_required: Policy (or a reset) demands it, now or from `required_from`.
        required_from: Deadline, None when not required or required at once.
        password_change_required: Sign-in waits for a new password.
        retry_at: Until when codes are not evaluated, or None.
        key_ids: Keys that sealed parts of the record.
    """

    account_id: str
    state: str
    is_on: bool
    is_locked: bool
    is_available: bool
    is_required: bool
    required_from: datetime | None
    password_change_required: bool
    enrolled_at: datetime | None
    last_login_at: datetime | None
    retry_at: datetime | None
    recovery_codes_left: int
    authenticators: tuple[AuthenticatorInfo, ...]
    passcodes: int
    trusted_devices: int
    epoch: str = field(repr=False)
    key_ids: tuple[str, ...]


@frozen(kw_only=True)
class AccountSummary:
    """One row of a report, from the store's summary: for people, never for decisions."""

    account_id: str
    state: str
    enrolled_at: datetime | None
    last_login_at: datetime | None
    authenticators: int
    recovery_codes_left: int
    passcodes: int
    trusted_devices: int
    key_ids: tuple[str, ...]


@frozen(kw_only=True)
class AccountPage:
    """Some accounts, and where to go on; `cursor` is None at the end."""

    accounts: tuple[AccountSummary, ...]
    cursor: str | None


@frozen(kw_only=True)
class MaintenancePage:
    """What one step of a run over many accounts did; go on with `cursor` until it is None.

    Attributes:
        done: Accounts changed.
        unchanged: Accounts that needed nothing.
        failed: Account ids that could not be done, with the error's code.
        key_ids: Key ids met, before the change.
        cursor: Where to go on, or None.
    """

    done: int
    unchanged: int
    failed: tuple[tuple[str, str], ...]
    key_ids: tuple[str, ...]
    cursor: str | None
