import codecs
import contextlib
import tracemalloc
from collections.abc import Callable

import pytest

from app.errors import MalformedBody
from app.http.form import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEADERS,
    PIECE,
    Part,
    parse_form,
    read_boundary,
)
from tests.tools import hostile
from tests.tools.hostile import CONTENT_TYPES, FILE

IMAGE = Part("image", b"abc", True)


def parse(content_type: str, body: bytes) -> list[Part]:
    return parse_form(body, read_boundary(content_type))


def field(name: str, value: bytes | str = b"", *headers: bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    head = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"\r\n".join([head, *headers, b"", content])


def test_parts_are_returned_in_order() -> None:
    parts = parse(*hostile.form(field("style", "Käse"), FILE + b"abc", field("style", "")))
    assert parts == [Part("style", "Käse".encode(), False), IMAGE, Part("style", b"", False)]
    assert parts[0].text == "Käse"


@pytest.mark.parametrize("shift", range(-90, 4))
def test_a_part_may_start_and_end_anywhere_in_a_piece(shift: int) -> None:
    content = (b"\r\n--X" * 3)[: shift % 5] + b"a" * (PIECE + shift) + b"\r\n--"
    parts = parse(*hostile.form(FILE + content, field("style", "warm")))
    assert parts == [Part("image", content, True), Part("style", b"warm", False)]


def test_fields_are_limited_in_number_and_size() -> None:
    most = [field(f"f{i}") for i in range(MAX_FIELDS)]
    assert len(parse(*hostile.form(FILE, *most))) == MAX_FIELDS + 1
    long = "x" * MAX_FIELD_BYTES
    assert parse(*hostile.form(field("a", long)))[0].text == long
    for fields in ([*most, field("more")], [field("a", long + "x")], most * 9):
        with pytest.raises(MalformedBody, match="16 fields of 4096 bytes"):
            parse(*hostile.form(FILE, *fields))


def test_headers_of_a_part_are_limited_in_number_and_size() -> None:
    most = [b"X-%d: a" % number for number in range(1, MAX_HEADERS)]
    assert parse(*hostile.form(field("a", "b", *most))) == [Part("a", b"b", False)]
    for headers in ([*most, b"X: a"], [b"X: " + b"a" * 3000], [b"X" * 3000 + b": a"]):
        with pytest.raises(MalformedBody, match="8 headers of 1024 bytes"):
            parse(*hostile.form(field("a", "b", *headers)))


PART = b"--x\r\n" + FILE + b"abc\r\n"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=", PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=y", PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data; boundary=x", PART.replace(b'name="image"; ', b"") + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", PART.replace(b"Content-Disposition: ", b"\0: ")),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno header\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", PART + b"--x \r\n" + field("a") + b"\r\n--x--"),
        ("multipart/form-data; boundary=x", PART + b"--x\t"),
        (f"multipart/form-data; boundary={'x' * 71}", PART + b"--x--\r\n"),
        (f"multipart/form-data; boundary={'x' * 5000}", PART + b"--x--\r\n"),
    ],
)
def test_a_malformed_form_is_rejected(content_type: str, content: bytes) -> None:
    with pytest.raises(MalformedBody, match="cannot be parsed"):
        parse(content_type, content)


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_a_hostile_content_type_is_rejected(name: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        read_boundary(CONTENT_TYPES[name])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "boundary", ["X", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "'()+_,-./:=?", "a b", "x" * 70]
)
def test_a_boundary_may_use_the_characters_of_rfc_2046(boundary: str) -> None:
    assert read_boundary(f'multipart/form-data; boundary="{boundary}"') == boundary.encode()


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", '"Utf-8"', "us-ascii", "ASCII"])
def test_the_charset_may_be_utf_8(charset: str) -> None:
    parts = parse(*hostile.form(field("a", "é"), charset=charset))
    assert parts[0].text == "é"


@pytest.mark.parametrize("charset", ["latin-1", "utf-7", "utf-16", "unicode_escape", "a\0b", '""'])
def test_another_charset_is_rejected(charset: str) -> None:
    with pytest.raises(MalformedBody, match="the form's charset must be UTF-8, not"):
        parse(*hostile.form(field("a", "b"), charset=charset))


def test_text_that_is_not_utf_8_is_rejected() -> None:
    with pytest.raises(MalformedBody, match="the form field 'a' is not UTF-8"):
        _ = parse(*hostile.form(field("a", b"\xff")))[0].text
    with pytest.raises(MalformedBody, match="the name of a form field is not UTF-8"):
        parse(*hostile.form(field("a", "b").replace(b'"a"', b'"\xff"')))


def growth(act: Callable[[int], object]) -> int:
    """Return the bytes that are still allocated after 20 calls."""
    act(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1, 21):
            act(number)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


LEAKED = 10_000  # length of a charset name


def charset(number: int) -> str:
    return f"x{number}" + "x" * LEAKED


def look_up_charset(number: int) -> None:
    with contextlib.suppress(LookupError):
        codecs.lookup(charset(number))


def send_charsets(number: int) -> None:
    name = charset(number)
    with contextlib.suppress(MalformedBody):
        parse(*hostile.form(FILE, field("style", "warm"), charset=name))
    with contextlib.suppress(MalformedBody):
        parse(
            *hostile.form(
                FILE,
                field("style", "warm", b"Content-Type: a/b; charset=%b" % name[:2000].encode()),
            )
        )
    parse(*hostile.form(FILE, field("_charset_", name[:4000]), field("style", "warm")))
    extended = f"; name*={name[:400]}''a; filename*={name[:400]}''%ff".encode()
    parse(*hostile.form(field("a").replace(b'"a"', b'"a"' + extended)))


def test_charset_names_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert growth(look_up_charset) > 10 * LEAKED  # the control: Python caches each name
    assert growth(send_charsets) < 2 * LEAKED

    def fail(name: str) -> None:
        raise AssertionError(f"a codec is looked up: {name[:32]}")

    monkeypatch.setattr(codecs, "lookup", fail)
    send_charsets(99)
