from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from app.settings import read_settings
from tests.tools.fuzz import BLOCK, HOLES, block, damaged, fault
from tests.tools.fuzz_http import send_all
from tests.tools.servers import serve_in_thread, wait_for_status

IMAGES = 20_000
REQUESTS = 300
SEED = 7


@pytest.fixture(scope="module")
def port(models: Path) -> Iterator[int]:
    settings = read_settings(models=models, device="cpu", threads=1, header_seconds=1)
    with serve_in_thread(settings) as port:
        wait_for_status(port, "ready")
        yield port


@pytest.mark.parametrize("hole", sorted(HOLES.iterdir()), ids=lambda hole: hole.name)
def test_an_image_that_once_broke_the_decoder_no_longer_does(hole: Path) -> None:
    assert fault(hole.read_bytes()) is None


@pytest.mark.parametrize("number", range(IMAGES // BLOCK))
def test_a_damaged_image_is_decoded_or_rejected(number: int) -> None:
    assert block(SEED, number) == []


def test_damage_is_reproducible_from_the_seed() -> None:
    one, other = ([damaged(rng) for _ in range(50)] for rng in (Random(3), Random(3)))
    assert one == other
    assert len(set(one)) > 40


def test_an_unexpected_exception_is_reported_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes, max_pixels: int) -> None:
        raise MemoryError(f"{len(content)} bytes")

    monkeypatch.setattr("tests.tools.fuzz.decode", fail)
    assert fault(b"abc") == "MemoryError('3 bytes')"


def test_no_malformed_request_breaks_the_server(port: int) -> None:
    assert send_all(port, SEED, REQUESTS, "warm") >= REQUESTS // 2
