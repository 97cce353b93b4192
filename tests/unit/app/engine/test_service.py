"""The running application: loading, reloading, readiness, and errors while it paints."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.engine import probe
from app.engine.devices.choice import open_session
from app.engine.devices.device import CPU_BATCH
from app.engine.gallery import Gallery
from app.engine.service import Service
from app.errors import BadOutput, DeviceUnavailable, OutOfMemory
from app.http.server import create_app
from app.model_folder import CARD, StyleCard, read_folder, write_style
from app.settings import read_settings
from tests.conftest import make_folder, wait_until_ready
from tests.tools.sessions import Sessions

TIMEOUT = 120  # seconds; far longer than any test takes


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the same name and styles that paints differently. Do not change it."""
    return make_folder(tmp_path_factory.mktemp("other") / "tiny", seed=1)


@contextmanager
def running(
    models: Path | tuple[Path, ...], sessions: Sessions | None = None, **more: object
) -> Iterator[tuple[TestClient, Service]]:
    settings = read_settings(
        **{"models": models, "device": "cpu", "threads": 1, "reload_seconds": 0.02, **more}
    )
    app = create_app(settings, sessions.open if sessions else open_session)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client, app.state.service


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
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


def test_the_limit_of_batches_is_the_devices_unless_a_setting_overrides_it(models: Path) -> None:
    for setting, limit in ((0, CPU_BATCH), (512, 512)):
        with running(models, batch_pixels=setting) as (_, service):
            assert service.scheduler._painter.max_pixels == limit


def replace_folder(new: Path, models: Path) -> None:
    """Replace the folder `tiny` by a copy of `new`, by renaming."""
    shutil.copytree(new, models / ".new")
    (models / "tiny").rename(models / ".old")
    (models / ".new").rename(models / "tiny")
    shutil.rmtree(models / ".old")


def test_styles_can_be_added_and_removed_while_the_server_runs(copied: Path, jpeg: bytes) -> None:
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


def test_a_style_of_ones_own_is_served_beside_the_others_while_the_server_runs(
    copied: Path, models: Path, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    mine = copied.parent / "mine"
    with running((copied, mine)) as (client, service):
        shutil.copytree(models / "tiny", mine / ".tiny")
        vector = read_folder(copied / "tiny").styles["warm"].vector
        write_style(mine / ".tiny", "fresh", vector, StyleCard(title="Fresh"))
        (mine / ".tiny").rename(mine / "tiny")
        wait_until(lambda: "fresh" in listed(client))
        assert len(service.gallery.networks) == 1
        post(client, jpeg, "fresh,cold")
        assert count(client, 'pastiche_styles_total{operation="stylize",style="_blend"}') == 1
        write_style(mine / "tiny", "warm", -vector, StyleCard(title="Another"))
        wait_until(lambda: reloads(client, "failed"))
        assert "different styles of the id 'warm'" in caplog.text
        assert listed(client) == ["cold", "plain", "warm", "fresh"]


def test_reloading_can_be_disabled(copied: Path) -> None:
    with running(copied, reload_seconds=0) as (_, service):
        assert service._watcher is None


def test_a_damaged_new_version_is_logged_and_counted_and_the_old_one_is_served(
    copied: Path, other: Path, jpeg: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = shutil.copytree(other, tmp_path / "damaged")
    (damaged / "stylize.onnx").write_bytes(b"damaged")
    with running(copied) as (client, _):
        before = post(client, jpeg)
        replace_folder(damaged, copied)
        wait_until(lambda: reloads(client, "failed"))
        assert post(client, jpeg) == before
        assert client.get("/readyz").status_code == 200
        assert caplog.text.count("stylize.onnx: the file does not have the sha256") == 1
        replace_folder(other, copied)
        wait_until(lambda: post(client, jpeg) != before)


def test_the_old_networks_are_served_after_all_folders_are_removed(
    copied: Path, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with running(copied) as (client, _):
        before = post(client, jpeg)
        (copied / "tiny").rename(copied / ".tiny")
        wait_until(lambda: reloads(client, "failed"))
        assert "still serving the previous models: there is no network to serve" in caplog.text
        assert post(client, jpeg) == before
        assert client.get("/readyz").json()["styles"] == 3


def test_a_server_without_a_model_folder_is_ready_once_one_is_added(
    models: Path, tmp_path: Path, jpeg: bytes
) -> None:
    with running(tmp_path / "models") as (client, _):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["reason"] == "the model folders cannot be served; see the server's log"
        shutil.copytree(models, tmp_path / "models")
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert post(client, jpeg)


def test_replacing_a_network_under_load_fails_no_request_and_mixes_no_networks(
    copied: Path, other: Path, jpeg: bytes, tmp_path: Path
) -> None:
    original = shutil.copytree(copied / "tiny", tmp_path / "original")
    answers: list[bytes] = []
    failures: list[object] = []
    stop = threading.Event()

    def send_requests(client: TestClient) -> None:
        while not stop.is_set():
            answer = client.post("/stylize?style=warm&format=png", files={"image": jpeg})
            (answers if answer.status_code == 200 else failures).append(answer.content)

    def swap(number: int, new: Path) -> None:
        replace_folder(new, copied)
        wait_until(lambda: reloads(client, "ok") == number)
        networks.append(weakref.ref(service.gallery.networks[0]))
        expected.add(post(client, jpeg))
        enough = len(answers) + 4
        wait_until(lambda: len(answers) >= enough)

    with running(copied) as (client, service):
        expected = {post(client, jpeg)}
        networks = [weakref.ref(service.gallery.networks[0])]
        requesters = [threading.Thread(target=send_requests, args=(client,)) for _ in range(3)]
        for requester in requesters:
            requester.start()
        try:
            for number, new in enumerate((other, original, other), start=1):
                swap(number, new)
        finally:
            stop.set()
            for requester in requesters:
                requester.join()
        assert not failures
        assert len(expected) == 2
        assert set(answers) == expected

        def released() -> bool:
            gc.collect()
            return [network() for network in networks[:-1]] == [None] * 3

        wait_until(released)
        assert networks[-1]() is service.gallery.networks[0]


def test_a_request_keeps_the_network_that_it_started_with(
    copied: Path, other: Path, jpeg: bytes
) -> None:
    sessions = Sessions()
    with running(copied, sessions) as (client, service):
        old, gallery = post(client, jpeg), service.gallery
        sessions.started.clear()
        sessions.gate.clear()
        answers: list[bytes] = []
        requester = threading.Thread(target=lambda: answers.append(post(client, jpeg)))
        requester.start()
        assert sessions.started.wait(TIMEOUT)
        held, sessions.gate = sessions.gate, threading.Event()
        sessions.gate.set()
        replace_folder(other, copied)
        wait_until(lambda: service.gallery is not gallery)
        held.set()
        requester.join()
        assert answers == [old]
        assert post(client, jpeg) != old


def test_the_server_is_unready_while_a_network_cannot_paint(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "CACHE_SECONDS", 0)
    caplog.set_level("INFO")
    sessions = Sessions()
    with running(copied, sessions, reload_seconds=0) as (client, _):
        sessions.run_error = BadOutput("broken")
        for _ in range(2):
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            assert ready.json()["reason"] == "tiny: broken"
        assert caplog.text.count("tiny: broken") == 1
        sessions.run_error = None
        assert client.get("/readyz").json()["status"] == "ready"
        assert "ready again" in caplog.text


def test_the_server_is_unready_after_three_requests_in_a_row_ran_out_of_memory(
    copied: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, full = Sessions(), OutOfMemory("the device has no memory left for this picture")
    with running(copied, sessions, reload_seconds=0) as (client, _):
        monkeypatch.setattr(probe, "CACHE_SECONDS", 3600)
        for error, status in ((full, 200), (full, 200), (None, 200), (full, 200), (full, 200),
                              (full, 503)):  # fmt: skip
            sessions.run_error = error
            answer = client.post("/stylize?style=warm", files={"image": jpeg})
            if error is None:
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, OutOfMemory.code)
                assert answer.headers["Retry-After"].isdecimal()
            assert client.get("/readyz").status_code == status
        assert client.get("/readyz").json()["reason"].startswith("tiny: the device has no memory")
        assert count(client, 'pastiche_refusals_total{reason="out_of_memory"}') == 5
        monkeypatch.setattr(probe, "CACHE_SECONDS", 0)
        sessions.run_error = None
        assert client.get("/readyz").json()["status"] == "ready"


def test_readiness_says_why_the_device_does_not_work(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise DeviceUnavailable("CUDA is installed but finds no working GPU")

    monkeypatch.setattr("app.engine.service.pick_device", fail)
    with running(copied, device="cuda") as (client, _):
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["reason"] == "CUDA is installed but finds no working GPU"
        assert "not ready: CUDA is installed" in caplog.text


@pytest.mark.parametrize("where", ["pick_device", "Gallery"])
def test_an_unexpected_error_while_loading_is_logged_but_not_shown(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def fail(*_: object) -> Gallery:
        raise RuntimeError("secret")

    monkeypatch.setattr(f"app.engine.service.{where}", fail)
    with running(copied) as (client, _):
        assert client.get("/readyz").json()["status"] == "unavailable"
        assert client.get("/readyz").json()["reason"].startswith("an unexpected error occurred")
    assert "Traceback" in caplog.text
    assert "secret" in caplog.text


def test_readiness_shows_no_path_of_a_damaged_card(copied: Path) -> None:
    (copied / "tiny" / CARD).write_text("{")
    with running(copied) as (client, _):
        assert str(copied) not in client.get("/readyz").text
        assert client.get("/readyz").json()["reason"]


def test_draining_is_final_and_requests_are_still_served(models: Path, jpeg: bytes) -> None:
    with running(models) as (client, service):
        expected = post(client, jpeg)
        service.start_draining()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert post(client, jpeg) == expected
        assert client.portal is not None
        client.portal.call(service.load)  # a reload must not make it ready again
        assert client.get("/readyz").json()["status"] == "draining"
    assert service.status == "draining"
