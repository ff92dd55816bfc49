"""The SASL server for Postfix and Exim: connections that speak the Dovecot authentication protocol.

Postfix and Exim report every FAIL as a wrong password, a temporary one too. So an attempt that could
not be decided is not answered: the connection is dropped, and they say 454 and 435.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from itertools import count

from mfakit.mail.dialogue import Ask, Dialogue, ProtocolError, Say, accepted, hello, refused
from mfakit.mail.http import Judge
from mfakit.mail.logins import Outcome

__all__ = ["LINE_BYTES_MAX", "SaslServer"]

LINE_BYTES_MAX = 16_384
_GREETING_SECONDS = 10.0
_WRITING_SECONDS = 10.0


class _DropError(Exception):
    """This connection ends without another word."""


# How a connection ends: by us, by the peer's nonsense, by the peer, by the network.
_ENDS = (
    _DropError,
    ProtocolError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    OSError,
    TimeoutError,
)


class SaslServer:
    """Serve connections; `serve` is the callback of `asyncio.start_server`.

    Args:
        judge: `MailLogins.judge`, or what stands before it.
        connections_max: Connections at once; one more is dropped. Postfix keeps one for each smtpd.
        pending_max: Attempts of one connection that are judged at once; more are not read meanwhile.
    """

    def __init__(self, judge: Judge, *, connections_max: int = 1000, pending_max: int = 64) -> None:
        self._judge = judge
        self._connections_max = connections_max
        self._pending_max = pending_max
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._is_closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        if task is None or self._is_closing or len(self._tasks) >= self._connections_max:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def aclose(self, seconds: float) -> None:
        """Give pending attempts so long to be answered, then drop every connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        self._is_closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.TaskGroup() as attempts:
                await self._converse(reader, writer, attempts)
        except* _ENDS:
            pass

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        attempts: asyncio.TaskGroup,
    ) -> None:
        dialogue, places = Dialogue(), asyncio.Semaphore(self._pending_max)
        await _send(writer, hello(os.getpid(), next(self._numbers), secrets.token_hex(16)))
        async with asyncio.timeout(_GREETING_SECONDS):
            dialogue.receive((await reader.readuntil(b"\n"))[:-1])
        while True:
            step = dialogue.receive((await reader.readuntil(b"\n"))[:-1])
            if isinstance(step, Say):
                await _send(writer, step.line)
            elif isinstance(step, Ask):
                await places.acquire()
                attempts.create_task(self._answer(step, writer, places))

    async def _answer(
        self, ask: Ask, writer: asyncio.StreamWriter, places: asyncio.Semaphore
    ) -> None:
        self._pending += 1
        self._idle.clear()
        try:
            answer = await self._judge(ask.attempt)
            if answer.outcome is Outcome.UNAVAILABLE:
                raise _DropError
            is_in = answer.outcome is Outcome.ACCEPTED
            await _send(writer, accepted(ask) if is_in else refused(ask.number))
        finally:
            self._pending -= 1
            if not self._pending:
                self._idle.set()
            places.release()


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    async with asyncio.timeout(_WRITING_SECONDS):
        await writer.drain()
