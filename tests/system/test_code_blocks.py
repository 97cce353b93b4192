"""Every code block of the documentation runs, or says why it is not run."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from app.settings import read_settings
from tests.tools.markdown import CodeBlock, code_blocks
from tests.tools.repository import ROOT
from tests.tools.servers import serve_in_thread, wait_for_status

BLOCKS = [
    block
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    for block in code_blocks(page)
]
# What a block of a language is run with, in the folder that holds it as the file `block.SUFFIX`.
PROGRAMS = {
    "go": ("go", "go", "run"),
    "js": ("mjs", "node"),
    "python": ("py", sys.executable, "-W", "error"),
    "sh": ("sh", "bash", "-euo", "pipefail"),
}
DATA: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
}
PROSE = "text"  # listings and drawings
PICTURES = (".jpg", ".png", ".webp")
RUN = [block for block in BLOCKS if block.language in PROGRAMS and block.reason is None]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server with the bundled models."""
    with serve_in_thread(read_settings(device="cpu", threads=1)) as port:
        wait_for_status(port, "ready")
        yield port


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `pastiche` and its command, as installing the wheel adds them."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "pastiche").symlink_to(ROOT / "app")
    command = folder / "bin" / "pastiche"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pastiche "$@"\n')
    command.chmod(0o755)
    # An error response fails the command that shows it.
    (folder / ".curlrc").write_text("fail\nsilent\nshow-error\nmax-time = 60\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """A reader's folder: some photographs."""
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "a.jpg", "b.jpg", "holiday/cat.jpg"):
        (tmp_path / name).write_bytes(jpeg)
    return tmp_path


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}), ids=lambda p: p.name)
def test_every_fence_of_a_page_belongs_to_a_block(page: Path) -> None:
    fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(code_blocks(page))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run_read_or_marked(block: CodeBlock) -> None:
    languages = {*PROGRAMS, *DATA, PROSE}
    assert block.language in languages, f"the language is not one of {', '.join(languages)}"
    if block.reason is not None:
        assert block.language in PROGRAMS, "only a program can be marked as not run"
    elif read := DATA.get(block.language):
        assert read(block.code)


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_runs(block: CodeBlock, folder: Path, installed: Path, port: int) -> None:
    suffix, program, *arguments = PROGRAMS[block.language]
    curl = ["curl"] if re.search(r"^curl ", block.code, re.MULTILINE) else []
    for needed in [program, *curl]:
        if shutil.which(needed) is None:
            pytest.skip(f"NO {needed.upper()}: {block} is not run; install {needed}")
    code = re.sub(r"(?:localhost|127\.0\.0\.1):8000", f"127.0.0.1:{port}", block.code)
    file = folder / f"block.{suffix}"
    file.write_text(code, encoding="utf-8")
    bin = Path(sys.executable).parent
    environment = {
        **os.environ,
        "CURL_HOME": str(installed),
        "PASTICHE_DEVICE": "cpu",
        "PATH": os.pathsep.join([str(installed / "bin"), str(bin), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)]),
    }
    before = set(folder.rglob("*"))
    done = subprocess.run(
        [program, *arguments, file.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for path in set(folder.rglob("*")) - before:
        if path.suffix in PICTURES:
            with Image.open(path) as picture:
                picture.load()


def training_commands() -> Iterator[tuple[str, str]]:
    """The module and the arguments of every training command in a block that is not run."""
    for block in BLOCKS:
        if block.language == "sh" and block.reason is not None:
            code = block.code.replace("\\\n", " ")
            yield from re.findall(r"-m (training\.\w+)(.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("module", sorted({module for module, _ in training_commands()}))
def test_training_commands_that_are_not_run_have_the_options_that_are_shown(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    shown = {
        option
        for name, arguments in training_commands()
        if name == module
        for option in re.findall(r"--[a-z-]+", arguments)
    }
    assert shown <= options
