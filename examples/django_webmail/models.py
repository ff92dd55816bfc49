"""The webmail's own data: accounts with passwords, messages. No second factor."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.message import EmailMessage
from secrets import token_hex

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from examples.webmail_shared.demo import MESSAGES, DemoAccount, policy_for

from mfakit import Policy


def new_id() -> str:
    """Return an id for an account."""
    return token_hex(8)


def now() -> datetime:
    """Return the time of the webmail's clock."""
    return datetime.fromtimestamp(settings.WEBMAIL_CLOCK(), UTC)


class Accounts(BaseUserManager["Account"]):
    """The accounts, found by address whatever the case."""

    def get_by_natural_key(self, address: str | None) -> Account:
        """Return an account by its address, for Django's own password check."""
        return self.get(address__iexact=address)

    def policy_of(self, account_id: str) -> Policy:
        """Return the policy of an account, for mfakit."""
        return self.get(pk=account_id).policy

    def address_of(self, account_id: str) -> str | None:
        """Return where notices go."""
        return self.filter(pk=account_id).values_list("address", flat=True).first()

    def open(self, accounts: Iterable[DemoAccount], password: str) -> None:
        """Make the accounts that are not there yet, with a few messages each."""
        hashed = make_password(password)
        for one in accounts:
            admin = {"is_staff": one.is_admin, "is_superuser": one.is_admin}
            account, is_new = self.get_or_create(
                address=one.address, defaults={"plan": one.plan, "password": hashed, **admin}
            )
            for sender, subject, text in MESSAGES if is_new else ():
                account.messages.create(sender=sender, subject=subject, text=text)


class Account(AbstractBaseUser, PermissionsMixin):
    """A mailbox and its owner. `id` never changes; the address may."""

    id = models.CharField(primary_key=True, max_length=16, default=new_id, editable=False)
    address = models.EmailField(unique=True)
    plan = models.CharField(max_length=32)
    is_staff = models.BooleanField("operator", default=False)
    opened_at = models.DateTimeField(default=now)

    USERNAME_FIELD = "address"
    objects = Accounts()

    class Meta:
        """An address belongs to one account, whatever the case."""

        ordering = ("address",)
        constraints = (
            models.UniqueConstraint(models.functions.Lower("address"), name="webmail_address"),
        )

    @property
    def policy(self) -> Policy:
        """What this account may and must do about two-step verification."""
        return policy_for(self.plan, int(self.opened_at.timestamp()))

    @property
    def is_admin(self) -> bool:
        """Whether the operator's pages are open."""
        return self.is_staff


class Message(models.Model):
    """A stored message."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="messages")
    sender = models.CharField(max_length=320)
    subject = models.CharField(max_length=998)
    text = models.TextField()
    at = models.DateTimeField(default=now)

    class Meta:
        """The newest first."""

        ordering = ("-id",)

    def __str__(self) -> str:
        return self.subject


def deliver(mail: EmailMessage) -> None:
    """Put a mail into the inbox of its recipient."""
    account = Account.objects.filter(address__iexact=mail["To"]).first()
    if account:
        account.messages.create(
            sender=mail["From"], subject=mail["Subject"], text=mail.get_content()
        )
