"""The key ring: every source, static errors, and no way to print or copy a key."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import pytest

from mfakit import KeyRing
from mfakit.errors import ConfigurationError, KeyUnavailableError

OLD, NEW = bytes(range(32)), bytes(range(64, 96))
# By `openssl base64`, URL-safe, padding dropped.
OLD_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
NEW_TEXT = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8"


def _is_both(ring: KeyRing) -> bool:
    keys = ring.key("2027").reveal(), ring.key("2026").reveal()
    return ring.key_ids == ("2027", "2026") and ring.newest == "2027" and keys == (NEW, OLD)


def test_from_a_mapping() -> None:
    """The first is the newest; order is kept."""
    assert _is_both(KeyRing({"2027": NEW, "2026": OLD}))


@pytest.mark.parametrize(
    "text",
    [
        f"2027:{NEW_TEXT}\n2026:{OLD_TEXT}\n",
        f"2027:{NEW_TEXT},2026:{OLD_TEXT}",
        f"2027:{NEW_TEXT}= 2026:{OLD_TEXT}=",
        f"# keys\r\n\r\n  2027:{NEW_TEXT} # since January\r\n\t2026:{OLD_TEXT}, # drop in June\n#",
    ],
)
def test_from_text(text: str) -> None:
    """Entries apart by white space or commas, comments, padding or none."""
    assert _is_both(KeyRing.from_text(text))


def test_from_a_file(tmp_path: Path) -> None:
    """The same entries in a file."""
    path = tmp_path / "keys"
    path.write_text(f"2027:{NEW_TEXT}\n2026:{OLD_TEXT}\n")
    assert _is_both(KeyRing.from_file(path))
    assert _is_both(KeyRing.from_file(str(path)))


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same entries in a variable."""
    monkeypatch.setenv("MFAKIT_KEYS", f"2027:{NEW_TEXT},2026:{OLD_TEXT}")
    monkeypatch.setenv("OTHER", f"2026:{OLD_TEXT}")
    assert _is_both(KeyRing.from_environment())
    assert KeyRing.from_environment("OTHER").key_ids == ("2026",)


def test_a_made_entry_is_read() -> None:
    """`generate_entry` makes 32 random bytes, new ones each time."""
    first, second = KeyRing.generate_entry("2027"), KeyRing.generate_entry("2027")
    assert first != second
    assert len(KeyRing.from_text(first).key("2027").reveal()) == 32


@pytest.mark.parametrize("length", [32, 48, 64])
def test_key_lengths_that_are_taken(length: int) -> None:
    """256 to 512 bits."""
    assert len(KeyRing({"a": bytes(length)}).key("a").reveal()) == length


@pytest.mark.parametrize("key_id", ["a", "A-b_9", "x" * 24, "-", "_"])
def test_key_ids_that_are_taken(key_id: str) -> None:
    """1-24 characters that need no quoting anywhere."""
    assert KeyRing({key_id: OLD}).key_ids == (key_id,)


@pytest.mark.parametrize(
    "keys",
    [{}, {"a": bytes(31)}, {"a": bytes(65)}, {"a": b""}, {"a": "x" * 32}, {"a": None}, {"a": bytearray(32)},
     {"": OLD}, {"a.b": OLD}, {"a b": OLD}, {"x" * 25: OLD}, {"ä": OLD}, {"a\n": OLD}, {7: OLD}, {None: OLD}],
    ids=lambda one: str(one)[:24],
)  # fmt: skip
def test_wrong_keys(keys: dict[str, bytes]) -> None:
    """Refused at start-up, with a text that says what is right and repeats nothing."""
    with pytest.raises(ConfigurationError) as caught:
        KeyRing(keys)
    assert str(caught.value) in {
        "A key ring needs at least one key, and each key id once.",
        "A key must be 32 to 64 random bytes, in text as `id:base64url`.",
        "A key id must be 1 to 24 letters, digits, hyphens or underscores.",
    }


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "2027", f"{NEW_TEXT}", f"2027={NEW_TEXT}", f"2027:{NEW_TEXT}!", "2027:", "2027:AAAA",
     f"2027:{NEW_TEXT} 2027:{OLD_TEXT}", f":{NEW_TEXT}", f"2027:{NEW_TEXT}:{OLD_TEXT}", f"2027:{NEW_TEXT[:-1]}9",
     f"20.27:{NEW_TEXT}", f"2027: {NEW_TEXT}", f"2027:{'QEFC' * 30}", f"2027:{NEW_TEXT}\0"],
    ids=lambda one: ascii(one)[:24],
)  # fmt: skip
def test_wrong_text(text: str) -> None:
    """The text of the error is static: a key with a typo is still a key."""
    with pytest.raises(ConfigurationError) as caught:
        KeyRing.from_text(text)
    assert NEW_TEXT[:8] not in str(caught.value)
    assert len(caught.value.args) == 1
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a directory, not UTF-8: one static error without the path's exception behind it."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + OLD)
    for name in ("missing", ".", "binary"):
        with pytest.raises(ConfigurationError) as caught:
            KeyRing.from_file(tmp_path / name)
        assert str(caught.value) == ("The key file cannot be read. Check its path and permissions.")
        assert caught.value.__context__ is None


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in words, at start-up."""
    monkeypatch.delenv("MFAKIT_KEYS", raising=False)
    with pytest.raises(ConfigurationError, match="is not set"):
        KeyRing.from_environment()


def test_an_unknown_key() -> None:
    """Operational: add the key."""
    with pytest.raises(KeyUnavailableError):
        KeyRing({"2027": NEW}).key("2026")


def test_no_way_to_print_or_copy() -> None:
    """Ids are shown, keys are not, and a ring does not leave the process."""
    ring = KeyRing({"2027": NEW, "2026": OLD})
    assert repr(ring) == str(ring) == f"{ring}" == "KeyRing(2027, 2026)"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(ring, protocol)
    for make in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            make(ring)
    shown = repr(vars(ring))
    assert repr(NEW)[2:-1] not in shown
    assert NEW_TEXT not in shown


# ------------------------------------------------------------------------- a key management service


def test_a_service_is_asked_once_for_each_id() -> None:
    """On first use; unknown ids never reach it, so a stranger's token cannot make calls."""
    asked: list[str] = []

    def fetch(key_id: str) -> bytes:
        asked.append(key_id)
        return NEW if key_id == "2027" else OLD

    ring = KeyRing.from_callable(fetch, key_ids=["2027", "2026"])
    assert asked == []
    for _ in range(3):
        assert _is_both(ring)
        with pytest.raises(KeyUnavailableError):
            ring.key("2025")
        with pytest.raises(KeyUnavailableError):
            ring.key("")
    assert asked == ["2027", "2026"]
    assert repr(ring) == "KeyRing(2027, 2026)"


def test_a_service_that_fails_is_asked_again() -> None:
    """What it raised goes no further: it may hold credentials."""
    answers = [RuntimeError("token=hunter2"), TimeoutError(), NEW]

    def fetch(_: str) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    ring = KeyRing.from_callable(fetch, key_ids=["2027"])
    for _ in range(2):
        with pytest.raises(KeyUnavailableError) as caught:
            ring.key("2027")
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    assert ring.key("2027").reveal() == NEW
    assert answers == []


@pytest.mark.parametrize("answer", [None, b"", bytes(31), bytes(65), "x" * 32, 7])
def test_a_service_that_gives_no_key(answer: object) -> None:
    """Operational, and nothing is sealed under it."""
    ring = KeyRing.from_callable(lambda _: answer, key_ids=["a"])  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyUnavailableError):
        ring.key("a")


@pytest.mark.parametrize("key_ids", [[], ["a", "a"], ["a b"], [7]], ids=str)
def test_wrong_ids_for_a_service(key_ids: list[str]) -> None:
    """Checked at start-up, without a call."""
    with pytest.raises(ConfigurationError):
        KeyRing.from_callable(lambda _: NEW, key_ids=key_ids)


def test_threads_share_one_ring() -> None:
    """Every thread gets the same key."""
    ring = KeyRing.from_callable(lambda _: NEW, key_ids=["a"])
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(ring.key("a").reveal())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [NEW] * 8
