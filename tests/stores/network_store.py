"""Stores behind a socket, and some that handle a lost connection or a cancelled call wrongly.

The server hears of a write, applies it and answers, and takes its time between. A cut waits for one write
in each of the two pauses, if there is one to come: of those, a client cannot know whether they won.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from mfakit.errors import StoreUnavailableError
from mfakit.storage import StoredRecord
from mfakit.storage.memory import MemoryStore

ANSWER_SECONDS = 0.0005
WAIT_SECONDS = 0.2
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def send(connection: socket.socket, value: Any) -> None:
    data = pickle.dumps(value)
    connection.sendall(struct.pack("!I", len(data)) + data)


def receive(connection: socket.socket) -> Any:
    (size,) = struct.unpack("!I", _read(connection, 4))
    return pickle.loads(_read(connection, size))


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the server went away")
        data += part
    return data


class Server:
    """Rows in memory, served on a port of this host, one thread for each connection."""

    def __init__(self) -> None:
        self._rows = MemoryStore()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._turn = threading.Condition()
        self._connections: dict[socket.socket, str] = {}  # and how far a replace() on it has come
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection: if it can be, in the middle of a write not applied and of one applied."""
        with self._turn:
            self._turn.wait_for(
                lambda: {"heard", "applied"} <= set(self._connections.values()), WAIT_SECONDS
            )
            self._end_all()

    def stop(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._turn:
            self._end_all()

    def _end_all(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with self._turn:
                    self._connections[connection] = ""
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while True:
                name, args, kwargs = receive(connection)
                self._note(connection, name, "heard")
                time.sleep(ANSWER_SECONDS / 2)
                with self._turn:
                    self._note(connection, name, "applied")
                    answer = getattr(self._rows, name)(*args, **kwargs)
                time.sleep(ANSWER_SECONDS / 2)
                self._note(connection, name, "")
                send(connection, answer)

    def _note(self, connection: socket.socket, name: str, state: str) -> None:
        """Write down how far a replace() has come, unless its connection is cut."""
        with self._turn:
            if connection not in self._connections:
                raise ConnectionAbortedError
            self._connections[connection] = state if name == "replace" else ""
            self._turn.notify_all()


class NetworkStore:
    """Handles it right: a failed connection is dropped with all idle ones, and nothing is guessed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: list[socket.socket] = []

    def load(self, account_id: str) -> StoredRecord | None:
        row: StoredRecord | None = self._call("load", account_id)
        return row

    def create(self, new: StoredRecord) -> bool:
        return bool(self._call("create", new))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return bool(self._call("replace", new, expected=expected))

    def delete(self, account_id: str, *, expected: int) -> bool:
        return bool(self._call("delete", account_id, expected=expected))

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        connection = None
        try:
            connection = self._borrow()
            send(connection, (name, args, kwargs))
            answer = receive(connection)
        except OSError as error:
            self._drop(connection)
            raise StoreUnavailableError from error
        self._idle.append(connection)
        return answer

    def _borrow(self) -> socket.socket:
        try:
            return self._idle.pop()
        except IndexError:
            return socket.create_connection(self._address)

    def _drop(self, connection: socket.socket | None) -> None:
        if connection is not None:
            connection.close()
        self.close()


class RetryingStore(NetworkStore):
    """Sends a write again when it does not know what became of the first."""

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        while True:
            with suppress(StoreUnavailableError):
                return super()._call(name, *args, **kwargs)


class HopefulStore(NetworkStore):
    """Takes a write that was sent for one that won."""

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        try:
            return super().replace(new, expected=expected)
        except StoreUnavailableError:
            return True


class StuckStore(NetworkStore):
    """Gives a dead connection back to the pool."""

    def _drop(self, connection: socket.socket | None) -> None:
        if connection is not None:
            self._idle.append(connection)


class TellingStore(NetworkStore):
    """Lets the socket's own error out."""

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._call(name, *args, **kwargs)
        except StoreUnavailableError as error:
            raise error.__cause__ or error from None


class AsyncNetworkStore:
    """The same for an event loop: five connections, each closed unless its call came to an end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: list[Streams] = []
        self._free = asyncio.Semaphore(5)

    async def load(self, account_id: str) -> StoredRecord | None:
        row: StoredRecord | None = await self._call("load", account_id)
        return row

    async def create(self, new: StoredRecord) -> bool:
        return bool(await self._call("create", new))

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        return bool(await self._call("replace", new, expected=expected))

    async def delete(self, account_id: str, *, expected: int) -> bool:
        return bool(await self._call("delete", account_id, expected=expected))

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        async with self._free:
            return await self._talk(name, args, kwargs)

    async def _talk(self, *question: Any) -> Any:
        streams = await self._borrow()
        try:
            answer = await self._ask(streams, question)
        except BaseException as error:
            self._drop(streams)
            if isinstance(error, OSError | asyncio.IncompleteReadError):
                raise StoreUnavailableError from error
            raise
        self._idle.append(streams)
        return answer

    async def _borrow(self) -> Streams:
        if self._idle:
            return self._idle.pop()
        try:
            return await asyncio.open_connection(*self._address)
        except OSError as error:
            raise StoreUnavailableError from error

    async def _ask(self, streams: Streams, question: Any) -> Any:
        data = pickle.dumps(question)
        streams[1].write(struct.pack("!I", len(data)) + data)
        (size,) = struct.unpack("!I", await streams[0].readexactly(4))
        return pickle.loads(await streams[0].readexactly(size))

    def _drop(self, streams: Streams) -> None:
        for one in (streams, *self._idle):
            one[1].close()
        self._idle.clear()


class HalfUsedStore(AsyncNetworkStore):
    """Gives a connection back although the answer to a cancelled call is still to come."""

    def _drop(self, streams: Streams) -> None:
        self._idle.append(streams)


class LeakingStore(AsyncNetworkStore):
    """Loses its place in the pool when a call is cancelled."""

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await self._free.acquire()
        try:
            answer = await self._talk(name, args, kwargs)
        except Exception:
            self._free.release()
            raise
        self._free.release()
        return answer


class AwaitingStore(AsyncNetworkStore):
    """Looks first and writes then, with an await between."""

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        row = await self.load(new.account_id)
        if row is None or row.revision != expected:
            return False
        while not await super().replace(new, expected=row.revision):
            row = await self.load(new.account_id) or row
        return True


class UnevenStore:
    """A store in memory whose first write takes long; a cancelled write leaves it stuck."""

    def __init__(self) -> None:
        self._rows = MemoryStore()
        self._turns = 3_000
        self._is_stuck = False

    async def load(self, account_id: str) -> StoredRecord | None:
        if self._is_stuck:
            raise StoreUnavailableError
        return self._rows.load(account_id)

    async def create(self, new: StoredRecord) -> bool:
        return self._rows.create(new)

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        turns, self._turns, self._is_stuck = self._turns, 3, True
        for _ in range(turns):
            await asyncio.sleep(0)
        self._is_stuck = False
        return self._rows.replace(new, expected=expected)

    async def delete(self, account_id: str, *, expected: int) -> bool:
        return self._rows.delete(account_id, expected=expected)
