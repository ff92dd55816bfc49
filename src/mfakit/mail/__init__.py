"""The authentication service for Dovecot, Postfix, Exim and nginx (extra `mail`)."""

from mfakit.mail.doveadm import DoveadmCommand, DoveadmHTTP, EndSessions
from mfakit.mail.journal import log_event
from mfakit.mail.logins import Answer, LoginAttempt, MailLogins, Outcome, Platform
from mfakit.mail.passwords import Htpasswd, PasswdFile, SQLQuery
from mfakit.mail.service import MailService

__all__ = [
    "Answer",
    "DoveadmCommand",
    "DoveadmHTTP",
    "EndSessions",
    "Htpasswd",
    "LoginAttempt",
    "MailLogins",
    "MailService",
    "Outcome",
    "PasswdFile",
    "Platform",
    "SQLQuery",
    "log_event",
]
