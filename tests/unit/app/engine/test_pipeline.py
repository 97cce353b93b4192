"""The work of one request, in a running application."""

import asyncio
import io
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.engine.pipeline import SMALL_FILE
from app.errors import BadOutput
from app.http.server import create_app
from app.pixels.containers import Still, walk
from app.pixels.containers.still import FileFormat
from app.pixels.images import read_header
from app.settings import Settings, read_settings
from tests.conftest import wait_until_ready


def post(client: TestClient, jpeg: bytes, style: str = "warm") -> bytes:
    answer = client.post(f"/stylize?style={style}&format=png", files={"image": jpeg})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_only_a_large_file_is_walked_outside_the_event_loop(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop: list[tuple[int, bool]] = []

    def record(content: bytes, max_pixels: int, **more: Any) -> Still:
        try:
            in_loop.append((len(content), bool(asyncio.get_running_loop())))
        except RuntimeError:
            in_loop.append((len(content), False))
        return read_header(content, max_pixels, **more)

    monkeypatch.setattr("app.engine.pipeline.read_header", record)
    comments = (2 + SMALL_FILE // 65_000) * (b"\xff\xfe\xfd\xe8" + bytes(64_998))
    large = jpeg[:2] + comments + jpeg[2:]
    assert post(client, large) == post(client, jpeg)
    assert in_loop == [(len(large), False), (len(jpeg), True)]


def test_a_file_is_walked_once(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []

    def record(content: bytes, formats: Collection[FileFormat]) -> Still:
        walked.append(content)
        return walk(content, formats)

    monkeypatch.setattr("app.pixels.images.walk", record)
    assert post(client, jpeg)
    assert walked == [jpeg]


@pytest.fixture
def damaged(models: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of an application whose style `warm` has become invalid in memory."""
    shutil.copytree(models, tmp_path / "models")
    settings: Settings = read_settings(models=tmp_path / "models", device="cpu", threads=1)
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        app.state.service.gallery.find("warm")[1].vector[-6:] = np.nan
        yield client


def test_an_invalid_output_is_a_500_and_is_counted(damaged: TestClient, jpeg: bytes) -> None:
    for style, total in (("warm", 1), ("cold", 1), ("warm", 2)):
        answer = damaged.post(f"/stylize?style={style}", files={"image": jpeg})
        if style == "warm":
            assert (answer.status_code, answer.json()["code"]) == (500, BadOutput.code)
        else:
            assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
        assert f"pastiche_bad_outputs_total {total}.0" in damaged.get("/metrics").text
