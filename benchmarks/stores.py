"""What a sign-in costs on each store: a code check that persists, and a remembered passcode login.

Against the bare driver of the same engine, and against django-otp and allauth on it. Neither has
passcodes for mail clients: their code check is what a login through them costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import peers
from benchmarks.engines import Bare, Engine, Opener, mariadb, postgres, sqlite, valkey
from benchmarks.timing import Claim, Contender, Rounds, Section, interleave
from benchmarks.world import World
from mfakit.storage import Store, StoredRecord
from mfakit.storage.memory import MemoryStore

IN_MEMORY = "MemoryStore: verify_code"  # what is left when the store costs nothing
IN_MEMORY_WITH_BARE = "MemoryStore with the bare driver's inside: verify_code"
BARE_CHECK = "bare driver, read and conditional write"
BARE_READ = "bare driver, read"
DJANGO_OTP = "django-otp verify_token"
ALLAUTH = "allauth validate_code"


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine, what is asked of it, and how long a turn is.

    Args:
        share_of_bare: The least rate of a code check, of the bare driver's.
        times_peers: How many times faster than django-otp and allauth it must be at least.
        calls: How many calls one turn is. Every 1,000 page writes or so SQLite moves its log into the
            file, for milliseconds: of turns of 100 short calls one in ten holds that, and a median
            of ratios leaves it out for one contender and not for the other. So a turn of SQLite
            NORMAL holds it twice at least, for each. Long turns also make little of what the
            contender before has left in the caches. Where each call waits for the disk, fewer do.
        peer_calls: The same for peers, which take longer and write more pages.
    """

    title: str
    open: Opener
    share_of_bare: float | None = None
    times_peers: float | None = None
    calls: int = 50
    peer_calls: int = 20


CASES = {
    "sqlite-normal": Case(
        title="SQLite, WAL, synchronous=NORMAL",
        open=partial(sqlite, "NORMAL"),
        share_of_bare=0.3,
        times_peers=8,
        calls=2000,
        peer_calls=500,
    ),
    "sqlite-full": Case(
        title="SQLite, WAL, synchronous=FULL",
        open=partial(sqlite, "FULL"),
        share_of_bare=0.8,
        times_peers=4,
        calls=200,
        peer_calls=100,
    ),
    "postgres": Case(
        title="PostgreSQL, commits durable", open=postgres, share_of_bare=0.7, times_peers=3
    ),
    "mariadb": Case(title="MariaDB, commits durable", open=mariadb),
    "valkey": Case(title="Valkey, appendfsync always", open=valkey),
}


def run(case: Case, *, is_quick: bool) -> Section:
    """Measure every store of one engine. Raises `UnavailableError`."""
    rounds_count = 9 if is_quick else 41
    with case.open() as engine:
        light = dict(_light(engine, (rounds_count + 1) * case.calls))
        heavy = dict(_peers(engine, (rounds_count + 1) * case.peer_calls))
        calls = dict.fromkeys(light, case.calls) | dict.fromkeys(heavy, case.peer_calls)
        rounds = interleave(light | heavy, rounds=rounds_count, calls=calls)
        peers_here, stores = tuple(heavy), tuple(engine.stores)
        if engine.django:
            peers.leave_database()
    claims = [one for store in stores for one in _claims(case, rounds, store, peers_here)]
    return Section(title=case.title, microseconds=rounds.microseconds(), claims=tuple(claims))


def documents() -> list[bytes]:
    """Return documents as they follow each other in a store, to be written by others."""
    world = World(MemoryStore())
    return [_next_document(world, code) for code in world.codes(16)]


def _next_document(world: World, code: str) -> bytes:
    world.verify_next(code)
    return world.row().document


def _light(engine: Engine, checks: int) -> Iterator[tuple[str, Contender]]:
    if engine.django:
        peers.use_database(engine.django)
    for name, store in engine.stores.items():
        yield _check_of(name), _code_check(store, checks)
        yield _login_of(name), _mail_login(store)
    yield IN_MEMORY, _code_check(MemoryStore(), checks)
    bare = engine.bare(documents())
    yield IN_MEMORY_WITH_BARE, _code_check(_WithBare(bare), checks)
    yield BARE_CHECK, bare.check
    yield BARE_READ, bare.read


class _WithBare(MemoryStore):
    """Memory, and before each write the bare driver's read and write: what an adapter cannot undercut.

    Between other work they take longer than in a loop of their own.
    """

    def __init__(self, bare: Bare) -> None:
        super().__init__()
        self._bare = bare

    def replace(self, new: StoredRecord, *, expected: int) -> bool:
        self._bare.check()
        return super().replace(new, expected=expected)


def _peers(engine: Engine, checks: int) -> Iterable[tuple[str, Contender]]:
    if engine.django:
        yield DJANGO_OTP, peers.DjangoOTP(checks).check
        yield ALLAUTH, peers.Allauth(checks).check


def _code_check(store: Store, checks: int) -> Contender:
    world = World(store, account_id="account-17")
    codes = iter(world.codes(checks))
    return lambda: world.verify_next(next(codes))


def _mail_login(store: Store) -> Contender:
    world = World(store, account_id="account-18")  # its clock stands, so its use is written once
    world.mail_login(world.passcodes[-1])
    return lambda: world.mail_login(world.passcodes[-1])


def _claims(case: Case, rounds: Rounds, store: str, peers_here: Iterable[str]) -> Iterator[Claim]:
    check, login = _check_of(store), _login_of(store)
    yield Claim(
        name=f"{store}: code check, rate of the bare driver's",
        value=rounds.ratio(BARE_CHECK, check),
        at_least=case.share_of_bare,
    )
    yield Claim(
        name=f"{store}: code check, times the bare driver's within a check in memory",
        value=rounds.ratio(check, IN_MEMORY_WITH_BARE),
    )
    for peer in peers_here:
        yield Claim(
            name=f"{store}: code check, faster than {peer.split()[0]}",
            value=rounds.ratio(peer, check),
            at_least=case.times_peers,
        )
    yield Claim(
        name=f"{store}: passcode login, times a bare read", value=rounds.ratio(login, BARE_READ)
    )
    for peer in peers_here:
        yield Claim(
            name=f"{store}: passcode login, faster than {peer.split()[0]}'s code check",
            value=rounds.ratio(peer, login),
        )


def _check_of(store: str) -> str:
    return f"{store}: verify_code"


def _login_of(store: str) -> str:
    return f"{store}: authenticate_client, remembered"
