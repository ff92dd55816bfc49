"""The routes. Each is one call of mfakit; refusals are raised, and answered in `problems`.

No token is bound with `bound_to`: there is no cookie that a stranger's page could make a browser
send. Whoever holds the access token and a proof is the owner's client. A proof names its account, and
mfakit refuses it for another; an offer is confirmed in the session that began it, and in no other.
"""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated, Any

from examples.fastapi_service import models
from examples.fastapi_service.platform import Account, Platform, Session
from examples.fastapi_service.problems import RESPONSES
from fastapi import APIRouter, Depends, Header, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mfakit import ClientInfo, CodeRequired, Enrolled, EnrollmentRequired, SignedIn
from mfakit.aio import AsyncMFA
from mfakit.errors import OfferError

router = APIRouter(responses=RESPONSES)
bearer = HTTPBearer(auto_error=False, description="The access token of a sign-in")


def _mfa(request: Request) -> AsyncMFA:
    return request.app.state.mfa


def _platform(request: Request) -> Platform:
    return request.app.state.platform


def _client(request: Request) -> ClientInfo:
    address = request.client.host if request.client else None
    return ClientInfo(remote_ip=address, user_agent=request.headers.get("User-Agent"))


TheMFA = Annotated[AsyncMFA, Depends(_mfa)]
ThePlatform = Annotated[Platform, Depends(_platform)]
Client = Annotated[ClientInfo, Depends(_client)]
Proof = Annotated[str, Header(alias="MFA-Proof", max_length=512)]


async def _any_session(
    mfa: TheMFA,
    platform: ThePlatform,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Session:
    """Find out who asks, on every request: a change of factors ends the other sessions."""
    session = await to_thread(platform.session, given.credentials) if given else None
    if session and await mfa.session_is_current(session.account_id, session.epoch):
        return session
    raise HTTPException(401, "Sign in first.")


Setup = Annotated[Session, Depends(_any_session)]


def _full_session(session: Setup) -> Session:
    if not session.is_full:
        raise HTTPException(403, "Set two-step verification up first.")
    return session


Full = Annotated[Session, Depends(_full_session)]


async def _signed_in(platform: Platform, done: SignedIn) -> models.SignedInOut:
    token = await to_thread(platform.begin_session, done.account_id, done.epoch, is_full=True)
    names = models.SignedInOut.model_fields.keys() - {"kind", "access_token", "token_type"}
    facts = {name: getattr(done, name, None) for name in names}
    return models.SignedInOut(access_token=token, **facts)


# ------------------------------------------------------------------------------------------ sign-in


@router.post("/sign-in", response_model=models.SignInOut, tags=["sign-in"])
async def sign_in(
    given: models.PasswordIn, mfa: TheMFA, platform: ThePlatform, client: Client
) -> Any:
    """Give the password; learn what is asked next."""
    account = await to_thread(platform.by_password, given.address, given.password)
    if account is None:
        raise HTTPException(401, "The address or the password is wrong.")
    step = await mfa.begin_login(
        account.id, password_verified=True, trusted_device=given.trusted_device, client=client
    )
    match step:
        case SignedIn():
            return await _signed_in(platform, step)
        case CodeRequired():
            return models.CodeRequiredOut.model_validate(step)
        case EnrollmentRequired():
            return await _set_up_first(mfa, platform, account, step)


async def _set_up_first(
    mfa: AsyncMFA, platform: Platform, account: Account, step: EnrollmentRequired
) -> models.EnrollmentRequiredOut:
    epoch = (await mfa.status(account.id)).epoch
    token = await to_thread(platform.begin_session, account.id, epoch, is_full=False)
    return models.EnrollmentRequiredOut(
        access_token=token, proof=step.proof, deadline=step.deadline
    )


@router.post("/sign-in/code", response_model=models.SignedInOut, tags=["sign-in"])
async def code(given: models.CodeIn, mfa: TheMFA, platform: ThePlatform, client: Client) -> Any:
    """Give the code of the app, or a recovery code."""
    done = await mfa.complete_login(
        given.challenge,
        given.code,
        method=given.method,
        trust_device=given.trust_device,
        client=client,
    )
    return await _signed_in(platform, done)


@router.post("/sign-out", status_code=204, tags=["sign-in"])
async def sign_out(session: Setup, platform: ThePlatform) -> None:
    """End this session."""
    await to_thread(platform.end_session, session)


# ---------------------------------------------------------------------------------- authenticator apps


@router.get("/two-step", response_model=models.StatusOut, tags=["two-step"])
async def status(session: Full, mfa: TheMFA) -> Any:
    """Where the account stands."""
    return await mfa.status(session.account_id)


@router.post("/two-step/proof", response_model=models.ProofOut, tags=["two-step"])
async def proof(
    given: models.ProofIn, session: Setup, mfa: TheMFA, platform: ThePlatform, client: Client
) -> Any:
    """Confirm that it is the owner who asks for a change."""
    who = session.account_id
    if given.code is not None:
        return {"proof": await mfa.verify_code(who, given.code, method=given.method, client=client)}
    address = (await to_thread(platform.by_id, who)).address
    account = await to_thread(platform.by_password, address, given.password or "")
    return {"proof": await mfa.password_proof(who, password_verified=account is not None)}


@router.delete("/two-step", status_code=204, tags=["two-step"])
async def disable(session: Full, mfa: TheMFA, platform: ThePlatform, proof: Proof) -> None:
    """Turn two-step verification off; the other sessions end."""
    epoch = await mfa.disable(session.account_id, proof=proof)
    await to_thread(platform.keep_epoch, session, epoch)


@router.post("/authenticators", response_model=models.OfferOut, status_code=201, tags=["two-step"])
async def offer(
    given: models.LabelIn, session: Setup, mfa: TheMFA, platform: ThePlatform, proof: Proof
) -> Any:
    """Get a key for an app. Nothing changes until `confirm`."""
    name = (await to_thread(platform.by_id, session.account_id)).address
    made = await mfa.begin_enrollment(
        session.account_id, account_name=name, label=given.label, proof=proof
    )
    await to_thread(platform.keep_offer, session, made.token)
    return made


@router.post("/authenticators/confirm", response_model=models.ConfirmOut, tags=["two-step"])
async def confirm(
    given: models.ConfirmIn, session: Setup, mfa: TheMFA, platform: ThePlatform, client: Client
) -> Any:
    """Make the key live with a code of it. The first one signs in anew: use the new access token."""
    if not await to_thread(platform.is_offer_of, session, given.offer):
        raise OfferError
    done = await mfa.confirm_enrollment(given.offer, given.code, client=client)
    if isinstance(done, Enrolled):
        await to_thread(platform.end_session, session)
        return await _signed_in(platform, done)
    await to_thread(platform.keep_epoch, session, done.epoch)
    return models.AddedOut.model_validate(done)


@router.delete("/authenticators/{authenticator_id}", status_code=204, tags=["two-step"])
async def remove(
    authenticator_id: str, session: Full, mfa: TheMFA, platform: ThePlatform, proof: Proof
) -> None:
    """Remove one of several; the other sessions end."""
    epoch = await mfa.remove_authenticator(session.account_id, authenticator_id, proof=proof)
    await to_thread(platform.keep_epoch, session, epoch)


@router.post("/recovery-codes", response_model=models.CodesOut, tags=["two-step"])
async def recovery_codes(session: Full, mfa: TheMFA, proof: Proof) -> Any:
    """Make new recovery codes."""
    codes = await mfa.regenerate_recovery_codes(session.account_id, proof=proof)
    return {"recovery_codes": codes}


# ---------------------------------------------------------------------- passcodes and trusted devices


@router.get("/passcodes", response_model=list[models.PasscodeOut], tags=["passcodes"])
async def passcodes(session: Full, mfa: TheMFA) -> Any:
    """List the application passcodes."""
    return await mfa.passcodes(session.account_id)


@router.post(
    "/passcodes", response_model=models.NewPasscodeOut, status_code=201, tags=["passcodes"]
)
async def create_passcode(
    given: models.PasscodeIn, session: Full, mfa: TheMFA, proof: Proof
) -> Any:
    """Make an application passcode for a mail program."""
    return await mfa.create_passcode(session.account_id, proof=proof, **given.model_dump())


@router.delete("/passcodes/{passcode_id}", status_code=204, tags=["passcodes"])
async def revoke_passcode(passcode_id: str, session: Full, mfa: TheMFA) -> None:
    """Revoke one, at once."""
    await mfa.revoke_passcode(session.account_id, passcode_id)


@router.get("/devices", response_model=list[models.DeviceOut], tags=["devices"])
async def devices(session: Full, mfa: TheMFA) -> Any:
    """List the trusted devices."""
    return await mfa.trusted_devices(session.account_id)


@router.delete("/devices/{device_id}", status_code=204, tags=["devices"])
async def revoke_device(device_id: str, session: Full, mfa: TheMFA) -> None:
    """Revoke one: its next sign-in asks for a code."""
    await mfa.revoke_trusted_device(session.account_id, device_id)
