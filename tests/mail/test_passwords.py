"""Ready password checks: a passwd file as Dovecot reads it, an htpasswd file, a query."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mail.test_hashes import HASHES
from mfakit.errors import ConfigurationError
from mfakit.mail import Htpasswd, PasswdFile, SQLQuery


def _resolve(source: Any, login: str) -> str | None:
    found = source.resolve_account(login)
    return found if found is None or isinstance(found, str) else asyncio.run(found)


PASSWD = f"""# users
Ann@example.com:{HASHES[2]}:1000:1000::/srv/mail/ann::
bob@example.com:{HASHES[2]}
eve@example.com:{HASHES[2]}::::::userdb_quota=1 nologin
fay@example.com:!{HASHES[2]}:::
gus@example.com:::::
hal@example.com:{HASHES[2]}::::::userdb_mail=maildir:~/x

"""


def test_a_passwd_file(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(PASSWD)
    users = PasswdFile(path)
    assert _resolve(users, "ANN@example.com") == "Ann@example.com"
    assert users.check_password("ann@EXAMPLE.com", "pw") == "Ann@example.com"
    assert users.check_password("bob@example.com", "pw") == "bob@example.com"
    assert users.check_password("hal@example.com", "pw") == "hal@example.com"
    assert users.check_password("bob@example.com", "wrong") is None
    for name in ("eve", "fay", "gus", "nobody", "# users"):
        assert _resolve(users, f"{name}@example.com") is None
        assert users.check_password(f"{name}@example.com", "pw") is None
    # The Kelvin sign is no k, whatever Unicode's lower case says.
    path.write_text(f"kim@example.com:{HASHES[2]}\n")
    os.utime(path, ns=(1, 1))
    assert _resolve(users, "KIM@example.com") == "kim@example.com"
    assert _resolve(users, "\u212aim@example.com") is None
    assert _resolve(users, "ann@example.com") is None


def test_a_file_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(PASSWD)
    users = PasswdFile(path)
    path.unlink()
    with pytest.raises(OSError, match="users"):
        users.check_password("bob@example.com", "pw")
    path.write_text(PASSWD)
    assert users.check_password("bob@example.com", "pw") == "bob@example.com"


def test_two_people_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"Ann:{HASHES[2]}\nann:{HASHES[2]}\n")
    with pytest.raises(ConfigurationError):
        PasswdFile(path)


def test_an_htpasswd_file(tmp_path: Path) -> None:
    """Lines of `htpasswd -m`, `-B`, `-s`; clear text is an error and lets nobody in."""
    path = tmp_path / "htpasswd"
    apache = subprocess.run(
        ["openssl", "passwd", "-apr1", "pw"], check=True, capture_output=True, text=True
    )
    path.write_text(
        f"ann:{apache.stdout.strip()}\nbob:{HASHES[8]}\nc c:{{SHA}}GjwNvZSHZDBJF3AbFhHg7NDJEuA=\nd:pw\n"
    )
    users = Htpasswd(path)
    for name in ("ann", "bob"):
        assert _resolve(users, name) == name
        assert users.check_password(name, "pw") == name
        assert users.check_password(name, "no") is None
    with pytest.raises(ConfigurationError):
        users.check_password("d", "pw")
    assert _resolve(users, "nobody") is None


@pytest.mark.parametrize("end", [*"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", "\r", "\r\r"])
@pytest.mark.parametrize("kind", [PasswdFile, Htpasswd])
def test_an_account_begins_after_a_newline_only(
    tmp_path: Path, kind: type[PasswdFile | Htpasswd], end: str
) -> None:
    """Whoever writes a field of an account's line, their own name even, adds no account with it."""
    path = tmp_path / "users"
    line = f"ann:{HASHES[2]}:1000:1000:Ann{end}mallory:{HASHES[2]}:::::\n"
    path.write_bytes(line.encode() + f"bob:{HASHES[2]}\r\n".encode())
    users = kind(path)
    assert users.check_password("ann", "pw") == "ann"
    assert users.check_password("bob", "pw") == "bob"
    assert users.check_password("mallory", "pw") is None
    assert users.find_problems() == []


def test_a_field_in_another_encoding_spoils_its_line_only(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes(
        f"ann:{HASHES[2]}:::J\xf6rg::\nb\xf6b:{HASHES[2]}\neve:\xff\n".encode("latin-1")
    )
    users = PasswdFile(path)
    assert users.check_password("ann", "pw") == "ann"
    assert users.check_password("b\u00f6b", "pw") is None
    with pytest.raises(ConfigurationError):
        users.check_password("eve", "\u00ff")


RESTRICTED = {
    "allow_nets=10.0.0.0/8": "line 2: the field allow_nets: ",
    "userdb_quota=1 allow_nets:protected=192.0.2.0/24": "line 2: an unknown extra field: ",
    "nologin": "line 2: the field nologin: ",
    "nodelay nologin=n": "line 2: the field nologin: ",
    "fail": "line 2: the field fail: ",
    "noauthenticate=y": "line 2: the field noauthenticate: ",
    "nopassword": "line 2: the field nopassword: ",
    "user=bob": "line 2: the field user: ",
    "proxy host=192.0.2.1": "line 2: the field proxy: ",
    "delay_until=1999999999": "line 2: the field delay_until: ",
    "sesame": "line 2: an unknown extra field: ",
    "=": "line 2: an unknown extra field: ",
    "nodelay\tnologin": "line 2: an unknown extra field: ",
    "\0": "line 2: a NUL character: ",
}


@pytest.fixture
def journal(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "mfakit.mail"):
        yield caplog


@pytest.mark.parametrize("fields", RESTRICTED)
def test_a_restricting_field_refuses_its_account(
    tmp_path: Path, fields: str, journal: pytest.LogCaptureFixture
) -> None:
    """Dovecot would look at the client's address first, or say no: here nobody comes in."""
    path = tmp_path / "users"
    path.write_text(f"# users\nann:{HASHES[9]}:1:1::/home::{fields}\nbob:{HASHES[2]}\n")
    users = PasswdFile(path)
    assert users.check_password("ann", "pw") is None
    assert _resolve(users, "Ann") is None
    assert users.check_password("bob", "pw") == "bob"
    wanted = RESTRICTED[fields]
    assert users.find_problems() == [f"{path} {wanted}every login of the account is refused."]
    assert [one.getMessage() for one in journal.records] == ["account_restricted"] * 2
    said = journal.records[0].__dict__["fields"]
    assert said == {"file": str(path), "line": 2, "reason": wanted[8:-2]}


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "nodelay",
        "  nodelay  nodelay=y ",
        "userdb_quota_rule=*:storage=1G userdb_nologin=y",
        "event_tenant=nologin forward_x=allow_nets",
        ":maildir:~/nologin fail",  # the old format: an empty field, then where the mail is
    ],
)
def test_a_field_that_restricts_nothing_changes_nothing(tmp_path: Path, fields: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"ann:{HASHES[2]}:1:1:nologin:/home:nologin:{fields}\n")
    users = PasswdFile(path)
    assert users.check_password("ann", "pw") == "ann"
    assert users.find_problems() == []


def test_of_two_entries_dovecot_takes_the_first(tmp_path: Path) -> None:
    """So a suspended one is not made good by another, further down."""
    path = tmp_path / "users"
    path.write_text(f"ann:!{HASHES[2]}\nann:{HASHES[2]}\n")
    with pytest.raises(ConfigurationError, match="Lines 1 and 2"):
        PasswdFile(path)


@pytest.mark.parametrize("kind", [PasswdFile, Htpasswd])
def test_hashes_that_cannot_be_verified_are_listed(
    tmp_path: Path, kind: type[PasswdFile | Htpasswd]
) -> None:
    """By line and scheme, without a letter of the hash; suspended entries are no problem."""
    path = tmp_path / "users"
    path.write_text(
        f"ann:{HASHES[0]}\nbob:$y$j9T$salt$sesame\ncid:{{CRAM-MD5}}5e5a0e\n\ndan:sesame\neve:\n"
    )
    text = "cannot be verified. Store one of a scheme that docs/auth-service.md lists."
    assert kind(path).find_problems() == [
        f"{path} line 2: A password hash of the scheme yescrypt {text}",
        f"{path} line 3: A password hash of the scheme CRAM-MD5 {text}",
        f"{path} line 5: A password hash of an unknown scheme {text}",
    ]


def test_a_query() -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE users (id, login, hash, active)")
        rows = [(7, "ann", HASHES[2], 1), (8, "bob", HASHES[2], 0), (9, "eve", HASHES[2], 1)]
        for row in [*rows, (10, "eve", HASHES[2], 1)]:
            connection.exec_driver_sql("INSERT INTO users VALUES (?, ?, ?, ?)", row)
    users = SQLQuery(engine, "SELECT id, hash FROM users WHERE login = lower(:login) AND active")
    assert _resolve(users, "ANN") == "7"
    assert users.check_password("Ann", "pw") == "7"
    assert users.check_password("ann", "no") is None
    for login in ("bob", "' OR 1=1 --", "nobody"):
        assert _resolve(users, login) is None
        assert users.check_password(login, "pw") is None
    with pytest.raises(ConfigurationError):
        _resolve(users, "eve")
    engine.dispose()


class _Answers:
    """A query over one row of chosen values, whatever the login; SQLite returns them as they are."""

    def __init__(self, account_id: object, stored: object) -> None:
        import sqlalchemy

        self.engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE users (login, id, hash)")
            row = ("ann", account_id, stored)
            connection.exec_driver_sql("INSERT INTO users VALUES (?, ?, ?)", row)
        self.users = SQLQuery(self.engine, "SELECT id, hash FROM users WHERE login = :login")


@pytest.mark.parametrize(
    "account_id", [b"ann", None, 7.0, "", " ", "ann ", "ann\n"], ids=lambda one: repr(one)
)
def test_what_is_no_id_names_nobody(account_id: object) -> None:
    """`str(b"ann")` names an account that has no record: a password would open ann's mailbox."""
    answers = _Answers(account_id, HASHES[2])
    with pytest.raises(ConfigurationError, match="first column"):
        _resolve(answers.users, "ann")
    for password in ("pw", "wrong"):
        with pytest.raises(ConfigurationError, match="first column"):
            answers.users.check_password("ann", password)
    answers.engine.dispose()


@pytest.mark.parametrize(
    "value", [True, False, Decimal(7), UUID(int=7), bytearray(b"ann"), memoryview(b"ann")]
)
def test_what_other_drivers_give_is_no_id_either(value: object) -> None:
    answers = _Answers("ann", HASHES[2])
    answers.users._find = lambda _: (value, HASHES[2])  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ConfigurationError, match="first column"):
        _resolve(answers.users, "ann")
    answers.engine.dispose()


@pytest.mark.parametrize(("account_id", "wanted"), [("ann", "ann"), (7, "7"), (-1, "-1")])
def test_text_and_whole_numbers_are_ids(account_id: object, wanted: str) -> None:
    answers = _Answers(account_id, HASHES[2])
    assert _resolve(answers.users, "ann") == wanted
    assert answers.users.check_password("ann", "pw") == wanted
    answers.engine.dispose()


@pytest.mark.parametrize("stored", [HASHES[2].encode(), 7, 7.0], ids=["bytes", "int", "float"])
def test_what_is_no_text_is_no_hash(stored: object) -> None:
    answers = _Answers("ann", stored)
    assert _resolve(answers.users, "ann") == "ann"
    with pytest.raises(ConfigurationError, match="second column"):
        answers.users.check_password("ann", "pw")
    answers.engine.dispose()


def test_no_password_fits_no_hash() -> None:
    """NULL: the account has no password, as one that signs in elsewhere; its passcodes work."""
    answers = _Answers("ann", None)
    assert _resolve(answers.users, "ann") == "ann"
    for password in ("None", "", "pw"):
        assert answers.users.check_password("ann", password) is None
    answers.engine.dispose()


WRONG_QUERIES = {
    "SELECT id, hash FROM users WHERE login = 'ann'": "parameter :login",
    "SELECT id, hash FROM users WHERE login = :login AND id = :id": "parameter :login",
    "SELECT hash FROM users WHERE login = :login": "two columns",
    "SELECT id, hash, login FROM users WHERE login = :login": "two columns",
    "SELECT id, hash FROM users WHERE login = :login OR true": "nobody has",
    "UPDATE users SET hash = '' WHERE login = :login": "two columns",
}


@pytest.mark.parametrize("query", WRONG_QUERIES)
def test_a_wrong_query_is_found_before_the_first_login(query: str) -> None:
    answers = _Answers("ann", HASHES[2])
    with pytest.raises(ConfigurationError, match=WRONG_QUERIES[query]):
        SQLQuery(answers.engine, query).find_problems()
    assert answers.users.find_problems() == []
    answers.engine.dispose()
