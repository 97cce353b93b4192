"""The running application: reloading, readiness, and what fails while it paints."""

import asyncio
import gc
import io
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.engine import probe
from app.engine.device import CPU_BATCH
from app.engine.gallery import Gallery
from app.engine.network import Network
from app.engine.service import SMALL_FILE, Service
from app.errors import BadOutput, DeviceUnavailable, OutOfMemory
from app.http.server import create_app
from app.model_folder import CARD, StyleCard, read_folder, write_style
from app.pixels.container import Still, walk
from app.pixels.images import read_header
from app.settings import read_settings
from tests.conftest import make_folder, wait_until_ready

PATIENCE = 120  # seconds; far more than any of this takes


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the same name and styles that paints differently; not to be written to."""
    return make_folder(tmp_path_factory.mktemp("other") / "tiny", seed=1)


@contextmanager
def running(models: Path, **more: object) -> Iterator[tuple[TestClient, Service]]:
    settings = read_settings(
        **{"models": models, "device": "cpu", "threads": 1, "reload_seconds": 0.02, **more}
    )
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client, app.state.service


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listed(client: TestClient) -> list[str]:
    return [item["id"] for item in client.get("/styles").json()["styles"]]


def count(client: TestClient, sample: str) -> float:
    lines = (line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines())
    return next((float(value) for name, value in lines if name == sample), 0)


def reloads(client: TestClient, result: str) -> float:
    return count(client, f'pastiche_reloads_total{{result="{result}"}}')


def post(client: TestClient, jpeg: bytes, style: str = "warm") -> bytes:
    answer = client.post(f"/stylize?style={style}&format=png", files={"image": jpeg})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_batches_are_as_large_as_the_device_likes_unless_a_setting_says_more(models: Path) -> None:
    for setting, bound in ((0, CPU_BATCH), (512, 512)):
        with running(models, batch_pixels=setting) as (_, service):
            assert service.scheduler._batch_pixels == bound


def put(new: Path, models: Path) -> None:
    """Take the folder `tiny` away and rename a whole copy of `new` into its place."""
    shutil.copytree(new, models / ".new")
    (models / "tiny").rename(models / ".old")
    (models / ".new").rename(models / "tiny")
    shutil.rmtree(models / ".old")


def test_a_style_is_there_when_its_file_is_and_gone_when_it_is_not(
    copied: Path, jpeg: bytes
) -> None:
    with running(copied) as (client, service):
        (network,) = service.gallery.networks
        vector = read_folder(copied / "tiny").styles["warm"].vector
        path = write_style(copied / "tiny", "fresh", vector, StyleCard(title="Fresh"))
        wait_until(lambda: "fresh" in listed(client))
        assert post(client, jpeg, "fresh") == post(client, jpeg, "warm")
        assert service.gallery.networks == [network]
        path.unlink()
        wait_until(lambda: "fresh" not in listed(client))
        assert client.post("/stylize?style=fresh", files={"image": jpeg}).status_code == 404
        assert (reloads(client, "ok"), reloads(client, "failed")) == (2, 0)


def test_only_a_large_file_is_walked_outside_the_event_loop(
    models: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop = []

    def read_and_note(content: bytes, max_pixels: int) -> Still:
        try:
            in_loop.append((len(content), bool(asyncio.get_running_loop())))
        except RuntimeError:
            in_loop.append((len(content), False))
        return read_header(content, max_pixels)

    monkeypatch.setattr("app.engine.service.read_header", read_and_note)
    comments = (2 + SMALL_FILE // 65_000) * (b"\xff\xfe\xfd\xe8" + bytes(64_998))
    large = jpeg[:2] + comments + jpeg[2:]
    with running(models) as (client, _):
        assert post(client, large) == post(client, jpeg)
    assert in_loop == [(len(large), False), (len(jpeg), True)]


def test_a_file_is_walked_once(models: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []

    def walk_and_note(content: bytes) -> Still:
        walked.append(content)
        return walk(content)

    monkeypatch.setattr("app.pixels.images.walk", walk_and_note)
    with running(models) as (client, _):
        assert post(client, jpeg)
    assert walked == [jpeg]


def test_reloading_can_be_switched_off(copied: Path) -> None:
    with running(copied, reload_seconds=0) as (_, service):
        assert service._following is None


def test_a_damaged_new_version_is_counted_and_told_and_the_old_one_paints_on(
    copied: Path, other: Path, jpeg: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = shutil.copytree(other, tmp_path / "damaged")
    (damaged / "stylize.onnx").write_bytes(b"damaged")
    with running(copied) as (client, _):
        before = post(client, jpeg)
        put(damaged, copied)
        wait_until(lambda: reloads(client, "failed"))
        assert post(client, jpeg) == before
        assert client.get("/readyz").status_code == 200
        assert caplog.text.count("stylize.onnx: the file does not have the sha256") == 1
        put(other, copied)
        wait_until(lambda: post(client, jpeg) != before)


def test_when_all_folders_go_what_was_served_goes_on(
    copied: Path, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with running(copied) as (client, _):
        before = post(client, jpeg)
        (copied / "tiny").rename(copied / ".tiny")
        wait_until(lambda: reloads(client, "failed"))
        assert "serving as before: there is no network to serve" in caplog.text
        assert post(client, jpeg) == before
        assert client.get("/readyz").json()["styles"] == 3


def test_a_server_without_a_folder_becomes_ready_when_there_is_one(
    models: Path, tmp_path: Path, jpeg: bytes
) -> None:
    with running(tmp_path / "models") as (client, _):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["reason"] == "there is no model folder that can be served"
        shutil.copytree(models, tmp_path / "models")
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert post(client, jpeg)


def test_a_swap_under_load_loses_nothing_and_mixes_nothing(
    copied: Path, other: Path, jpeg: bytes, tmp_path: Path
) -> None:
    original = shutil.copytree(copied / "tiny", tmp_path / "original")
    answers: list[bytes] = []
    failures: list[object] = []
    stop = threading.Event()

    def ask(client: TestClient) -> None:
        while not stop.is_set():
            answer = client.post("/stylize?style=warm&format=png", files={"image": jpeg})
            (answers if answer.status_code == 200 else failures).append(answer.content)

    with running(copied) as (client, service):
        expected = {post(client, jpeg)}
        gone = [weakref.ref(service.gallery.networks[0])]
        askers = [threading.Thread(target=ask, args=(client,)) for _ in range(3)]
        for asker in askers:
            asker.start()
        try:
            for new in (other, original, other):
                before = id(service.gallery)
                put(new, copied)
                wait_until(lambda before=before: id(service.gallery) != before)  # type: ignore[misc]
                gone.append(weakref.ref(service.gallery.networks[0]))
                expected.add(post(client, jpeg))
                asked = len(answers)
                wait_until(lambda asked=asked: len(answers) > asked + 3)  # type: ignore[misc]
        finally:
            stop.set()
            for asker in askers:
                asker.join()
        assert not failures
        assert len(expected) == 2
        assert set(answers) == expected

        def freed() -> bool:
            gc.collect()
            return [network() for network in gone[:-1]] == [None] * 3

        wait_until(freed)
        assert gone[-1]() is service.gallery.networks[0]


def test_a_request_keeps_the_network_that_it_began_with(
    copied: Path, other: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go = threading.Event(), threading.Event()
    paint = Network.paint

    def wait(self: Network, images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        held.set()
        assert go.wait(PATIENCE)
        return paint(self, images, styles)

    with running(copied) as (client, service):
        old, before = post(client, jpeg), service.gallery
        monkeypatch.setattr(Network, "paint", wait)
        answers: list[bytes] = []
        asker = threading.Thread(target=lambda: answers.append(post(client, jpeg)))
        asker.start()
        assert held.wait(PATIENCE)
        put(other, copied)
        wait_until(lambda: service.gallery is not before)
        go.set()
        asker.join()
        assert answers == [old]
        assert post(client, jpeg) != old


def test_paint_that_is_no_picture_is_a_500_and_is_counted(copied: Path, jpeg: bytes) -> None:
    with running(copied, reload_seconds=0) as (client, service):
        service.gallery.find("warm")[1].vector[-6:] = np.nan
        answer = client.post("/stylize?style=warm", files={"image": jpeg})
        assert (answer.status_code, answer.json()["code"]) == (500, BadOutput.code)
        assert count(client, "pastiche_bad_outputs_total") == 1
        assert Image.open(io.BytesIO(post(client, jpeg, "cold"))).format == "PNG"
        assert count(client, "pastiche_bad_outputs_total") == 1


def test_a_network_that_cannot_paint_makes_the_server_unready_until_it_can(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "FRESH", 0)
    caplog.set_level("INFO")
    with running(copied, reload_seconds=0) as (client, service):
        sessions = service.gallery.networks[0]._sessions
        stylize, sessions["stylize"] = sessions["stylize"], sessions["freeze"]
        for _ in range(2):
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            assert ready.json()["reason"].startswith("tiny: the network gave float32")
        assert caplog.text.count("tiny: the network gave float32") == 1
        sessions["stylize"] = stylize
        assert client.get("/readyz").json()["status"] == "ready"
        assert "ready again" in caplog.text


def test_without_memory_for_three_pictures_in_a_row_the_server_is_unready_until_it_paints(
    copied: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint = Network.paint

    def fail(*_: object) -> np.ndarray:
        raise OutOfMemory("the device has no memory left for this picture")

    with running(copied, reload_seconds=0) as (client, _):
        monkeypatch.setattr(probe, "FRESH", 3600)
        for paints, status in ((fail, 200), (fail, 200), (paint, 200), (fail, 200), (fail, 200),
                               (fail, 503)):  # fmt: skip
            monkeypatch.setattr(Network, "paint", paints)
            answer = client.post("/stylize?style=warm", files={"image": jpeg})
            if paints is fail:
                assert (answer.status_code, answer.json()["code"]) == (503, OutOfMemory.code)
                assert answer.headers["Retry-After"].isdecimal()
            assert client.get("/readyz").status_code == status
        assert client.get("/readyz").json()["reason"].startswith("tiny: the device has no memory")
        assert count(client, 'pastiche_refusals_total{reason="out_of_memory"}') == 5
        monkeypatch.setattr(probe, "FRESH", 0)
        assert client.get("/readyz").json()["status"] == "ready"


def test_a_device_that_cannot_be_had_is_told_and_nothing_internal_is(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise DeviceUnavailable("CUDA is installed but finds no GPU that works")

    monkeypatch.setattr("app.engine.service.pick_device", none)
    with running(copied, device="cuda") as (client, _):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["reason"] == "CUDA is installed but finds no GPU that works"
        assert "not ready: CUDA is installed" in caplog.text


@pytest.mark.parametrize("where", ["pick_device", "Gallery"])
def test_an_unforeseen_error_while_loading_is_logged_and_not_shown(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def fail(*_: object) -> Gallery:
        raise RuntimeError("secret")

    monkeypatch.setattr(f"app.engine.service.{where}", fail)
    with running(copied) as (client, _):
        assert client.get("/readyz").json()["status"] == "unavailable"
        assert client.get("/readyz").json()["reason"].startswith("something went wrong")
    assert "Traceback" in caplog.text
    assert "secret" in caplog.text


def test_a_card_that_is_damaged_shows_no_path(copied: Path) -> None:
    (copied / "tiny" / CARD).write_text("{")
    with running(copied) as (client, _):
        assert str(copied) not in client.get("/readyz").text
        assert client.get("/readyz").json()["reason"]
