"""What each call tells, whole: kind, method, item, name, number, protocol, actor, reason.

Written by hand from the design. An event that says less leaves an operator without an answer; one
that says more may tell a stranger something.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import asdict

from mfakit import ClientInfo
from mfakit.errors import RefusedError
from mfakit.testing import VirtualAuthenticator
from world import PASSWORD, START, Person, World

COMMON = ("account_id", "realm", "at", "revision", "client")
BY = {"actor": "root", "reason": "asked in person"}
IMPORTED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def told(world: World, call: Callable[[], Any]) -> list[dict[str, Any]]:
    """Make a call, refused or not; return its events without what all events share."""
    before = len(world.events)
    with suppress(RefusedError):
        call()
    return [
        {
            name: value
            for name, value in asdict(event).items()
            if name not in COMMON and value is not None
        }
        for event in world.events[before:]
    ]


def wrong_verifier(passcode: str) -> str:
    return passcode[:-1] + ("b" if passcode[-1] == "a" else "a")


def test_what_all_events_share(world: World) -> None:
    """Account, realm, moment, the revision that was written, and the client."""
    world.mfa = world.make_mfa(realm="mail")
    ann = world.enroll()
    row = world.row("ann")
    event = world.events[-1]
    assert row is not None
    assert (event.account_id, event.realm, event.client) == ("ann", "mail", None)
    assert (event.at.timestamp(), event.revision) == (START, row.revision)
    phone = ClientInfo(remote_ip="192.0.2.1", user_agent="Thunderbird")
    world.mfa.complete_login(world.challenge(ann), world.fresh_code(ann.app), client=phone)
    assert world.events[-1].client == phone
    assert world.events[-1].revision == row.revision + 1


def test_setting_up(world: World) -> None:
    """The offer, its wrong codes, its end, and two-step being on."""
    mfa = world.mfa
    assert told(world, lambda: mfa.open_account("ann")) == [{"kind": "account_opened"}]
    assert told(world, lambda: mfa.open_account("ann")) == []
    proof = mfa.password_proof("ann", password_verified=True)
    offers: list[Any] = []

    def begin() -> None:
        offer = mfa.begin_enrollment("ann", account_name="ann@x", proof=proof, label="Phone")
        offers.append(offer)

    offered = told(world, begin)
    apps = [VirtualAuthenticator(offers[0].uri)]
    offered_id = offered[0]["item_id"]
    assert offered == [{"kind": "offered", "item_id": offered_id, "label": "Phone"}]
    wrong = world.wrong_code(*apps)
    refused = {"kind": "code_refused", "method": "totp", "item_id": offered_id, "reason": "offer"}
    for _ in range(9):
        assert told(world, lambda: mfa.confirm_enrollment(offers[0].token, wrong)) == [refused]
    assert told(world, lambda: mfa.confirm_enrollment(offers[0].token, wrong)) == [
        {"kind": "offer_dropped", "item_id": offered_id, "reason": "wrong_codes"}
    ]
    second = told(world, begin)[0]["item_id"]
    assert told(world, lambda: mfa.cancel_enrollment(offers[1].token)) == [
        {"kind": "offer_dropped", "item_id": second, "reason": "cancelled"}
    ]
    third = told(world, begin)[0]["item_id"]
    world.pass_time(minutes=10)
    assert told(world, lambda: mfa.begin_login("ann", password_verified=True)) == [
        {"kind": "offer_dropped", "item_id": third, "reason": "expired"},
        {"kind": "signed_in", "method": "password"},
    ]
    proof = mfa.password_proof("ann", password_verified=True)
    fourth = told(world, begin)[0]["item_id"]
    app = VirtualAuthenticator(offers[3].uri)
    assert told(world, lambda: mfa.confirm_enrollment(offers[3].token, world.code(app))) == [
        {"kind": "enrolled", "method": "totp", "item_id": fourth, "label": "Phone"}
    ]


def test_another_authenticator(world: World) -> None:
    """Added, put in the place of an older one, renamed, resynchronised, removed."""
    ann = world.enroll()
    begun = len(world.events)
    _, spare = world.add_app(ann)
    spare_id = spare.authenticator_id
    kinds = [(event.kind.value, event.item_id, event.label) for event in world.events[begun:]]
    assert kinds[-2:] == [
        ("offered", spare_id, "Spare"), ("authenticator_added", spare_id, "Spare"),
    ]  # fmt: skip
    offer = world.mfa.begin_enrollment(
        "ann", account_name="ann@x", proof=world.proof(ann), label="New", replaces=spare_id
    )
    app = VirtualAuthenticator(offer.uri)
    replaced = told(world, lambda: world.mfa.confirm_enrollment(offer.token, world.code(app)))
    new_id = replaced[0]["item_id"]
    assert replaced == [
        {"kind": "authenticator_added", "item_id": new_id, "label": "New"},
        {"kind": "authenticator_removed", "item_id": spare_id, "reason": "replaced"},
    ]
    assert told(world, lambda: world.mfa.rename_authenticator("ann", new_id, "Tablet")) == [
        {"kind": "authenticator_renamed", "item_id": new_id, "label": "Tablet"}
    ]
    proof = world.proof(ann)
    pair = world.code(app, 7), world.code(app, 8)
    assert told(world, lambda: world.mfa.resync("ann", new_id, *pair, proof=proof)) == [
        {"kind": "authenticator_resynced", "item_id": new_id, "label": "Tablet"}
    ]
    assert told(world, lambda: world.mfa.remove_authenticator("ann", new_id, proof=proof)) == [
        {"kind": "authenticator_removed", "item_id": new_id}
    ]


def test_signing_in(world: World) -> None:
    """The password alone, a code due, each way a code goes, a trusted device."""
    begin = lambda **how: world.mfa.begin_login("ann", password_verified=True, **how)  # noqa: E731
    assert told(world, begin) == [{"kind": "signed_in", "method": "password"}]
    world.set_policy(required=True)
    assert told(world, begin) == [{"kind": "enrollment_required"}]
    world.set_policy(required=False)
    ann = world.enroll()
    phone = ann.authenticator_id
    assert told(world, begin) == [{"kind": "code_required"}]
    challenge = world.challenge(ann)
    done: list[Any] = []

    def complete(code: str, **how: Any) -> list[dict[str, Any]]:
        return told(world, lambda: done.append(world.mfa.complete_login(challenge, code, **how)))

    malformed = {"kind": "code_refused", "method": "totp", "reason": "malformed"}
    assert complete("12345") == [malformed]
    assert complete("x", method="recovery") == [malformed | {"method": "recovery"}]
    spent = world.code(ann.app)
    assert complete(spent) == [{"kind": "code_replayed", "method": "totp", "count": 1}]
    wrong = world.wrong_code(ann.app)
    for count in range(2, 6):
        assert complete(wrong) == [{"kind": "code_refused", "method": "totp", "count": count}]
    assert complete(wrong) == [{"kind": "code_throttled", "method": "totp"}]
    refused = {"kind": "code_refused", "method": "recovery", "count": 1}
    assert complete("0" + "Z" * 15, method="recovery") == [refused]
    world.pass_time(seconds=30)
    told_all = complete(world.code(ann.app), trust_device="Firefox")
    device = told_all[1]["item_id"]
    assert told_all == [
        {"kind": "signed_in", "method": "totp", "item_id": phone},
        {"kind": "device_trusted", "item_id": device, "label": "Firefox"},
    ]
    assert told(world, lambda: begin(trusted_device=done[-1].trusted_device)) == [
        {"kind": "signed_in", "method": "trusted_device", "item_id": device}
    ]
    assert told(world, lambda: world.mfa.verify_code("ann", world.fresh_code(ann.app))) == [
        {"kind": "code_accepted", "method": "totp", "item_id": phone}
    ]


def test_recovery_codes(world: World) -> None:
    """Used, few left, made anew."""
    ann = world.enroll()
    sets: list[str] = []
    for left in range(9, 1, -1):
        challenge, code = world.challenge(ann), ann.recovery_codes.pop()
        complete = lambda: world.mfa.complete_login(challenge, code, method="recovery")  # noqa: B023, E731
        events = told(world, complete)
        sets.append(events[-1]["item_id"])
        low = [{"kind": "recovery_codes_low", "count": left}] if left <= 3 else []
        assert events == [
            {"kind": "recovery_code_used", "method": "recovery", "count": left},
            *low,
            {"kind": "signed_in", "method": "recovery", "item_id": sets[0]},
        ]
    proof = world.proof(ann)
    assert told(world, lambda: world.mfa.regenerate_recovery_codes("ann", proof=proof)) == [
        {"kind": "recovery_codes_regenerated", "count": 10}
    ]
    code = world.mfa.regenerate_recovery_codes("ann", proof=proof)[0]
    verified = told(world, lambda: world.mfa.verify_code("ann", code, method="recovery"))
    assert verified == [
        {"kind": "recovery_code_used", "method": "recovery", "count": 9},
        {"kind": "code_accepted", "method": "recovery", "item_id": verified[-1]["item_id"]},
    ]
    assert verified[-1]["item_id"] != sets[0]


def test_passcodes_and_devices(world: World) -> None:
    """Made, first used, used, refused for each reason, renamed, revoked."""
    ann = world.enroll()
    made: list[Any] = []
    proof = world.proof(ann)
    how = {"protocols": ["imap"], "networks": ["192.0.2.0/24"], "proof": proof}
    create = lambda: made.append(world.mfa.create_passcode("ann", label="Phone", **how))  # noqa: E731
    created = told(world, create)
    item = {"item_id": made[0].passcode_id}
    named = item | {"label": "Phone"}
    assert created == [{"kind": "passcode_created"} | named]
    assert (made[0].label, made[0].hint) == ("Phone", made[0].passcode[:4])
    inside, outside = ClientInfo(remote_ip="192.0.2.9"), ClientInfo(remote_ip="198.51.100.9")

    def client(text: str, protocol: str = "imap", where: ClientInfo = inside) -> Any:
        return told(world, lambda: world.client(ann, text, protocol, client=where))

    imap = {"protocol": "imap"}
    accepted = {"kind": "client_signed_in", "method": "passcode"} | imap | named
    text = made[0].passcode
    assert client(text) == [accepted, {"kind": "passcode_first_used"} | imap | named]
    assert client(text) == [accepted]
    refused = {"kind": "client_refused"}
    assert client(wrong_verifier(text)) == [refused | imap | item | {"reason": "wrong_passcode"}]
    smtp = {"protocol": "smtp", "reason": "wrong_protocol"}
    assert client(text, "smtp") == [refused | item | smtp]
    assert client(text, where=outside) == [refused | imap | item | {"reason": "wrong_network"}]
    assert client(text, "ftp") == [refused | {"reason": "protocol"}]
    assert client(PASSWORD) == [refused | imap | {"reason": "two_step_is_on"}]
    assert client(None) == [refused | imap | {"reason": "malformed"}]  # type: ignore[arg-type]
    world.set_policy(passcodes=False)
    assert client(text) == [refused | imap | item | {"reason": "passcodes_off"}]
    world.set_policy(passcodes=True)
    assert told(world, lambda: world.mfa.rename_passcode("ann", *item.values(), "Desk")) == [
        {"kind": "passcode_renamed", "label": "Desk"} | item
    ]
    assert told(world, lambda: world.mfa.revoke_passcode("ann", *item.values())) == [
        {"kind": "passcode_revoked", "label": "Desk"} | item
    ]
    assert client(text) == [refused | imap | {"reason": "unknown_passcode"}]
    proof = world.proof(ann)
    short = world.later(minutes=1)
    expiring = world.mfa.create_passcode("ann", label="Short", expires_at=short, proof=proof)
    world.clock.now = short.timestamp()
    assert client(expiring.passcode)[0]["reason"] == "expired"
    world.trust(ann)
    device = world.mfa.trusted_devices("ann")[0].device_id
    assert told(world, lambda: world.mfa.rename_trusted_device("ann", device, "Lab")) == [
        {"kind": "device_renamed", "item_id": device, "label": "Lab"}
    ]
    assert told(world, lambda: world.mfa.revoke_trusted_device("ann", device)) == [
        {"kind": "device_revoked", "item_id": device, "label": "Lab"}
    ]


def test_mail_without_a_passcode(world: World) -> None:
    """The password alone, then with a code at its end."""
    signed_in = {"kind": "client_signed_in", "protocol": "pop3"}
    refused = {"kind": "client_refused", "protocol": "pop3"}

    def client(text: str) -> Any:
        return told(world, lambda: world.client("ann", text, "pop3"))

    assert client(PASSWORD) == [signed_in | {"method": "password"}]
    assert client("wrong") == [refused | {"reason": "password"}]
    world.set_policy(required=True)
    assert client(PASSWORD) == [refused | {"reason": "enrollment_required"}]
    world.set_policy(required=False, password_with_code=True)
    ann = world.enroll()
    text = PASSWORD + world.fresh_code(ann.app)
    assert client(text) == [signed_in | {"method": "password+code"}]
    assert client(text) == [refused | {"reason": "repeated"}]
    wrong = PASSWORD + world.wrong_code(ann.app)
    assert client(wrong) == [{"kind": "code_refused", "method": "totp", "count": 1}]
    assert client("wrong" + world.fresh_code(ann.app)) == [refused | {"reason": "password"}]
    assert client("no code") == [refused | {"reason": "two_step_is_on"}]
    world.fail(ann, 4)
    assert client(wrong) == [refused | {"reason": "throttled"}]


def test_what_operators_and_the_platform_do(world: World) -> None:
    """Actor and reason are said, and kept in the history."""
    mfa = world.mfa
    taken_over = told(
        world, lambda: mfa.import_authenticator("ann", IMPORTED, label="Old app", **BY)
    )
    item = taken_over[0]["item_id"]
    expected = {"kind": "authenticator_imported", "item_id": item, "label": "Old app"} | BY
    assert taken_over == [expected]
    kept = mfa.history("ann")[-1]
    assert {name: getattr(kept, name) for name in expected} == expected
    assert kept.at == world.now
    assert kept.revision == world.events[-1].revision
    assert told(world, lambda: mfa.password_changed("ann")) == [{"kind": "password_changed"}]
    assert told(world, lambda: mfa.reset("ann", **BY)) == [{"kind": "reset"} | BY]
    ann = world.enroll("bob")
    assert told(world, lambda: mfa.disable("bob", proof=world.proof(ann)))[-1:] == [
        {"kind": "disabled"}
    ]
    world.enroll("cid")
    world.pass_time(days=1)
    world.set_policy(reset_enrolled_before=world.now)
    by_policy = {"actor": "policy", "reason": "reset_enrolled_before"}
    assert told(world, lambda: mfa.begin_login("cid", password_verified=True)) == [
        {"kind": "reset"} | by_policy,
        {"kind": "signed_in", "method": "password"},
    ]
    assert told(world, lambda: mfa.forget("cid", **BY)) == [{"kind": "forgotten"} | BY]


def test_the_lock(world: World) -> None:
    """The wrong code that reaches the cap says both."""
    world.set_policy(code_failures_max=5)
    ann: Person = world.enroll()
    world.fail(ann, 4)
    wrong = world.wrong_code(ann.app)
    assert told(world, lambda: world.mfa.verify_code("ann", wrong)) == [
        {"kind": "code_refused", "method": "totp", "count": 5},
        {"kind": "locked", "method": "totp"},
    ]
    world.mfa.reset("ann", **BY)
    assert told(world, lambda: world.client("ann", PASSWORD)) == [
        {"kind": "client_refused", "protocol": "imap", "reason": "password_suspect"}
    ]


def test_the_end_of_all_sessions(world: World) -> None:
    """Five wrong codes in a session: the fifth says both, the second to the owner."""
    ann = world.enroll()
    wrong = world.wrong_code(ann.app)
    verify = lambda: world.mfa.verify_code("ann", wrong)  # noqa: E731
    for count in range(1, 5):
        assert told(world, verify) == [{"kind": "code_refused", "method": "totp", "count": count}]
    assert told(world, verify) == [
        {"kind": "code_refused", "method": "totp", "count": 5},
        {"kind": "sessions_ended", "reason": "wrong_codes", "count": 5},
    ]
    assert [event.audience.value for event in world.events[-2:]] == ["audit", "owner"]
    assert told(world, verify) == [{"kind": "code_throttled", "method": "totp"}]


def test_the_lock_and_the_end_of_all_sessions_at_once(world: World) -> None:
    """The fifth wrong code in a session may be the one that reaches the cap."""
    world.set_policy(code_failures_max=5)
    ann = world.enroll()
    wrong = world.wrong_code(ann.app)
    verify = lambda: world.mfa.verify_code("ann", wrong)  # noqa: E731
    for _ in range(4):
        told(world, verify)
    assert told(world, verify) == [
        {"kind": "code_refused", "method": "totp", "count": 5},
        {"kind": "locked", "method": "totp"},
        {"kind": "sessions_ended", "reason": "wrong_codes", "count": 5},
    ]
    assert [item.kind for item in world.mfa.history("ann")] == [
        "enrolled",
        "locked",
        "sessions_ended",
    ]


def test_spent_codes_given_to_resync(world: World) -> None:
    """They are a replay, as anywhere; a pair that is none is a wrong code."""
    ann = world.enroll()
    world.pass_time(minutes=10)
    proof = world.proof(ann)
    spent = world.code(ann.app, -1), world.code(ann.app)
    resync = lambda pair: world.mfa.resync("ann", ann.authenticator_id, *pair, proof=proof)  # noqa: E731
    assert told(world, lambda: resync(spent)) == [
        {"kind": "code_replayed", "method": "totp", "count": 1}
    ]
    assert told(world, lambda: resync(spent[::-1])) == [
        {"kind": "code_refused", "method": "totp", "count": 2}
    ]


def test_a_wrong_password_is_told_to_the_log_alone(world: World) -> None:
    """A stranger can type one."""
    begin = lambda text: world.mfa.begin_login(  # noqa: E731
        "ann", password=text, check_password=lambda _: None
    )
    for text in ("wrong", ""):
        assert told(world, lambda: begin(text)) == [{"kind": "password_refused"}]  # noqa: B023
        assert world.events[-1].audience.value == "audit"
    assert world.row("ann") is None


def test_runs_over_many_accounts(world: World) -> None:
    """Each account that a run changed tells so itself."""
    world.enroll()
    world.keys = {"k2": bytes(range(1, 33)), **world.keys}  # the newest first
    world.mfa = world.make_mfa()
    rotated = told(world, world.mfa.rotate_keys)
    assert rotated == [{"kind": "keys_rotated"}]
    assert told(world, world.mfa.rotate_keys) == []
    assert told(world, lambda: world.mfa.reset_group(**BY)) == [{"kind": "reset"} | BY]
    world.mfa.reset("ann", reenroll=True, **BY)
    assert world.mfa.status("ann").is_required
    world.mfa.import_authenticator("ann", IMPORTED, **BY)
    assert not world.mfa.status("ann").is_required
