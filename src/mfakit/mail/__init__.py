"""The authentication service for Dovecot, Postfix, Exim and nginx (extra `mail`)."""

from mfakit.mail.logins import Answer, LoginAttempt, MailLogins, Outcome, Platform

__all__ = ["Answer", "LoginAttempt", "MailLogins", "Outcome", "Platform"]
