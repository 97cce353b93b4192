from pathlib import Path

import pytest
from PIL import Image

from tests.tools.generated import picture
from training.fit.data import DataError
from training.scoring.peers import read_peers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs; the peers `one` and `two` painted `warm`, `one` also `cold`."""
    place = tmp_path / "64"
    place.mkdir()
    for seed, name in enumerate(("a.b", "cat")):
        picture(64, 48, seed).save(place / f"{name}.photo.png")
        for middle in ("one.warm", "two.warm", "one.cold"):
            picture(64, 48, seed + 5).save(place / f"{name}.{middle}.jpg")
    return tmp_path


def test_pictures_are_found_by_style_peer_and_photograph(folder: Path) -> None:
    peers = read_peers(folder, 64)
    assert list(peers.photos) == ["a.b", "cat"]
    assert (peers.of("warm"), peers.of("cold"), peers.of("plain")) == (["one", "two"], ["one"], [])
    with Image.open(folder / "64" / "cat.one.cold.jpg") as expected:
        assert peers.picture("cold", "one", "cat").tobytes() == expected.convert("RGB").tobytes()


def test_a_picture_of_another_size_is_an_error(folder: Path) -> None:
    picture(60, 48).save(folder / "64" / "cat.one.warm.jpg")
    with pytest.raises(DataError, match=r"cat\.one\.warm\.jpg has 60x48 .* photograph 64x48"):
        read_peers(folder, 64).picture("warm", "one", "cat")


def test_a_peer_must_have_painted_every_photograph(folder: Path) -> None:
    (folder / "64" / "cat.one.warm.jpg").unlink()
    with pytest.raises(DataError, match=r"one\.warm.*do not match: cat"):
        read_peers(folder, 64)


def test_a_picture_without_its_photograph_is_an_error(folder: Path) -> None:
    (folder / "64" / "cat.photo.png").unlink()
    with pytest.raises(DataError, match=r"do not match: cat"):
        read_peers(folder, 64)


def test_a_file_of_another_form_is_an_error(folder: Path) -> None:
    (folder / "64" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt: the name must have the form NAME\.photo"):
        read_peers(folder, 64)


def test_a_size_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*128"):
        read_peers(folder, 128)


def test_a_folder_without_photographs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "64").mkdir()
    with pytest.raises(DataError, match="has no photographs"):
        read_peers(tmp_path, 64)
