"""`mfakit doctor`: what would go wrong later, and what to do about each finding now."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import click
from attrs import asdict, frozen
from rich.text import Text

from mfakit.cli.diagnosis import probe
from mfakit.cli.options import DONE, FAILED, opened, store_options
from mfakit.cli.options import status as ends_with_status
from mfakit.cli.output import show, table
from mfakit.cli.upkeep import moment
from mfakit.core.secret import Secret
from mfakit.errors import InvalidInputError, MFAKitError, UnavailableError
from mfakit.hashing import Argon2Hasher
from mfakit.migration.names import without_secrets
from mfakit.policy import Policy
from mfakit.service import MFA
from mfakit.storage import CheckedStore, Store, StoredRecord
from mfakit.testing import StoreContract
from mfakit.testing.contract import check_names, run_check
from mfakit.testing.contract.rows import RowChecks

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_CLOCK_WARNING_SECONDS, _CLOCK_PROBLEM_SECONDS = 2, 15
_SLOW_HASH_SECONDS = 0.5
_READ = 20  # accounts: enough to meet a policy that cannot be read
_RANDOM_BYTES_LEAST = 20  # of 32 random bytes some 30 differ; fewer than 20 in one of 10^12 keys
_SEMANTICS = (*check_names(RowChecks), "one_creator_wins", "one_replacer_wins", "one_deleter_wins")


@frozen(kw_only=True)
class Finding:
    """One thing that was looked at. `todo` is "" when nothing is to be done."""

    what: str
    level: str
    text: str
    todo: str = ""


@click.command()
@store_options
@click.option(
    "--clock",
    "reference",
    metavar="URL|MOMENT",
    help="Compare the clock: with the Date of a web server, or with a moment (ISO 8601 with a zone).",
)
@click.option(
    "--scratch-account",
    metavar="ID",
    help="Check what the store promises, too, on rows whose ids begin with this one and a slash; they"
    " are deleted afterwards.",
)
@ends_with_status
def doctor(
    *,
    store: str,
    keys: Path | None,
    realm: str,
    reference: str | None,
    scratch_account: str | None,
    as_json: bool,
) -> int:
    """Look for what would go wrong: policy, keys, clock, cost of hashing, the store.

    Nothing is written unless --scratch-account is given. Exit status: 0 no problem, 1 at least one.
    """
    findings = [] if reference is None else [_clock(reference)]
    findings += _key_file(keys)
    try:
        with opened(store, keys, realm) as mfa:
            findings += _platform(mfa, scratch_account)
    except MFAKitError as error:
        findings.append(
            _problem(
                "set-up",
                without_secrets(str(error)),
                "Correct it, then run this again: the rest was not seen.",
            )
        )
    rows = [(one.what, Text(one.level, _STYLES[one.level]), one.text, one.todo) for one in findings]
    data = {"findings": [asdict(one) for one in findings]}
    show(data, [table(("", "", "finding", "what to do"), rows)], as_json=as_json)
    return FAILED if any(one.level == "problem" for one in findings) else DONE


def _platform(mfa: MFA, scratch_account: str | None) -> Iterator[Finding]:
    yield from _ring(mfa)
    policy = mfa._policy
    if isinstance(policy, Policy):
        yield from _policy(policy)
        yield _hashing(policy)
    else:
        yield _ok("policy", "A callable gives each account its own: not looked at.")
    reached = _reach(mfa)
    yield reached
    if reached.level != "problem":
        yield from _notes(mfa._store)
    if scratch_account is not None:
        yield from _semantics(mfa._store, scratch_account)


def _ok(what: str, text: str) -> Finding:
    return Finding(what=what, level="ok", text=text)


def _warning(what: str, text: str, todo: str) -> Finding:
    return Finding(what=what, level="warning", text=text, todo=todo)


def _problem(what: str, text: str, todo: str) -> Finding:
    return Finding(what=what, level="problem", text=text, todo=todo)


# ----------------------------------------------------------------------------------------------- clock


def _clock(reference: str) -> Finding:
    right = _date_of(reference) if reference.lower().startswith("http") else moment(reference)
    if right is None:
        return _problem("clock", "The reference did not tell the time.", "Give another --clock.")
    off = abs((datetime.now(UTC) - right).total_seconds())
    text = f"{off:.0f} seconds from the reference."
    if off <= _CLOCK_WARNING_SECONDS:
        return _ok("clock", text)
    todo = "Let NTP keep the clock (chrony, systemd-timesyncd): right codes are refused otherwise."
    return (_warning if off <= _CLOCK_PROBLEM_SECONDS else _problem)("clock", text, todo)


def _date_of(url: str) -> datetime | None:
    request = Request(url, method="HEAD")  # noqa: S310 - http or https, checked by the caller
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (URLError, TimeoutError, TypeError, ValueError):
        return None


# ------------------------------------------------------------------------------------------------ keys


def _key_file(keys: Path | None) -> Iterator[Finding]:
    if keys is None:
        yield _warning(
            "key file",
            "No file: keys of the environment, or of the platform.",
            "An environment is seen by every child process; a private file is safer.",
        )
        return
    if os.name != "posix":
        return
    mode = keys.stat().st_mode & 0o777
    text = f"{keys} has mode {mode:04o}."
    if mode & 0o027:
        yield _problem("key file", text, f"chmod 600 {keys}: others could read or change it.")
    elif mode & 0o050:
        yield _warning("key file", text, "Right only if nobody but the service is in its group.")
    else:
        yield _ok("key file", text)


def _ring(mfa: MFA) -> Iterator[Finding]:
    ring = mfa._env.vault.keys
    held = {key_id: ring.key(key_id).reveal() for key_id in ring.key_ids}
    weak = [key_id for key_id, key in held.items() if len(set(key)) < _RANDOM_BYTES_LEAST]
    twice = [key_id for key_id, key in held.items() if list(held.values()).count(key) > 1]
    for key_id in weak:
        yield _problem(
            "keys",
            f"Key {key_id} does not look random.",
            "Make one with `mfakit keys generate`, put it first, run `mfakit keys rotate`.",
        )
    if twice:
        text = f"Keys {', '.join(twice)} are one key."
        yield _problem("keys", text, "Give each id a key of its own, then rotate.")
    if not weak and not twice:
        yield _ok("keys", f"{len(held)} in the ring; {ring.key_ids[0]} seals.")


# ------------------------------------------------------------------------------------- policy, hashing

_Is = Callable[[Policy], object]
# What Policy allows, because it may be meant, and what it means.
_DOUBTFUL: tuple[tuple[_Is, str, str], ...] = (
    (
        lambda policy: policy.required and policy.unknown_account == "not_enrolled",
        "Required, but an account without a record counts as not enrolled.",
        'Open every account, then set unknown_account="refuse": a lost row must not pass.',
    ),
    (
        lambda policy: policy.password_with_code and policy.passcodes,
        "Mail clients may send password and code in one, beside passcodes.",
        "Set password_with_code=False once the owners have passcodes.",
    ),
    (
        lambda policy: (policy.algorithm, policy.digits, policy.period_seconds) != ("SHA1", 6, 30),
        "New authenticators are not SHA1, 6 digits, 30 seconds.",
        "Many apps ignore that silently and show wrong codes: try those of your owners.",
    ),
    (
        lambda policy: (
            policy.reset_enrolled_before and policy.reset_enrolled_before > datetime.now(UTC)
        ),
        "reset_enrolled_before is in the future: who enrols now is reset again.",
        "Set it to a moment that has passed.",
    ),
    (
        lambda policy: (policy.window_past_steps, policy.window_future_steps) == (0, 0),
        "Only the present code is accepted.",
        "Keep every clock within a second or two, or allow one step.",
    ),
)


def _policy(policy: Policy) -> list[Finding]:
    found = [_warning("policy", text, todo) for is_so, text, todo in _DOUBTFUL if is_so(policy)]
    return found or [_ok("policy", "Nothing in it contradicts itself.")]


def _hashing(policy: Policy) -> Finding:
    hasher, seconds = Argon2Hasher(), []
    for _ in range(3):
        started = time.perf_counter()
        hasher.hash(Secret(b"0123456789abcdef"), policy)
        seconds.append(time.perf_counter() - started)
    middle = sorted(seconds)[1]
    memory = policy.argon2_memory_kib / 1024
    text = f"One hash takes {1000 * middle:.0f} ms and {memory:.0f} MiB; {os.cpu_count()} at once."
    if middle <= _SLOW_HASH_SECONDS:
        return _ok("hashing", text)
    todo = "Lower argon2_time_cost or argon2_memory_kib (not below the floor), or add processors."
    return _warning("hashing", text, todo)


# ----------------------------------------------------------------------------------------------- store


def _reach(mfa: MFA) -> Finding:
    try:
        page = mfa.accounts(limit=500)
    except UnavailableError as error:
        return _problem("store", str(error), "See that it runs, and that it can be walked.")
    found = probe(mfa)
    if found.opened < found.tried:
        text = f"{found.tried - found.opened} of {found.tried} records that were tried do not open."
        return _problem("store", text, f"{found.on_many()} `mfakit report` lists them all.")
    for account in page.accounts[:_READ]:
        try:
            mfa.status(account.account_id)
        except UnavailableError as error:
            return _problem("store", str(error), "See `mfakit report`.")
    states = Counter(account.state for account in page.accounts)
    if page.accounts and not states.keys() - {"not_enrolled", "enrolling"}:
        text = "It answers; none of the accounts looked at has two-step on."
        return _warning("store", text, "Is it the right one?")
    return _ok("store", "It answers and can be walked.")


def _notes(store: Store) -> list[Finding]:
    """Return what the store says about its server."""
    told = store.check() if isinstance(store, CheckedStore) else None
    return [_ok("store", text) for text in told or ()]


def _semantics(store: Store, account_id: str) -> list[Finding]:
    contract = _ScratchContract(store, account_id)
    results = [run_check(contract, name) for name in _SEMANTICS]
    broken = [
        _problem("store", one.promise, one.text.rpartition("Look: ")[2])
        for one in results
        if one.outcome == "failed"
    ]
    return broken or [_ok("store", f"It keeps the {len(results)} promises that were checked.")]


class _ScratchContract(StoreContract):
    """The kit's checks of rows and races, on ids under one that the operator named."""

    ROUNDS = 10

    def __init__(self, store: Store, account_id: str) -> None:
        if not account_id or len(account_id.encode()) > 128:
            raise InvalidInputError("account_id")
        self._checked, self._account_id = store, account_id

    @contextmanager
    def _session(self) -> Iterator[None]:
        with super()._session():
            self._id_prefix = f"{self._account_id}/{os.urandom(4).hex()}/"
            yield

    def make_store(self) -> Store:
        return _Tidy(self._checked)


class _Tidy:
    """A store that deletes, when it is closed, the rows that were made through it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: set[str] = set()

    def load(self, account_id: str) -> StoredRecord | None:
        return self._store.load(account_id)

    def create(self, new: StoredRecord) -> bool:
        self._made.add(new.account_id)
        return self._store.create(new)

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        self._made.add(new.account_id)
        return self._store.replace(new, expected=expected)

    def delete(self, account_id: str, *, expected: int) -> bool:
        return self._store.delete(account_id, expected=expected)

    def close(self) -> None:
        for account_id in self._made:
            row: Any = self._store.load(account_id)
            if row is not None:
                self._store.delete(account_id, expected=row.revision)
