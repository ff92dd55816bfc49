"""Every error that mfakit raises, in two families.

`RefusedError` is the answer to a request that cannot be granted: show it to the person (HTTP 4xx).
`UnavailableError` is an operational failure: nothing was decided, alert and retry later (HTTP 5xx);
never show it as "wrong code" or "not enrolled".

Texts are static: no code, secret, account or label is ever part of a message. Translate by `code`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

__all__ = [
    "AvailabilityError",
    "BusyError",
    "ChallengeError",
    "ClockError",
    "ConfigurationError",
    "ContentionError",
    "CredentialRefusedError",
    "DuplicateSecretError",
    "HashingError",
    "InvalidInputError",
    "KeyUnavailableError",
    "LabelTakenError",
    "LastAuthenticatorError",
    "LimitReachedError",
    "MFAKitError",
    "NotAllowedNowError",
    "NotEnrolledError",
    "NotFoundError",
    "OfferError",
    "PasscodesOffError",
    "PasswordChangeRequiredError",
    "PasswordCheckFailedError",
    "PasswordNotVerifiedError",
    "PasswordRefusedError",
    "PolicyError",
    "PolicyUnavailableError",
    "ProofError",
    "RecordIntegrityError",
    "RecordSchemaError",
    "RefusedError",
    "SecondFactorLockedError",
    "SessionEndedError",
    "StoreConfigurationError",
    "StoreUnavailableError",
    "ThrottledError",
    "TwoStepRequiredError",
    "UnavailableError",
    "UnknownAccountError",
    "WeakAuthenticatorError",
    "WrongCodeError",
]


class MFAKitError(Exception):
    """The root of every error here.

    Attributes:
        code: Stable identifier, ASCII snake case; use it as the translation key.
        text: English sentence that says what to do next.
        http_status: The status a web view may answer with.
    """

    code: ClassVar[str] = "mfakit"
    text: ClassVar[str] = "Two-step verification failed."
    http_status: ClassVar[int] = 500

    def __init__(self) -> None:
        super().__init__(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


# ------------------------------------------------------------------------------------ refusals (4xx)


class RefusedError(MFAKitError):
    """The request was understood and is refused. Show the text; do not retry by program."""

    code = "refused"
    text = "The request was refused."
    http_status = 403


class InvalidInputError(RefusedError, ValueError):
    """An argument has the wrong type, length or characters. Correct the named field.

    Attributes:
        field: Name of the argument, from a fixed list.
    """

    code = "invalid_input"
    text = "A value is missing, too long or has characters that are not allowed."
    http_status = 400

    def __init__(self, field: str) -> None:
        Exception.__init__(self, f"{self.text} Field: {field}.")
        self.field: str = field

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field,)


class PasswordNotVerifiedError(RefusedError):
    """`password_verified` was not the object `True`, or no password was given. Check it first."""

    code = "password_not_verified"
    text = "The password was not verified. Check the password, then call again."
    http_status = 401


class PasswordRefusedError(RefusedError):
    """`check_password` did not name this account. Answer "wrong password"."""

    code = "password_refused"
    text = "The password is not right. Check it, then try again."
    http_status = 401


class PasswordChangeRequiredError(RefusedError):
    """The password must be changed first: somebody who knew it guessed codes up to the limit."""

    code = "password_change_required"
    text = "Somebody who knows the password guessed codes. Change the password, then sign in again."


class WrongCodeError(RefusedError):
    """The code is wrong, malformed, of another time, or was used already. Ask for another one."""

    code = "wrong_code"
    text = "That code is not valid. Take another: an app shows the next soon, a recovery code works once."
    http_status = 401


class SessionEndedError(WrongCodeError):
    """The fifth wrong code in a row in this session: every session has ended. Sign in again."""

    code = "session_ended"
    text = "Too many wrong codes. You have been signed out everywhere: sign in again."


class ThrottledError(RefusedError):
    """Too many wrong codes. Nothing was evaluated; ask again at `retry_at`.

    Attributes:
        retry_at: Aware UTC datetime from which another code is evaluated.
        retry_after_seconds: Whole seconds until then, at least 1.
    """

    code = "throttled"
    text = "Too many wrong codes. No code is looked at for a while: wait, then try again."
    http_status = 429

    def __init__(self, retry_at_seconds: int, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_at: datetime = datetime.fromtimestamp(retry_at_seconds, UTC)
        self.retry_after_seconds: int = retry_after_seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self.retry_at.timestamp()), self.retry_after_seconds)


class SecondFactorLockedError(RefusedError):
    """This way in is locked after too many wrong codes. Use a recovery code, or ask an operator."""

    code = "second_factor_locked"
    text = "Too many wrong codes: locked. Use a recovery code, or ask the operator for a reset."


class ChallengeError(RefusedError):
    """The sign-in took too long, was finished already or is not this one. Start signing in again."""

    code = "challenge_invalid"
    text = "This sign-in has expired or was completed already. Sign in again."
    http_status = 401


class ProofError(RefusedError):
    """The proof is missing, stale or too weak. Ask for a code (or, before set-up, the password)."""

    code = "proof_invalid"
    text = "Confirm that it is you: enter a code (or, before set-up, the password), then try again."
    http_status = 401


class OfferError(RefusedError):
    """The set-up was cancelled, replaced or has expired. Begin set-up again."""

    code = "offer_invalid"
    text = "This set-up has expired or was replaced. Begin set-up again."
    http_status = 400


class NotEnrolledError(RefusedError):
    """Two-step verification is not on for this account. Offer set-up."""

    code = "not_enrolled"
    text = "Two-step verification is not on. Set it up first."
    http_status = 409


class NotAllowedNowError(RefusedError):
    """The account's state does not allow this. Load `status` and show what is possible."""

    code = "not_allowed_now"
    text = "That is not possible in the present state of two-step verification."
    http_status = 409


class AvailabilityError(RefusedError):
    """Policy does not offer two-step verification to this account. Hide the set-up link."""

    code = "not_available"
    text = "Two-step verification is not available for this account."


class TwoStepRequiredError(RefusedError):
    """Policy requires two-step verification, so it cannot be turned off. Hide the link."""

    code = "two_step_required"
    text = "Two-step verification is required for this account and cannot be turned off."


class LastAuthenticatorError(RefusedError):
    """The last authenticator cannot be removed. Add another first, or disable two-step."""

    code = "last_authenticator"
    text = "This is the only authenticator. Add another first, or turn two-step verification off."
    http_status = 409


class LimitReachedError(RefusedError):
    """The account holds as many of these as policy allows. Remove one first."""

    code = "limit_reached"
    text = "The limit is reached. Remove one that is no longer needed, then try again."
    http_status = 409


class LabelTakenError(RefusedError):
    """Another passcode has this label. Choose a different one."""

    code = "label_taken"
    text = "That name is in use. Choose a different one."
    http_status = 409


class NotFoundError(RefusedError, LookupError):
    """The account has no such item; it may have been removed meanwhile. Load the list again."""

    code = "not_found"
    text = "No such entry. It may have been removed already; load the list again."
    http_status = 404


class DuplicateSecretError(RefusedError):
    """The account already has an authenticator with this secret. Nothing to do."""

    code = "duplicate_secret"
    text = "This authenticator is already set up."
    http_status = 409


class WeakAuthenticatorError(RefusedError):
    """Policy asks for a longer secret or a shorter period. Have the owner set up a new one."""

    code = "weak_authenticator"
    text = "This authenticator is weaker than the policy allows. Set up a new one."
    http_status = 409


class PasscodesOffError(RefusedError):
    """Policy does not allow application passcodes for this account. Hide the form."""

    code = "passcodes_off"
    text = "Application passcodes are not available for this account."


class CredentialRefusedError(RefusedError):
    """A mail client's credential was refused. Answer "authentication failed" and nothing more."""

    code = "credential_refused"
    text = "Authentication failed."
    http_status = 401


# --------------------------------------------------------------------------- operational (5xx, retry)


class UnavailableError(MFAKitError):
    """Nothing was decided. Answer "temporary failure"; the caller may try again later."""

    code = "unavailable"
    text = "Two-step verification is unavailable for the moment. Try again later."
    http_status = 503


class StoreUnavailableError(UnavailableError, ConnectionError):
    """The store failed. From a write the outcome is unknown: the next load shows it. Retry later."""

    code = "store_unavailable"
    text = "The account store did not answer. Try again later."


class ContentionError(UnavailableError):
    """Eight conditional writes in a row were lost to other writers. Retry later."""

    code = "contention"
    text = "The account is being changed by others. Try again."


class BusyError(UnavailableError):
    """All places for password hashing are taken. Answer "temporary failure"; retry later."""

    code = "busy"
    text = "Too many sign-ins at once. Try again in a moment."


class HashingError(UnavailableError):
    """Argon2 could not run, usually for want of memory. Retry later; check memory limits."""

    code = "hashing_failed"
    text = "A code could not be checked. Try again later."


class ClockError(UnavailableError):
    """This server's clock is behind codes accepted earlier, or `clock` failed. Correct it and retry.

    If the clock was wrong earlier and is right now, wait until it has caught up, or replace the
    authenticator on a proof by a recovery code.
    """

    code = "clock"
    text = "The server's clock went back. Try again later; the operator must check the clock."


class KeyUnavailableError(UnavailableError):
    """A key that sealed this account's record is not in the key ring. Add the key and retry."""

    code = "key_unavailable"
    text = "A key is missing. The operator must add the key that sealed this record."


class RecordIntegrityError(UnavailableError):
    """The stored document does not verify: the realm or a key is wrong, or it is torn or was altered.

    Check realm and keys first: a wrong one looks the same, and the record is sound. Then restore the
    row. If there is no backup, `reset` with `force=True`, which throws the record away.
    """

    code = "record_integrity"
    text = "The account's record does not verify. The operator must check realm and keys, then restore."


class RecordSchemaError(UnavailableError):
    """The stored document was written by a newer mfakit. Upgrade this process."""

    code = "record_schema"
    text = "The account's record was written by a newer version. The operator must upgrade."


class UnknownAccountError(UnavailableError, LookupError):
    """No record where policy says that every account has one. Restore it or `open_account`."""

    code = "unknown_account"
    text = "The account has no record. The operator must restore it or open the account."


class PasswordCheckFailedError(UnavailableError):
    """The platform's `check_password` raised; its exception is the `__cause__`. Retry later."""

    code = "password_check_failed"
    text = "The password could not be checked. Try again later."


class PolicyUnavailableError(UnavailableError):
    """The platform's policy callable raised or returned no `Policy`. Correct it; retry later."""

    code = "policy_unavailable"
    text = "The account's policy could not be read. Try again later."


class ConfigurationError(UnavailableError, ValueError):
    """mfakit was set up wrongly. Correct the set-up; the text says what is wrong."""

    code = "configuration"
    text = "mfakit is configured wrongly."

    def __init__(self, text: str | None = None) -> None:
        Exception.__init__(self, self.text if text is None else text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args


class PolicyError(ConfigurationError):
    """A policy value is out of its range, or two of them contradict each other."""

    code = "policy"
    text = "The policy is not valid."


class StoreConfigurationError(ConfigurationError):
    """The store cannot keep its promises as it was set up. The text says what to change."""

    code = "store_configuration"
    text = "The store is configured wrongly."
