from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: cat.jpg, trip/cat.png and a text."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    photo.save(folder / "cat.jpg")
    photo.rotate(90, expand=True).save(folder / "trip" / "cat.png")
    (folder / "notes.txt").write_text("not a photo")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tiny(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny models, as those that the command loads."""
    monkeypatch.setenv("PASTICHE_MODELS", str(models))
    monkeypatch.setenv("PASTICHE_DEVICE", "cpu")
    return models
