"""The layers, held: arrows go one way, and the server knows nothing of PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = [
    {"cli"},
    {"server"},
    {"routes"},
    {"service", "stylizer", "access", "connection"},
    {"scheduler", "probe"},
    {"gallery"},
    {"model", "reload"},
    {"device", "card"},
    {"answers"},
    {"body", "problems", "options", "metrics", "keys", "tracing", "caller"},
    {"painting", "form"},
    {"images", "settings", "headers", "logs", "memory", "parser", "descriptors"},
    {"container"},
    {"errors"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = {"torch", "torchvision", "tensorboard", "onnx", "training", "skimage"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(p for p in (ROOT / "app").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_every_module_has_a_layer_and_imports_only_from_below_it(path: Path) -> None:
    own = {name.split(".")[1] for name in imports(path) if name.startswith("app.")} - {
        "__version__"
    }
    assert own <= RANK.keys()
    above = {name for name in own if RANK[name] <= RANK[path.stem]}
    assert not above, f"{path.stem} imports {above}, which are not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_the_server_never_imports_training_or_torch(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & HEAVY


def test_a_running_server_has_loaded_no_torch() -> None:
    code = (
        "import sys, app.http.server, app.cli, app.library; "
        f"sys.exit(', '.join(sorted({HEAVY!r} & sys.modules.keys())) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_only_card_reads_and_writes_the_model_folder() -> None:
    for path in [*MODULES, *sorted((ROOT / "training").glob("*.py"))]:
        if path.stem != "card":
            text = path.read_text()
            assert '"network.json"' not in text, path
            assert "safe_open" not in text or path.stem == "features", path  # loss networks


def test_only_device_and_export_touch_the_runtime() -> None:
    users = {p.stem for p in MODULES if "onnxruntime" in {n.split(".")[0] for n in imports(p)}}
    assert users == {"device"}


def test_only_images_and_painting_and_the_library_touch_pillow() -> None:
    users = {p.stem for p in MODULES if "PIL" in {n.split(".")[0] for n in imports(p)}}
    assert users == {"images", "painting", "stylizer"}


def test_nothing_is_done_at_import_time() -> None:
    code = "import app.http.server, threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "1", done.stderr


def test_no_tracked_file_names_a_package_index() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "--index" + "-url http")
    for path in [*ROOT.glob("requirements/*"), ROOT / "Dockerfile", ROOT / "Makefile"]:
        text = path.read_text()
        assert not [host for host in hosts if host in text], path
