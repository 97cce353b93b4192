"""Request bodies: the image of POST /stylize, in a form or by itself, and forms of options."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from ..errors import (
    BadOption,
    BodyTooLarge,
    MalformedBody,
    MissingImage,
    Overloaded,
    RequestTimeout,
    UnsupportedEncoding,
    UnsupportedImage,
    UnsupportedMediaType,
)
from .form import MAX_FIELD_BYTES, MAX_FIELDS, parse_form, read_boundary

IMAGE_FIELD = "image"
MULTIPART, URL_ENCODED = "multipart/form-data", "application/x-www-form-urlencoded"

SMALL_FORM = 2**14  # bytes; up to this size parsing costs less than handing it to a thread
MAX_OPTIONS_BYTES = 2**18  # of a form without a file; ample for all fields that a form may have


@dataclass(frozen=True)
class Body:
    """The image file and the other form fields."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()


class Bodies:
    """Reads request bodies into memory, and limits their size and the time each may take.

    Only received bytes count towards the total. If announced bytes counted too, a few slow clients
    could use up the limit.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int, seconds: float) -> None:
        """Limit one body to `max_bytes` and `seconds`, and all bodies to `max_total_bytes`."""
        self._max_bytes, self._max_total_bytes = max_bytes, max_total_bytes
        self._seconds = seconds
        self._bytes = 0  # of all bodies in memory
        # A single thread, so that hostile forms cannot starve the event loop of the GIL.
        self._parser = ThreadPoolExecutor(1, "form")

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Body]:
        """Read and parse a body. Its bytes count towards the total until the block ends.

        A single body is accepted even if it exceeds the total. Raises BadOption, BodyTooLarge,
        MalformedBody, MissingImage, Overloaded, RequestTimeout, UnsupportedEncoding,
        UnsupportedImage.
        """
        boundary = _check_headers(request)
        content = await self._receive(request, self._max_bytes)
        size = len(content)
        try:
            if boundary and size <= SMALL_FORM:
                body = _read_form(content, boundary)
            elif boundary:
                loop = asyncio.get_running_loop()
                body = await loop.run_in_executor(self._parser, _read_form, content, boundary)
            elif content:
                body = Body(bytes(content))
            else:
                raise MissingImage("the body is empty; send the image as the body")
            del content
            yield body
        finally:
            self._bytes -= size

    async def read_options(self, request: Request) -> list[tuple[str, str]]:
        """Read a body of options: a form, URL-encoded or multipart, or nothing.

        Raises BadOption, BodyTooLarge, MalformedBody, Overloaded, RequestTimeout,
        UnsupportedEncoding, UnsupportedMediaType.
        """
        _check_encoding(request)
        media_type, content_type = _media_type(request)
        if media_type not in ("", MULTIPART, URL_ENCODED):
            raise _not_a_form(media_type)
        boundary = read_boundary(content_type) if media_type == MULTIPART else b""
        content = await self._receive(request, min(self._max_bytes, MAX_OPTIONS_BYTES))
        self._bytes -= len(content)
        if not content and not boundary:
            return []
        if not media_type:
            raise _not_a_form(media_type)
        if len(content) <= SMALL_FORM:
            return _read_options(content, boundary)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parser, _read_options, content, boundary)

    async def _receive(self, request: Request, max_bytes: int) -> bytearray:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            self._check(0, int(declared[:18]), max_bytes)
        content = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    self._check(len(content), len(content) + len(chunk), max_bytes)
                    content += chunk
                    self._bytes += len(chunk)
            return content
        except BaseException as error:
            self._bytes -= len(content)
            if isinstance(error, TimeoutError):
                message = f"the body did not arrive within {self._seconds:g} s"
                raise RequestTimeout(message) from error
            raise

    def _check(self, received: int, size: int, max_bytes: int) -> None:
        """Check that a body may grow from the `received` bytes to `size` bytes."""
        if size > max_bytes:
            raise BodyTooLarge(f"the body exceeds the limit of {max_bytes:,} bytes")
        others = self._bytes - received
        if others and others + size > self._max_total_bytes:
            raise Overloaded("too many bodies are being read", retry_after=1)


def _check_headers(request: Request) -> bytes:
    """Return the boundary of a form, or nothing if the body is an image.

    Raises UnsupportedEncoding, UnsupportedImage, MalformedBody.
    """
    _check_encoding(request)
    media_type, content_type = _media_type(request)
    if media_type == MULTIPART:
        return read_boundary(content_type)
    if not media_type.startswith("image/"):
        raise UnsupportedImage(
            "send multipart/form-data with a file field `image`, "
            f"or the image itself with Content-Type image/*, not {media_type[:64] or 'nothing'!r}"
        )
    return b""


def _check_encoding(request: Request) -> None:
    encoding = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedEncoding(
            f"send the body unencoded, without Content-Encoding {encoding[:64]!r}"
        )


def _media_type(request: Request) -> tuple[str, str]:
    """The media type of the body in lower case, and the whole Content-Type."""
    content_type = request.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower(), content_type


def _not_a_form(media_type: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"send the options in the query, or as a form of Content-Type {URL_ENCODED} or "
        f"{MULTIPART}, not {media_type[:64] or 'nothing'!r}"
    )


def _read_options(content: bytearray, boundary: bytes) -> list[tuple[str, str]]:
    """Parse a form: multipart if there is a boundary, else URL-encoded."""
    if boundary:
        parts = parse_form(content, boundary)
        if files := [part.name[:32] for part in parts if part.is_file]:
            raise BadOption(f"{files[0]}: this form may not have files")
        return [(part.name, part.text) for part in parts]
    try:
        fields = parse_qsl(
            content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except UnicodeDecodeError as error:
        raise MalformedBody("the form is not UTF-8") from error
    except ValueError as error:
        raise MalformedBody(f"the form has too many fields; it may have {MAX_FIELDS}") from error
    if any(len(text.encode()) > MAX_FIELD_BYTES for pair in fields for text in pair):
        raise MalformedBody(f"a form field is too long; it may have {MAX_FIELD_BYTES} bytes")
    return fields


def _read_form(content: bytearray, boundary: bytes) -> Body:
    parts = parse_form(content, boundary)
    images = [part for part in parts if part.name == IMAGE_FIELD]
    if not images or not images[0].is_file:
        raise MissingImage(f"the form has no file field `{IMAGE_FIELD}`")
    if len(images) > 1:
        raise BadOption(f"{IMAGE_FIELD}: given more than once; send one image")
    image = images[0].content
    if not image:
        raise MissingImage(f"the file in the field `{IMAGE_FIELD}` is empty")
    fields = []
    for part in parts:
        if not part.is_file:
            fields.append((part.name, part.text))
        elif part.name != IMAGE_FIELD:
            raise BadOption(f"{part.name[:32]}: unknown file field; send `{IMAGE_FIELD}`")
    return Body(image, tuple(fields))
