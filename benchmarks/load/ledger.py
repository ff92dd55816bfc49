"""Who asked what and what was answered, written down by those who asked, and held against the store.

It reads the stored documents as JSON and calls nothing of mfakit, so that a fault of the library
cannot hide itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

ACCEPTED = "accepted"
WRONG = "WrongCodeError"
# Nothing was decided: the owner tries again.
TEMPORARY = {"BusyError", "ContentionError"}
FAILED = {"StoreUnavailableError"}


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call.

    Attributes:
        what: The kind of call.
        account: Whose.
        outcome: "accepted", or the name of the error.
        took: Seconds.
        expected: "accepted", "refused", or "either" where several compete.
        method: "totp" or "recovery" where a code was given.
        item: The code's time step, the recovery code's slot, the passcode's label.
        challenge: What stands for the challenge, where one was answered.
    """

    what: str
    account: str
    outcome: str
    took: float
    expected: str = ACCEPTED
    method: str = ""
    item: str = ""
    challenge: str = ""

    @property
    def is_as_expected(self) -> bool:
        """True if the answer is one that the call may get."""
        if self.outcome in FAILED or self.outcome.startswith("!"):
            return False
        if self.expected == "either" or self.outcome in TEMPORARY:
            return True
        return (self.outcome == ACCEPTED) == (self.expected == ACCEPTED)


def read(directory: Path) -> list[Entry]:
    """Return what all threads wrote down."""
    decode = msgspec.json.Decoder(Entry).decode_lines
    return [
        entry for path in sorted(directory.glob("*.jsonl")) for entry in decode(path.read_bytes())
    ]


def accepted_twice(entries: Iterable[Entry]) -> list[tuple[str, str, str]]:
    """Return each code, recovery code and challenge that let somebody in more than once."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        if entry.outcome == ACCEPTED and entry.method:
            seen[entry.account, entry.method, entry.item] += 1
            if entry.challenge:
                seen[entry.account, "challenge", entry.challenge] += 1
    return [what for what, times in seen.items() if times > 1]


def races(entries: Iterable[Entry]) -> Counter[int]:
    """Return how many codes that several gave at once let in how many of them."""
    winners: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        if entry.what == "race":
            winners[entry.account, entry.method, entry.item] += entry.outcome == ACCEPTED
    return Counter(winners.values())


def lost(entries: Iterable[Entry], documents: dict[str, bytes], passcodes: int) -> Iterator[str]:
    """Say what was acknowledged and is not in the store, or is there and was never acknowledged.

    Args:
        entries: The ledger.
        documents: Stored document by account.
        passcodes: How many passcodes each account had at the beginning.
    """
    by_account: dict[str, list[Entry]] = {account: [] for account in documents}
    for entry in entries:
        by_account[entry.account].append(entry)
    for account, mine in by_account.items():
        body = json.loads(documents[account])["body"]
        for name, acknowledged, stored in _pairs(mine, body, passcodes):
            if acknowledged != stored:
                yield f"{account}: {name}: acknowledged {acknowledged}, stored {stored}"


def _pairs(
    mine: list[Entry], body: dict[str, Any], passcodes: int
) -> Iterator[tuple[str, Any, Any]]:
    """Give what the ledger says an account must hold, beside what it holds."""
    accepted = [entry for entry in mine if entry.outcome == ACCEPTED]
    steps = [int(entry.item) for entry in accepted if entry.method == "totp"]
    if steps:
        yield "last step", max(steps), body["authenticators"][0]["last_step"]
    used = {int(entry.item) for entry in accepted if entry.method == "recovery"}
    slots = body["recovery"]["sealed_hashes"]
    yield "recovery codes used", used, {at for at, sealed in enumerate(slots) if sealed is None}
    for method, throttle in (("totp", "code_throttle"), ("recovery", "recovery_throttle")):
        wrong = sum(entry.method == method and entry.outcome == WRONG for entry in mine)
        days = body.get(throttle, {}).get("days", [])
        yield f"wrong codes ({method})", wrong, sum(count for _, count in days)
    made = {f"first {number}" for number in range(passcodes)}
    made |= {entry.item for entry in accepted if entry.what == "create passcode"}
    made -= {entry.item for entry in accepted if entry.what == "revoke passcode"}
    yield "passcodes", made, {one["label"] for one in body.get("passcodes", [])}


def percentiles(entries: Iterable[Entry]) -> dict[str, tuple[int, float, float]]:
    """Return how often each kind was called, and its p50 and p99 in milliseconds."""
    taken: dict[str, list[float]] = {}
    for entry in entries:
        taken.setdefault(entry.what, []).append(1000 * entry.took)
    return {what: (len(all_), *_p50_p99(sorted(all_))) for what, all_ in sorted(taken.items())}


def _p50_p99(ordered: list[float]) -> tuple[float, float]:
    last = len(ordered) - 1
    return ordered[last // 2], ordered[last * 99 // 100]


def refusals(entries: Iterable[Entry]) -> Counter[tuple[str, str]]:
    """Count what was not accepted, by the kind of call and the error."""
    return Counter((one.what, one.outcome) for one in entries if one.outcome != ACCEPTED)
