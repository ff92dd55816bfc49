"""`MFA`: everything a platform calls, blocking. The calls alone; `mfakit.driver` runs them.

Untrusted text is taken out of sight on the first line of each method, so that a traceback with
locals, from this file or below, shows no code, passcode, password or token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from mfakit import operations, views
from mfakit.arguments import (
    EnrollmentRequest,
    LoginRequest,
    Method,
    PasscodeRequest,
    parse_account_id,
    parse_authority,
    parse_binding,
    parse_item_id,
    parse_label,
    parse_moment,
    parse_networks,
    parse_password,
    parse_protocols,
    parse_secret_text,
)
from mfakit.driver import BlockingDriver
from mfakit.events import ClientInfo
from mfakit.operations import Operation
from mfakit.provisioning import parse_account_name, parse_secret_or_uri
from mfakit.results import (
    AccountPage,
    AuthenticatorAdded,
    AuthenticatorOffer,
    ClientSignedIn,
    CodeRequired,
    Enrolled,
    EnrollmentRequired,
    HistoryItem,
    MaintenancePage,
    NewPasscode,
    PasscodeInfo,
    ProofToken,
    SignedIn,
    Status,
    TrustedDeviceInfo,
)

__all__ = ["MFA"]


class MFA(BlockingDriver):
    """Two-step verification for the mailboxes of one platform.

    Make one for the process and share it: it is safe across threads.

    Args:
        store: Where the records are (`mfakit.storage`).
        keys: The key ring that seals them.
        policy: One `Policy`, or a callable from account id to `Policy`.
        events: Called with each `AuditEvent` after its write; what it raises is logged, no more.
        realm: Name of this installation, 1-64 characters; never change it.
        clock: Unix seconds; the server's own clock, kept right by NTP.
        hasher: Hashes passcodes and recovery codes.
        hash_concurrency: Hashes at once; the number of processors by default.
        hash_queue: Hashes that may wait; beyond that `BusyError`.

    Raises:
        ConfigurationError: An argument is of another kind; the text says which.
        PolicyError: The policy's Argon2 cost is below the floor.
        InvalidInputError: `realm` is not a name.
    """

    # ---------------------------------------------------------------------------- proofs, step-up

    def password_proof(
        self,
        account_id: str,
        *,
        password_verified: bool | None = None,
        password: str | None = None,
        check_password: Callable[[str], str | None] | None = None,
        bound_to: str | None = None,
    ) -> ProofToken:
        """Return a proof that the owner has just given the password. Enough only before set-up.

        Give either `password` and `check_password`, or `password_verified`; see `begin_login`.

        Args:
            account_id: The platform's stable id of the account, 1-255 UTF-8 bytes.
            password_verified: Must be the object True: the platform has just checked it.
            password: What the owner typed.
            check_password: Returns the id of the account whose password it is, or None.
            bound_to: A value of this session; the proof is worth nothing in another.

        Returns:
            Text of at most 512 URL-safe characters, good for `policy.proof_seconds`.

        Raises:
            PasswordNotVerifiedError: Check the password first.
            PasswordRefusedError: The password is wrong: ask again.
            PasswordChangeRequiredError: Have the owner change the password first.
            UnavailableError: Try again later.
        """
        is_given, (password, typed) = password is not None, (None, parse_secret_text(password))
        bound_to, session = None, parse_binding(bound_to)
        given = parse_password(password_verified, typed, check_password, is_given=is_given)
        account_id = parse_account_id(account_id)
        operation = operations.password_proof(self._env, account_id, given, session)
        return self._run(operation, check_password)

    def verify_code(
        self,
        account_id: str,
        code: str,
        *,
        method: Method = "totp",
        client: ClientInfo | None = None,
        bound_to: str | None = None,
    ) -> ProofToken:
        """Check a code in a session that is signed in, and return a proof for a change.

        Args:
            account_id: As everywhere.
            code: What the owner typed; spaces and hyphens do not matter.
            method: "totp" (an authenticator's code) or "recovery"; never guessed.
            client: Where the request came from.
            bound_to: A value of this session, or None.

        Returns:
            A proof of the highest level, good for `policy.proof_seconds`.

        Raises:
            SessionEndedError: The fifth wrong code in a row in a session: every session of the
                account has ended. Sign the person out.
            WrongCodeError: Ask for another code.
            ThrottledError: Show `retry_at`; nothing was evaluated.
            SecondFactorLockedError: Offer the other method, or point to the operator.
            NotEnrolledError: Two-step is off.
            UnavailableError: Try again later; nothing was counted unless the store says so.

        Reference: RFC 6238 §5.2; SP 800-63B-4 §3.2.2.
        """
        code, typed = "", parse_secret_text(code)
        bound_to, session = None, parse_binding(bound_to)
        account_id = parse_account_id(account_id)
        return self._run(
            operations.verify_code(self._env, account_id, method, typed, session, client)
        )

    # --------------------------------------------------------------------------------- enrolment

    def begin_enrollment(
        self,
        account_id: str,
        *,
        account_name: str,
        proof: str,
        label: str = "Authenticator",
        replaces: str | None = None,
        bound_to: str | None = None,
    ) -> AuthenticatorOffer:
        """Offer a new authenticator: a key and its URI for the QR code. Sign-in stays as it is.

        Args:
            account_id: As everywhere.
            account_name: What the app shows, usually the address; 1-255 characters, no colon.
            proof: Of the password before set-up, of a code once two-step is on.
            label: Name of the authenticator in lists, 1-64 characters.
            replaces: Id of the authenticator that it takes the place of, or None for one more.
            bound_to: A value of this session; the offer is worth nothing in another.

        Raises:
            ProofError: Ask for the password (before set-up) or a code, then call again.
            AvailabilityError: Policy does not offer two-step to this account.
            LimitReachedError: Remove an authenticator first, or replace one.
            NotFoundError: `replaces` names none.
            PasswordChangeRequiredError: Have the owner change the password first.
            InvalidInputError: Ask for another name.
            UnavailableError: Try again later.
        """
        proof, proof_text = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        request = EnrollmentRequest(
            account_name=parse_account_name(account_name),
            label=parse_label(label),
            replaces=None if replaces is None else parse_item_id(replaces),
            bound_to=session,
        )
        account_id = parse_account_id(account_id)
        return self._run(operations.begin_enrollment(self._env, account_id, request, proof_text))

    def show_offer(self, token: str, *, bound_to: str | None = None) -> AuthenticatorOffer:
        """Show an offer again, with the same key: the page was reloaded.

        Raises:
            OfferError: It is over; begin again.
            UnavailableError: Try again later.
        """
        token, offer = "", parse_secret_text(token)
        bound_to, session = None, parse_binding(bound_to)
        return self._run(operations.show_offer(self._env, offer, session))

    def confirm_enrollment(
        self,
        token: str,
        code: str,
        *,
        client: ClientInfo | None = None,
        bound_to: str | None = None,
    ) -> Enrolled | AuthenticatorAdded:
        """Make the offered authenticator live by a code of it.

        Returns:
            `Enrolled` (a sign-in, with recovery codes to show once) when two-step was off or
            locked; `AuthenticatorAdded` (no sign-in) when it was on.

        Raises:
            WrongCodeError: Ask for the next code; ten wrong ones end the offer.
            OfferError: It is over; begin again.
            WeakAuthenticatorError: Policy has become stricter meanwhile; begin again.
            AvailabilityError: Policy no longer offers two-step to this account.
            LimitReachedError: Remove an authenticator first.
            UnavailableError: Try again later.

        Reference: RFC 6238 §5.2: the code's time step is spent.
        """
        code, typed = "", parse_secret_text(code)
        token, offer = "", parse_secret_text(token)
        bound_to, session = None, parse_binding(bound_to)
        operation: Operation[Enrolled | AuthenticatorAdded] = operations.confirm_enrollment(
            self._env, offer, typed, session, client
        )
        return self._run(operation)

    def cancel_enrollment(self, token: str, *, bound_to: str | None = None) -> None:
        """Drop an offer.

        Raises:
            OfferError: It is over already; nothing to do.
            UnavailableError: Try again later.
        """
        token, offer = "", parse_secret_text(token)
        bound_to, session = None, parse_binding(bound_to)
        self._run(operations.cancel_enrollment(self._env, offer, session))

    # ------------------------------------------------------------------------------ live factors

    def remove_authenticator(
        self, account_id: str, authenticator_id: str, *, proof: str, bound_to: str | None = None
    ) -> str:
        """Remove one of several authenticators.

        Returns:
            The new epoch: keep it in the present session, all others have ended.

        Raises:
            ProofError: Ask for a code, then call again.
            LastAuthenticatorError: Add another first, or `disable`.
            NotFoundError: It is gone already.
            NotEnrolledError, NotAllowedNowError: Two-step is off or locked.
            UnavailableError: Try again later.
        """
        proof, given = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        evidence = self._open_proof(given, session)
        account_id = parse_account_id(account_id)
        return self._run(
            operations.remove_authenticator(
                self._env, account_id, parse_item_id(authenticator_id), evidence
            )
        )

    def rename_authenticator(self, account_id: str, authenticator_id: str, label: str) -> None:
        """Give an authenticator another name, 1-64 characters.

        Raises:
            NotFoundError: It is gone.
            InvalidInputError: Ask for another name.
            UnavailableError: Try again later.
        """
        account_id, label = parse_account_id(account_id), parse_label(label)
        self._run(
            operations.rename_authenticator(
                self._env, account_id, parse_item_id(authenticator_id), label
            )
        )

    def resync(
        self,
        account_id: str,
        authenticator_id: str,
        code1: str,
        code2: str,
        *,
        proof: str,
        bound_to: str | None = None,
    ) -> None:
        """Learn how far an app's clock is off, from two codes in a row (within 20 time steps).

        Args:
            account_id: As everywhere.
            authenticator_id: From `status`.
            code1: One code of the app.
            code2: The very next code of the app.
            proof: Of a code (a recovery code will do).
            bound_to: The value that the proof was bound to, or None.

        Raises:
            SessionEndedError: As in `verify_code`.
            WrongCodeError: Not two codes in a row, or one of them was used; counted like any other.
            ClockError: A wrong clock has spent every code in reach: replace the authenticator on a
                proof by a recovery code, or wait.
            ThrottledError: Show `retry_at`.
            ProofError, NotFoundError, NotEnrolledError, NotAllowedNowError: As elsewhere.
            UnavailableError: Try again later.

        Reference: RFC 6238 §6.
        """
        code1, first = "", parse_secret_text(code1)
        code2, second = "", parse_secret_text(code2)
        proof, given = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        evidence = self._open_proof(given, session)
        account_id = parse_account_id(account_id)
        codes = (first, second)
        self._run(
            operations.resync(
                self._env, account_id, parse_item_id(authenticator_id), codes, evidence
            )
        )

    def disable(self, account_id: str, *, proof: str, bound_to: str | None = None) -> str:
        """Turn two-step off: authenticators, codes, passcodes and devices go.

        Returns:
            The new epoch: keep it in the present session, all others have ended.

        Raises:
            ProofError: Ask for a code, then call again.
            TwoStepRequiredError: Policy requires it; hide the link.
            NotEnrolledError: It is off.
            UnavailableError: Try again later.
        """
        proof, given = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        evidence = self._open_proof(given, session)
        account_id = parse_account_id(account_id)
        return self._run(operations.disable(self._env, account_id, evidence))

    def regenerate_recovery_codes(
        self, account_id: str, *, proof: str, bound_to: str | None = None
    ) -> tuple[str, ...]:
        """Make new recovery codes; the older set is void. Show them once.

        Returns:
            Codes like "0BCD-EFGH-JKMN-PQRS", `policy.recovery_codes` of them.

        Raises:
            ProofError: Ask for a code, then call again.
            NotEnrolledError: Two-step is off.
            UnavailableError: Try again later.

        Reference: SP 800-63B-4 §4.2.1.1.
        """
        proof, given = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        evidence = self._open_proof(given, session)
        account_id = parse_account_id(account_id)
        return self._run(operations.regenerate_recovery_codes(self._env, account_id, evidence))

    # ----------------------------------------------------------------------------------- sign-in

    def begin_login(
        self,
        account_id: str,
        *,
        password_verified: bool | None = None,
        password: str | None = None,
        check_password: Callable[[str], str | None] | None = None,
        trusted_device: str | None = None,
        device_id: str | None = None,
        client: ClientInfo | None = None,
        bound_to: str | None = None,
    ) -> SignedIn | CodeRequired | EnrollmentRequired:
        """Begin a sign-in with the password. Match on the class of the result.

        Give either `password` and `check_password`, or `password_verified`. The first is safer: the
        password is checked after the record is read, so a password that is changed meanwhile signs
        nobody in.

        Args:
            account_id: As everywhere.
            password_verified: Must be the object True: the platform has just checked it.
            password: What was typed. The text never reaches a message or a log.
            check_password: Called at most once, with `password`: returns the id of the account whose
                password it is, or None.
            trusted_device: The cookie of a trusted device, if there is one; garbage is ignored.
            device_id: The id that the device was bound to, if it was.
            client: Where the request came from.
            bound_to: A value of this (not yet signed in) session; stops login CSRF.

        Raises:
            PasswordNotVerifiedError: Check the password first.
            PasswordRefusedError: The password is wrong: ask again.
            SecondFactorLockedError: Every way is locked; the operator must `reset`.
            PasswordChangeRequiredError: Have the owner change the password first.
            InvalidInputError: `device_id` is empty or too long; without one give None.
            ContentionError: The account was changed while the password was checked; ask again.
            UnavailableError: Try again later.
        """
        is_given, (password, typed) = password is not None, (None, parse_secret_text(password))
        trusted_device, cookie = None, parse_secret_text(trusted_device)
        device_id, device = None, parse_binding(device_id, "device_id")
        bound_to, session = None, parse_binding(bound_to)
        given = parse_password(password_verified, typed, check_password, is_given=is_given)
        request = LoginRequest(bound_to=session, device_token=cookie, device_id=device)
        account_id = parse_account_id(account_id)
        operation: Operation[SignedIn | CodeRequired | EnrollmentRequired]
        operation = operations.begin_login(self._env, account_id, given, request, client)
        return self._run(operation, check_password)

    def complete_login(
        self,
        challenge: str,
        code: str,
        *,
        method: Method = "totp",
        trust_device: str | None = None,
        device_id: str | None = None,
        client: ClientInfo | None = None,
        bound_to: str | None = None,
    ) -> SignedIn:
        """Finish a sign-in with a code. The challenge survives a wrong code, not a right one.

        Args:
            challenge: From `CodeRequired`.
            code: What the owner typed; spaces and hyphens do not matter.
            method: "totp" (an authenticator's code) or "recovery"; never guessed.
            trust_device: Name (1-64 characters) under which to trust this device, or None.
                Nothing is trusted on a recovery sign-in or where policy does not allow it.
            device_id: An id that the platform keeps for the device; the trust then needs it.
            client: Where the request came from.
            bound_to: The value that was given to `begin_login`, or None.

        Raises:
            WrongCodeError: Ask for another code; the challenge is still good.
            ThrottledError: Show `retry_at`; nothing was evaluated.
            SecondFactorLockedError: Offer the other method, or point to the operator.
            ChallengeError: Over, used or not of this session; start again with the password.
            InvalidInputError: `trust_device` or `device_id` is empty or too long; no code is spent.
            UnavailableError: Try again later.

        Reference: RFC 6238 §5.2; SP 800-63B-4 §3.1.4.2, §3.2.2.
        """
        code, typed = "", parse_secret_text(code)
        challenge, token = "", parse_secret_text(challenge)
        bound_to, session = None, parse_binding(bound_to)
        device_id, device = None, parse_binding(device_id, "device_id")
        label = None if trust_device is None else parse_label(trust_device, field="trust_device")
        request = LoginRequest(bound_to=session, device_id=device, trust_label=label)
        return self._run(
            operations.complete_login(self._env, token, method, typed, request, client)
        )

    def session_is_current(self, account_id: str, epoch: str) -> bool:
        """Say whether a session that was begun with this epoch goes on. Ask on every request.

        Raises:
            UnavailableError: Not known; treat the request as not signed in and try again later.
        """
        account_id = parse_account_id(account_id)
        return self._run(operations.session_is_current(self._env, account_id, epoch))

    # ---------------------------------------------------------------------- passcodes, mail clients

    def create_passcode(
        self,
        account_id: str,
        *,
        label: str,
        proof: str,
        protocols: Collection[str] | None = None,
        networks: Collection[str] | None = None,
        expires_at: datetime | None = None,
        bound_to: str | None = None,
    ) -> NewPasscode:
        """Make an application passcode for a mail client. Show it once.

        Args:
            account_id: As everywhere.
            label: Name in lists, 1-64 characters, unique in the account.
            proof: Of a code.
            protocols: Out of imap, pop3, smtp, sieve, dav, eas; None is any.
            networks: Up to 20 networks like "192.0.2.0/24"; None is any.
            expires_at: Aware datetime, or None for as long as `policy.passcode_days_max` allows.
            bound_to: The value that the proof was bound to, or None.

        Raises:
            ProofError: Ask for a code, then call again.
            LabelTakenError, InvalidInputError: Ask for other values.
            LimitReachedError: Revoke one first.
            PasscodesOffError: Policy does not allow them.
            NotEnrolledError, NotAllowedNowError: Two-step is off or locked.
            UnavailableError: Try again later.
        """
        proof, given = "", parse_secret_text(proof)
        bound_to, session = None, parse_binding(bound_to)
        evidence = self._open_proof(given, session)
        request = PasscodeRequest(
            label=parse_label(label),
            protocols=parse_protocols(protocols),
            networks=parse_networks(networks),
            expires_at=parse_moment(expires_at, field="expires_at"),
        )
        account_id = parse_account_id(account_id)
        return self._run(operations.create_passcode(self._env, account_id, request, evidence))

    def passcodes(self, account_id: str) -> tuple[PasscodeInfo, ...]:
        """Return the application passcodes, without their secrets. Raises `UnavailableError`."""
        return self._run(operations.passcodes(self._env, parse_account_id(account_id)))

    def describe_passcode(self, account_id: str, text: str) -> PasscodeInfo | None:
        """Return the passcode that a text begins with, None if none does; the rest is not checked.

        Raises:
            UnavailableError: Try again later.
        """
        text, typed = "", parse_secret_text(text)
        account_id = parse_account_id(account_id)
        return self._run(operations.describe_passcode(self._env, account_id, typed))

    def rename_passcode(self, account_id: str, passcode_id: str, label: str) -> None:
        """Give a passcode another name.

        Raises:
            NotFoundError: It is gone.
            LabelTakenError, InvalidInputError: Ask for another name.
            UnavailableError: Try again later.
        """
        account_id, label = parse_account_id(account_id), parse_label(label)
        self._run(
            operations.rename_passcode(self._env, account_id, parse_item_id(passcode_id), label)
        )

    def revoke_passcode(self, account_id: str, passcode_id: str) -> None:
        """Delete a passcode; the next login with it is refused, in every process.

        Raises:
            NotFoundError: It is gone already.
            UnavailableError: Try again later.
        """
        account_id = parse_account_id(account_id)
        self._run(operations.revoke_passcode(self._env, account_id, parse_item_id(passcode_id)))

    def revoke_all_passcodes(self, account_id: str) -> int:
        """Delete all passcodes and return how many. Raises `UnavailableError`."""
        account_id = parse_account_id(account_id)
        return self._run(operations.revoke_all_passcodes(self._env, account_id))

    def authenticate_client(
        self,
        account_id: str,
        credential: str,
        *,
        protocol: str,
        check_password: Callable[[str], str | None],
        client: ClientInfo | None = None,
    ) -> ClientSignedIn:
        """Judge what a mail client sent as its password.

        Args:
            account_id: Of the account that the login name belongs to, suspended ones excluded.
            credential: The password field, whatever it holds.
            protocol: "imap", "pop3", "smtp" (submission), "sieve", "dav" or "eas".
            check_password: Called at most once, and only while two-step is off (or with a code):
                returns the id of the account whose password it is, or None.
            client: Where the client connects from; needed for passcodes limited to networks.

        Raises:
            CredentialRefusedError: Answer "authentication failed", the same for every cause.
            PasswordChangeRequiredError: The same answer; tell the owner on the web.
            UnavailableError: Answer "temporary failure", never "wrong password".
        """
        credential, sent = "", parse_secret_text(credential)
        account_id = parse_account_id(account_id)
        operation = operations.authenticate_client(self._env, account_id, sent, protocol, client)
        return self._run(operation, check_password)

    # ----------------------------------------------------------------------------- trusted devices

    def trusted_devices(
        self, account_id: str, *, token: str | None = None, device_id: str | None = None
    ) -> tuple[TrustedDeviceInfo, ...]:
        """Return the trusted devices; `is_this` marks the one whose token is given.

        Raises:
            UnavailableError: Try again later.
        """
        token, cookie = None, parse_secret_text(token)
        device_id, device = None, parse_binding(device_id, "device_id")
        account_id = parse_account_id(account_id)
        return self._run(operations.trusted_devices(self._env, account_id, cookie, device))

    def rename_trusted_device(self, account_id: str, trusted_device_id: str, label: str) -> None:
        """Give a trusted device another name.

        Raises:
            NotFoundError: It is gone.
            InvalidInputError: Ask for another name.
            UnavailableError: Try again later.
        """
        account_id, label = parse_account_id(account_id), parse_label(label)
        self._run(
            operations.rename_trusted_device(
                self._env, account_id, parse_item_id(trusted_device_id), label
            )
        )

    def revoke_trusted_device(self, account_id: str, trusted_device_id: str) -> None:
        """Stop trusting one device.

        Raises:
            NotFoundError: It is gone already.
            UnavailableError: Try again later.
        """
        account_id = parse_account_id(account_id)
        self._run(
            operations.revoke_trusted_device(
                self._env, account_id, parse_item_id(trusted_device_id)
            )
        )

    def revoke_other_devices(
        self, account_id: str, *, keep: str | None, device_id: str | None = None
    ) -> int:
        """Stop trusting every device but the one whose token is `keep`; return how many.

        Raises:
            UnavailableError: Try again later.
        """
        keep, cookie = None, parse_secret_text(keep)
        device_id, device = None, parse_binding(device_id, "device_id")
        account_id = parse_account_id(account_id)
        return self._run(operations.revoke_other_devices(self._env, account_id, cookie, device))

    # ------------------------------------------------------------------------------- administration

    def status(self, account_id: str) -> Status:
        """Return where an account stands. Raises `UnavailableError`."""
        return self._run(operations.status(self._env, parse_account_id(account_id)))

    def history(self, account_id: str) -> tuple[HistoryItem, ...]:
        """Return the last 32 lifecycle changes, the oldest first. Raises `UnavailableError`."""
        return self._run(operations.history(self._env, parse_account_id(account_id)))

    def open_account(self, account_id: str) -> bool:
        """Make the account's record, when the mailbox is made; True if it was new.

        With `unknown_account="refuse"` every account needs this once.

        Raises:
            UnavailableError: Try again later; calling twice does no harm.
        """
        return self._run(operations.open_account(self._env, parse_account_id(account_id)))

    def reset(
        self,
        account_id: str,
        *,
        actor: str,
        reason: str,
        reenroll: bool = False,
        force: bool = False,
    ) -> str:
        """Take two-step off an account as its operator, after checking who asks.

        Args:
            account_id: As everywhere.
            actor: Who does it, 1-64 characters.
            reason: Why, 1-200 characters; kept in the history.
            reenroll: The next sign-in must set two-step up again.
            force: Also throw away a record that no longer opens (its key lost, the document torn).
                Check realm and keys first: with a wrong one, no record opens.

        Returns:
            The new epoch; every session has ended.

        Raises:
            AvailabilityError: `reenroll` where policy lets nobody enrol; nothing was changed.
            RecordIntegrityError, KeyUnavailableError: The record does not open; nothing was changed.
                Check realm and keys, restore the record, or pass `force=True`.
            UnavailableError: Try again later.
        """
        by = parse_authority(actor, reason)
        account_id = parse_account_id(account_id)
        return self._run(
            operations.reset(
                self._env, account_id, by, reenroll=bool(reenroll), force=force is True
            )
        )

    def reset_group(
        self,
        *,
        actor: str,
        reason: str,
        prefix: str = "",
        enrolled_before: datetime | None = None,
        reenroll: bool = False,
        cursor: str | None = None,
        limit: int = 500,
    ) -> MaintenancePage:
        """Reset every enrolled account of a group, a page at a time. Call until `cursor` is None.

        Args:
            actor: Who does it, 1-64 characters.
            reason: Why, 1-200 characters.
            prefix: Only ids that begin so; "" is every account.
            enrolled_before: Only accounts enrolled before this aware datetime.
            reenroll: The next sign-in must set two-step up again.
            cursor: From the page before, None to begin.
            limit: Accounts a page, 1-10,000.

        Raises:
            StoreConfigurationError: The store cannot be walked.
            UnavailableError: Nothing of this page is lost; call again with the same cursor.
        """
        by = parse_authority(actor, reason)
        before = parse_moment(enrolled_before, field="enrolled_before")

        def reset(account_id: str) -> tuple[bool, tuple[str, ...]]:
            operation = operations.reset_in_group(
                self._env, account_id, by, before, reenroll=bool(reenroll)
            )
            return self._run(operation), ()

        return self._maintain(reset, self._scan(cursor, limit, prefix))

    def password_changed(self, account_id: str) -> str:
        """Tell mfakit that the password is a new one. Call it after every change and reset.

        Sessions and trusted devices end, and application passcodes unless policy keeps them.

        Returns:
            The new epoch: keep it in the session that made the change.

        Raises:
            UnavailableError: Try again until it is done.
        """
        return self._run(operations.password_changed(self._env, parse_account_id(account_id)))

    def forget(
        self, account_id: str, *, actor: str, reason: str, force: bool = False, purge: bool = False
    ) -> bool:
        """Erase the account's record, when the mailbox is deleted; True if there was one.

        A row with a new epoch alone stays, so no session of this owner is current for the id's next
        owner. The platform must end the account's web and mail sessions itself.

        Args:
            account_id: As everywhere.
            actor: Who does it, 1-64 characters.
            reason: Why, 1-200 characters; in the event only.
            force: Also erase a record that no longer opens (its key lost, the document torn). Check
                realm and keys first: with a wrong one, no record opens.
            purge: Delete the row, too. Only once every session of the account has ended.

        Raises:
            RecordIntegrityError, KeyUnavailableError: The record does not open; nothing was changed.
                Check realm and keys, or pass `force=True`.
            UnavailableError: Try again later; calling twice does no harm.
        """
        by = parse_authority(actor, reason)
        account_id = parse_account_id(account_id)
        return self._run(
            operations.forget(self._env, account_id, by, force=force is True, purge=purge is True)
        )

    def import_authenticator(
        self,
        account_id: str,
        secret_or_uri: str,
        *,
        actor: str,
        reason: str,
        label: str = "Authenticator",
        allow_weak: bool = False,
    ) -> AuthenticatorAdded:
        """Take over an authenticator that the owner uses already; two-step is then on.

        Make recovery codes next (`regenerate_recovery_codes`): an import has none.

        Args:
            account_id: As everywhere.
            secret_or_uri: Base32 key, or `otpauth://totp/` URI; 128-512 bits.
            actor: Who does it, 1-64 characters.
            reason: Why, 1-200 characters.
            label: Name in lists, 1-64 characters.
            allow_weak: Take a key of 80-127 bits, too, if `policy.weak_imports` allows it. Its
                authenticator is `is_weak` until it is replaced (RFC 4226 §4 R6 asks for 128).

        Raises:
            InvalidInputError: No key, no URI, or too short a key.
            WeakAuthenticatorError: Policy asks for a longer key or a shorter period.
            DuplicateSecretError: It is there already; nothing to do.
            LimitReachedError, AvailabilityError, NotAllowedNowError: As elsewhere.
            PasswordChangeRequiredError: Have the owner change the password first.
            UnavailableError: Try again later.
        """
        secret_or_uri, given = "", parse_secret_text(secret_or_uri)
        imported = parse_secret_or_uri(given, allow_weak=allow_weak)
        by, label = parse_authority(actor, reason), parse_label(label)
        account_id = parse_account_id(account_id)
        return self._run(
            operations.import_authenticator(
                self._env, account_id, imported, label, by, allow_weak=allow_weak is True
            )
        )

    def accounts(
        self, *, cursor: str | None = None, limit: int = 500, prefix: str = ""
    ) -> AccountPage:
        """Return a page of accounts as reports show them, from the store's summaries.

        Raises:
            StoreConfigurationError: The store cannot be walked.
            UnavailableError: Try again later.
        """
        page = self._scan(cursor, limit, prefix)
        return AccountPage(
            accounts=views.account_summaries(tuple(page.records)), cursor=page.cursor
        )

    def rotate_keys(self, *, cursor: str | None = None, limit: int = 500) -> MaintenancePage:
        """Seal a page of accounts anew under the newest key. Call until `cursor` is None.

        Safe beside live traffic and to repeat. A key may be dropped from the ring once a whole
        run met it no more.

        Raises:
            StoreConfigurationError: The store cannot be walked.
            UnavailableError: Nothing of this page is lost; call again with the same cursor.
        """

        def rotate(account_id: str) -> tuple[bool, tuple[str, ...]]:
            return self._run(operations.rotate_keys(self._env, account_id))

        return self._maintain(rotate, self._scan(cursor, limit, ""))
