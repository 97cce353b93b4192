import json
from pathlib import Path

import pytest

from app.cli import main
from tests.conftest import make_folder

pytestmark = pytest.mark.usefixtures("tiny")


def test_the_styles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["cold", "plain", "warm"]
    assert lines[2].endswith("Warm (unknown): stylize")


def test_the_styles_of_several_folders_are_listed(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "second", "second", ("dark",))
    assert main(["styles", "--models", str(tmp_path), "--models", str(models)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["dark", "cold", "plain", "warm"]


def test_two_styles_of_one_id_are_an_error_that_names_the_folders(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = make_folder(tmp_path / "second", "second", ("warm",))
    assert main(["styles", "--models", str(models), "--models", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{models / 'tiny'} and {second} have different styles of the id 'warm'" in error


def test_the_styles_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[2] == {
        "id": "warm",
        "title": "Warm",
        "artist": "unknown",
        "year": None,
        "license": "unknown",
        "network": "tiny",
        "capabilities": ["stylize"],
    }
