"""The pages of two-step verification: what each shows, and which call of mfakit its form is.

A framework fills in a `Visit` from its own objects; the answer is a `Page` to render or a `Go` to
redirect to. Refusals are raised: the framework has one handler for them all (`answers`).

Between two pages only sealed tokens are kept (challenge, offer, proof), in the framework's session.
A session may be a cookie that its owner can read, so a key, a code or a passcode is never put
there: the page that shows one is the answer to the form itself.

What was begun belongs to the account and the sign-in that began it. A right password ends the session
that was there and begins another, with a new random value, `flow`. Each token is bound to that value
and to the account, and each form names it: a form that names another changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, NamedTuple

from examples.webmail_shared.pages import device_name, safe_path

from mfakit import (
    MFA,
    ClientInfo,
    CodeRequired,
    Enrolled,
    EnrollmentRequired,
    RefusedError,
    SignedIn,
)
from mfakit.errors import ChallengeError, InvalidInputError, NotFoundError

# Open to an account that must set up before its mailbox opens.
WIZARD = {"setup", "app", "key", "confirm"}
# Begun with a proof, so that no form is filled in twice.
NEEDS_PROOF = {"app", "disable", "codes", "remove-authenticator", "passcode"}
PROOF_SECONDS = 240  # less than policy.proof_seconds: time to fill in the form
_VALUE = re.compile("[^\0\ud800-\udfff]{0,1024}")  # what a database and a cookie can take


class PageError(RefusedError):
    """There is no form to show again: show a page that says why."""


class UnknownPageError(PageError):
    """There is no page of this name."""

    code = "unknown_page"
    text = "There is nothing at this address."
    http_status = 404


class StaleFormError(PageError):
    """A form is on a page that another sign-in was shown."""

    code = "stale_form"
    text = "This page belongs to another sign-in. Nothing was changed."
    http_status = 409


class ForgedFormError(PageError):
    """A form did not pass the framework's CSRF check."""

    code = "forged_form"
    text = "The form was too old, or did not come from this site. Nothing was changed. Try again."


class Page(NamedTuple):
    """Render a template; begin a new session first if there is a sign-in."""

    template: str
    context: dict[str, Any]
    signed_in: SignedIn | None = None


class Go(NamedTuple):
    """Redirect to a page, with a message for it."""

    name: str
    arguments: dict[str, str]
    query: dict[str, str]
    text: str


class Fields:
    """What was posted, or the query of a GET: each field once, and short.

    Raises:
        InvalidInputError: With the field's name, when it is asked for. The handler of refusals shows
            the form again.
    """

    def __init__(self, given: Any) -> None:
        self._given = given  # the framework's, with `getlist`

    def __contains__(self, name: str) -> bool:
        return bool(self._given.getlist(name))

    def __getitem__(self, name: str) -> str:
        found = self.getlist(name)
        if len(found) != 1:
            raise InvalidInputError(name)
        return found[0]

    def get(self, name: str, default: str = "") -> str:
        """Return a field that need not be there."""
        return self[name] if self._given.getlist(name) else default

    def getlist(self, name: str) -> list[str]:
        """Return each value of a field."""
        found: list[str] = self._given.getlist(name)
        if not all(map(_VALUE.fullmatch, found)):
            raise InvalidInputError(name)
        return found


class Visit(NamedTuple):
    """One request. `account` has `id`, `address`, `policy` and `check_password(text)`."""

    mfa: MFA
    session: MutableMapping[str, Any]
    account: Any
    form: Fields
    client: ClientInfo
    trusted_device: str | None
    now: float

    @property
    def bound(self) -> dict[str, Any]:
        """What binds a token to this sign-in of this account."""
        return {"bound_to": f"{self.session.setdefault('flow', _new_flow())} {self.account.id}"}

    @property
    def proof(self) -> dict[str, Any]:
        """The proof that was kept, and its binding."""
        return {"proof": self.session.get("proof", ""), **self.bound}

    def keep_proof(self, proof: str | None) -> None:
        """Keep a proof for the forms of the next minutes."""
        self.session.update({"proof": proof or "", "proved_at": self.now if proof else 0})

    def keep_epoch(self, epoch: str) -> None:
        """Go on in this session; if the epoch is new, all others have ended, and every proof."""
        if epoch != self.session.get("epoch"):
            self.session.update({"epoch": epoch, "proof": "", "proved_at": 0})


def _new_flow() -> str:
    return token_urlsafe(16)


def flow_name(session: Mapping[str, Any]) -> str:
    """Return what the forms of a session call its sign-in; "" if none has begun."""
    flow = session.get("flow")
    return sha256(flow.encode()).hexdigest()[:32] if flow else ""


def stale(session: Mapping[str, Any], form: Any) -> StaleFormError | None:
    """Return the answer to a form of another sign-in: nothing of it is done in this one."""
    return StaleFormError() if set(form.getlist("flow")) - {flow_name(session)} else None


def go(page: str, text: str = "", **query: str) -> Go:
    """Redirect to a page under Preferences."""
    given = {name: value for name, value in query.items() if value}
    return Go("two_step.preferences", {"page": page}, given, text)


# ------------------------------------------------------------------------------------------ sign-in


def begin(visit: Visit, following: str | None) -> tuple[SignedIn | Go, dict[str, Any]]:
    """Ask what a right password is worth.

    Returns:
        What comes next, and all that goes into the new session. End the present one first: it may
        be another account's, and what was begun in it is over.
    """
    begun: dict[str, Any] = {"flow": _new_flow(), "next": safe_path(following, "")}
    visit = visit._replace(session=begun)
    step = visit.mfa.begin_login(
        visit.account.id,
        password_verified=True,
        trusted_device=visit.trusted_device,
        client=visit.client,
        **visit.bound,
    )
    if isinstance(step, CodeRequired):
        begun |= {"challenge": step.challenge, "methods": step.methods, "coming": visit.account.id}
        return Go("two_step.code", {"method": step.methods[0]}, {}, ""), begun
    if isinstance(step, EnrollmentRequired):
        begun["enrolling"] = visit.account.id
        visit.keep_proof(step.proof)
        return go("setup"), begun
    return step, begun


def complete(visit: Visit, method: Any) -> SignedIn:
    """Finish the sign-in with a code of the app, or a recovery code."""
    return visit.mfa.complete_login(
        visit.session["challenge"],
        visit.form["code"],
        method=method,
        trust_device=device_name(visit.client.user_agent or "") if "trust" in visit.form else None,
        client=visit.client,
        **visit.bound,
    )


def code_page(owner: Any, session: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return what the page for the code of a sign-in shows of the one whose password was right."""
    if owner is None:
        raise ChallengeError
    return {"owner": owner, "method": method, "methods": session["methods"]}


def entered(visit: Visit, done: SignedIn, **session: str) -> None:
    """Fill the framework's new session; only what the earned proof is bound to goes on."""
    session |= {"flow": visit.session["flow"]}
    visit.session.clear()
    visit.session.update(session)
    visit.keep_epoch(done.epoch)
    visit.keep_proof(done.proof)


# ------------------------------------------------------------------------- Preferences > Accounts


def preferences(page: str, visit: Visit, *, is_post: bool) -> Page | Go:
    """Answer a page under Preferences."""
    if page not in (FORMS if is_post else SHOWN):
        raise UnknownPageError
    if is_post:
        return FORMS[page](visit)
    if page in NEEDS_PROOF and visit.now - visit.session.get("proved_at", 0) > PROOF_SECONDS:
        return go("confirm", next=page, id=visit.form.get("id"))
    template = f"{page.partition('-')[0]}.html"  # rename-device and the like share one
    return Page(template, SHOWN[page](visit))


def _standing(visit: Visit) -> dict[str, Any]:
    who = visit.account.id
    return {
        "policy": visit.account.policy,
        "status": visit.mfa.status(who),
        "passcodes": visit.mfa.passcodes(who),
        "devices": visit.mfa.trusted_devices(who, token=visit.trusted_device),
        "form": visit.form,
    }


def _item(kind: str) -> Callable[[Visit], dict[str, Any]]:
    """Show a page about one thing of a list."""

    def shown(visit: Visit) -> dict[str, Any]:
        facts, wanted = _standing(visit), visit.form.get("id")
        lists = facts | {"authenticators": facts["status"].authenticators}
        found = [one for one in lists[f"{kind}s"] if getattr(one, f"{kind}_id") == wanted]
        if not found:
            raise NotFoundError
        return facts | {"item": found[0]}

    return shown


def _offer(visit: Visit) -> dict[str, Any]:
    return {"offer": visit.mfa.show_offer(visit.session.get("offer", ""), **visit.bound)}


def _confirm(visit: Visit) -> Go:
    """Take a code (before set-up, the password) and keep the proof."""
    mfa, who, form = visit.mfa, visit.account.id, visit.form
    if mfa.status(who).is_on:
        method, by = form["method"], visit.client
        proof = mfa.verify_code(who, form["code"], method=method, client=by, **visit.bound)
    else:
        verified = visit.account.check_password(form["password"])
        proof = mfa.password_proof(who, password_verified=verified, **visit.bound)
    visit.keep_proof(proof)
    following = form["next"] if form["next"] in SHOWN else "accounts"
    return go(following, id=form.get("id"))


def _app(visit: Visit) -> Go:
    name, label = visit.account.address, visit.form["label"]
    offer = visit.mfa.begin_enrollment(
        visit.account.id, account_name=name, label=label, **visit.proof
    )
    visit.session["offer"] = offer.token
    return go("key")


def _key(visit: Visit) -> Page | Go:
    offer, code = visit.session.get("offer", ""), visit.form["code"]
    done = visit.mfa.confirm_enrollment(offer, code, client=visit.client, **visit.bound)
    if isinstance(done, Enrolled):
        return Page("codes-shown.html", {"codes": done.recovery_codes, "is_setup": True}, done)
    visit.keep_epoch(done.epoch)
    return go("accounts", "Success! The authenticator app is added.")


def _disable(visit: Visit) -> Go:
    visit.keep_epoch(visit.mfa.disable(visit.account.id, **visit.proof))
    return go("accounts", "Two-step authentication is off.")


def _remove_authenticator(visit: Visit) -> Go:
    epoch = visit.mfa.remove_authenticator(visit.account.id, visit.form["id"], **visit.proof)
    visit.keep_epoch(epoch)
    return go("accounts", "The authenticator app is removed.")


def _codes(visit: Visit) -> Page:
    codes = visit.mfa.regenerate_recovery_codes(visit.account.id, **visit.proof)
    return Page("codes-shown.html", {"codes": codes, "is_setup": False})


def _passcode(visit: Visit) -> Page:
    label, protocols = visit.form["label"], visit.form.getlist("protocols")
    new = visit.mfa.create_passcode(
        visit.account.id, label=label, protocols=protocols, **visit.proof
    )
    return Page("passcode-shown.html", {"new": new})


def _rename(method: Callable[..., Any]) -> Callable[[Visit], Go]:
    def rename(visit: Visit) -> Go:
        method(visit.mfa, visit.account.id, visit.form["id"], visit.form["label"])
        return go("accounts", "The name is changed.")

    return rename


def _revoke(method: Callable[..., Any]) -> Callable[[Visit], Go]:
    def revoke(visit: Visit) -> Go:
        method(visit.mfa, visit.account.id, visit.form["id"])
        return go("accounts", "It is revoked.")

    return revoke


def _revoke_others(visit: Visit) -> Go:
    visit.mfa.revoke_other_devices(visit.account.id, keep=visit.trusted_device)
    return go("accounts", "The other devices are no longer trusted.")


RENAME = {
    "authenticator": MFA.rename_authenticator,
    "passcode": MFA.rename_passcode,
    "device": MFA.rename_trusted_device,
}
REVOKE = {"passcode": MFA.revoke_passcode, "device": MFA.revoke_trusted_device}
FORMS: dict[str, Callable[[Visit], Page | Go]] = {
    "confirm": _confirm,
    "app": _app,
    "key": _key,
    "disable": _disable,
    "codes": _codes,
    "passcode": _passcode,
    "remove-authenticator": _remove_authenticator,
    "others": _revoke_others,
    **{f"rename-{kind}": _rename(method) for kind, method in RENAME.items()},
    **{f"revoke-{kind}": _revoke(method) for kind, method in REVOKE.items()},
}
SHOWN: dict[str, Callable[[Visit], dict[str, Any]]] = {
    **dict.fromkeys(["accounts", "setup", *FORMS], _standing),
    **{page: _item(page.partition("-")[2]) for page in FORMS if "-" in page},
    "key": _offer,
}
