"""The SASL server's connections: what is answered, what is dropped, what is bounded."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mfakit.mail import Answer, LoginAttempt, Outcome
from mfakit.mail.sasl import LINE_BYTES_MAX, SaslServer

GREETING = b"VERSION\t1\t1\nCPID\t1\n"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Judge:
    """Says what the login says; counts how many attempts it judges at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def __call__(self, attempt: LoginAttempt) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._judge(attempt)
        finally:
            self.now -= 1

    async def _judge(self, attempt: LoginAttempt) -> Answer:
        if attempt.login == "slow":
            await asyncio.sleep(0.2)
            return Answer(outcome=Outcome.ACCEPTED)
        if attempt.login == "hangs":
            await asyncio.sleep(600)
        return Answer(outcome=Outcome(attempt.login or "refused"))


def _line(number: int, login: str) -> bytes:
    response = base64.b64encode(f"\0{login}\0pw".encode())
    return b"AUTH\t%d\tPLAIN\tservice=smtp\tresp=%b\n" % (number, response)


def _play(
    tmp_path: Path, play: Callable[[SaslServer, Callable[[], Awaitable[Peer]]], Any], **limits: int
) -> Any:
    async def run() -> Any:
        server = SaslServer(Judge(), **limits)
        path = tmp_path / "sasl"
        listener = await asyncio.start_unix_server(server.serve, path, limit=LINE_BYTES_MAX)
        writers = []

        async def connect() -> Peer:
            reader, writer = await asyncio.open_unix_connection(path)
            writers.append(writer)
            return reader, writer

        async def greet() -> Peer:
            reader, writer = await connect()
            writer.write(GREETING)
            await reader.readuntil(b"DONE\n")
            return reader, writer

        try:
            async with asyncio.timeout(60):
                return await play(server, greet)
        finally:
            listener.close()
            await server.aclose(0)
            for writer in writers:
                writer.close()

    return asyncio.run(run())


def _judge(server: SaslServer) -> Judge:
    judge = server._judge
    assert isinstance(judge, Judge)
    return judge


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what it waits for has no event; `_play` ends it
        await asyncio.sleep(0.001)


def test_yes_and_no(tmp_path: Path) -> None:
    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await greet()
        assert server.connections == 1
        writer.write(_line(1, "accepted") + _line(2, "refused"))
        said = {await reader.readline(), await reader.readline()}
        assert said == {b"OK\t1\tuser=accepted\n", b"FAIL\t2\n"}
        writer.write(b"AUTH\t3\tLOGIN\tservice=smtp\n")
        assert await reader.readline() == b"CONT\t3\tVXNlcm5hbWU6\n"

    _play(tmp_path, play)


def test_no_answer_is_a_dropped_connection(tmp_path: Path) -> None:
    """Postfix and Exim would report a FAIL of any kind as a wrong password."""

    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await greet()
        writer.write(_line(1, "hangs") + _line(2, "unavailable"))
        assert await reader.read() == b""
        assert server.connections == 0

    _play(tmp_path, play)


@pytest.mark.parametrize("sent", [b"nonsense\n", b"A" * (LINE_BYTES_MAX + 10), b""])
def test_nonsense_and_silence_end_it(tmp_path: Path, sent: bytes) -> None:
    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await greet()
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == b""

    _play(tmp_path, play)


def test_who_does_not_greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfakit.mail.sasl._GREETING_SECONDS", 0.05)

    async def play(_: SaslServer, __: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "sasl")
        assert (await reader.read()).endswith(b"DONE\n")
        writer.close()

    _play(tmp_path, play)


def test_who_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers do not pile up: it is dropped."""
    monkeypatch.setattr("mfakit.mail.sasl._WRITING_SECONDS", 0.1)

    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        _, writer = await greet()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        number = 0
        while server.connections:
            number += 1
            writer.write(_line(number % 10**9, "a" * 300 if number % 2 else "accepted") * 1)
            writer.write(b"AUTH\t%d\tLOGIN\n" % (10**9 + number))
            writer.write(b"CANCEL\t%d\n" % (10**9 + number))
            if number % 50 == 0:
                await asyncio.sleep(0.001)

    _play(tmp_path, play)


def test_connections_are_bounded(tmp_path: Path) -> None:
    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        peers = [await greet() for _ in range(2)]
        reader, writer = await asyncio.open_unix_connection(tmp_path / "sasl")
        assert await reader.read() == b""
        writer.close()
        peers[0][1].close()
        await _until(lambda: server.connections < 2)
        await greet()

    _play(tmp_path, play, connections_max=2)


def test_attempts_of_one_connection_are_bounded(tmp_path: Path) -> None:
    """Two at a time: six take their turns, and none is lost."""

    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> int:
        reader, writer = await greet()
        writer.write(b"".join([_line(number, "slow") for number in range(6)]))
        for _ in range(6):
            assert (await reader.readline()).startswith(b"OK")
        return _judge(server).most

    assert _play(tmp_path, play, pending_max=2) == 2


def test_a_stop_lets_attempts_end(tmp_path: Path) -> None:
    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await greet()
        idle, _ = await greet()
        writer.write(_line(1, "slow"))
        await _until(lambda: _judge(server).now == 1)
        await server.aclose(5)
        assert await reader.read() == b"OK\t1\tuser=slow\n"
        assert await idle.read() == b""
        late, late_writer = await asyncio.open_unix_connection(tmp_path / "sasl")
        assert await late.read() == b""
        late_writer.close()
        await late_writer.wait_closed()

    _play(tmp_path, play)


def test_a_stop_waits_only_so_long(tmp_path: Path) -> None:
    async def play(server: SaslServer, greet: Callable[[], Awaitable[Peer]]) -> None:
        reader, writer = await greet()
        writer.write(_line(1, "hangs"))
        await _until(lambda: _judge(server).now == 1)
        await server.aclose(0.1)
        assert await reader.read() == b""

    _play(tmp_path, play)
