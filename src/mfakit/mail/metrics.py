"""Prometheus metrics of the service, through the official client. No label holds what a client sent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from mfakit.mail.logins import Answer, LoginAttempt

__all__ = ["Metrics"]

_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.6, 1.1, 2.1, 5.0, 10.0)


class Metrics:
    """Count attempts and how long they took."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._attempts = Counter(
            "mfakit_mail_attempts",
            "Logins of mail clients; code says why one was not accepted.",
            ("interface", "protocol", "outcome", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "mfakit_mail_attempt_seconds",
            "From arrival to answer; refusals wait for their time.",
            ("outcome",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def watch(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Show a number as it is at the moment of asking."""
        Gauge(name, documentation, registry=self._registry).set_function(value)

    def observe(self, attempt: LoginAttempt, answer: Answer, seconds: float) -> None:
        """Count one attempt."""
        labels = (attempt.interface, attempt.protocol or "unknown", answer.outcome.value)
        self._attempts.labels(*labels, answer.code or "").inc()
        self._seconds.labels(answer.outcome.value).observe(seconds)

    def show(self) -> tuple[bytes, str]:
        """Return the text that Prometheus reads and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
