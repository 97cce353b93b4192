"""Errors as RFC 9457 problem documents."""

import logging

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import MethodNotAllowed, NotFound, PasticheError, RequestError
from .headers import SECURITY

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 2000  # characters; errors are short by themselves, this is the last resort


class Problem(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = Field(
        description="a URN that ends in the code", examples=["urn:pastiche:bad_option"]
    )
    title: str = Field(description="what the code means, the same each time")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was wrong this time, and what is allowed")
    code: str = Field(description="a stable name for programs")
    request_id: str = Field(description="the X-Request-ID of this answer")


def problem_response(error: PasticheError, request_id: str) -> Response:
    """The answer for an error of ours."""
    detail = str(error)
    if len(detail) > MAX_DETAIL:
        detail = f"{detail[: MAX_DETAIL - 1]}…"
    problem = Problem(
        type=f"urn:pastiche:{error.code}",
        title=error.title,
        status=error.status,
        detail=detail,
        code=error.code,
        request_id=request_id,
    )
    headers = {**SECURITY, **error.headers, "X-Request-ID": request_id}
    return JSONResponse(problem.model_dump(), error.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every exception with a problem document."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, PasticheError)
        return problem_response(error, request.state.request_id)

    async def from_router(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_translated(request, error), request.state.request_id)

    async def unexpected(request: Request, error: Exception) -> Response:
        # Starlette raises it again behind this answer, so that the server logs the traceback.
        own = PasticheError("something went wrong on our side; the log has it by the request id")
        return problem_response(own, request.state.request_id)

    app.add_exception_handler(PasticheError, ours)
    app.add_exception_handler(HTTPException, from_router)
    app.add_exception_handler(Exception, unexpected)


def _translated(request: Request, error: HTTPException) -> PasticheError:
    if error.status_code == 404:
        return NotFound("there is nothing at this path; see /docs")
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        allow = ", ".join([allow, "HEAD"]) if allow == "GET" else allow  # see Access
        return MethodNotAllowed(f"this path takes {allow or 'another method'}", allow)
    if error.status_code >= 500:
        return PasticheError(str(error.detail))
    return RequestError(str(error.detail))
