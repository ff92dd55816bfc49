"""Two-step verification for mail platforms. Start with `MFA`."""

from mfakit.errors import MFAKitError, RefusedError, UnavailableError
from mfakit.events import Audience, AuditEvent, ClientInfo, EventKind
from mfakit.hashing import Argon2Hasher
from mfakit.keyring import KeyRing
from mfakit.policy import ASVS_5, DEFAULT, NIST_800_63B, Policy
from mfakit.results import (
    AuthenticatorAdded,
    AuthenticatorOffer,
    ClientSignedIn,
    CodeRequired,
    Enrolled,
    EnrollmentRequired,
    NewPasscode,
    SignedIn,
    Status,
)
from mfakit.service import MFA

__all__ = [
    "ASVS_5",
    "DEFAULT",
    "MFA",
    "NIST_800_63B",
    "Argon2Hasher",
    "Audience",
    "AuditEvent",
    "AuthenticatorAdded",
    "AuthenticatorOffer",
    "ClientInfo",
    "ClientSignedIn",
    "CodeRequired",
    "Enrolled",
    "EnrollmentRequired",
    "EventKind",
    "KeyRing",
    "MFAKitError",
    "NewPasscode",
    "Policy",
    "RefusedError",
    "SignedIn",
    "Status",
    "UnavailableError",
]
