import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import Message

from app.errors import (
    BadOption,
    BodyTooLarge,
    MalformedBody,
    MissingImage,
    Overloaded,
    PasticheError,
    RequestTimeout,
    UnsupportedEncoding,
    UnsupportedImage,
    UnsupportedMediaType,
)
from app.http import form
from app.http.body import MAX_OPTIONS_BYTES, URL_ENCODED, Bodies, Body
from tests.tools import hostile

IMAGE = bytes(range(256)) * 20
Part = tuple[str, tuple[str | None, bytes]]  # of a form: name, (file name, content)


def arriving(chunks: Iterable[bytes], seconds: float = 0, **headers: str) -> Request:
    """Return a request whose body arrives in these chunks, with a delay before each."""
    pairs = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items() if v]
    left = iter(chunks)

    async def receive() -> Message:
        await asyncio.sleep(seconds)
        chunk = next(left, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "headers": pairs}, receive)


def read(chunks: Iterable[bytes], type: str, limit: int = 10_000, length: str = "") -> Body:
    """Read the body of a request that arrives in these chunks."""
    request = arriving(chunks, content_type=type, content_length=length)

    async def once() -> Body:
        async with Bodies(limit, limit, 60).read(request) as body:
            return body

    return asyncio.run(once())


def read_form(*parts: Part, limit: int = 20_000) -> Body:
    request = httpx2.Request("POST", "http://test/", files=parts)
    return read([request.read()], request.headers["Content-Type"], limit)


def file(name: str = "image", content: bytes = IMAGE) -> Part:
    return name, ("cat.jpg", content)


def field(name: str, value: str = "") -> Part:
    return name, (None, value.encode())


def test_a_form_gives_the_file_and_the_fields() -> None:
    body = read_form(field("style", "warm:1,cold:2"), file(), field("title", "Käse"))
    assert body == Body(IMAGE, (("style", "warm:1,cold:2"), ("title", "Käse")))


def test_a_field_given_twice_is_kept_twice() -> None:
    body = read_form(file(), field("style", "a"), field("style", "b"))
    assert body.fields == (("style", "a"), ("style", "b"))


@pytest.mark.parametrize("type", ["image/jpeg", "image/x-anything", "IMAGE/PNG; a=b"])
def test_a_raw_body_is_the_image(type: str) -> None:
    assert read([IMAGE[:99], b"", IMAGE[99:]], type) == Body(IMAGE)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], MissingImage, "no file field `image`"),
        ([file("photo")], MissingImage, "no file field `image`"),
        ([field("image", "cat.jpg")], MissingImage, "no file field `image`"),
        ([file(content=b"")], MissingImage, "is empty"),
        ([file(), file()], BadOption, "image: given more than once"),
        ([file(), field("image", "cat.jpg")], BadOption, "image: given more than once"),
        ([file(), file("mask")], BadOption, "mask: unknown file field; send `image`"),
        ([file(), file("m" * 99)], BadOption, r"^m{32}: unknown file field"),
        ([file(), file(), file()], MalformedBody, "too many files; a form may have one"),
    ],
)
def test_a_form_must_have_one_image_and_no_other_file(
    parts: list[Part], error: type[PasticheError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_form(*parts, field("style", "warm"))


def test_an_empty_raw_body_is_a_missing_image() -> None:
    with pytest.raises(MissingImage, match="empty"):
        read([], "image/png")


@pytest.mark.parametrize(
    "type",
    [
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "text/plain" * 999,
    ],
)
def test_a_body_of_another_type_is_rejected_with_the_accepted_types(type: str) -> None:
    with pytest.raises(UnsupportedImage, match=r"multipart/form-data.*image/\*") as caught:
        read([IMAGE], type)
    assert len(str(caught.value)) < 250


def endless(sizes: list[int]) -> Iterator[bytes]:
    """Yield chunks without end, and record their sizes as they are read."""
    while True:
        sizes.append(1000)
        yield bytes(1000)


def test_a_body_that_announces_too_many_bytes_is_not_read() -> None:
    sizes: list[int] = []
    with pytest.raises(BodyTooLarge, match="10,000 bytes"):
        read(endless(sizes), "image/png", length="10001")
    assert not sizes


@pytest.mark.parametrize("type", ["image/png", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("length", ["", "5", "-1"])
def test_a_body_without_a_valid_length_is_read_up_to_the_limit(type: str, length: str) -> None:
    sizes: list[int] = []
    with pytest.raises(BodyTooLarge):
        read(endless(sizes), type, length=length)
    assert sum(sizes) == 11_000


def test_a_body_as_large_as_the_limit_is_accepted() -> None:
    assert read([IMAGE], "image/png", len(IMAGE), str(len(IMAGE))).image == IMAGE
    with pytest.raises(BodyTooLarge):
        read([IMAGE], "image/png", len(IMAGE) - 1)


PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="strength"\r\n\r\n0.5\r\n'


@pytest.mark.parametrize("content", [b"", PART[:70], PART, PART + FIELD[:-8], PART + FIELD])
def test_an_incomplete_form_is_rejected(content: bytes) -> None:
    with pytest.raises(MalformedBody, match="incomplete"):
        read([content], "multipart/form-data; boundary=x")


@pytest.mark.parametrize("end", [b"--x--", b"--x--\r\n", b"--x--\r\nan epilogue"])
def test_a_form_may_have_an_epilogue(end: bytes) -> None:
    body = read([PART + FIELD + end], "multipart/form-data; boundary=x")
    assert body == Body(b"abc", (("strength", "0.5"),))


async def cost(form: hostile.Form) -> tuple[float, float]:
    """Return the CPU seconds that a form costs the event loop, and in total."""
    content_type, content = form
    request = arriving([content], content_type=content_type)
    loop, total = time.thread_time(), time.process_time()
    with contextlib.suppress(PasticheError):
        async with Bodies(10**8, 10**8, 60).read(request):
            pass
    return time.thread_time() - loop, time.process_time() - total


@pytest.mark.parametrize("size", [2**15, 2**22])
@pytest.mark.parametrize("name", hostile.FORMS)
def test_a_hostile_form_costs_little_cpu_time_and_less_on_the_event_loop(
    name: str, size: int
) -> None:
    costs = [asyncio.run(cost(hostile.FORMS[name](size))) for _ in range(2)]
    assert min(loop for loop, _ in costs) < 0.1
    assert min(total for _, total in costs) < 0.5


def test_large_forms_are_parsed_off_the_event_loop_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[str] = []
    most = 0

    def parse(content: bytearray, boundary: bytes) -> list[form.Part]:
        nonlocal most
        assert threading.current_thread() is not threading.main_thread()
        running.append(threading.current_thread().name)
        most = max(most, len(running))
        time.sleep(0.05)
        running.pop()
        return form.parse_form(content, boundary)

    monkeypatch.setattr("app.http.body.parse_form", parse)

    async def concurrently() -> list[bytes]:
        bodies = Bodies(10**7, 10**7, 60)

        async def one() -> bytes:
            content_type, content = hostile.form(hostile.FILE + IMAGE * 20)
            async with bodies.read(arriving([content], content_type=content_type)) as body:
                return body.image

        return await asyncio.gather(*(one() for _ in range(4)))

    assert asyncio.run(concurrently()) == [IMAGE * 20] * 4
    assert most == 1


def test_a_large_image_in_a_form_is_never_written_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/no/such/folder")
    image = IMAGE * 500  # more than form parsers keep in memory by default
    assert read_form(file(content=image), limit=3_000_000).image == image


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, br", "x" * 999])
def test_an_encoded_body_is_rejected_unread(encoding: str) -> None:
    sizes: list[int] = []
    request = arriving(endless(sizes), content_type="image/png", content_encoding=encoding)
    with pytest.raises(UnsupportedEncoding, match="without Content-Encoding") as caught:
        asyncio.run(Bodies(9999, 9999, 60).read(request).__aenter__())
    assert not sizes
    assert len(str(caught.value)) < 200
    assert caught.value.headers == {"Accept-Encoding": "identity"}


def test_the_identity_encoding_is_accepted() -> None:
    async def once() -> Body:
        request = arriving([IMAGE], content_type="image/png", content_encoding="Identity")
        async with Bodies(9999, 9999, 60).read(request) as body:
            return body

    assert asyncio.run(once()).image == IMAGE


def test_a_slow_body_times_out_and_no_longer_counts() -> None:
    async def both() -> Body:
        bodies = Bodies(10_000, 10_000, 0.5)
        with pytest.raises(RequestTimeout, match=r"within 0\.5 s") as caught:
            await bodies.read(arriving(endless([]), 0.1, content_type="image/a")).__aenter__()
        assert caught.value.headers == {"Connection": "close"}
        async with bodies.read(arriving([bytes(10_000)], content_type="image/a")) as body:
            return body

    assert len(asyncio.run(both()).image) == 10_000


def test_the_bytes_of_all_bodies_are_limited() -> None:
    async def visit() -> None:
        bodies = Bodies(1000, 1500, 60)

        def body(size: int) -> contextlib.AbstractAsyncContextManager[Body]:
            return bodies.read(arriving([bytes(size)], content_type="image/a"))

        async with body(1000):
            async with body(500):
                with pytest.raises(Overloaded, match="too many bodies") as caught:
                    await body(1).__aenter__()
                assert caught.value.retry_after >= 1
            sizes: list[int] = []
            announced = arriving(endless(sizes), content_type="image/a", content_length="501")
            with pytest.raises(Overloaded):
                await bodies.read(announced).__aenter__()
            assert not sizes
            for _ in range(3):  # a body rejected half-way no longer counts
                with pytest.raises(Overloaded):
                    await body(501).__aenter__()
            async with body(500):
                pass
        async with body(1000):
            pass

    asyncio.run(visit())


def test_a_single_body_may_exceed_the_total() -> None:
    async def once() -> Body:
        async with Bodies(1000, 10, 60).read(
            arriving([bytes(999)], content_type="image/a")
        ) as body:
            return body

    assert len(asyncio.run(once()).image) == 999


def test_announced_bytes_do_not_count() -> None:
    async def visit() -> None:
        bodies = Bodies(1000, 1000, 60)
        never = arriving(endless([]), 60, content_type="image/a", content_length="1000")
        waiting = asyncio.create_task(bodies.read(never).__aenter__())
        await asyncio.sleep(0.1)
        async with bodies.read(arriving([bytes(1000)], content_type="image/a")) as body:
            assert len(body.image) == 1000
        waiting.cancel()

    asyncio.run(visit())


def read_options(content: bytes, type: str, **headers: str) -> list[tuple[str, str]]:
    request = arriving([content], 0, content_type=type, **headers)
    return asyncio.run(Bodies(10**6, 10**6, 60).read_options(request))


def test_options_are_read_from_a_url_encoded_form() -> None:
    content = b"style=warm%3A0.5%2Ccold&size=&a+b=%E2%82%AC"
    expected = [("style", "warm:0.5,cold"), ("size", ""), ("a b", "\u20ac")]
    assert read_options(content, f"{URL_ENCODED}; charset=utf-8") == expected


def test_options_are_read_from_a_multipart_form_of_any_size() -> None:
    fields = [("style", (None, b"warm")), *((f"f{i}", (None, b"x" * 4096)) for i in range(15))]
    request = httpx2.Request("POST", "http://test/", files=fields)
    content = request.read()
    assert len(content) > 2**14  # parsed in the thread
    found = read_options(content, request.headers["Content-Type"])
    assert found == [("style", "warm"), *((f"f{i}", "x" * 4096) for i in range(15))]


@pytest.mark.parametrize("type", ["", URL_ENCODED])
def test_no_body_means_no_options(type: str) -> None:
    assert read_options(b"", type) == []


@pytest.mark.parametrize(
    ("content", "type", "headers", "error", "message"),
    [
        (b"{}", "application/json", {}, UnsupportedMediaType, "not 'application/json'"),
        (b"style=warm", "", {}, UnsupportedMediaType, "not 'nothing'"),
        (IMAGE, "image/png", {}, UnsupportedMediaType, "send the options in the query"),
        (b"a=1", URL_ENCODED, {"content_encoding": "gzip"}, UnsupportedEncoding, "gzip"),
        (b"a=%ff", URL_ENCODED, {}, MalformedBody, "not UTF-8"),
        (b"a=\xff", URL_ENCODED, {}, MalformedBody, "not UTF-8"),
        (b"a=1&" * 16 + b"b=1", URL_ENCODED, {}, MalformedBody, "may have 16"),
        (b"a=" + b"x" * 4097, URL_ENCODED, {}, MalformedBody, "may have 4096 bytes"),
        (b"x" * (MAX_OPTIONS_BYTES + 1), URL_ENCODED, {}, BodyTooLarge, "262,144 bytes"),
        (b"", URL_ENCODED, {"content_length": "999999"}, BodyTooLarge, "262,144 bytes"),
        (b"", "multipart/form-data; boundary=b", {}, MalformedBody, "incomplete"),
    ],
)
def test_options_that_cannot_be_read_are_refused(
    content: bytes, type: str, headers: dict[str, str], error: type[PasticheError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_options(content, type, **headers)


def test_a_form_of_options_may_not_have_a_file() -> None:
    request = httpx2.Request("POST", "http://test/", files={"image": ("a.jpg", b"abc")})
    with pytest.raises(BadOption, match=r"^image: this form may not have files$"):
        read_options(request.read(), request.headers["Content-Type"])


def test_bytes_of_options_no_longer_count_once_they_are_read() -> None:
    async def test() -> None:
        bodies = Bodies(1000, 1000, 60)
        for _ in range(2):
            await bodies.read_options(arriving([b"a=" + b"x" * 900], content_type=URL_ENCODED))
        assert bodies._bytes == 0

    asyncio.run(test())
