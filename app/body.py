"""The body of POST /stylize: bounded, in memory, as multipart form or as the image itself."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import BadOption, BodyTooLarge, MalformedBody, MissingImage, UnsupportedImage

IMAGE_FIELD = "image"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096


@dataclass(frozen=True)
class Body:
    """The image's bytes and the form fields beside it."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()


async def read_body(request: Request, limit: int) -> Body:
    """Read at most `limit` bytes and take the image out.

    Raises BodyTooLarge, MalformedBody, MissingImage, UnsupportedImage.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = media_type == "multipart/form-data"
    if not is_form and not media_type.startswith("image/"):
        raise UnsupportedImage(
            "send multipart/form-data with a file field `image`, "
            f"or the image itself with Content-Type image/*, not {media_type[:64] or 'nothing'!r}"
        )
    content = await _read(request, limit)
    if not is_form:
        if not content:
            raise MissingImage("the body is empty; send the image as the body")
        return Body(content)
    return await _parse(request, content)


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    too_large = BodyTooLarge(f"the body is larger than the {limit:,} bytes that are allowed")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise too_large
    return bytes(content)


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
