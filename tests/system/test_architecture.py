"""Rules of the architecture that the import contracts in pyproject.toml cannot express."""

import subprocess
import sys

from tests.tools.repository import ROOT

SOURCES = sorted(path for name in ("app", "training") for path in (ROOT / name).rglob("*.py"))
HEAVY = {"torch", "torchvision", "tensorboard", "onnx", "training", "skimage"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_the_server_the_command_and_the_library_load_no_training_packages() -> None:
    done = run(
        "import sys, app.http.server, app.cli, app.library; "
        f"sys.exit(', '.join(sorted({HEAVY!r} & sys.modules.keys())) or None)"
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_server_starts_no_threads() -> None:
    done = run("import app.http.server, threading; print(threading.active_count())")
    assert done.stdout.strip() == "1", done.stderr


def test_only_the_model_folder_module_knows_the_files_of_a_model_folder() -> None:
    def owners(word: str) -> set[str]:
        texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in SOURCES}
        return {path for path, text in texts.items() if word in text}

    assert owners('"network.json"') == {"app/model_folder.py"}
    assert owners("safe_open") == {"app/model_folder.py", "training/fit/features.py"}


def test_no_tracked_file_names_a_package_index() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "--index" + "-url http")
    for path in [*ROOT.glob("requirements/*"), ROOT / "Dockerfile", ROOT / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        assert not [host for host in hosts if host in text], path
