"""Structured logs: one JSON object a line. Ids, addresses and outcomes; never what a client sent.

The login as typed is not logged: people type passwords into that field. Who was meant is logged as
the account's id, once the platform has resolved it.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from mfakit.events import AuditEvent
from mfakit.mail.logins import Answer, LoginAttempt, Outcome

__all__ = ["JsonFormatter", "log_attempt", "log_event", "say"]

LOGGER = logging.getLogger("mfakit.mail")
_LEVELS = {Outcome.UNAVAILABLE: logging.ERROR}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, event, and the fields given to `say`.

    Exceptions are named by their class: their text and their frames may hold anything.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps({name: value for name, value in line.items() if value is not None})


def say(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log an event with its fields; None is left out."""
    LOGGER.log(level, event, extra={"fields": fields})


def log_attempt(attempt: LoginAttempt, answer: Answer, seconds: float) -> None:
    """Log one attempt. fail2ban finds `"outcome": "refused"` and `remote_ip` in it."""
    say(
        "login",
        _LEVELS.get(answer.outcome, logging.INFO),
        outcome=answer.outcome.value,
        interface=attempt.interface,
        protocol=attempt.protocol,
        remote_ip=attempt.client.remote_ip,
        account_id=answer.account_id,
        via=answer.via,
        passcode_id=answer.passcode_id,
        code=answer.code,
        where=answer.where,
        milliseconds=round(seconds * 1000),
    )


def log_event(event: AuditEvent) -> None:
    """Log an audit event: give it to `AsyncMFA(events=…)` to see why a client was refused."""
    say(
        "audit",
        kind=event.kind.value,
        account_id=event.account_id,
        revision=event.revision,
        remote_ip=event.client.remote_ip if event.client else None,
        method=event.method,
        protocol=event.protocol,
        item_id=event.item_id,
        actor=event.actor,
        reason=event.reason,
        count=event.count,
    )
