"""Errors as `application/problem+json` (RFC 9457), with the stable `code` that a client translates."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from mfakit import RefusedError, UnavailableError
from mfakit.errors import InvalidInputError, ThrottledError


class Problem(BaseModel):
    """What went wrong."""

    type: str = "about:blank"
    title: str = Field(description="The name of the status")
    status: int
    detail: str = Field(description="For people; nothing secret")
    code: str = Field(description="Stable: for programs, and for translation")
    field: str | None = Field(None, description="The input that it is about")
    retry_after: int | None = Field(None, description="Seconds to wait; nothing was evaluated")


_DOCUMENTED = {"application/problem+json": {"schema": Problem.model_json_schema()}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    name: {"description": text, "content": _DOCUMENTED}
    for name, text in {
        "4XX": "Refused: see `code`",
        "422": "The request is not of this form",
        "5XX": "Nothing was decided: try again later",
    }.items()
}


def answer(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """Return a problem as the answer to a request."""
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, code=code, detail=detail, **more)
    headers = {"Cache-Control": "no-store"}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, status, headers, media_type="application/problem+json")


async def refused(_: Request, error: RefusedError) -> JSONResponse:
    """The client, or its owner, has to do something else."""
    wait = error.retry_after_seconds if isinstance(error, ThrottledError) else None
    field = error.field if isinstance(error, InvalidInputError) else None
    return answer(error.http_status, error.code, error.text, retry_after=wait, field=field)


async def unavailable(_: Request, error: UnavailableError) -> JSONResponse:
    """Nothing was decided: say so, tell the operator, let nobody in."""
    logging.getLogger(__name__).error("mfakit: %s", error.code, exc_info=error)
    return answer(error.http_status, error.code, UnavailableError.text, retry_after=30)


async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    """Name the field, and not what was in it: FastAPI's own answer would send a password back."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "malformed_request", first["msg"], field=field)


async def stopped(_: Request, error: HTTPException) -> JSONResponse:
    """Everything else: no session, no such address."""
    code = HTTPStatus(error.status_code).name.lower()
    return answer(error.status_code, code, error.detail)


async def failed(request: Request, error: Exception) -> JSONResponse:
    """What is raised where no other handler reaches: in middleware, in a handler.

    Starlette raises it again after the answer, for the log.
    """
    if isinstance(error, RefusedError):
        return await refused(request, error)
    if isinstance(error, UnavailableError):
        return await unavailable(request, error)
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "Something went wrong here.")


HANDLERS: dict[Any, Any] = {
    RefusedError: refused,
    UnavailableError: unavailable,
    RequestValidationError: malformed,
    HTTPException: stopped,
    Exception: failed,
}
