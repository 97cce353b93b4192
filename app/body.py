"""The body of POST /stylize: bounded, in memory, as multipart form or as the image itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import (
    BadOption,
    BodyTooLarge,
    MalformedBody,
    MissingImage,
    Overloaded,
    RequestTimeout,
    UnsupportedEncoding,
    UnsupportedImage,
)

IMAGE_FIELD = "image"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096


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

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Body]:
        """Read a body and take the image out; its bytes count until the block ends.

        A body is taken in any case when there is no other. Raises BodyTooLarge, Overloaded,
        RequestTimeout, UnsupportedEncoding, UnsupportedImage, MalformedBody, MissingImage.
        """
        is_form = _check_types(request)
        content = await self._fill(request)
        size = len(content)
        try:
            if is_form:
                body = await _parse(request, content)
            elif content:
                body = Body(content)
            else:
                raise MissingImage("the body is empty; send the image as the body")
            del content
            yield body
        finally:
            self._held -= size

    async def _fill(self, request: Request) -> bytes:
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
            return bytes(content)
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


def _check_types(request: Request) -> bool:
    """Whether the body is a form. Raises UnsupportedEncoding, UnsupportedImage."""
    encoding = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedEncoding(
            f"send the body as it is, without Content-Encoding {encoding[:64]!r}"
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = media_type == "multipart/form-data"
    if not is_form and not media_type.startswith("image/"):
        raise UnsupportedImage(
            "send multipart/form-data with a file field `image`, "
            f"or the image itself with Content-Type image/*, not {media_type[:64] or 'nothing'!r}"
        )
    return is_form


class _Parser(MultiPartParser):
    ended = False  # whether the last boundary has come

    def on_end(self) -> None:
        self.ended = True


async def _parse(request: Request, content: bytes) -> Body:
    async def stream() -> AsyncIterator[bytes]:
        yield content
        if not parser.ended:  # the parser itself would quietly leave out the last part
            raise MultiPartException("the form ends too early")

    parser = _Parser(
        request.headers,
        stream(),  # type: ignore[arg-type]
        max_files=2,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = len(content)  # never to disk: the body is bounded already
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise MalformedBody(
            "the form cannot be parsed or ends too early; beside the file it may have "
            f"{MAX_FIELDS} fields of {MAX_FIELD_BYTES} bytes"
        ) from error
    try:
        images = form.getlist(IMAGE_FIELD)
        if not images or not isinstance(images[0], UploadFile):
            raise MissingImage(f"the form has no file field `{IMAGE_FIELD}`")
        if len(images) > 1:
            raise BadOption(f"{IMAGE_FIELD}: given more than once")
        image = await images[0].read()
        if not image:
            raise MissingImage(f"the file in the field `{IMAGE_FIELD}` is empty")
        fields = []
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.append((name, value))
            elif name != IMAGE_FIELD:
                raise BadOption(f"{name[:32]}: no such file field; there is `{IMAGE_FIELD}`")
        return Body(image, tuple(fields))
    finally:
        await form.close()
