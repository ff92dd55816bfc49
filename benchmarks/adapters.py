"""What an adapter alone costs: load and replace of one row, against the same by the bare driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from msgspec import structs

from benchmarks import peers
from benchmarks.engines import Opener
from benchmarks.stores import BARE_CHECK, documents
from benchmarks.timing import Claim, Section, interleave
from benchmarks.world import World
from mfakit.storage import Store, StoredRecord
from mfakit.storage.memory import MemoryStore

TIMES_THE_BARE_DRIVER = 1.3  # what the adapter that PostgreSQL has of its own must keep


def run(title: str, opener: Opener, limited: str | None, *, is_quick: bool) -> Section:
    """Measure every store of one engine; raises `UnavailableError`.

    Args:
        title: The engine's.
        opener: Opens it.
        limited: The store that must keep `TIMES_THE_BARE_DRIVER`.
        is_quick: Fewer rounds.
    """
    with opener() as engine:
        if engine.django:
            peers.use_database(engine.django)
        contenders: dict[str, Callable[[], object]] = {
            name: _LoadReplace(store).turn for name, store in engine.stores.items()
        }
        contenders[BARE_CHECK] = engine.bare(documents()).check
        rounds = interleave(
            contenders, rounds=9 if is_quick else 150, calls=dict.fromkeys(contenders, 20)
        )
        stores = tuple(engine.stores)
        if engine.django:
            peers.leave_database()

    def claims() -> Iterator[Claim]:
        for store in stores:
            limit = TIMES_THE_BARE_DRIVER if store == limited else None
            yield Claim(
                name=f"{store}: times the bare driver",
                value=rounds.ratio(store, BARE_CHECK),
                at_most=limit,
            )
            yield Claim(
                name=f"{store}: the same, 10th percentiles",
                value=rounds.undisturbed_ratio(store, BARE_CHECK),
                at_most=limit,
            )

    return Section(
        title=f"Load and replace: {title}",
        microseconds=rounds.microseconds(),
        claims=tuple(claims()),
    )


class _LoadReplace:
    """Load a row and replace it, as an operation of `MFA` does and nothing between."""

    def __init__(self, store: Store) -> None:
        row = World(MemoryStore()).row()
        assert store.create(row)
        self._store, self._id = store, row.account_id
        self._rows = [structs.replace(row, document=document) for document in documents()]
        self._number = count()

    def turn(self) -> None:
        row = self._store.load(self._id)
        assert row is not None
        new = self._rows[next(self._number) % len(self._rows)]
        assert self._store.replace(_at(new, row.revision + 1), expected=row.revision)


def _at(row: StoredRecord, revision: int) -> StoredRecord:
    return StoredRecord(
        account_id=row.account_id, revision=revision, document=row.document, summary=row.summary
    )
