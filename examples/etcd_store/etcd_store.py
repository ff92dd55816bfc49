"""Keep mfakit's rows in an etcd cluster, through its HTTP and JSON gateway.

Each account is two keys: the row, and its revision alone. A write is one transaction: "if the
revision key holds `expected`, put both keys". Reads are linearizable, which is etcd's default.
"""

import os
from base64 import b64decode, b64encode
from functools import cache

import msgspec
import urllib3

from mfakit.errors import InvalidInputError, StoreUnavailableError
from mfakit.storage import Page, StoredRecord


class EtcdStore:
    """A store on `endpoints`, such as ("https://etcd-1:2379", "https://etcd-2:2379").

    `tls` goes to urllib3: `ca_certs`, `cert_file`, `key_file`.
    """

    def __init__(self, endpoints, *, prefix="mfakit/", timeout_seconds=2.0, **tls):
        self._endpoints, self._turn = tuple(endpoints), 0
        self._prefix = prefix
        settings = {"timeout": timeout_seconds, "retries": False, "maxsize": 16, **tls}
        # By process: a forked child must not read its parent's answers.
        self._connections_of = cache(lambda _process: urllib3.PoolManager(**settings))

    def _call(self, method, body):
        turn = self._turn
        url = f"{self._endpoints[turn]}/v3/kv/{method}"
        try:
            answer = self._connections_of(os.getpid()).request("POST", url, json=body)
            if answer.status != 200:
                raise ValueError(f"etcd answered {answer.status}")
            return answer.json()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._turn = (turn + 1) % len(self._endpoints)  # the next call asks another node
            raise StoreUnavailableError from error

    def load(self, account_id):
        rows = self._call("range", {"key": self._key("row", account_id)}).get("kvs")
        return self._stored(rows[0]) if rows else None

    def create(self, new):
        return self._write(new.account_id, {"target": "VERSION", "version": 0}, new)

    def replace(self, new, *, expected):
        return self._write(new.account_id, {"target": "VALUE", "value": _text(str(expected))}, new)

    def delete(self, account_id, *, expected):
        return self._write(account_id, {"target": "VALUE", "value": _text(str(expected))}, None)

    def _write(self, account_id, condition, new):
        row, revision = self._key("row", account_id), self._key("revision", account_id)
        if new is None:
            then = [{"request_delete_range": {"key": key}} for key in (row, revision)]
        else:
            values = {row: _base64(msgspec.msgpack.encode(new)), revision: _text(str(new.revision))}
            then = [{"request_put": {"key": key, "value": values[key]}} for key in values]
        body = {"compare": [{"key": revision, "result": "EQUAL", **condition}], "success": then}
        return self._call("txn", body).get("succeeded", False)

    def scan(self, *, cursor, limit, prefix=""):
        first = self._key("row", prefix) if cursor is None else self._key("row", cursor + "\0")
        last = _base64(f"{self._prefix}row/{prefix}".encode() + b"\xff")  # in no UTF-8 text
        found = self._call("range", {"key": first, "range_end": last, "limit": limit})
        rows = tuple(self._stored(one) for one in found.get("kvs", ()))
        return Page(rows, rows[-1].account_id if found.get("more") else None)

    def _key(self, kind, account_id):
        return _text(f"{self._prefix}{kind}/{account_id}")

    def _stored(self, found):
        return msgspec.msgpack.decode(b64decode(found["value"]), type=StoredRecord)


def _text(text):
    try:
        return _base64(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError("account_id") from error


def _base64(value):
    return b64encode(value).decode()
