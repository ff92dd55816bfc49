"""A code check that persists: load, open the secret, match, write on condition. On SQLite NORMAL."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from binascii import hexlify
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.timing import Claim, Section, interleave
from benchmarks.world import ACCOUNT, World
from mfakit.storage.sqlite import SQLiteStore

TIMES_FASTER_THAN_DJANGO_OTP = 6.0
SHARE_OF_THE_BARE_DRIVER = 0.25
CALLS = 100  # a turn; with few, one measures what the contender before left in the caches


def run(*, is_quick: bool) -> Section:
    """Measure a fresh right code each time against django-otp and against the bare driver."""
    rounds_count = 9 if is_quick else 41
    checks = (rounds_count + 1) * CALLS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        ours = _Ours(path / "mfakit.db", checks)
        bare = _Bare(path / "bare.db", ours.documents())
        contenders = {
            "mfakit MFA.verify_code": ours.check,
            "django-otp verify_token": _DjangoOTP(path / "django.db", checks).check,
            "bare driver, read and conditional write": bare.check,
        }
        rounds = interleave(contenders, rounds=rounds_count, calls=dict.fromkeys(contenders, CALLS))
        ours.store.close()
        bare.connection.close()
    mfakit, django_otp, driver = contenders
    return Section(
        title="Persisted code check, SQLite WAL NORMAL",
        microseconds=rounds.microseconds(),
        claims=(
            Claim(
                name="faster than django-otp",
                value=rounds.ratio(django_otp, mfakit),
                at_least=TIMES_FASTER_THAN_DJANGO_OTP,
            ),
            Claim(
                name="rate, of the bare driver's",
                value=rounds.ratio(driver, mfakit),
                at_least=SHARE_OF_THE_BARE_DRIVER,
            ),
        ),
    )


class _Ours:
    def __init__(self, path: Path, checks: int) -> None:
        self.store = SQLiteStore(path, synchronous="NORMAL")
        self.world = World(self.store)
        start = self.world.clock.now
        self._codes = iter([self.world.phone.code(start + 30 * n) for n in range(1, checks + 99)])

    def check(self) -> object:
        self.world.clock.advance(30)
        return self.world.verify_code(next(self._codes))

    def documents(self) -> list[bytes]:
        """Return documents as they follow each other in the store, to be written by others."""
        return [self._next_document() for _ in range(16)]

    def _next_document(self) -> bytes:
        self.check()
        row = self.store.load(ACCOUNT)
        assert row is not None
        return row.document


class _Bare:
    """What the store has to do in any case: one SELECT, one UPDATE of a document of the same size."""

    def __init__(self, path: Path, documents: list[bytes]) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(
            "CREATE TABLE account (id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL,"
            " document BLOB NOT NULL) STRICT"
        )
        self.connection.execute("INSERT INTO account VALUES (?, 1, ?)", (ACCOUNT, documents[0]))
        self._documents = documents
        self._number = count()

    def check(self) -> None:
        execute = self.connection.execute
        ((revision, _),) = execute(
            "SELECT revision, document FROM account WHERE id = ?", (ACCOUNT,)
        ).fetchall()
        document = self._documents[next(self._number) % len(self._documents)]
        written = execute(
            "UPDATE account SET revision = ?, document = ? WHERE id = ? AND revision = ?",
            (revision + 1, document, ACCOUNT, revision),
        )
        assert written.rowcount == 1


class _DjangoOTP:
    """The way of django-otp's own `match_token`: a transaction, a locked read, `verify_token`."""

    def __init__(self, path: Path, checks: int) -> None:
        _set_up_django(path)
        from django.contrib.auth import get_user_model
        from django_otp.plugins.otp_totp import models

        key = os.urandom(20)
        user = get_user_model().objects.create(username="ann")
        device = models.TOTPDevice.objects.create(user=user, key=hexlify(key).decode())
        self._devices, self._device_id = models.TOTPDevice.objects, device.pk
        self._time = models.time = _Time()  # type: ignore[assignment]
        self._codes = iter(_codes(key, int(self._time.now), checks + 99))

    def check(self) -> None:
        from django.db import transaction

        self._time.now += 30
        with transaction.atomic():
            device = self._devices.select_for_update().get(pk=self._device_id)
            assert device.verify_token(next(self._codes))


class _Time:
    """Takes the place of the module `time` inside django-otp."""

    now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


def _codes(key: bytes, start: int, number: int) -> list[str]:
    from mfakit.core.totp import code_at

    return [code_at(key, start // 30 + step).decode() for step in range(1, number)]


def _set_up_django(path: Path) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    options: dict[str, Any] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    apps = ["django.contrib.auth", "django.contrib.contenttypes"]
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=[*apps, "django_otp", "django_otp.plugins.otp_totp"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
