"""Build the wheel, install it in a new environment, and use it as a stranger would."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import app

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the variables that would let it find the checkout."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**inherited, "PASTICHE_DEVICE": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel, and with this environment's dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    done = run(
        *(BIN / "uv", "pip", "install", "--offline", "--no-cache", "--no-deps"),
        *("--python", python, wheel),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (site_packages(folder) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def site_packages(environment: Path) -> Path:
    (path,) = (environment / "lib").glob("python*/site-packages")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a photograph and an unrelated module called app."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "app.py").write_text("raise SystemExit('the wheel imported the wrong app')\n")
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(folder / "photo.png")
    return folder


def test_the_wheel_has_one_package_with_the_page_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"pastiche_server-{app.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"pastiche", info}
    models = {path.relative_to(ROOT) for path in (ROOT / "models").rglob("*") if path.is_file()}
    packed = {Path(name).relative_to("pastiche") for name in names if "/models/" in name}
    assert packed == {path for path in models if path.name != "weights.safetensors"}
    assert "pastiche/py.typed" in names
    page = {f"pastiche/http/page/{path.name}" for path in (ROOT / "app/http/page").iterdir()}
    assert len(page) > 10
    assert page <= set(names)


def test_installing_adds_one_package_and_its_metadata(environment: Path) -> None:
    added = {path.name for path in site_packages(environment).iterdir()}
    info = f"pastiche_server-{app.__version__}.dist-info"
    assert added == {"pastiche", info, "dependencies.pth"}


@pytest.mark.parametrize("command", [["bin/pastiche"], ["bin/python", "-m", "pastiche"]])
def test_the_command_paints_with_the_bundled_models(
    environment: Path, folder: Path, command: list[str], tmp_path: Path
) -> None:
    command = [str(environment / command[0]), *command[1:]]
    out = tmp_path / "out.png"
    arguments = ("stylize", "photo.png", "--style", "starry_night", "-o", out)
    done = run(*command, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    with Image.open(folder / "photo.png") as photo, Image.open(out) as pastiche:
        assert pastiche.size == photo.size
        assert pastiche.tobytes() != photo.tobytes()


def test_the_library_paints_with_the_bundled_models(environment: Path, folder: Path) -> None:
    code = (
        "from PIL import Image; from pastiche import stylize; "
        "print(*stylize(Image.open('photo.png'), 'starry_night').size)"
    )
    done = run(environment / "bin" / "python", "-c", code, cwd=folder)
    assert done.stdout.split() == ["48", "32"], done.stderr


@pytest.mark.parametrize("command", ["serve", "styles"])
def test_without_onnx_runtime_the_command_says_what_to_install(
    environment: Path, folder: Path, command: str
) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; "
        f"from pastiche.cli import main; sys.exit(main(['{command}']))"
    )
    done = run(environment / "bin" / "python", "-c", code, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: ONNX Runtime is not installed: pip install 'pastiche-server[cpu]', "
        "or 'pastiche-server[gpu]' for an NVIDIA GPU"
    ]
