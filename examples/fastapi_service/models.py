"""What goes in and out. Answers are read from the results of mfakit by name."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Token = Annotated[str, Field(min_length=1, max_length=512)]
Code = Annotated[str, Field(min_length=1, max_length=64, examples=["123456"])]
Method = Literal["totp", "recovery"]
Password = Annotated[str, Field(min_length=1, max_length=1024)]
Protocol = Literal["imap", "pop3", "smtp", "sieve", "dav", "eas"]


class Answer(BaseModel):
    """Read from an object with these attributes."""

    model_config = ConfigDict(from_attributes=True)


class PasswordIn(BaseModel):
    """A sign-in."""

    address: Annotated[str, Field(max_length=320, examples=["ann@example.com"])]
    password: Password
    trusted_device: Token | None = Field(None, description="From an earlier sign-in")


class CodeIn(BaseModel):
    """The second step of a sign-in."""

    challenge: Token
    code: Code
    method: Method = "totp"
    trust_device: str | None = Field(None, description="Name of this device, to trust it")


class ProofIn(BaseModel):
    """What the owner gives before a change: the password before set-up, a code afterwards."""

    password: Password | None = None
    code: Code | None = None
    method: Method = "totp"


class LabelIn(BaseModel):
    """A name that the owner will know again."""

    label: str


class ConfirmIn(BaseModel):
    """The first code of a new authenticator."""

    offer: Token
    code: Code


class PasscodeIn(BaseModel):
    """An application passcode to make. Without protocols it is good for any."""

    label: str
    protocols: list[Protocol] | None = None
    expires_at: datetime | None = None


class SignedInOut(Answer):
    """Send `access_token` as `Authorization: Bearer`; `proof` is good for changes in the next minutes."""

    kind: Literal["signed_in"] = "signed_in"
    access_token: str
    token_type: Literal["bearer"] = "bearer"
    amr: list[str]
    proof: str | None
    trusted_device: str | None
    recovery_codes_left: int
    failed_since_last: int
    enroll_by: datetime | None
    recovery_codes: list[str] | None = Field(None, description="At set-up only; show them once")


class CodeRequiredOut(Answer):
    """The password is right, and a code is due."""

    kind: Literal["code_required"] = "code_required"
    challenge: str
    methods: list[Method]
    expires_at: datetime


class EnrollmentRequiredOut(Answer):
    """The password is right; `access_token` opens nothing but set-up, with `proof`."""

    kind: Literal["enrollment_required"] = "enrollment_required"
    access_token: str
    proof: str
    deadline: datetime | None


class AddedOut(Answer):
    """Another authenticator is live; the session goes on."""

    kind: Literal["added"] = "added"
    authenticator_id: str


SignInOut = Annotated[
    SignedInOut | CodeRequiredOut | EnrollmentRequiredOut, Field(discriminator="kind")
]
ConfirmOut = Annotated[SignedInOut | AddedOut, Field(discriminator="kind")]


class ProofOut(Answer):
    """Send it as `MFA-Proof`; it is good for some minutes, in any session of the account."""

    proof: str


class OfferOut(Answer):
    """A key for an app: show `uri` as a QR code, `secret_groups` for typing."""

    offer: str = Field(validation_alias="token")
    uri: str
    secret_groups: str
    digits: int
    period_seconds: int
    algorithm: str
    expires_at: datetime


class AuthenticatorOut(Answer):
    """One authenticator."""

    authenticator_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None


class StatusOut(Answer):
    """Where the account stands."""

    is_on: bool
    is_locked: bool
    is_available: bool
    is_required: bool
    required_from: datetime | None
    retry_at: datetime | None
    recovery_codes_left: int
    authenticators: list[AuthenticatorOut]


class CodesOut(Answer):
    """New recovery codes; the older ones are void. Show them once."""

    recovery_codes: list[str]


class NewPasscodeOut(Answer):
    """Show `passcode` once; it is not stored."""

    passcode: str
    passcode_id: str
    hint: str
    label: str


class PasscodeOut(Answer):
    """One application passcode; `hint` is how it begins."""

    passcode_id: str
    label: str
    hint: str
    created_at: datetime
    protocols: list[Protocol] | None
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_protocol: str | None


class DeviceOut(Answer):
    """One trusted device."""

    device_id: str
    label: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
