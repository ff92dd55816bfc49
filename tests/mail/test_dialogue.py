"""The Dovecot authentication protocol, line by line, and what no line of it may do."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfakit.mail.dialogue import Ask, Dialogue, ProtocolError, Say, accepted, hello, refused


def _b64(text: bytes) -> bytes:
    return base64.b64encode(text)


def _greeted() -> Dialogue:
    dialogue = Dialogue()
    assert dialogue.receive(b"VERSION\t1\t1") is None
    assert dialogue.receive(b"CPID\t4711") is None
    return dialogue


def _auth(mechanism: bytes, response: bytes | None, number: bytes = b"1") -> bytes:
    line = b"AUTH\t%b\t%b\tservice=smtp\tnologin\tlip=127.0.0.1\trip=192.0.2.7\tsecured" % (
        number,
        mechanism,
    )
    return line if response is None else line + b"\tresp=" + response


def _ask(step: object) -> tuple[str | None, bytes | None]:
    assert isinstance(step, Ask)
    attempt = step.attempt
    return attempt.login, attempt.password and attempt.password.reveal()


def test_what_a_server_says_first() -> None:
    """Byte for byte what Dovecot's protocol description asks of a server."""
    assert hello(17, 3, "ab" * 16) == (
        b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t17\nCUID\t3\n"
        b"COOKIE\tabababababababababababababababab\nDONE\n"
    )


def test_plain_with_an_initial_response() -> None:
    """Postfix hands over what the client sent with AUTH PLAIN."""
    step = _greeted().receive(_auth(b"PLAIN", b"AGFubkBleGFtcGxlLmNvbQBodW50ZXIy"))
    assert _ask(step) == ("ann@example.com", b"hunter2")
    assert isinstance(step, Ask)
    assert step.attempt.protocol == "smtp"
    assert step.attempt.client.remote_ip == "192.0.2.7"
    assert accepted(step) == b"OK\t1\tuser=ann@example.com\n"
    assert refused(step.number) == b"FAIL\t1\n"


@pytest.mark.parametrize("empty", [None, b""])
def test_plain_without_one(empty: bytes | None) -> None:
    """The client is asked with an empty challenge. RFC 4954 §4."""
    dialogue = _greeted()
    assert dialogue.receive(_auth(b"plain", empty)) == Say(b"CONT\t1\t\n")
    assert _ask(dialogue.receive(b"CONT\t1\t" + _b64(b"\0ann\0pw"))) == ("ann", b"pw")


@pytest.mark.parametrize("empty", [None, b""])
def test_login(empty: bytes | None) -> None:
    """Exim sends an empty response where its client sent none."""
    dialogue = _greeted()
    assert dialogue.receive(_auth(b"LOGIN", empty)) == Say(b"CONT\t1\tVXNlcm5hbWU6\n")
    assert dialogue.receive(b"CONT\t1\t" + _b64(b"ann")) == Say(b"CONT\t1\tUGFzc3dvcmQ6\n")
    assert _ask(dialogue.receive(b"CONT\t1\t" + _b64(b"pw"))) == ("ann", b"pw")


def test_login_with_the_name_at_once() -> None:
    dialogue = _greeted()
    assert dialogue.receive(_auth(b"LOGIN", _b64(b"ann"))) == Say(b"CONT\t1\tUGFzc3dvcmQ6\n")
    assert _ask(dialogue.receive(b"CONT\t1\t" + _b64(b"pw"))) == ("ann", b"pw")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"ann",
        b"\0ann",
        b"ann\0pw",
        b"\0ann\0pw\0more",
        b"bob\0ann\0pw",  # somebody acts for somebody else
        b"\0\0pw",
        b"\0ann\nbob\0pw",
        b"\0ann\x01t\0pw",
        b"\0a\xffnn\0pw",
        b"\0" + b"a" * 321 + b"\0pw",
        "\0ann\u202e\0pw".encode(),
    ],
)
def test_a_message_that_names_nobody(message: bytes) -> None:
    """It is asked about like any other, and names nobody: refused at the same time."""
    step = _greeted().receive(_auth(b"PLAIN", _b64(message) or b"="))
    assert _ask(step)[0] is None


def test_a_password_that_is_no_text() -> None:
    assert _ask(_greeted().receive(_auth(b"PLAIN", _b64(b"\0ann\0p\xff")))) == ("ann", None)
    assert _ask(_greeted().receive(_auth(b"PLAIN", _b64(b"\0ann\0" + b"x" * 9000)))) == (
        "ann",
        None,
    )


@pytest.mark.parametrize("response", [b"!", b"=", b"AAA", b"AA==AA==", b"A A=", "é".encode()])
def test_bad_base64(response: bytes) -> None:
    assert _ask(_greeted().receive(_auth(b"PLAIN", response))) == (None, None)


def test_acting_for_oneself_is_fine() -> None:
    assert _ask(_greeted().receive(_auth(b"PLAIN", _b64(b"ann\0ann\0pw")))) == ("ann", b"pw")


@pytest.mark.parametrize("mechanism", [b"CRAM-MD5", b"XOAUTH2", b"", b"PLAIN PLAIN"])
def test_an_unknown_mechanism_fails(mechanism: bytes) -> None:
    assert _greeted().receive(_auth(mechanism, b"AA==")) == Say(b"FAIL\t1\n")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"USER\t1\tann\tservice=smtp",
        b"PASS\t1\tann",
        b"MASTER\t1\t2\t3\tcookie",
        b"auth\t1\tPLAIN",
        b"VERSION\t1\t1",
        b"AUTH",
        b"AUTH\t1",
        b"AUTH\tx\tPLAIN",
        b"AUTH\t-1\tPLAIN",
        b"AUTH\t99999999999\tPLAIN",
        b"CONT\t1\tAA==",
        b"CONT",
        b"CANCEL",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1",
    ],
)
def test_what_is_no_line_of_the_protocol(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        _greeted().receive(line)


@pytest.mark.parametrize("line", [b"VERSION\t2\t0", b"VERSION", b"AUTH\t1\tPLAIN", b"CPID\t1"])
def test_the_version_comes_first(line: bytes) -> None:
    """A peer of another major version would not mean what it says."""
    with pytest.raises(ProtocolError):
        Dialogue().receive(line)


def test_a_number_is_one_request() -> None:
    dialogue = _greeted()
    dialogue.receive(_auth(b"LOGIN", None))
    with pytest.raises(ProtocolError):
        dialogue.receive(_auth(b"LOGIN", None))
    assert dialogue.receive(b"CANCEL\t1") is None
    assert isinstance(dialogue.receive(_auth(b"LOGIN", None)), Say)


def test_unfinished_requests_are_bounded() -> None:
    dialogue = _greeted()
    for number in range(256):
        dialogue.receive(_auth(b"LOGIN", None, b"%d" % number))
    with pytest.raises(ProtocolError):
        dialogue.receive(_auth(b"LOGIN", None, b"256"))


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_random_lines_ask_about_nobody(lines: list[bytes]) -> None:
    """Whatever comes: lines of the protocol, or its end."""
    dialogue = _greeted()
    for line in lines:
        try:
            step = dialogue.receive(line)
        except ProtocolError:
            return
        assert step is None or isinstance(step, Say)


_WORDS = st.sampled_from([b"AUTH", b"CONT", b"CANCEL", b"CPID", b"1", b"2", b"PLAIN", b"LOGIN"])
_PARTS = st.one_of(_WORDS, st.just(b"service=smtp"), st.binary(max_size=12))


@given(st.lists(st.lists(_PARTS, min_size=1, max_size=6).map(b"\t".join), max_size=12))
def test_nearly_right_lines_never_raise_anything_else(lines: list[bytes]) -> None:
    dialogue = _greeted()
    for line in lines:
        try:
            step = dialogue.receive(line)
        except ProtocolError:
            return
        if isinstance(step, Say):
            assert step.line.endswith(b"\n")
            assert step.line.count(b"\n") == 1
