import shutil
from pathlib import Path

import numpy as np
import pytest

from app.device import CPU, Device
from app.errors import BadOption, ModelFolderError, UnknownStyle
from app.gallery import Gallery
from tests.conftest import make_folder

ON_CPU = Device("cpu", CPU, "float32", 1)


@pytest.fixture(scope="module")
def gallery(models: Path) -> Gallery:
    return Gallery(models, ON_CPU, 1_000_000)


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


def test_a_single_style_is_its_own_vector(gallery: Gallery) -> None:
    brush = gallery.brush("warm")
    assert brush.label == "warm"
    assert np.array_equal(brush.vector, gallery.find("warm")[1].vector)


def test_a_blend_is_the_weighted_mean_of_its_vectors(gallery: Gallery) -> None:
    brush = gallery.brush("warm:3, cold:1")
    warm, cold = (gallery.find(s)[1].vector for s in ("warm", "cold"))
    assert np.allclose(brush.vector, 0.75 * warm + 0.25 * cold, atol=1e-6)
    assert brush.vector.dtype == np.float32
    assert brush.label == "warm:0.75,cold:0.25"


def test_an_unknown_style_is_told_with_those_there_are(gallery: Gallery) -> None:
    with pytest.raises(UnknownStyle, match=r"'nope'.*cold, plain, warm"):
        gallery.brush("warm:1,nope:1")


@pytest.mark.parametrize(
    "text",
    ["warm:-1", "warm:x", "warm:nan", "warm:inf", "warm:0,cold:0", "warm:", ",".join(["warm"] * 9)],
)
def test_a_bad_blend_is_refused(gallery: Gallery, text: str) -> None:
    with pytest.raises(BadOption, match="style"):
        gallery.brush(text)


@pytest.mark.parametrize("text", ["", "../warm", "warm,", "Warm"])
def test_a_name_is_looked_up_never_joined_to_a_path(gallery: Gallery, text: str) -> None:
    with pytest.raises(UnknownStyle):
        gallery.brush(text)


def test_styles_of_two_networks_are_both_served_but_do_not_blend(copied: Path) -> None:
    make_folder(copied / "second", "second", ("dark", "warm"))
    gallery = Gallery(copied, ON_CPU, 1_000_000)
    assert [network.name for network in gallery.networks] == ["second", "tiny"]
    assert {style.id for _, style in gallery} == {"cold", "dark", "plain", "warm"}
    assert any("tiny/warm" in problem for problem in gallery.problems)
    with pytest.raises(BadOption, match="second, tiny"):
        gallery.brush("dark,cold")


@pytest.mark.parametrize("file", ["stylize.onnx", "freeze.onnx", "network.json"])
def test_a_damaged_folder_is_named_and_the_rest_is_served(
    copied: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(copied / "second", "second", ("dark",))
    damaged = copied / "tiny" / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if file == "network.json":
        content = content[: len(content) // 2]
    damaged.write_bytes(content)
    gallery = Gallery(copied, ON_CPU, 1_000_000)
    assert [style.id for _, style in gallery] == ["dark"]
    assert file in caplog.text


def test_with_no_network_left_there_is_no_gallery(copied: Path) -> None:
    (copied / "tiny" / "apply.onnx").unlink()
    with pytest.raises(ModelFolderError, match=r"apply\.onnx"):
        Gallery(copied, ON_CPU, 1_000_000)


def test_an_empty_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="there is no network to serve"):
        Gallery(tmp_path, ON_CPU, 1_000_000)
