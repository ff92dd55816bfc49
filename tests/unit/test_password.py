"""The platform's verdict on a password: asked once, for one epoch, about one text."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from unit_world import World, vault_of

from mfakit import Policy
from mfakit.core.decision import Case, CheckPassword, Decision
from mfakit.core.password import ask_password
from mfakit.core.secret import Secret
from mfakit.errors import ContentionError, PasswordRefusedError

REFUSED: Decision[Any] = Decision(outcome=PasswordRefusedError())


def _case(**changes: Any) -> Case:
    """Return an account that was opened, and is in its second epoch unless `changes` say otherwise."""
    world = World()
    world.mfa.open_account("ann")
    record = replace(world.record(), **{"epoch": "second", "epoch_is_first": False} | changes)
    return Case(record=record, now=0, policy=Policy(), vault=vault_of(world.mfa))


def _asked(case: Case, text: bytes = b"hunter2") -> CheckPassword:
    question = ask_password(case, Secret(text), REFUSED)
    assert isinstance(question, CheckPassword)
    return question


def _told(case: Case, question: CheckPassword, is_right: object, **others: Any) -> Case:
    return replace(case, evidence={question.key: is_right, **others})


@pytest.mark.parametrize("password", [None, Secret(b"")], ids=["no text", "empty"])
@pytest.mark.parametrize("is_right", [None, True], ids=["not asked", "vouched for"])
def test_no_password_is_refused_unasked(password: Secret | None, is_right: bool | None) -> None:
    """A directory says yes to an empty one (RFC 4513 §5.1.2): no verdict makes it right."""
    case = _case()
    if is_right:
        case = _told(case, _asked(case), is_right)
    assert ask_password(case, password, REFUSED) is REFUSED


@pytest.mark.parametrize("text", [b" ", b"\0", b"0", b"hunter2", "Füße".encode()])
def test_any_other_text_is_asked_about_as_it_is(text: bytes) -> None:
    """Never trimmed or folded; the question names account and epoch."""
    question = _asked(_case(), text)
    assert question.password.reveal() == text
    assert (question.account_id, question.epoch) == ("ann", "second")
    assert question.key == ("password", "second", question.fingerprint)


def test_a_fingerprint_stands_for_one_text_in_one_process() -> None:
    """Equal for equal texts, and no hash of the password that another process could compare."""
    case, other = _case(), _case()
    once, again = _asked(case).fingerprint, _asked(case).fingerprint
    assert once == again
    assert len(once) == 64
    assert len({once, _asked(case, b"hunter3").fingerprint, _asked(other).fingerprint}) == 3


def test_a_verdict_is_the_answer() -> None:
    """Right: nothing speaks against it. Wrong: the refusal of the caller, and no second question."""
    case = _case()
    question = _asked(case)
    assert ask_password(_told(case, question, True), Secret(b"hunter2"), REFUSED) is None
    assert ask_password(_told(case, question, False), Secret(b"hunter2"), REFUSED) is REFUSED


def test_verdicts_on_hashes_are_none_on_a_password() -> None:
    """Evidence of a passcode or a recovery code does not stand for the password's."""
    case = replace(_case(), evidence={("item", "hash"): True, ("new", "passcode"): ()})
    assert isinstance(ask_password(case, Secret(b"hunter2"), REFUSED), CheckPassword)


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("text", [b"hunter3", b"hunter", b"hunter2 "])
def test_a_verdict_on_another_text_is_none(text: bytes, is_right: bool) -> None:
    """What is the password may change meanwhile, where a code is cut off its end: not asked again."""
    case = _case()
    against = ask_password(_told(case, _asked(case), is_right), Secret(text), REFUSED)
    assert isinstance(against, Decision)
    assert isinstance(against.outcome, ContentionError)
    assert against.record is None


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize(
    ("asked_in", "now_in", "is_first", "holds"),
    [
        ("second", "second", False, True),
        ("second", "third", False, False),
        ("none", "none", False, True),
        ("none", "first", True, True),  # the first write raised nothing
        ("none", "second", False, False),
        ("first", "second", True, False),
    ],
)
def test_a_verdict_is_of_its_epoch(
    asked_in: str, now_in: str, is_first: bool, holds: bool, is_right: bool
) -> None:
    """The password was changed while it was checked: the old one lets nobody in."""
    before = _case(epoch=asked_in)
    case = before.of(replace(before.record, epoch=now_in, epoch_is_first=is_first))
    against = ask_password(_told(case, _asked(before), is_right), Secret(b"hunter2"), REFUSED)
    if holds:
        assert against is (None if is_right else REFUSED)
        return
    assert isinstance(against, Decision)
    assert isinstance(against.outcome, ContentionError)
    assert (against.record, against.events) == (None, ())
