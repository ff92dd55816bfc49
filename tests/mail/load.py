"""Many clients of the SASL interface in one event loop, as Postfix and Exim would bring them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Iterator

from attrs import define, field

ACCEPTED, REFUSED, DROPPED = "accepted", "refused", "dropped"
_HELLO = b"VERSION\t1\t1\nCPID\t1\n"


@define
class Tally:
    """What many clients were told, and how long they waited for it."""

    outcomes: Counter[str] = field(factory=Counter)
    seconds: list[float] = field(factory=list)

    def percentile(self, percent: float) -> float:
        """Seconds within which so many answers came."""
        return sorted(self.seconds)[
            min(int(len(self.seconds) * percent / 100), len(self.seconds) - 1)
        ]


async def hammer(path: str, login: str, password: str, until: float, tally: Tally) -> None:
    """Try again and again on one connection; connect again when it is dropped."""
    response = base64.b64encode(f"\0{login}\0{password}".encode())
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            tally.outcomes[DROPPED] += 1
            await asyncio.sleep(0.05)
            continue
        try:
            writer.write(_HELLO)
            await reader.readuntil(b"DONE\n")
            await _repeat(reader, writer, response, until, tally)
        except (OSError, asyncio.IncompleteReadError):
            tally.outcomes[DROPPED] += 1
            await asyncio.sleep(0.02)  # no client comes back faster
        finally:
            writer.transport.abort()


async def _repeat(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    response: bytes,
    until: float,
    tally: Tally,
) -> None:
    for number in _numbers(until):
        began = time.monotonic()
        writer.write(
            b"AUTH\t%d\tPLAIN\tservice=smtp\trip=127.0.0.1\tresp=%b\n" % (number, response)
        )
        answer = await reader.readuntil(b"\n")
        tally.seconds.append(time.monotonic() - began)
        tally.outcomes[ACCEPTED if answer.startswith(b"OK") else REFUSED] += 1


def _numbers(until: float) -> Iterator[int]:
    number = 0
    while time.monotonic() < until:
        number += 1
        yield number
