"""docs/django.md is true: its blocks make a project that passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

from mfakit import KeyRing
from mfakit.storage.django import checks

PAGE = Path(__file__).resolve().parents[3] / "docs" / "django.md"
TEXT = PAGE.read_text(encoding="utf-8")


# What the page's project must do beside what the page's own tests show.
MORE_TESTS = """
import time
from unittest import mock

from django.contrib.auth.models import User
from django.test import AsyncClient, Client, TestCase, override_settings

from mfakit.errors import NotAllowedNowError, StoreUnavailableError
from mfakit.storage.django import DjangoStore
from mfakit.testing import VirtualAuthenticator

from project.security import mfa

PASSWORD = "correct horse"
BROKEN = mock.patch.object(DjangoStore, "load", side_effect=StoreUnavailableError)


def enrolled(name):
    user = User.objects.create_superuser(name, f"{name}@example.com", PASSWORD)
    proof = mfa.password_proof(str(user.pk), password_verified=True)
    offer = mfa.begin_enrollment(str(user.pk), account_name=name, proof=proof)
    phone = VirtualAuthenticator(offer.uri)
    mfa.confirm_enrollment(offer.token, phone.code(time.time()))
    return user, phone


class More(TestCase):
    def setUp(self):
        self.ann, self.phone = enrolled("ann")

    def password(self, client=None, name="ann", **more):
        return (client or self.client).post("/password/", {"username": name, "password": PASSWORD} | more)

    def code(self, client=None, **more):
        sent = {"code": self.phone.code(time.time(), steps=1)} | more
        return (client or self.client).post("/code/", sent)

    def assert_later(self, answer):
        self.assertEqual(answer.status_code, 503)
        self.assertEqual(answer.headers["Retry-After"], "30")
        for told in (b"Traceback", b"account store", b"Local vars"):
            self.assertNotIn(told, answer.content)

    def test_a_failing_store_is_503_in_views_and_in_the_session_check(self):
        for debug in (False, True):
            with override_settings(DEBUG=debug):
                with BROKEN:
                    self.assert_later(self.password())
                self.password()
                with BROKEN:
                    self.assert_later(self.code())
                with mock.patch.object(type(mfa), "session_is_current", side_effect=NotAllowedNowError):
                    self.client.force_login(self.ann)
                    self.assertEqual(self.client.get("/").status_code, 409)
                self.client.force_login(self.ann)
                with BROKEN:
                    self.assert_later(self.client.get("/admin/"))
                    self.assert_later(self.client.get("/nothing"))

    async def test_a_failing_store_is_503_in_asynchronous_django(self):
        client = AsyncClient()
        await client.aforce_login(self.ann)
        with BROKEN:
            self.assert_later(await client.get("/admin/"))

    def test_a_field_that_is_missing_or_no_text_is_refused(self):
        for sent in ({}, {"username": "ann"}, {"password": PASSWORD}, {"username": "a\\0", "password": "x"}):
            self.assertEqual(self.client.post("/password/", sent).status_code, 401)
        self.assertEqual(self.client.post("/code/", {"code": "000000"}).status_code, 401)
        self.password()
        for sent in ({}, {"code": "\\0"}, {"code": "x" * 5000}):
            self.assertEqual(self.client.post("/code/", sent).status_code, 401)

    def test_the_admin_opens_to_no_session_of_its_own_sign_in(self):
        self.client.post("/admin/login/", {"username": "ann", "password": PASSWORD})
        self.assertEqual(self.client.get("/admin/").status_code, 302)
        self.assertNotIn("_auth_user_id", self.client.session)

    def test_an_older_page_does_nothing_in_the_sign_in_of_another(self):
        ben, phone = enrolled("ben")
        client = Client(enforce_csrf_checks=True)
        client.get("/admin/login/")
        token = client.cookies["csrftoken"].value
        self.password(client, csrfmiddlewaretoken=token)
        of_ann = client.cookies["csrftoken"].value
        self.password(client, "ben", csrfmiddlewaretoken=of_ann)
        of_ben = client.cookies["csrftoken"].value
        self.assertEqual(len({token, of_ann, of_ben}), 3)
        self.assertEqual(self.code(client, csrfmiddlewaretoken=of_ann).status_code, 403)
        code = phone.code(time.time(), steps=1)
        answer = client.post("/code/", {"code": code, "csrfmiddlewaretoken": of_ben})
        self.assertContains(answer, "Welcome.")
        self.assertEqual(client.session["_auth_user_id"], str(ben.pk))

    def test_a_challenge_of_one_account_is_nothing_for_another(self):
        self.password()
        session = self.client.session
        session["account"] = "2"
        session.save()
        self.assertEqual(self.code().status_code, 401)
"""


def _blocks() -> list[str]:
    return re.findall(r"^```py\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def _manage(directory: Path, *arguments: str) -> str:
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=directory,
        env={**kept, "MFAKIT_KEYS": KeyRing.generate_entry("2026")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(django.VERSION < (5, 1), reason="the page's settings are for 5.1 and later")
def test_the_project_of_the_page_works(tmp_path: Path) -> None:
    """A reader who follows the five steps has a sign-in with two steps, and its tests pass."""
    command = [sys.executable, "-m", "django", "startproject", "project", str(tmp_path)]
    subprocess.run(command, check=True)
    for block in _blocks():
        if named := re.match(r"# (project/\w+\.py)\n", block):
            with (tmp_path / named[1]).open("a", encoding="utf-8") as file:
                file.write("\n" + block)
    (tmp_path / "project" / "tests_more.py").write_text(MORE_TESTS, encoding="utf-8")
    _manage(tmp_path, "migrate", "--verbosity", "0")
    _manage(tmp_path, "check", "--fail-level", "WARNING")
    _manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert "Ran 10 tests" in _manage(tmp_path, "test")


@pytest.mark.parametrize("block", _blocks())
def test_every_block_is_python(block: str) -> None:
    compile(block, str(PAGE), "exec")


def test_every_check_is_in_the_table() -> None:
    """And the table has no other."""
    in_code = re.findall(r'"(mfakit\.[EW]\d+)"', Path(checks.__file__).read_text(encoding="utf-8"))
    assert sorted(re.findall(r"^\| `(mfakit\.[EW]\d+)` \|", TEXT, re.MULTILINE)) == sorted(in_code)
