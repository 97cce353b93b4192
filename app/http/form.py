"""Parse multipart forms (RFC 7578) from memory within a bounded amount of CPU time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import MalformedBody

MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
MAX_FILES = 2  # one more than allowed, so that a second file gets an error of its own
MAX_HEADERS = 8  # of a part
MAX_HEADER_BYTES = 1024  # of a header of a part, and of the form's Content-Type

# Bytes per scan. A scan holds the GIL and so blocks the event loop; larger pieces are not faster.
PIECE = 2**16

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046
_CHARSETS = {b"utf-8", b"utf8", b"us-ascii", b"ascii"}
_LIMITS = f"a form may have one file and {MAX_FIELDS} fields of {MAX_FIELD_BYTES} bytes"


@dataclass(frozen=True)
class Part:
    """A field or a file in a form."""

    name: str
    content: bytes
    is_file: bool

    @property
    def text(self) -> str:
        """The content of a field, decoded. Raises MalformedBody if it is not UTF-8."""
        return _decoded(self.content, f"the form field {self.name[:32]!r}")


def read_boundary(content_type: str) -> bytes:
    """Return the boundary in the Content-Type of a form. Raises MalformedBody."""
    if len(content_type) > MAX_HEADER_BYTES:
        raise MalformedBody(
            f"the form cannot be parsed: its Content-Type is longer than {MAX_HEADER_BYTES} bytes"
        )
    _, parameters = parse_options_header(content_type)
    charset = parameters.get(b"charset", b"utf-8").lower()
    if charset not in _CHARSETS:
        shown = charset[:32].decode("latin-1")
        raise MalformedBody(f"the form's charset must be UTF-8, not {shown!r}")
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedBody(
            "the form cannot be parsed: its Content-Type must give a boundary of 1 to 70 "
            "characters that RFC 2046 allows"
        )
    return boundary


def parse_form(content: bytes | bytearray, boundary: bytes) -> list[Part]:
    """Return the parts of a form in order. Raises MalformedBody."""
    _check_delimiters(content, b"\r\n--" + boundary)
    collector = _Collector()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": collector.on_part_begin,
            "on_header_field": collector.on_header_field,
            "on_header_value": collector.on_header_value,
            "on_header_end": collector.on_header_end,
            "on_headers_finished": collector.on_headers_finished,
            "on_part_data": collector.on_part_data,
            "on_part_end": collector.on_part_end,
            "on_end": collector.on_end,
        },
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
    )
    try:
        with memoryview(content) as view:
            for start in range(0, len(content), PIECE):
                parser.write(bytes(view[start : start + PIECE]))
                if collector.ended:  # ignore everything after the last delimiter
                    break
    except FormParserError as error:
        raise MalformedBody(
            "the form cannot be parsed: a boundary or the header of a part is invalid; "
            f"a part may have {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes"
        ) from error
    if not collector.ended:
        raise MalformedBody("the form is incomplete: its last delimiter is missing")
    return collector.parts


def _check_delimiters(content: bytes | bytearray, delimiter: bytes) -> None:
    """Reject forms that make the parser proceed byte by byte: many lines start with the boundary.

    Raises MalformedBody.
    """
    for count, end in enumerate(_ends(content, delimiter)):
        if count > MAX_FIELDS + MAX_FILES:
            raise MalformedBody(
                f"the form has too many lines that start with its boundary; {_LIMITS}"
            )
        if content[end : end + 1] in (b" ", b"\t"):
            raise MalformedBody("the form cannot be parsed: whitespace follows its boundary")


def _ends(content: bytes | bytearray, delimiter: bytes) -> Iterator[int]:
    overlap = len(delimiter) - 1
    for start in range(0, len(content), PIECE):
        stop = start + PIECE + overlap
        while (found := content.find(delimiter, start, stop)) >= 0:
            start = found + len(delimiter)
            yield start


class _Collector:
    """The parser's callbacks, which collect the parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._fields = self._files = 0
        self.on_part_begin()

    def on_part_begin(self) -> None:
        self._disposition = b""
        self._header, self._value = b"", b""
        self._name, self._is_file = "", False
        self._content: list[bytes] = []
        self._size = 0

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        if b"name" not in parameters:
            raise MalformedBody(
                "the form cannot be parsed: a part has no name in its Content-Disposition"
            )
        self._name = _decoded(parameters[b"name"], "the name of a form field")
        self._is_file = b"filename" in parameters
        self._files += self._is_file
        self._fields += not self._is_file
        if self._files > MAX_FILES:
            raise MalformedBody(f"the form has too many files; {_LIMITS}")
        if self._fields > MAX_FIELDS:
            raise MalformedBody(f"the form has too many fields; {_LIMITS}")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > MAX_FIELD_BYTES and not self._is_file:
            raise MalformedBody(f"the form field {self._name[:32]!r} is too long; {_LIMITS}")
        self._content.append(data[start:end])

    def on_part_end(self) -> None:
        self.parts.append(Part(self._name, b"".join(self._content), self._is_file))

    def on_end(self) -> None:
        self.ended = True


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{what} is not UTF-8") from error
