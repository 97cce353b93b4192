"""Cross-origin requests: which other web pages may use the API."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-None-Match",
    "X-API-Key",
    "X-Request-ID",
    "traceparent",
)
# Those that a script may read besides the ones that are always exposed, such as Content-Type.
RESPONSE_HEADERS = (
    "ETag",
    "Retry-After",
    "Server-Timing",
    "X-Device",
    "X-Request-ID",
    "X-Seed",
    "X-Style",
    "traceresponse",
)
MAX_AGE = 600  # seconds for which browsers keep the answer to a preflight request


def install(app: FastAPI, origins: str) -> None:
    """Allow the scripts of `origins`, separated by commas; without any, change nothing."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins.split(","),
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            max_age=MAX_AGE,
        )
