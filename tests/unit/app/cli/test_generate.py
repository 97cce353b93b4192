import re
from pathlib import Path

import pytest
from PIL import Image

from app.cli import main


def generate(models: Path, *arguments: object) -> int:
    common = ["--models", str(models), "--device", "cpu"]
    return main(["generate", *map(str, arguments), *common])


def test_textures_have_successive_seeds_which_their_names_carry(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.png"
    arguments = ["warm", "--size", "48x40", "--tileable", "--variation", "2"]
    assert generate(texture_models, *arguments, "--seed", 7, "--count", 2, "-o", out) == 0
    printed = [f"{out.with_name(f'out-{seed}.png')}: seed {seed}" for seed in (7, 8)]
    assert capsys.readouterr().out.splitlines() == printed
    assert generate(texture_models, *arguments, "--seed", 8, "-o", out) == 0
    with Image.open(out) as one, Image.open(out.with_name("out-8.png")) as same:
        assert one.size == (48, 40)
        assert one.tobytes() == same.tobytes()
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["out-7.png", "out-8.png", "out.png"]


def test_the_suffix_decides_the_format_and_the_seed_is_printed(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.webp"
    assert generate(texture_models, "warm:1,sand:2", "-o", out, "--quality", 50) == 0
    with Image.open(out) as texture:
        assert (texture.format, texture.size) == ("WEBP", (512, 512))
    assert re.fullmatch(rf"{re.escape(str(out))}: seed \d+\n", capsys.readouterr().out)


def test_without_a_file_the_name_is_made_of_style_and_seed(
    texture_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert generate(texture_models, "warm:1,sand:2", "--size=32x32", "--seed=5") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["warm-1+sand-2-5.png"]


def test_a_texture_can_go_to_standard_output(
    texture_models: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert generate(texture_models, "warm", "--size=32x32", "-o", "-", "--format=jpeg") == 0
    assert capfdbinary.readouterr().out.startswith(b"\xff\xd8\xff")


def test_a_file_that_is_there_is_kept_without_force(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"kept")
    assert generate(texture_models, "warm", "--size=32x32", "-o", out) == 1
    assert "out.png: already there; --force replaces them" in capsys.readouterr().err
    assert out.read_bytes() == b"kept"
    assert generate(texture_models, "warm", "--size=32x32", "-o", out, "--force") == 0
    assert out.read_bytes() != b"kept"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["warm", "--size=512"], "size: '512' is not WIDTHxHEIGHT in pixels, such as 1920x1080"),
        (["warm", "--size=-5x10"], "size: '-5x10' is not WIDTHxHEIGHT"),
        (["warm", "--size=0x40"], "width: Input should be greater than or equal to 16"),
        (["warm", "--size=16000x16000"], "256,000,000 pixels; at most 25,000,000 are allowed"),
        (["warm", "--size=50x48", "--tileable"], "nearest to 50: 48 and 56"),
        (["warm", "--seed=x"], "seed: Input should be a valid integer"),
        (["warm", "--seed=4294967295", "--count=2"], "2 textures need seeds to 4,294,967,296"),
        (["cold"], "the style 'cold' cannot generate; those that can are sand, warm"),
        (["nope"], "there is no style 'nope'; those that can generate are sand, warm"),
    ],
)
def test_a_bad_option_of_a_texture_is_one_line_and_nothing_is_written(
    texture_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert generate(texture_models, *arguments, "-o", tmp_path / "out.png") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", ["0", "two", "10000"])
def test_a_count_that_is_no_sensible_number_is_wrong_usage(
    texture_models: Path, count: str
) -> None:
    assert generate(texture_models, "warm", "--count", count) == 2


def test_a_texture_needs_a_file_name_of_a_known_format(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(texture_models, "warm", "-o", tmp_path / "out.bmp") == 1
    assert "must end in one of .jpg" in capsys.readouterr().err


def test_the_styles_are_listed_with_what_they_can_do(
    texture_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["styles", "--models", str(texture_models), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    able = [line.split(": ")[1] for line in lines]
    assert able == ["stylize", "stylize", "stylize, generate", "generate"]
