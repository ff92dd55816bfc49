"""Make the table of accounts."""

from typing import Any, ClassVar

from django.db import migrations, models

import mfakit.storage.django.fields


class Migration(migrations.Migration):
    """The first."""

    initial: ClassVar[Any] = True

    dependencies: ClassVar[Any] = []

    operations: ClassVar[Any] = [
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "account_id",
                    mfakit.storage.django.fields.AccountIdField(
                        primary_key=True, serialize=False, verbose_name="account"
                    ),
                ),
                ("revision", models.BigIntegerField(verbose_name="revision")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("not_enrolled", "Off"),
                            ("enrolling", "Off, set-up begun"),
                            ("enrolled", "On"),
                            ("enrolled_offer", "On, set-up of another authenticator begun"),
                            ("locked", "Locked after wrong codes"),
                            ("locked_offer", "Locked after wrong codes, set-up begun"),
                            ("forgotten", "Forgotten"),
                        ],
                        max_length=32,
                        verbose_name="state",
                    ),
                ),
                ("enrolled_at", models.DateTimeField(null=True, verbose_name="set up")),
                ("last_login_at", models.DateTimeField(null=True, verbose_name="last sign-in")),
                ("authenticators", models.IntegerField(default=0, verbose_name="authenticators")),
                (
                    "recovery_codes_left",
                    models.IntegerField(default=0, verbose_name="recovery codes left"),
                ),
                ("passcodes", models.IntegerField(default=0, verbose_name="application passcodes")),
                ("trusted_devices", models.IntegerField(default=0, verbose_name="trusted devices")),
                (
                    "key_ids",
                    models.TextField(
                        default="", help_text="Separated by spaces.", verbose_name="keys"
                    ),
                ),
                ("document", models.BinaryField(verbose_name="document")),
            ],
            options={
                "verbose_name": "account",
                "verbose_name_plural": "accounts",
                "permissions": (("reset_account", "Can reset two-step verification"),),
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["state"], name="mfakit_account_state")],
            },
        )
    ]
