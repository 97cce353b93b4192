import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main


def test_outside_a_checkout_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["add-style", "painting.jpg"]) == 1
    assert "pip install '.[training,cpu]'" in capsys.readouterr().err


def test_in_a_checkout_it_is_the_training_command(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("app.cli.add_style.subprocess.run", run)
    assert main(["add-style", "painting.jpg", "--steps", "7"]) == 3
    assert commands == [
        [sys.executable, "-m", "training.add_style", "painting.jpg", "--steps", "7"]
    ]
