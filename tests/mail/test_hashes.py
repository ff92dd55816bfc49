"""Which password hashes are verified, and that the rest is an error, with Dovecot as the judge."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from mfakit.errors import ConfigurationError
from mfakit.mail.passwords import verify_hash
from servers.child import require

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
    "{PLAIN}pw",
    "{clear}pw",
    "{CLEARTEXT}pw",
    "{PLAIN.HEX}7077",
    "{PLAIN.b64}cHc=",
    "{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=",
    "{SHA1}GpHWL3ymc5liWkNopqtdSjuqYHM=",
    "{SHA256}MMlS+rEiw/l1nwKm2Vw3WLJGtP7iOZV7LU/uRuJhcMQ=",
    "{SHA256}30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
    "{SHA256.HEX}30C952FAB122C3F9759F02A6D95C3758B246B4FEE239957B2D4FEE46E26170C4",
    "{SHA512}vhloOHNt39AAfdiy6PRvItRA1MWVmSXLSRNavJzbAehJYapD3Q3bbuWZdetkkoDZ9ECIhArzdFGCimQSubV0/A==",
    "{SSHA.b64}nJGD3s+Nuwk7JR9ywOnT1LGrkJN8iu10",
    "{SSHA256}a4wE4fMzOblQPmEbI1GCi+kEvT1qYGHVe7mXhW6lFkvmhDmf",
    "{SSHA512.HEX}e1dafae9188bed31b7c2b92b28759f5bf99b5e3fdf10208aa9d1d4883d1adfd66c5c58bd0fc28304e3d3e0957f39a8dc23b0fdab008a969563e540a67213aa77bf1f3764",
    "{SMD5}3wfQ2uTxBX+xQXMc/MX971VRh5s=",
    "{LDAP-MD5}j+TBFFEoHAlKZXjm3b9e7Q==",
    "{PLAIN-MD5}8fe4c11451281c094a6578e6ddbf5eed",
    "{MD5}$1$.B7GfY5P$8LPpdGuSDWSL0AMlQTJIH0",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$Gu1WM8BoKjEd7qFv4CiLxQ$DAPQiezwOqFdsedd80qF7Ep+i+DTg6Swk4gvaeZ7UVY",
    "{PBKDF2}$1$hrOjRcAoQu0YxHV4$5000$ea07d22ddca81a752b7fa114a168aeae7dbc01da",
    "{PBKDF2.B64}JDEkWlBLRXB3UUQ1ekNnckllbCQ1MDAwJDA0M2NkNjMwMTQwOGY2ZDI2NzIwNjYwN2YwZjA5NjBjMjFkZDdiNjk=",
    "{SCRAM-SHA-1}4096,7OLZzmCDvl7owfpCq1PDuw==,+ewk8qzDBcxxytSDnlsu8TuHFw8=,3ERTIMAa/E39I8AUO27zKpjb+2Q=",
    "{SCRAM-SHA-256}4096,GEX9jkKE//nabQgn+bdLcw==,iad6ArdhN2GZPyla/NdF/Oj2QvSlCMUCARwPg1BvJvs=,u5X1phsTbGPctF2ajpp72zQjVRTHor52X4jjf13NoCw=",
]
# Dovecot has them, too; nothing here can verify them.
UNVERIFIABLE = {
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7": "yescrypt",
    "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7": "yescrypt",
    "{CRAM-MD5}d3b327e40131add8092e3cb400c690fb8c4c989cd9d0f4ebd9644e4aa7b64cfa": "CRAM-MD5",
    "{digest-md5}fb5f6564c30b6efb7ceb3dfe8c9ea605": "DIGEST-MD5",
    "{DES-CRYPT}4GyOYdPoJ9d3g": "DES-CRYPT",
    "{OTP}sha1 1024 8975725826f675d3 af01e605bfbc0cea": "OTP",
}
MALFORMED = [
    "",
    "!",
    "pw",
    "{PLAIN}",
    "{NOBODY-KNOWS}pw",
    "{PLAIN.ROT13}cj",
    "{PLAIN.HEX}7",
    "{PLAIN.B64}cHc",
    "{PBKDF2}$1$x$5000$y",
    "{PBKDF2}$1$salt$0$ea07d22ddca81a752b7fa114a168aeae7dbc01da",
    "{SCRAM-SHA-256}4096,GEX9jkKE//nabQgn+bdLcw==",
    "{SCRAM-SHA-256}4096,GEX9jkKE//nabQgn+bdLcw==,aad6,aad6",
    "{SHA256}MMlS+rEiw/l1nwKm",
    "{SHA256.HEX}30c952fab122c3f9",
    "{SSHA}GpHWL3ymc5liWkNopqtdSjuqYHM=",  # no salt
    "{SSHA}Rf+8XP158g+qzBz3CcjtbHjChOGmYUl",  # cut off
    "$2y$05$x",
    "{PLAIN\udcff}pw",
]
COSTLY = [
    "{SHA512-CRYPT}$6$rounds=99000000$qseTIB20YyoGApd.$KwpgEnlPeh82Q/DfiEBqYIyIzUm4wwi7MWy7IX207i3aQtv14jkEFNAEugY8djeI3gPtjbMLbKke6H5NA53Ff/",
    "{BLF-CRYPT}$2y$31$Xo2g9KEuPzzKI4eBXImaquGKrtU3mD.bFRA/ioJk.LOw1G79FMxNu",
    "{ARGON2ID}$argon2id$v=19$m=65536000,t=3,p=1$Sirl4G5aqK0dnqFCVuJPAQ$aw9l4eS5CdfrBWFjkAiT6H620UgqSPxNyBwzTBFkKvw",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=30000,p=1$Sirl4G5aqK0dnqFCVuJPAQ$aw9l4eS5CdfrBWFjkAiT6H620UgqSPxNyBwzTBFkKvw",
    "{PBKDF2}$1$hrOjRcAoQu0YxHV4$999999999$ea07d22ddca81a752b7fa114a168aeae7dbc01da",
    "{SCRAM-SHA-256}999999999,GEX9jkKE//nabQgn+bdLcw==,iad6ArdhN2GZPyla/NdF/Oj2QvSlCMUCARwPg1BvJvs=,u5X1phsTbGPctF2ajpp72zQjVRTHor52X4jjf13NoCw=",
]
# What `doveadm pw -s` makes here and is verified here.
SCHEMES = [
    "PLAIN",
    "CLEAR",
    "CLEARTEXT",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA512",
    "SSHA",
    "SSHA256",
    "SSHA512",
    "SMD5",
    "LDAP-MD5",
    "PLAIN-MD5",
    "MD5",
    "MD5-CRYPT",
    "CRYPT",
    "SHA256-CRYPT",
    "SHA512-CRYPT",
    "BLF-CRYPT",
    "ARGON2I",
    "ARGON2ID",
    "PBKDF2",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "PLAIN.HEX",
    "PLAIN.B64",
    "SHA256.HEX",
    "SSHA512.HEX",
    "SSHA.B64",
    "SHA512-CRYPT.B64",
    "PBKDF2.HEX",
    "SCRAM-SHA-256.B64",
]


def _doveadm(*arguments: str) -> subprocess.CompletedProcess[str]:
    require(shutil.which("doveadm"), "as root: apt-get install dovecot-core")
    return subprocess.run(
        ["doveadm", "pw", *arguments], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("stored", HASHES, ids=[one[:16] for one in HASHES])
def test_a_hash_is_of_one_password(stored: str) -> None:
    assert verify_hash("pw", stored)
    for wrong in ("", "PW", "pw ", "pw\0", "pw\0pw", "pwpw", "pä", "pw\udcff"):
        assert not verify_hash(wrong, stored)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("password", ["grünkohl: {PLAIN} $1$", "x" * 100], ids=["odd", "long"])
def test_what_dovecot_makes_today_is_verified(scheme: str, password: str) -> None:
    made = _doveadm("-s", scheme, "-p", password).stdout.strip()
    assert made.startswith("{")
    assert verify_hash(password, made)
    assert not verify_hash("y" + password[1:], made)


@pytest.mark.parametrize("stored", HASHES, ids=[one[:16] for one in HASHES])
def test_dovecot_takes_the_same_hashes(stored: str) -> None:
    """No hash of the table is more than Dovecot itself would take."""
    if not stored.startswith("{"):
        stored = "{CRYPT}" + stored
    assert _doveadm("-t", stored, "-p", "pw").returncode == 0
    assert _doveadm("-t", stored, "-p", "wrong").returncode != 0


@pytest.mark.parametrize(
    "stored", [*UNVERIFIABLE, *MALFORMED, *COSTLY], ids=lambda one: str(one)[:24]
)
def test_what_cannot_be_verified_is_an_error(stored: str) -> None:
    """Never a wrong password. Bare text is not compared: a torn file must not become a list of them."""
    for password in ("pw", "", stored):
        with pytest.raises(ConfigurationError) as caught:
            verify_hash(password, stored)
        assert len(stored) < 8 or stored[-8:] not in str(caught.value)


@pytest.mark.parametrize(("stored", "scheme"), UNVERIFIABLE.items(), ids=UNVERIFIABLE.values())
def test_the_error_names_the_scheme(stored: str, scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=scheme):
        verify_hash("pw", stored)


def test_a_password_of_more_than_1024_bytes_is_refused_unhashed() -> None:
    """At 656,000 rounds, which some libraries take by default, hashing 4,096 bytes takes 6 seconds."""
    stored = "$6$rounds=656000$dmzyjPOj47JH6tPt$h5X6eadh738RzP6Dc960uIzRNmDQhYZScF1bKIGt5ipSuv78oAO3B5xEOTY7FfjesMxvdwWUdgliixvFkG7Ny/"
    assert verify_hash("x", stored)
    for password in ("x" * 1025, "x" * 4096, "ä" * 513):
        began = time.process_time()
        assert not verify_hash(password, stored)
        assert time.process_time() - began < 0.1
    assert verify_hash("x" * 1024, "{PLAIN}" + "x" * 1024)
    assert not verify_hash("x" * 1025, "{PLAIN}" + "x" * 1025)
