import asyncio
import re
from pathlib import Path

from starlette.testclient import TestClient

from app import __version__
from app.http.server import create_app
from app.metrics import Metrics
from app.settings import read_settings
from tests.conftest import make_folder, wait_until_ready

MAX_SERIES = 500
ROOT = Path(__file__).resolve().parents[3]


def series(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def families(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_the_number_of_series_is_bounded_whatever_is_requested(tmp_path: Path, jpeg: bytes) -> None:
    ten = tuple(f"style_{n}" for n in range(10))
    make_folder(tmp_path / "tiny", styles=ten)
    app = create_app(read_settings(models=tmp_path, device="cpu", threads=1, max_pixels=10_000))
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        for style in (*ten, "nobody", "style_1:0.5,style_2:0.5", "style_3:1"):
            for image in (jpeg, jpeg[:99], b"no image"):
                client.post("/stylize", files={"image": image}, data={"style": style})
            client.post(f"/stylize?style={style}&size=999", files={"image": jpeg})
        for route in ("/styles", "/styles/nobody", "/docs", "/", "/openapi.json", "/metrics"):
            for method in ("GET", "HEAD", "PUT", "BREW"):
                client.request(method, route)
        assert client.portal is not None
        client.portal.call(send_many, app)
        text = client.get("/metrics").text
    assert 'status="200",style="style_3"} 2.0' in text
    assert 'status="200",style="_blend"} 1.0' in text
    assert 'route="/stylize",status="404",style="_other"' in text
    assert 'pastiche_requests_total{route="_other",status="404",style=""} 10000.0' in text
    assert "nobody" not in text
    assert len(series(text)) < MAX_SERIES


async def send_many(app: object) -> None:
    """Send requests for 10,000 unknown paths, half of them with unknown methods."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: object) -> None:
        await asyncio.sleep(0)

    for n in range(10_000):
        scope = {
            "type": "http",
            "method": f"M{n}" if n % 2 else "GET",
            "path": f"/{n}",
            "query_string": f"style={n}".encode(),
            "headers": [(b"x-request-id", str(n).encode())],
            "client": (f"10.0.{n % 250}.1", n),
        }
        await app(scope, receive, send)  # type: ignore[operator]


def test_the_version_is_exported() -> None:
    text = Metrics().text().decode()
    (labels,) = re.findall(r"^pastiche_build_info{(.*)} 1\.0$", text, re.MULTILINE)
    assert f'version="{__version__}"' in labels


def test_the_memory_of_the_process_is_exported() -> None:
    text = Metrics().text().decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    assert found
    assert float(found[1]) > 2**20
