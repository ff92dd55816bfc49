"""Stores in one Valkey (or Redis) server: each write is one script on the server.

An account is a hash; its id also stands in a sorted set, which gives `scan` the order of bytes.
True means "on disk" only if the server keeps an append-only file and syncs it for each write, so the
server's settings are checked before the first call, and again after each failure.

Not promised, because replication is asynchronous: a write that was answered may be lost when a
replica takes over. A code that was used could then be accepted again, a revoked passcode live again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, TypeVar

from mfakit.errors import InvalidInputError, StoreConfigurationError, StoreUnavailableError
from mfakit.storage import Page, StoredRecord
from mfakit.storage.columns import decode_summary, encode_summary

__all__ = ["AsyncValkeyStore", "Durability", "ValkeyStore"]

Durability = Literal["always", "everysec", "unchecked"]
_T = TypeVar("_T")

# Revisions are compared as text: a number in Lua is a double, exact up to 2**53 only.
# A script that the server dies in is not in the append-only file at all: never half a write.
_WRITE = """
local row, ids = KEYS[1], KEYS[2]
local expected, id, revision, document, summary = unpack(ARGV)
if (redis.call('HGET', row, 'revision') or '') ~= expected then return 0 end
if revision then
  redis.call('HSET', row, 'revision', revision, 'document', document, 'summary', summary)
  redis.call('ZADD', ids, 0, id)
else
  redis.call('DEL', row)
  redis.call('ZREM', ids, id)
end
return 1
"""
_COLUMNS = ("revision", "document", "summary")
_NO_ROW = ""
_KEPT: dict[str, tuple[str, ...]] = {"appendonly": ("yes",), "no-appendfsync-on-rewrite": ("no",)}
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "always": _KEPT | {"appendfsync": ("always",)},
    "everysec": _KEPT | {"appendfsync": ("always", "everysec")},
    "unchecked": {},
}


class _Layout:
    """What the two stores share: names of keys, the form of a row, and what a server must be."""

    def __init__(self, client: Any, prefix: str, durability: Durability, home: str) -> None:
        if durability not in _NEEDED:
            raise StoreConfigurationError('durability must be "always", "everysec" or "unchecked".')
        package = _package(client, home)
        _refuse_unfit(client)
        _never_retry(client, package, home)
        errors = import_module(f"{package}.exceptions")
        self._failure: type[Exception] = getattr(errors, f"{package.capitalize()}Error")
        self._refusal: type[Exception] = errors.ResponseError
        self._client = client
        self._write_script = client.register_script(_WRITE)
        self._prefix = prefix.encode()
        self._durability = durability
        self._needed = _NEEDED[durability]
        self._is_checked = False

    def _key(self, account_id: str) -> bytes:
        return self._prefix + b"account:" + _bytes(account_id)

    def _index(self) -> bytes:
        return self._prefix + b"ids"

    def _run_script(self, account_id: str, expected: str, *columns: Any) -> Any:
        keys = (self._key(account_id), self._index())
        return self._write_script(keys=keys, args=(expected, _bytes(account_id), *columns))

    def _find_ids(self, cursor: str | None, limit: int, prefix: str) -> Any:
        # Byte 255 is in no UTF-8 text, so it ends the range of a prefix.
        first = b"[" + _bytes(prefix) if cursor is None else b"(" + _bytes(cursor)
        return self._client.zrangebylex(
            self._index(), first, b"(" + _bytes(prefix) + b"\xff", start=0, num=limit + 1
        )

    def _fetch(self, ids: Sequence[bytes]) -> Any:
        rows = self._client.pipeline(transaction=False)
        for account_id in ids:
            rows.hmget(self._prefix + b"account:" + account_id, _COLUMNS)
        return rows.execute()

    def _accept(self, info: Mapping[str, Any], config: Mapping[str, str]) -> None:
        """Raise `StoreConfigurationError` if the server cannot keep a store's promises."""
        if info.get("role") != "master":
            raise StoreConfigurationError("This Valkey server is a replica. Give the primary.")
        if str(info.get("maxmemory_policy")).startswith("allkeys"):
            raise StoreConfigurationError(
                "This Valkey server evicts keys when memory is short, and an account that is "
                "gone has no second factor. Set maxmemory-policy noeviction."
            )
        if any(config.get(name) not in good for name, good in self._needed.items()):
            raise StoreConfigurationError(
                "This Valkey server loses writes that it has answered when it dies. Set appendonly "
                "yes, appendfsync always, no-appendfsync-on-rewrite no; or accept the loss of the "
                'last second with durability="everysec".'
            )

    def _explain(self, error: Exception) -> None:
        """Tell a server that never shows its settings from one that is out of order."""
        text = str(error).lower()
        if any(sign in text for sign in ("permission", "unknown command")):
            raise StoreConfigurationError(
                "This Valkey server does not show its settings. Allow INFO and CONFIG GET. If its "
                "operator forbids CONFIG and promises that what was answered is durable, pass "
                'durability="unchecked".'
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._prefix!r}, durability={self._durability!r})"


class ValkeyStore(_Layout):
    """Keep rows in one Valkey server, through a `valkey.Valkey` or `redis.Redis` client.

    Args:
        client: Of one server or of Sentinel (not of a cluster), used by nothing else: its retries
            are turned off. Give it a `socket_timeout` and a `socket_connect_timeout`.
        prefix: Begins every key. The braces keep all keys in one slot.
        durability: "always": a write is on disk when it is answered. "everysec": the last second
            may be lost when the machine dies, and a code used in it be accepted again.
            "unchecked": the server does not show its settings; you know what it promises.

    Raises:
        StoreConfigurationError: The client decodes, caches, or is of another kind.
    """

    def __init__(
        self, client: Any, *, prefix: str = "{mfakit}:", durability: Durability = "always"
    ) -> None:
        super().__init__(client, prefix, durability, "client")

    def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        key = self._key(account_id)
        return _stored(account_id, self._call(lambda: self._client.hmget(key, _COLUMNS)))

    def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        return self._write(new.account_id, _NO_ROW, *_columns(new))

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return self._write(new.account_id, str(expected), *_columns(new))

    def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return self._write(account_id, str(expected))

    def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        ids = self._call(lambda: self._find_ids(cursor, limit, prefix))
        return _page(ids, limit, self._call(lambda: self._fetch(ids[:limit])))

    def check(self) -> None:
        """Check the server's settings now: at start, rather than at the first sign-in.

        Raises:
            StoreConfigurationError: The server cannot keep a store's promises; the text says why.
            StoreUnavailableError: It does not answer. Retry later.
        """
        self._is_checked = False
        self._call(lambda: None)

    def _write(self, account_id: str, expected: str, *columns: Any) -> bool:
        return bool(self._call(lambda: self._run_script(account_id, expected, *columns)) == 1)

    def _call(self, command: Callable[[], _T]) -> _T:
        try:
            if not self._is_checked:
                self._accept(*self._settings())
                self._is_checked = True
            return command()
        except self._failure as error:
            self._is_checked = False
            raise StoreUnavailableError from error

    def _settings(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        try:
            info = self._client.info()
            return info, (self._client.config_get("*append*") if self._needed else {})
        except self._refusal as error:
            self._explain(error)
            raise


class AsyncValkeyStore(_Layout):
    """`ValkeyStore` for an event loop: a `valkey.asyncio.Valkey` or `redis.asyncio.Redis` client.

    Arguments and errors are those of `ValkeyStore`.
    """

    def __init__(
        self, client: Any, *, prefix: str = "{mfakit}:", durability: Durability = "always"
    ) -> None:
        super().__init__(client, prefix, durability, "asyncio.client")

    async def load(self, account_id: str) -> StoredRecord | None:
        """Return the row, None if there is none. Raises `StoreUnavailableError`."""
        key = self._key(account_id)
        return _stored(account_id, await self._call(lambda: self._client.hmget(key, _COLUMNS)))

    async def create(self, new: StoredRecord) -> bool:
        """Insert the row if the account has none. Raises `StoreUnavailableError`."""
        return await self._write(new.account_id, _NO_ROW, *_columns(new))

    async def replace(self, new: StoredRecord, *, expected: int) -> bool:
        """Replace the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return await self._write(new.account_id, str(expected), *_columns(new))

    async def delete(self, account_id: str, *, expected: int) -> bool:
        """Delete the row whose revision is `expected`. Raises `StoreUnavailableError`."""
        return await self._write(account_id, str(expected))

    async def scan(self, *, cursor: str | None, limit: int, prefix: str = "") -> Page:
        """Return up to `limit` rows in the order of their ids. Raises `StoreUnavailableError`."""
        ids = await self._call(lambda: self._find_ids(cursor, limit, prefix))
        return _page(ids, limit, await self._call(lambda: self._fetch(ids[:limit])))

    async def check(self) -> None:
        """As `ValkeyStore.check`."""
        self._is_checked = False
        await self._call(None)

    async def _write(self, account_id: str, expected: str, *columns: Any) -> bool:
        won = await self._call(lambda: self._run_script(account_id, expected, *columns))
        return bool(won == 1)

    async def _call(self, command: Callable[[], Awaitable[Any]] | None) -> Any:
        try:
            if not self._is_checked:
                self._accept(*await self._settings())
                self._is_checked = True
            return None if command is None else await command()
        except self._failure as error:
            self._is_checked = False
            raise StoreUnavailableError from error

    async def _settings(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        try:
            info = await self._client.info()
            return info, (await self._client.config_get("*append*") if self._needed else {})
        except self._refusal as error:
            self._explain(error)
            raise


def _package(client: Any, home: str) -> str:
    """Return "valkey" or "redis": the package whose client of one server this is."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(client).__mro__}
    for package in ("valkey", "redis"):
        # A pipeline is a client too, and answers nothing before it is executed.
        of_one_server = f"{package}.{home}.{package.capitalize()}" in kinds
        if of_one_server and f"{package}.{home}.Pipeline" not in kinds:
            return package
    raise StoreConfigurationError(
        f"This store needs a client of one server: valkey.{home}.Valkey or redis.{home}.Redis."
    )


def _never_retry(client: Any, package: str, home: str) -> None:
    """Send nothing twice: a repeated write could answer "lost" for one that had won."""
    retry = import_module(f"{package}.{home.replace('client', 'retry')}").Retry
    never = retry(import_module(f"{package}.backoff").NoBackoff(), 0)
    try:
        client.set_retry(never)
    except AttributeError:
        # A blocking pool: both packages tell its next connections, and trip over the present ones.
        client.connection_pool.reset()


def _refuse_unfit(client: Any) -> None:
    settings, pool = client.get_connection_kwargs(), client.connection_pool
    if settings.get("decode_responses"):
        raise StoreConfigurationError("Documents are bytes: give a client without decoding.")
    if (
        settings.get("cache_enabled")
        or settings.get("client_cache")
        or getattr(pool, "cache", None)
    ):
        raise StoreConfigurationError("A load must never be cached: give a client without a cache.")


def _bytes(account_id: str) -> bytes:
    try:
        return account_id.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which has no bytes
        raise InvalidInputError("account_id") from error


def _columns(new: StoredRecord) -> tuple[str, bytes, bytes]:
    return str(new.revision), new.document, encode_summary(new.summary)


def _stored(account_id: str, columns: Sequence[bytes | None]) -> StoredRecord | None:
    revision, document, summary = columns
    if revision is None:
        return None
    return StoredRecord(
        account_id=account_id,
        revision=int(revision),
        document=document or b"",  # torn: a document that does not verify, never "no account"
        summary=decode_summary(summary or b""),
    )


def _page(ids: Sequence[bytes], limit: int, rows: Sequence[Sequence[bytes | None]]) -> Page:
    names = [one.decode() for one in ids]
    found = [_stored(name, row) for name, row in zip(names, rows, strict=False)]
    records = tuple(one for one in found if one is not None)  # None: deleted since it was listed
    return Page(records, names[limit - 1] if len(ids) > limit else None)
