"""The body of POST /stylize: bounded, in memory, as multipart form or as the image itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import Request

from ..errors import (
    BadOption,
    BodyTooLarge,
    MissingImage,
    Overloaded,
    RequestTimeout,
    UnsupportedEncoding,
    UnsupportedImage,
)
from .form import parse_form, read_boundary

IMAGE_FIELD = "image"

# Bytes. A smaller form is parsed by the event loop itself: a thread would cost more.
SMALL_FORM = 2**16


@dataclass(frozen=True)
class Body:
    """The image's bytes and the form fields beside it."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()


class Bodies:
    """Reads request bodies; bounds the time of each, and the bytes of all that are held at once.

    What counts is what has come, not what is announced: else a few slow callers would take all.
    """

    def __init__(self, largest: int, total: int, seconds: float) -> None:
        """largest: bytes of one body; total: of all at once; seconds: in which one must come."""
        self._largest, self._total, self._seconds = largest, total, seconds
        self._held = 0
        # One, so that hostile forms cannot compete with the event loop for the GIL all at once.
        self._parser = ThreadPoolExecutor(1, "form")

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Body]:
        """Read a body and take the image out; its bytes count until the block ends.

        A body is taken in any case when there is no other. Raises BodyTooLarge, Overloaded,
        RequestTimeout, UnsupportedEncoding, UnsupportedImage, MalformedBody, MissingImage.
        """
        boundary = _check_types(request)
        content = await self._fill(request)
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
            self._held -= size

    async def _fill(self, request: Request) -> bytearray:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            self._check(0, int(declared[:18]))
        content = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    self._check(len(content), len(content) + len(chunk))
                    content += chunk
                    self._held += len(chunk)
            return content
        except BaseException as error:
            self._held -= len(content)
            if isinstance(error, TimeoutError):
                message = f"the body did not come within {self._seconds:g} s"
                raise RequestTimeout(message) from error
            raise

    def _check(self, own: int, size: int) -> None:
        if size > self._largest:
            raise BodyTooLarge(
                f"the body is larger than the {self._largest:,} bytes that are allowed"
            )
        others = self._held - own
        if others and others + size > self._total:
            raise Overloaded("too many bodies are being read", retry_after=1)


def _check_types(request: Request) -> bytes:
    """The boundary of a form; nothing if the body is an image.

    Raises UnsupportedEncoding, UnsupportedImage, MalformedBody.
    """
    encoding = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedEncoding(
            f"send the body as it is, without Content-Encoding {encoding[:64]!r}"
        )
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return read_boundary(content_type)
    if not media_type.startswith("image/"):
        raise UnsupportedImage(
            "send multipart/form-data with a file field `image`, "
            f"or the image itself with Content-Type image/*, not {media_type[:64] or 'nothing'!r}"
        )
    return b""


def _read_form(content: bytearray, boundary: bytes) -> Body:
    parts = parse_form(content, boundary)
    images = [part for part in parts if part.name == IMAGE_FIELD]
    if not images or not images[0].is_file:
        raise MissingImage(f"the form has no file field `{IMAGE_FIELD}`")
    if len(images) > 1:
        raise BadOption(f"{IMAGE_FIELD}: given more than once")
    image = images[0].content
    if not image:
        raise MissingImage(f"the file in the field `{IMAGE_FIELD}` is empty")
    fields = []
    for part in parts:
        if not part.is_file:
            fields.append((part.name, part.text))
        elif part.name != IMAGE_FIELD:
            raise BadOption(f"{part.name[:32]}: no such file field; there is `{IMAGE_FIELD}`")
    return Body(image, tuple(fields))
