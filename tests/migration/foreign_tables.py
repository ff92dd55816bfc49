"""Make the tables of other software by that software, as a process of its own.

    python foreign_tables.py django DIRECTORY      old.db with django-otp and allauth, dump.json of both
    python foreign_tables.py flask DIRECTORY       flask.db with Flask-Security's users

Prints JSON: what the owners' phones hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WALLET = '{"1": "an old wallet secret", "2": "the present wallet secret"}'


def make_django(directory: Path) -> dict[str, str]:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="x" * 50,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django_otp",
            "django_otp.plugins.otp_totp",
            "allauth",
            "allauth.account",
            "allauth.mfa",
        ],
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": directory / "old.db"}
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
    from django.contrib.auth.models import User
    from django_otp.plugins.otp_totp.models import TOTPDevice

    ann, bob, carl = (User.objects.create(username=name) for name in ("ann", "bob", "carl"))
    phone = TOTPDevice.objects.create(user=ann, name="Ann's phone")
    eight = TOTPDevice.objects.create(user=bob, name="Eight", digits=8, step=60)
    TOTPDevice.objects.create(user=bob, name="Never confirmed", confirmed=False)
    TOTPDevice.objects.create(user=carl, name="Shifted", t0=7)
    secret = generate_totp_secret()
    TOTP.activate(carl, secret)
    RecoveryCodes.activate(carl)
    dump = directory / "dump.json"
    call_command("dumpdata", "otp_totp", "mfa", "--natural-foreign", output=str(dump))
    return {"ann": phone.key, "bob": eight.key, "carl": secret}


def make_flask(directory: Path) -> dict[str, str]:
    from flask_security.models import sqla
    from flask_security.totp import Totp
    from sqlalchemy import create_engine
    from sqlalchemy.orm import DeclarativeBase, Session

    class Base(DeclarativeBase):
        pass

    sqla.FsModels.set_db_info(base_model=Base)

    class Role(Base, sqla.FsRoleMixin):
        __tablename__ = "role"

    class User(Base, sqla.FsUserMixin):
        __tablename__ = "user"

    engine = create_engine(f"sqlite:///{directory / 'flask.db'}")
    Base.metadata.create_all(engine)
    totp = Totp({int(key): text for key, text in json.loads(WALLET).items()}, "Example")
    ann, bob = totp.generate_totp_secret(), totp.generate_totp_secret()
    with Session(engine) as session:
        methods = (("ann", "authenticator", ann), ("bob", "sms", bob), ("carl", None, None))
        for name, method, secret in methods:
            session.add(
                User(
                    email=f"{name}@example.com",
                    fs_uniquifier=name,
                    active=True,
                    tf_primary_method=method,
                    tf_totp_secret=secret,
                )
            )
        session.commit()
    return {"ann": totp.get_totp_b32_key(ann)}


if __name__ == "__main__":
    made = {"django": make_django, "flask": make_flask}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps(made))
