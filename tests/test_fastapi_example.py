"""The FastAPI example from set-up to passcodes, over HTTP; and its OpenAPI document.

Codes are made by pyotp, which the library does not check codes with.
"""

from __future__ import annotations

import json
import stat

import pyotp
import pytest
from examples.fastapi_service import create_app
from examples.webmail_shared.demo import PASSWORD
from fastapi.testclient import TestClient

T0 = 1_800_000_000
PROBLEM = "application/problem+json"


class Owner:
    """A client program and its owner's phone; time stands still until a code is asked for."""

    def __init__(self, http, clock, address="ann@example.com"):
        self.http, self.clock, self.address = http, clock, address
        self.headers, self.secret = {}, ""

    def ask(self, method, path, status, json=None, proof=None):
        headers = self.headers | ({"MFA-Proof": proof} if proof else {})
        answer = self.http.request(method, path, json=json, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["cache-control"] == "no-store"
        if status >= 400:
            assert answer.headers["content-type"] == PROBLEM
            assert answer.json()["status"] == status
        return answer.json() if answer.content else None

    def keep(self, done):
        assert done["kind"] == "signed_in"
        self.headers = {"Authorization": f"Bearer {done['access_token']}"}
        return done

    def password(self, **more):
        sent = {"address": self.address, "password": PASSWORD, **more}
        return self.ask("POST", "/sign-in", 200, sent)

    def next_code(self):
        self.clock[0] += 30
        return pyotp.TOTP(self.secret).at(self.clock[0])

    def offer(self, proof):
        offer = self.ask("POST", "/authenticators", 201, {"label": "My phone"}, proof)
        self.secret = pyotp.parse_uri(offer["uri"]).secret
        assert offer["secret_groups"].replace(" ", "") == self.secret
        return {"offer": offer["offer"], "code": self.next_code()}

    def set_up(self):
        self.keep(self.password())
        proof = self.ask("POST", "/two-step/proof", 200, {"password": PASSWORD})["proof"]
        return self.keep(self.ask("POST", "/authenticators/confirm", 200, self.offer(proof)))

    def sign_in(self, **more):
        step = self.password()
        assert step["kind"] == "code_required"
        sent = {"challenge": step["challenge"], "code": self.next_code(), **more}
        return self.keep(self.ask("POST", "/sign-in/code", 200, sent))


@pytest.fixture
def clock():
    return [T0]


@pytest.fixture
def app(tmp_path, clock):
    return create_app(tmp_path, clock=lambda: clock[0])


@pytest.fixture
def http(app):
    with TestClient(app, client=("192.0.2.7", 50000)) as client:
        yield client


@pytest.fixture
def ann(http, clock):
    return Owner(http, clock)


def test_set_up_sign_in_and_disable(ann):
    """The first code signs in anew; a code works once; afterwards the password is enough again."""
    done = ann.set_up()
    assert len(set(done["recovery_codes"])) == 10
    status = ann.ask("GET", "/two-step", 200)
    assert status["is_on"]
    assert [one["label"] for one in status["authenticators"]] == ["My phone"]
    done = ann.sign_in()
    assert done["amr"] == ["pwd", "otp", "mfa"]
    assert done["recovery_codes"] is None
    ann.ask("DELETE", "/two-step", 204, proof=done["proof"])
    assert not ann.ask("GET", "/two-step", 200)["is_on"]
    assert ann.password()["kind"] == "signed_in"


def test_a_code_works_once_and_wrong_ones_cost_a_wait(ann):
    """The wait is in the problem, and in the header."""
    ann.set_up()
    step = ann.password()
    used = {"challenge": step["challenge"], "code": pyotp.TOTP(ann.secret).at(ann.clock[0])}
    assert ann.ask("POST", "/sign-in/code", 401, used)["code"] == "wrong_code"
    for _ in range(4):
        ann.ask("POST", "/sign-in/code", 401, used | {"code": "000000"})
    ann.clock[0] += 10
    right = used | {"code": pyotp.TOTP(ann.secret).at(ann.clock[0])}
    problem = ann.ask("POST", "/sign-in/code", 429, right)
    assert (problem["code"], problem["retry_after"]) == ("throttled", 20)
    answer = ann.http.post("/sign-in/code", json=right)
    assert answer.headers["retry-after"] == "20"


def test_a_recovery_code_in_place_of_the_phone(ann):
    codes = ann.set_up()["recovery_codes"]
    sent = {"challenge": ann.password()["challenge"], "code": codes[0], "method": "recovery"}
    assert ann.keep(ann.ask("POST", "/sign-in/code", 200, sent))["recovery_codes_left"] == 9
    sent["challenge"] = ann.password()["challenge"]
    assert ann.ask("POST", "/sign-in/code", 401, sent)["code"] == "wrong_code"


def test_a_change_needs_a_proof_and_gets_one_for_a_code(ann):
    done = ann.set_up()
    ann.clock[0] += 600
    problem = ann.ask("POST", "/recovery-codes", 401, proof=done["proof"])
    assert problem["code"] == "proof_invalid"
    ann.ask("POST", "/two-step/proof", 401, {"password": "not it"})
    sent = {"code": ann.next_code()}
    proof = ann.ask("POST", "/two-step/proof", 200, sent)["proof"]
    fresh = ann.ask("POST", "/recovery-codes", 200, proof=proof)["recovery_codes"]
    assert not set(fresh) & set(done["recovery_codes"])


def test_set_up_ends_the_other_sessions(ann, http, clock):
    other = Owner(http, clock)
    other.keep(other.password())
    ann.set_up()
    other.ask("GET", "/two-step", 401)
    ann.ask("GET", "/two-step", 200)
    ann.ask("POST", "/sign-out", 204)
    ann.ask("GET", "/two-step", 401)


def test_a_second_app_and_its_removal(ann):
    ann.set_up()
    proof = ann.sign_in()["proof"]
    first = ann.ask("GET", "/two-step", 200)["authenticators"][0]["authenticator_id"]
    added = ann.ask("POST", "/authenticators", 201, {"label": "Tablet"}, proof)
    code = pyotp.parse_uri(added["uri"]).at(ann.clock[0])
    sent = {"offer": added["offer"], "code": code}
    done = ann.ask("POST", "/authenticators/confirm", 200, sent)
    assert done["kind"] == "added"
    ann.ask("DELETE", f"/authenticators/{first}", 204, proof=proof)
    assert len(ann.ask("GET", "/two-step", 200)["authenticators"]) == 1


def test_passcodes_and_trusted_devices(ann):
    """Shown once, listed with a hint, revoked; a trusted device is asked for the password only."""
    ann.set_up()
    done = ann.sign_in(trust_device="Laptop")
    sent = {"label": "iPhone Mail", "protocols": ["imap"]}
    new = ann.ask("POST", "/passcodes", 201, sent, done["proof"])
    assert new["passcode"].startswith(new["hint"])
    [listed] = ann.ask("GET", "/passcodes", 200)
    assert (listed["label"], listed["protocols"]) == ("iPhone Mail", ["imap"])
    assert new["passcode"][5:9] not in json.dumps(listed)
    ann.ask("DELETE", f"/passcodes/{new['passcode_id']}", 204)
    assert ann.ask("GET", "/passcodes", 200) == []
    ann.ask("DELETE", f"/passcodes/{new['passcode_id']}", 404)

    assert ann.password(trusted_device=done["trusted_device"])["kind"] == "signed_in"
    [device] = ann.ask("GET", "/devices", 200)
    ann.ask("DELETE", f"/devices/{device['device_id']}", 204)
    assert ann.password(trusted_device=done["trusted_device"])["kind"] == "code_required"


def test_required_set_up_opens_nothing_else(http, clock):
    ben = Owner(http, clock, "ben@example.com")
    step = ben.password()
    assert step["kind"] == "enrollment_required"
    ben.headers = {"Authorization": f"Bearer {step['access_token']}"}
    for path in ("/two-step", "/passcodes", "/devices"):
        ben.ask("GET", path, 403)
    limited = ben.headers
    ben.keep(ben.ask("POST", "/authenticators/confirm", 200, ben.offer(step["proof"])))
    assert ben.ask("GET", "/two-step", 200)["is_required"]
    ben.headers = limited
    ben.ask("POST", "/sign-out", 401)


def test_what_is_wrong_is_named_and_not_repeated(ann):
    """FastAPI's own answer to a malformed request would send a password back."""
    sent = {"address": "ann@example.com", "password": ["s3cret-password"]}
    problem = ann.ask("POST", "/sign-in", 422, sent)
    assert (problem["code"], problem["field"]) == ("malformed_request", "body.password")
    assert "s3cret" not in json.dumps(problem)
    proof = ann.set_up()["proof"]
    problem = ann.ask("POST", "/passcodes", 400, {"label": "x" * 65}, proof)
    assert (problem["code"], problem["field"]) == ("invalid_input", "label")


def test_an_unknown_address_and_a_wrong_password_get_one_answer(ann):
    answers = [
        ann.ask("POST", "/sign-in", 401, {"address": address, "password": password})
        for address, password in ((ann.address, "wrong"), ("nobody@example.com", PASSWORD))
    ]
    assert answers[0] == answers[1]


def test_without_a_session_nothing_is_open(http, app):
    """Every route but the two of the sign-in; the document says so, too."""
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            is_open = path in {"/sign-in", "/sign-in/code"}
            assert ("security" in operation) == (not is_open), path
            if not is_open:
                answer = http.request(method, path.replace("{", "").replace("}", ""), json={})
                assert answer.status_code in {401, 422}, path
                if answer.status_code == 401:
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_when_nothing_can_be_decided_the_answer_is_503(ann):
    """The server's clock went back: an operational failure, never "wrong code"."""
    ann.set_up()
    ann.clock[0] -= 86_400
    sent = {"challenge": ann.password()["challenge"], "code": pyotp.TOTP(ann.secret).at(T0)}
    problem = ann.ask("POST", "/sign-in/code", 503, sent)
    assert problem["retry_after"] == 30


def test_the_document_describes_the_problems_and_leaks_no_default(app):
    document = app.openapi()
    for methods in document["paths"].values():
        for operation in methods.values():
            for name in ("4XX", "422", "5XX"):
                [media] = operation["responses"][name]["content"]
                assert media == PROBLEM
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_keys_are_for_this_user_only_and_kept(tmp_path, clock):
    kept = []
    for _ in range(2):
        create_app(tmp_path, clock=lambda: clock[0])
        kept.append((tmp_path / "mfa.keys").read_bytes())
    assert kept[0] == kept[1]
    assert stat.S_IMODE((tmp_path / "mfa.keys").stat().st_mode) == 0o600


# ----------------------------------------------------------------- two accounts, and requests of no client

FORMS = {
    ("POST", "/sign-in"): {"address": "ann@example.com", "password": PASSWORD},
    ("POST", "/sign-in/code"): {"challenge": "x", "code": "000000", "method": "totp"},
    ("POST", "/two-step/proof"): {"code": "000000", "method": "totp"},
    ("POST", "/authenticators"): {"label": "Tablet"},
    ("POST", "/authenticators/confirm"): {"offer": "x", "code": "000000"},
    ("POST", "/passcodes"): {"label": "Phone", "protocols": ["imap"], "expires_at": None},
}
WITHOUT_BODY = {
    ("GET", "/two-step"),
    ("GET", "/passcodes"),
    ("GET", "/devices"),
    ("POST", "/recovery-codes"),
    ("DELETE", "/authenticators/x"),
    ("DELETE", "/passcodes/x"),
    ("DELETE", "/devices/x"),
    ("DELETE", "/two-step"),
    ("POST", "/sign-out"),
}
GARBAGE = [None, "", "a\0b", "\ud800", "x" * 5000, 0, -1, 1e400, True, [], [[]], {"a": 1}, "١٢٣٤٥٦"]


def test_an_offer_is_confirmed_in_the_session_that_began_it(ann, http, clock):
    """Ben's offer in Ann's session changes neither account, and Ann's session goes on."""
    ben = Owner(http, clock, "ben@example.com")
    step = ben.password()
    ben.headers = {"Authorization": f"Bearer {step['access_token']}"}
    sent = ben.offer(step["proof"])
    ann.set_up()
    assert ann.ask("POST", "/authenticators/confirm", 400, sent)["code"] == "offer_invalid"
    assert len(ann.ask("GET", "/two-step", 200)["authenticators"]) == 1
    done = ben.keep(ben.ask("POST", "/authenticators/confirm", 200, sent))
    assert done["recovery_codes"]


def test_an_added_app_of_another_account_leaves_the_session_alone(ann, http, clock):
    """It was Ben's epoch that Ann's session got: she was signed out by his app."""
    ben = Owner(http, clock, "ben@example.com")
    step = ben.password()
    ben.headers = {"Authorization": f"Bearer {step['access_token']}"}
    ben.keep(ben.ask("POST", "/authenticators/confirm", 200, ben.offer(step["proof"])))
    proof = ben.sign_in()["proof"]
    added = ben.ask("POST", "/authenticators", 201, {"label": "Tablet"}, proof)
    sent = {"offer": added["offer"], "code": pyotp.parse_uri(added["uri"]).at(clock[0])}
    ann.set_up()
    ann.ask("POST", "/authenticators/confirm", 400, sent)
    ann.ask("GET", "/two-step", 200)
    assert ben.ask("POST", "/authenticators/confirm", 200, sent)["kind"] == "added"


def test_a_proof_and_a_challenge_of_one_account_are_nothing_for_another(ann, http, clock):
    dan = Owner(http, clock, "dan@example.com")
    proof = ann.set_up()["proof"]
    dan.set_up()
    for method, path in (("DELETE", "/two-step"), ("POST", "/recovery-codes")):
        assert dan.ask(method, path, 401, proof=proof)["code"] == "proof_invalid"
    sent = {"challenge": ann.password()["challenge"], "code": dan.next_code()}
    assert dan.ask("POST", "/sign-in/code", 401, sent)["code"] == "wrong_code"


def test_the_tables_have_every_route(app):
    routes = {
        (method.upper(), path.split("{")[0].rstrip("/") + ("/x" if "{" in path else ""))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert routes == set(FORMS) | WITHOUT_BODY


@pytest.mark.parametrize(("method", "path"), FORMS, ids=lambda one: one)
def test_a_field_missing_or_mangled_is_refused(ann, method, path):
    """Each field in turn, with a session and without; never 500, and never taken for something else."""
    proof = ann.set_up()["proof"]
    whole = FORMS[method, path]
    bodies = [{name: one for name, one in whole.items() if name != left} for left in whole]
    bodies += [whole | {name: one} for name in whole for one in GARBAGE]
    is_open = path.startswith("/sign-in")
    for headers in [{}] if is_open else [{}, ann.headers, ann.headers | {"MFA-Proof": proof}]:
        for body in bodies:
            sent = json.dumps(body).encode()
            typed = {**headers, "Content-Type": "application/json"}
            answer = ann.http.request(method, path, content=sent, headers=typed)
            assert answer.status_code < 500, (body, answer.text)
            assert "no-store" in answer.headers["cache-control"]


def test_a_body_header_query_or_path_of_garbage_is_refused(ann):
    proof = ann.set_up()["proof"]
    bodies = (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'"x"',
        b"[" * 100_000,
        b'{"a":' + b"1" * 5000 + b"}",
    )
    headers = (
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff".encode("latin-1")},
        {"Authorization": "Basic eDp5"},
        {"Authorization": ""},
        {**ann.headers, "MFA-Proof": "x" * 5000},
        {**ann.headers, "MFA-Proof": "\xff".encode("latin-1")},
        {**ann.headers, "MFA-Proof": proof, "User-Agent": "\xff".encode("latin-1")},
        {**ann.headers, "MFA-Proof": "", "Cookie": "a=b; ="},
    )
    for method, path in [*FORMS, *sorted(WITHOUT_BODY - {("DELETE", "/two-step")})]:
        for given in headers:
            for body in bodies:
                if (method, path) == ("POST", "/sign-out"):
                    continue
                answer = ann.http.request(method, path, content=body, headers=given)
                assert answer.status_code < 500, (method, path, given, body)
        for end in ("%00", "%ED%A0%80", "%FF", "?id=%00&id=%FF&code[]=x"):
            answer = ann.http.request(method, path + end, headers=ann.headers)
            assert answer.status_code < 500, (method, path, end)


@pytest.mark.parametrize("place", ["dependency", "middleware", "handler"])
def test_a_store_that_fails_is_503_wherever_it_is_asked(app, ann, place):
    """And the client may go on with its session when the store answers again."""
    from starlette.exceptions import HTTPException

    from mfakit.errors import StoreUnavailableError

    async def fail(*_):
        raise StoreUnavailableError

    ann.set_up()
    http = TestClient(app, raise_server_exceptions=False)
    is_current = app.state.mfa.session_is_current
    if place == "dependency":
        app.state.mfa.session_is_current = fail
    elif place == "middleware":
        app.middleware_stack = None
        app.middleware("http")(fail)
    else:
        app.middleware_stack = None
        app.exception_handlers[HTTPException] = fail
    path = "/nothing" if place == "handler" else "/two-step"
    answer = http.get(path, headers=ann.headers)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["retry-after"] == "30"
    assert answer.headers["cache-control"] == "no-store"
    assert "store" not in answer.json()["detail"]
    app.state.mfa.session_is_current = is_current
    if place == "dependency":
        assert http.get(path, headers=ann.headers).status_code == 200


def test_what_is_not_of_mfakit_is_500_without_what_was_in_it(app):
    def fail(*_):
        raise LookupError("a secret")

    app.state.platform.session = fail
    with TestClient(app, raise_server_exceptions=False) as http:
        answer = http.get("/two-step", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "failed"
    assert answer.headers["cache-control"] == "no-store"
    assert "secret" not in answer.text
