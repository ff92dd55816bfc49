"""The blocking driver of the operations, and what it shares with the one that awaits.

A driver gives an operation what it asks of the world, and lets the outcome out after its write has
won and its events are told. What the platform's own code raises leaves as one of our errors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from mfakit import errors
from mfakit.arguments import parse_label, require_page
from mfakit.core.decision import CheckHash, CheckPassword, NewHashes
from mfakit.core.sealing import Proof, Vault
from mfakit.core.secret import Secret
from mfakit.events import AuditEvent
from mfakit.gate import HashGate
from mfakit.hashing import Argon2Hasher, Hasher
from mfakit.keyring import KeyRing
from mfakit.operations import (
    Answer,
    Effect,
    Environment,
    GetPolicy,
    Load,
    Operation,
    Verdict,
    Write,
)
from mfakit.policy import DEFAULT, Policy
from mfakit.results import MaintenancePage
from mfakit.storage import Page, Store, StoredRecord

if TYPE_CHECKING:
    from logging import Logger

__all__ = [
    "BlockingDriver",
    "Driver",
    "Tally",
    "judge_password",
    "log_sink_failure",
    "pause_seconds",
    "require_blocking",
    "require_parts",
    "require_policy",
    "require_row",
    "require_won",
    "scan_of",
    "write_call",
]

T = TypeVar("T")

_LONGEST_JITTER_SECONDS = 0.001


# ------------------------------------------------------------------------------ what drivers share


def require_parts(
    store: object, keys: object, policy: object, events: object, clock: object
) -> None:
    """Find out at the start, and not at the first sign-in, that an argument is of another kind.

    Raises:
        ConfigurationError: The text says which.
    """
    for is_right, text in (
        (not isinstance(store, type) and hasattr(store, "load"), _NO_STORE),
        (isinstance(keys, KeyRing), "The keys must be a KeyRing, such as KeyRing.from_file makes."),
        (callable(policy) or isinstance(policy, Policy), _NO_POLICY),
        (events is None or callable(events), "`events` must be callable with an AuditEvent."),
        (callable(clock), "`clock` must be callable without arguments, as time.time is."),
    ):
        if not is_right:
            raise errors.ConfigurationError(text)


def require_blocking(*called: object) -> None:
    """Raise `ConfigurationError` if one is a coroutine function: nobody would await its work."""
    if any(map(iscoroutinefunction, called)):
        raise errors.ConfigurationError(
            "MFA calls the store, `policy` and `events` and awaits none: use mfakit.aio.AsyncMFA."
        )


_NO_STORE = (
    "The store must be an object with load, create, replace and delete, such as SQLiteStore(path)."
)
_NO_POLICY = "The policy must be a Policy, or a callable from account id to Policy."


class Driver:
    """What a driver holds, whether it blocks or awaits."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        policy: Policy | Callable[[str], object],
        events: Callable[[AuditEvent], object] | None,
        realm: str,
        clock: Callable[[], float],
        hasher: Hasher,
    ) -> None:
        if isinstance(policy, Policy):
            hasher.check_cost(policy)
        vault = Vault(keys, parse_label(realm, field="realm"), os.urandom)
        self._policy = policy
        self._events = events
        self._env = Environment(vault=vault, clock=clock)

    def _open_proof(self, token: Secret | None, session: Secret | None) -> Proof | None:
        return self._env.vault.open_token(Proof, token, session)


class Tally:
    """Count what became of the accounts of one page."""

    def __init__(self) -> None:
        self._done = self._unchanged = 0
        self._key_ids: set[str] = set()
        self._failed: list[tuple[str, str]] = []

    def count(self, outcome: tuple[bool, tuple[str, ...]]) -> None:
        """Count an account: whether it was due, and the key ids that it still had."""
        is_done, key_ids = outcome
        self._done += is_done
        self._unchanged += not is_done
        self._key_ids |= set(key_ids)

    def fail(self, account_id: str, error: errors.MFAKitError) -> None:
        """Note an account that could not be done."""
        self._failed.append((account_id, error.code))

    def result(self, page: Page) -> MaintenancePage:
        """Return the counts, and where to go on."""
        return MaintenancePage(
            done=self._done,
            unchanged=self._unchanged,
            failed=tuple(self._failed),
            key_ids=tuple(sorted(self._key_ids)),
            cursor=page.cursor,
        )


def write_call(store: Any, write: Write) -> Callable[[], Any]:
    """Return the one call of a store that a `Write` means."""
    row, expected = write.row, write.expected
    if row is None:
        return lambda: store.delete(write.account_id, expected=expected)
    if expected is None:
        return lambda: store.create(row)
    return lambda: store.replace(row, expected=expected)


def pause_seconds(lost: int) -> float:
    """Return how long to wait after a lost write: random, and longer each time.

    The others go first; without it all would come back together.
    """
    jitter = int.from_bytes(os.urandom(2), "big") / 65_536
    return float(jitter * _LONGEST_JITTER_SECONDS * 2**lost)


def require_row(found: object) -> StoredRecord | None:
    """Return what a store's `load` gave, if that is a row or none. Raises `StoreConfigurationError`.

    Of another kind, a sound document would be taken for a torn one, which an operator resets.
    """
    if found is None:
        return None
    if isinstance(found, StoredRecord) and type(found.document) is bytes:
        return found
    raise errors.StoreConfigurationError(
        "The store's `load` must return a StoredRecord whose document is bytes, or None."
    )


def require_won(reply: object) -> bool:
    """Return whether a store's write won. Raises `StoreConfigurationError` if it did not say."""
    if isinstance(reply, bool):
        return reply
    raise errors.StoreConfigurationError(
        "The store's `create`, `replace` and `delete` must return True or False."
    )


def judge_password(found: object, question: CheckPassword) -> Verdict:
    """Return what an answer of `check_password` is worth."""
    if not (found is None or found is False or isinstance(found, str)):
        _log().error("check_password must return the account id or None; else nobody gets in.")
    # SECURITY: a str, and equal: neither True nor a coroutine nor another account is a yes.
    return Verdict(value=isinstance(found, str) and found == question.account_id)


def require_policy(found: object) -> Policy:
    """Return what a policy callable gave, if it is a policy."""
    if not isinstance(found, Policy):
        raise errors.PolicyUnavailableError
    return found


def log_sink_failure(error: BaseException) -> None:
    """Log what an event sink raised. The write has won: it must not change the outcome."""
    _log().error("The event sink raised; the event is in the history.", exc_info=error)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("mfakit")


def scan_of(store: object) -> Callable[..., Any]:
    """Return a store's `scan`. Raises `StoreConfigurationError` if it has none."""
    scan: Callable[..., Any] | None = getattr(store, "scan", None)
    if scan is None:
        raise errors.StoreConfigurationError("This store cannot be walked: it has no `scan`.")
    return scan


# ------------------------------------------------------------------------------ the one that blocks


class BlockingDriver(Driver):
    """Run operations for threads."""

    def __init__(
        self,
        store: Store,
        keys: KeyRing,
        *,
        policy: Policy | Callable[[str], Policy] = DEFAULT,
        events: Callable[[AuditEvent], object] | None = None,
        realm: str = "mail",
        clock: Callable[[], float] = time.time,
        hasher: Hasher | None = None,
        hash_concurrency: int | None = None,
        hash_queue: int = 64,
    ) -> None:
        require_parts(store, keys, policy, events, clock)
        require_blocking(store.load, policy, events)
        hasher = hasher or Argon2Hasher()
        super().__init__(
            keys, policy=policy, events=events, realm=realm, clock=clock, hasher=hasher
        )
        self._store = store
        self._gate = HashGate(hasher, concurrency=hash_concurrency, queue=hash_queue)
        self._performers: dict[type[Effect], Callable[[Any], object]] = {
            Load: self._load,
            Write: self._write,
            GetPolicy: self._get_policy,
            CheckHash: self._gate.check,
            NewHashes: lambda new: Verdict(value=tuple(self._gate.hash(new))),
        }

    def _run(
        self, operation: Operation[T], check_password: Callable[[str], str | None] | None = None
    ) -> T:
        reply: Any = None
        while True:
            try:
                effect = operation.send(reply)
            except StopIteration as stop:
                answer: Answer[T] = stop.value
                break
            reply = self._perform(effect, check_password)
        self._tell(answer.events)
        if isinstance(answer.outcome, errors.MFAKitError):
            raise answer.outcome
        return answer.outcome

    def _perform(
        self, effect: Effect, check_password: Callable[[str], str | None] | None
    ) -> object:
        if isinstance(effect, CheckPassword):
            return _ask(check_password, effect)
        return self._performers[type(effect)](effect)

    def _load(self, load: Load) -> StoredRecord | None:
        return require_row(_in_store(lambda: self._store.load(load.account_id)))

    def _write(self, write: Write) -> bool:
        if require_won(_in_store(write_call(self._store, write))):
            self._tell(write.events)
            return True
        self._pause(write.lost)
        return False

    def _pause(self, lost: int) -> None:
        time.sleep(pause_seconds(lost))

    def _get_policy(self, wanted: GetPolicy) -> Policy:
        if isinstance(self._policy, Policy):
            return self._policy
        try:
            found = self._policy(wanted.account_id)
        except Exception as error:
            raise errors.PolicyUnavailableError from error
        return require_policy(found)

    def _tell(self, events: tuple[AuditEvent, ...]) -> None:
        if self._events is None:
            return
        for event in events:
            try:
                self._events(event)
            except Exception as error:
                log_sink_failure(error)

    def _scan(self, cursor: str | None, limit: int, prefix: str) -> Page:
        scan = scan_of(self._store)
        require_page(cursor, limit, prefix)
        page: Page = _in_store(lambda: scan(cursor=cursor, limit=limit, prefix=prefix))
        return page

    def _maintain(
        self, do: Callable[[str], tuple[bool, tuple[str, ...]]], page: Page
    ) -> MaintenancePage:
        tally = Tally()
        for row in page.records:
            try:
                tally.count(do(row.account_id))
            except errors.MFAKitError as error:
                tally.fail(row.account_id, error)
        return tally.result(page)


def _ask(check_password: Callable[[str], str | None] | None, question: CheckPassword) -> Verdict:
    if check_password is None:
        return Verdict(value=False)
    try:
        found = check_password(question.password.reveal().decode())
    except Exception as error:
        raise errors.PasswordCheckFailedError from error
    return judge_password(found, question)


def _in_store(call: Callable[[], T]) -> T:
    try:
        return call()
    except errors.MFAKitError:
        raise
    except Exception as error:
        raise errors.StoreUnavailableError from error
