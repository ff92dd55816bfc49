"""Whether a sign-in costs more in a larger table: the same accounts among ever more others.

Each table holds the same measured accounts, spread evenly over it in the order of insertion (and,
their ids being random, over its index), and others between them, whose documents are real but
nobody's. Accounts are visited at random; the tables take turns in one run.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from msgspec import json

from benchmarks.engines import postgres_server
from benchmarks.timing import Claim, Contender, Curves, Section, UnavailableError, interleave
from benchmarks.world import World, mail_login, new_keys
from mfakit import MFA
from mfakit.storage import Store, StoredRecord
from mfakit.storage.memory import MemoryStore
from mfakit.storage.sqlite import SQLiteStore
from mfakit.testing import CheapHasher, FixedClock

TIMES_THE_SMALLEST = 1.3
MEASURED = 1000  # every account of the smallest table; the process remembers the keys of 1,024
CALLS = 200
_CHUNKS = 100
_CALLS = ("verify_code", "authenticate_client")
_BYTES_AN_ACCOUNT = 10_000  # on disk while it is filled: row, index, log

Fill = Callable[[Sequence[StoredRecord], int], AbstractContextManager[Store]]


def run(title: str, fill: Fill, accounts: Sequence[int], *, is_quick: bool) -> Section:
    """Measure tables of some sizes against the smallest; raises `UnavailableError`.

    Args:
        title: The engine's.
        fill: Makes a table of some measured rows among so many others, and a store on it.
        accounts: The sizes, at least `MEASURED` each.
        is_quick: Fewer rounds.
    """
    sizes = sorted(accounts)
    _require_disk(sum(sizes))
    rounds_count = 9 if is_quick else 41
    crowd = _Crowd((rounds_count + 1) * CALLS)
    with ExitStack() as stack:
        stores = [stack.enter_context(fill(crowd.rows, size - MEASURED)) for size in sizes]
        contenders = dict(_contenders(crowd, sizes, stores))
        rounds = interleave(contenders, rounds=rounds_count, calls=dict.fromkeys(contenders, CALLS))
    claims = [
        Claim(
            name=f"{what}, {size:,} accounts, times {sizes[0]:,}",
            value=rounds.ratio(_name(what, size), _name(what, sizes[0])),
            at_most=TIMES_THE_SMALLEST,
        )
        for what in _CALLS
        for size in sizes[1:]
    ]
    taken = rounds.microseconds()
    lines = {what: {size: taken[_name(what, size)] for size in sizes} for what in _CALLS}
    curves = Curves(across="accounts", up="µs", lines=lines, is_logarithmic=True)
    return Section(
        title=f"Growth: {title}", microseconds=taken, claims=tuple(claims), curves=curves
    )


class _Crowd:
    """The measured accounts, and the order in which they are visited.

    Half of them check codes, half sign mail clients in: a code check moves its account's time on, so
    that the next passcode login would write its use again.
    """

    def __init__(self, visits: int) -> None:
        self.keys, store = new_keys(), MemoryStore()
        people = [
            World(store, account_id=str(uuid.uuid4()), keys=self.keys) for _ in range(MEASURED)
        ]
        self.rows = [one.row() for one in people]
        self.start = people[0].clock.now
        self.mail_clients = [(one.account_id, one.passcodes[-1]) for one in people[::2]]
        self.logins = random.choices(self.mail_clients, k=visits)
        self.checks = [
            (one.account_id, one.phone.code(self.start, steps=step))
            for step, one in enumerate(random.choices(people[1::2], k=visits), start=1)
        ]


def _contenders(
    crowd: _Crowd, sizes: Sequence[int], stores: Sequence[Store]
) -> Iterator[tuple[str, Contender]]:
    for size, store in zip(sizes, stores, strict=True):
        yield _name("verify_code", size), _code_check(crowd, store)
    for size, store in zip(sizes, stores, strict=True):
        yield _name("authenticate_client", size), _mail_logins(crowd, store)


def _code_check(crowd: _Crowd, store: Store) -> Contender:
    clock, checks = FixedClock(crowd.start), iter(crowd.checks)
    mfa = MFA(store, crowd.keys, clock=clock, hasher=CheapHasher())

    def check() -> object:
        clock.advance(30)
        return mfa.verify_code(*next(checks))

    return check


def _mail_logins(crowd: _Crowd, store: Store) -> Contender:
    mfa = MFA(store, crowd.keys, clock=FixedClock(crowd.start), hasher=CheapHasher())
    for client in crowd.mail_clients:
        mail_login(mfa, *client)  # writes the use, and is remembered
    logins = iter(crowd.logins)
    return lambda: mail_login(mfa, *next(logins))


def _name(what: str, size: int) -> str:
    return f"{what}, {size:,} accounts"


# ------------------------------------------------------------------------------------- the tables


@contextmanager
def sqlite(rows: Sequence[StoredRecord], others: int) -> Iterator[Store]:
    """Fill a file, WAL, `synchronous=NORMAL`: there the table's share of the cost is largest."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(directory) / "mfa.db"
        store = SQLiteStore(path, synchronous="NORMAL")
        stack.enter_context(closing(store))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -200000")
            connection.execute("CREATE TEMP TABLE sample (n INTEGER PRIMARY KEY, d BLOB, s TEXT)")
            _fill(
                connection.executemany,
                "?",
                rows,
                others,
                "INSERT INTO mfakit_account SELECT lower(hex(randomblob(16))), 1, d, s FROM (WITH"
                " RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?)"
                " SELECT i FROM c) JOIN sample ON n = i % ?",
            )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield store


@contextmanager
def postgres(rows: Sequence[StoredRecord], others: int) -> Iterator[Store]:
    """Fill a table of a server of its own; the store has an engine of its own."""
    from sqlalchemy import create_engine

    from mfakit.storage.sqlalchemy import SQLAlchemyStore

    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        engine = create_engine(
            server.url(driver="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )
        stack.callback(engine.dispose)
        store = SQLAlchemyStore(engine)
        store.create_table()
        import psycopg

        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE sample (n INTEGER PRIMARY KEY, d BYTEA, s TEXT)")
            connection.execute("SET synchronous_commit = off")
            _fill(
                connection.cursor().executemany,
                "%s",
                rows,
                others,
                "INSERT INTO mfakit_account SELECT gen_random_uuid()::text, 1, d, s"
                " FROM generate_series(0, %s - 1) AS i JOIN sample ON n = i %% %s",
            )
            connection.execute("VACUUM ANALYZE mfakit_account")
            connection.execute("CHECKPOINT")
        yield store


def _fill(
    execute_many: Callable[[Any, Any], object],
    mark: str,
    rows: Sequence[StoredRecord],
    others: int,
    insert_others: str,
) -> None:
    """Insert the rows in equal parts, and as equal parts of the others between them."""
    values = [(one.account_id, one.revision, one.document, _summary(one)) for one in rows]
    samples = [(number, *one[2:]) for number, one in enumerate(values)]
    execute_many(f"INSERT INTO sample VALUES ({mark}, {mark}, {mark})", samples)
    insert = f"INSERT INTO mfakit_account VALUES ({', '.join([mark] * 4)})"
    for chunk in range(_CHUNKS):
        part = others * (chunk + 1) // _CHUNKS - others * chunk // _CHUNKS
        if part:
            execute_many(insert_others, [(part, len(rows))])
        execute_many(insert, values[chunk::_CHUNKS])


def _summary(row: StoredRecord) -> str:
    return json.encode(row.summary).decode()


def _require_disk(accounts: int) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < accounts * _BYTES_AN_ACCOUNT:
        raise UnavailableError(
            f"{accounts * _BYTES_AN_ACCOUNT / 1e9:.0f} GB for temporary files; set TMPDIR"
        )
