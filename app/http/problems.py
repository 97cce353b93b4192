"""Problem documents (RFC 9457), the body of every error response."""

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
MAX_DETAIL = 2000  # characters; a safeguard, since all our messages are shorter


class Problem(BaseModel):
    """The body of an error response (RFC 9457)."""

    type: str = Field(
        description="a URN that ends in the code", examples=["urn:pastiche:bad_option"]
    )
    title: str = Field(description="a summary, the same for each code")
    status: int = Field(description="the HTTP status code")
    detail: str = Field(description="what was wrong, and what is allowed")
    code: str = Field(description="a stable, machine-readable name")
    request_id: str = Field(description="the X-Request-ID of this response")


def problem(error: PasticheError, request_id: str) -> Problem:
    """Return the problem document for an error."""
    detail = str(error)
    if len(detail) > MAX_DETAIL:
        detail = f"{detail[: MAX_DETAIL - 1]}…"
    return Problem(
        type=f"urn:pastiche:{error.code}",
        title=error.title,
        status=error.status,
        detail=detail,
        code=error.code,
        request_id=request_id,
    )


def problem_response(error: PasticheError, request_id: str) -> Response:
    """Return the response for an error."""
    content = problem(error, request_id).model_dump()
    headers = {**SECURITY, **error.headers, "X-Request-ID": request_id}
    return JSONResponse(content, error.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Respond to every exception with a problem document."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, PasticheError)
        return problem_response(error, request.state.request_id)

    async def from_router(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_translated(request, error), request.state.request_id)

    async def unexpected(request: Request, error: Exception) -> Response:
        # Starlette raises the error again after this response, so that the server logs it.
        internal = PasticheError("an internal error occurred; look for the request id in the log")
        return problem_response(internal, request.state.request_id)

    app.add_exception_handler(PasticheError, known)
    app.add_exception_handler(HTTPException, from_router)
    app.add_exception_handler(Exception, unexpected)


def _translated(request: Request, error: HTTPException) -> PasticheError:
    if error.status_code == 404:
        return NotFound("no such path; see /docs")
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        allow = ", ".join([allow, "HEAD"]) if allow == "GET" else allow  # Access handles HEAD
        return MethodNotAllowed(f"use {allow or 'another method'} for this path", allow)
    if error.status_code >= 500:
        return PasticheError(str(error.detail))
    return RequestError(str(error.detail))
