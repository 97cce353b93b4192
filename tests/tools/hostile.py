"""Request bodies and headers that nobody sends but to do harm: to exhaust CPU time or memory."""

from collections.abc import Callable

Form = tuple[str, bytes]  # its Content-Type and its body
FILE = b'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
FIELD = b'Content-Disposition: form-data; name="style"\r\n\r\nwarm'
_NAMED = b'Content-Disposition: form-data; name="a"'


def form(*parts: bytes, boundary: str = "X", charset: str = "") -> Form:
    """A form of these parts, each with its headers."""
    content_type = f"multipart/form-data; boundary={boundary}" + (charset and f"; {charset=!s}")
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return content_type, body + delimiter + b"--\r\n"


def _filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def _in_file(unit: bytes, size: int, boundary: str = "X") -> Form:
    return form(FILE + _filled(unit, size), boundary=boundary)


def _before(unit: bytes, size: int) -> Form:
    content_type, body = form(FILE + b"abc")
    return content_type, _filled(unit, size) + body


def _behind(unit: bytes, size: int) -> Form:
    content_type, body = form(FILE + b"abc")
    return content_type, body + _filled(unit, size)


# By name, each with how many bytes it may have.
FORMS: dict[str, Callable[[int], Form]] = {
    "near boundaries": lambda size: _in_file(b"\r\n--Xy", size),
    "near last boundaries": lambda size: _in_file(b"\r\n--X-y", size),
    "long near boundaries": lambda size: _in_file(
        b"\r\n--" + b"a" * 69 + b"b", size, boundary="a" * 70
    ),
    "a boundary in boundaries": lambda size: _in_file(b"\r\n--X\r\n--X", size),
    "blanks behind a boundary": lambda size: _in_file(
        b"\r\n--X" + b" " * (size - 200) + b"\r\n" + FIELD, size
    ),
    "tiny parts": lambda size: form(*[_NAMED + b"\r\n\r\n"] * (size // 52)),
    "parts without headers": lambda size: form(*[b"\r\n"] * (size // 9)),
    "header lines": lambda size: form(_filled(b"a:\r\n", size) + FIELD),
    "a long header": lambda size: form(b"a: " + _filled(b"b", size) + b"\r\n" + FIELD),
    "a long header's name": lambda size: form(_filled(b"b", size) + b": a\r\n" + FIELD),
    "blanks before a header": lambda size: form(b"a:" + _filled(b" ", size) + b"\r\n" + FIELD),
    "folded header": lambda size: form(b"a: b" + _filled(b"\r\n b", size) + b"\r\n" + FIELD),
    "many parameters": lambda size: form(
        *[_NAMED + b";" * 950 + b"\r\n\r\n"] * min(size // 1000, 18)
    ),
    "a preamble": lambda size: _before(b"preamble\r\n", size),
    "a preamble of line ends": lambda size: _before(b"\r\n", size),
    "an epilogue": lambda size: _behind(b"epilogue\r\n", size),
    "an epilogue of boundaries": lambda size: _behind(b"--X\r\n", size),
    "no boundary": lambda size: (form()[0], _filled(b"no boundary", size)),
    "no last boundary": lambda size: (form()[0], b"--X\r\n" + FILE + _filled(b"abc", size)),
    "CR": lambda size: _in_file(b"\r", size),
    "LF": lambda size: _in_file(b"\n", size),
    "CRLF": lambda size: _in_file(b"\r\n", size),
    "CRLF and hyphens": lambda size: _in_file(b"\r\n--", size),
    "hyphens": lambda size: _in_file(b"-", size, boundary="-" * 70),
    "a long field": lambda size: form(_NAMED + b"\r\n\r\n" + _filled(b"a", size)),
    "many files": lambda size: form(*[FILE] * (size // 68)),
}

# Content-Types of a form that are refused before its body is read.
CONTENT_TYPES: dict[str, str] = {
    "a boundary of 60 KB": f"multipart/form-data; boundary={'x' * 60_000}",
    "60,000 parameters": f'multipart/form-data; boundary="{";" * 60_000}',
    "a charset of 60 KB": f"multipart/form-data; boundary=X; charset={'x' * 60_000}",
    "unicode_escape": "multipart/form-data; boundary=X; charset=unicode_escape",
    "utf-7": "multipart/form-data; boundary=X; charset=utf-7",
    "idna": "multipart/form-data; boundary=X; charset=idna",
    "a boundary with a line end": "multipart/form-data; boundary=X\x0b",
    "a boundary that is not ASCII": "multipart/form-data; boundary=\xff\xfe",
    "a boundary that ends in a blank": 'multipart/form-data; boundary="X "',
}
