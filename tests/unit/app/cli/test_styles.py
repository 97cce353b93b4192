import json

import pytest

from app.cli import main

pytestmark = pytest.mark.usefixtures("tiny")


def test_the_styles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["cold", "plain", "warm"]
    assert lines[2].endswith("Warm (unknown): stylize")


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
