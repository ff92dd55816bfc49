"""Makes the application: the one `AsyncMFA` of the process, the routes, the error handlers."""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from examples.fastapi_service import api, problems
from examples.fastapi_service.platform import Platform
from examples.webmail_shared.demo import ACCOUNTS, PASSWORD
from fastapi import FastAPI, Request, Response

from mfakit import KeyRing, Policy
from mfakit.aio import AsyncMFA, InThreads
from mfakit.storage.sqlite import SQLiteStore


def create_app(data: Path, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Return the service, with the demo accounts.

    Args:
        data: Directory for the databases and keys; made if it is not there.
        clock: Unix seconds.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    platform = Platform(data / "platform.db", clock)
    platform.open(ACCOUNTS, PASSWORD)
    keys = KeyRing.from_text(_keys(data / "mfa.keys"))

    async def policy_of(account_id: str) -> Policy:
        return await to_thread(platform.policy_of, account_id)

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        async with (
            InThreads(SQLiteStore(data / "mfa.db")) as store,
            AsyncMFA(
                store, keys, policy=policy_of, realm="fastapi-service", clock=clock
            ) as app.state.mfa,
        ):
            yield

    app = FastAPI(
        title="Two-step verification",
        version="1",
        lifespan=run,
        exception_handlers=problems.HANDLERS,
    )
    app.state.platform = platform
    app.include_router(api.router)
    app.middleware("http")(no_store)
    return app


async def no_store(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Keep tokens, keys and codes out of every cache."""
    response = await call_next(request)
    response.headers["Cache-Control"] = "no-store"
    return response


def _keys(path: Path) -> str:
    """Return the key file's text; make it the first time, for this user only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(KeyRing.generate_entry("k1"), encoding="ascii")
    return path.read_text(encoding="ascii")
