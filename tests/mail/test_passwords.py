"""Ready password checks: Dovecot's own hashes, Apache's, a query."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mfakit.errors import ConfigurationError
from mfakit.mail import Htpasswd, PasswdFile, SQLQuery
from mfakit.mail.passwords import verify_hash

# Made elsewhere for the password "pw": doveadm pw, htpasswd, openssl passwd.
HASHES = [
    "{SHA512-CRYPT}$6$qseTIB20YyoGApd.$KwpgEnlPeh82Q/DfiEBqYIyIzUm4wwi7MWy7IX207i3aQtv14jkEFNAEugY8djeI3gPtjbMLbKke6H5NA53Ff/",
    "{BLF-CRYPT}$2y$05$Xo2g9KEuPzzKI4eBXImaquGKrtU3mD.bFRA/ioJk.LOw1G79FMxNu",
    "{SSHA}Rf+8XP158g+qzBz3CcjtbHjChOGmYUlj",
    "{SSHA512}kbEQ6BM1Su/uW8mlvVze8vSDPT0SWmUELIaEqS8W2caaR2x61mJlhzLQ1aZKhvwmSvFu9O1ju7PfUvRpu+MJlhRLbIU=",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Sirl4G5aqK0dnqFCVuJPAQ$aw9l4eS5CdfrBWFjkAiT6H620UgqSPxNyBwzTBFkKvw",
    "{MD5-CRYPT}$1$GDGQ3f5N$34tOECzy9ivgzlyq.QV1i0",
    "{CRYPT}$2y$05$0TDuutn26oamr/uc1BOQMelKOHuzpwRrRGtmGvsknZ9.KlMAbW6sy",
    "{sha256-crypt}$5$z/NOgcpgrMLKM9ap$UXrSvs1a7TV76Xor7ryAhJ.n3nc0rZ3sWK8.3lGsIw4",
    "$2y$05$0TDuutn26oamr/uc1BOQMelKOHuzpwRrRGtmGvsknZ9.KlMAbW6sy",
]


def _resolve(source: Any, login: str) -> str | None:
    found = source.resolve_account(login)
    return found if found is None or isinstance(found, str) else asyncio.run(found)


@pytest.mark.parametrize("stored", HASHES, ids=[one[:10] for one in HASHES])
def test_hashes_of_doveadm(stored: str) -> None:
    assert verify_hash("pw", stored)
    for wrong in ("", "PW", "pw ", "pw\0", "pw\0pw", "x" * 5000, "pä"):
        assert not verify_hash(wrong, stored)


@pytest.mark.parametrize("stored", ["pw", "{PLAIN}pw", "{PBKDF2}$1$x$5000$y", "", "!", "$2y$05$x"])
def test_what_is_no_known_hash_is_an_error(stored: str) -> None:
    """Clear text is never compared: a torn file must not become a list of passwords."""
    with pytest.raises(ConfigurationError):
        verify_hash("pw", stored)


def test_doveadm_agrees(tmp_path: Path) -> None:
    """What the installed Dovecot makes today is understood."""
    if shutil.which("doveadm") is None:
        pytest.skip("as root: apt-get install dovecot-core")
    for scheme, password in product(
        ("SHA512-CRYPT", "BLF-CRYPT", "ARGON2ID", "SSHA256"), ("grünkohl", "x" * 100)
    ):
        made = subprocess.run(
            ["doveadm", "pw", "-s", scheme, "-p", password],
            check=True,
            capture_output=True,
            text=True,
        )
        assert verify_hash(password, made.stdout.strip())


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
