"""Clients generated from the OpenAPI document call a running server."""

import importlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
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
TYPESCRIPT = ROOT / "tests" / "tools" / "typescript"
# What npm says when it cannot reach its registry.
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT")


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[str]:
    with serve_in_thread(settings) as port:
        wait_for_status(port, "ready")
        yield f"http://127.0.0.1:{port}"


def write_document(folder: Path) -> Path:
    path = folder / "openapi.json"
    path.write_text(json.dumps(create_app(Settings()).openapi()))
    return path


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it prints; fails the test if the command fails."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a client that openapi-python-client has written, ready to be imported."""
    folder = tmp_path_factory.mktemp("clients")
    document = write_document(folder)
    config = ROOT / "tests" / "tools" / "generated_client.yaml"
    run(
        *(BIN / "openapi-python-client", "generate", "--fail-on-warning"),
        *("--path", document, "--config", config),
        *("--meta", "none", "--output-path", folder / NAME),
        cwd=folder,
    )
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


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the TypeScript programs, their packages and the OpenAPI document."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"NO {program.upper()}: no client in TypeScript is tested; install Node.js")
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copytree(TYPESCRIPT, folder, dirs_exist_ok=True)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("NO REGISTRY: no client in TypeScript is tested; npm cannot reach its registry")
    assert done.returncode == 0, done.stderr
    write_document(folder)
    return folder


def write_types(folder: Path) -> None:
    """openapi-typescript: types for a client that calls fetch."""
    run("node", "types.js", cwd=folder)


def write_classes(folder: Path) -> None:
    """OpenAPI Generator: classes that call fetch."""
    if shutil.which("java") is None:
        pytest.skip("NO JAVA: OpenAPI Generator is not tested; install Java")
    run(
        *(BIN / "openapi-generator-cli", "generate", "-g", "typescript-fetch"),
        *("-i", "openapi.json", "-o", "client"),
        "--additional-properties=importFileExtension=.js",
        cwd=folder,
    )


@pytest.mark.parametrize(
    ("generate", "program"), [(write_types, "openapi_fetch"), (write_classes, "typescript_fetch")]
)
def test_a_generated_typescript_client_compiles_and_paints_and_understands_errors(
    typescript: Path, server: str, jpeg: bytes, generate: Callable[[Path], None], program: str
) -> None:
    generate(typescript)
    project = typescript / f"{program}.json"
    project.write_text(json.dumps({"extends": "./tsconfig.json", "files": [f"{program}.ts"]}))
    run(typescript / "node_modules" / ".bin" / "tsc", "--project", project, cwd=typescript)
    (typescript / "photo.jpg").write_bytes(jpeg)
    printed = run("node", f"built/{program}.js", server, cwd=typescript)
    assert json.loads(printed) == {"styles": ["cold", "plain", "warm"], "code": "unknown_style"}
    painted = typescript / "painted.png"
    with Image.open(painted) as pastiche, Image.open(io.BytesIO(jpeg)) as photo:
        assert (pastiche.format, pastiche.size) == ("PNG", photo.size)
    painted.unlink()
