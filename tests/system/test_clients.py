"""A client generated from the OpenAPI document calls a running server."""

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.http.server import create_app
from app.settings import Settings
from tests.tools.repository import ROOT
from tests.tools.servers import serve_in_thread, wait_for_status

NAME = "generated_client"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[str]:
    with serve_in_thread(settings) as port:
        wait_for_status(port, "ready")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a client that openapi-python-client has written, ready to be imported."""
    folder = tmp_path_factory.mktemp("clients")
    document = folder / "openapi.json"
    document.write_text(json.dumps(create_app(Settings()).openapi()))
    config = ROOT / "tests" / "tools" / "generated_client.yaml"
    done = subprocess.run(
        [
            *(BIN / "openapi-python-client", "generate", "--fail-on-warning"),
            *("--path", document, "--config", config),
            *("--meta", "none", "--output-path", folder / NAME),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield folder / NAME
    sys.path.remove(str(folder))


def test_a_generated_python_client_paints_and_understands_errors(
    generated: Path, server: str, jpeg: bytes
) -> None:
    def module(name: str) -> Any:
        return importlib.import_module(f"{NAME}.{name}")

    def stylize(style: str) -> Any:
        image = module("types").File(io.BytesIO(jpeg), "photo.jpg", "image/jpeg")
        format = module("models.format_").Format.PNG
        body = module("models").StylizeBody(image=image, style=style, strength=0.5, format_=format)
        return module("api.pictures.stylize").sync(client=client, body=body)

    with module("client").Client(base_url=server, timeout=60) as client:
        styles = module("api.styles.list_styles").sync(client=client).styles
        painted, problem = stylize("warm"), stylize("nope")
    assert [style.id for style in styles] == ["cold", "plain", "warm"]
    with Image.open(painted.payload) as pastiche, Image.open(io.BytesIO(jpeg)) as photo:
        assert (pastiche.format, pastiche.size) == ("PNG", photo.size)
    assert (problem.code, problem.status) == ("unknown_style", 404)
