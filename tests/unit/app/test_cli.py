import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import main


@pytest.fixture
def photos(tmp_path: Path, photo: Image.Image) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    photo.save(folder / "cat.jpg")
    photo.rotate(90, expand=True).save(folder / "trip" / "cat.png")
    (folder / "notes.txt").write_text("not a photo")
    return folder


def stylize(models: Path, *arguments: object) -> int:
    common = ["--models", str(models), "--device", "cpu", "--style", "warm"]
    return main(["stylize", *map(str, arguments), *common])


def test_a_file_is_painted_to_the_named_file(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.webp"
    assert stylize(models, photos / "cat.jpg", "-o", out) == 0
    with Image.open(out) as painted:
        assert (painted.format, painted.size) == ("WEBP", (120, 80))


def test_a_folder_keeps_its_structure_and_other_files_are_ignored(
    models: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert stylize(models, photos, "-o", out, "--format", "png") == 0
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert written == ["cat.png", "trip/cat.png"]
    with Image.open(out / "trip" / "cat.png") as painted:
        assert painted.size == (80, 120)
    assert "2/2" in capsys.readouterr().err  # the progress bar


def test_options_reach_the_picture(models: Path, photos: Path, tmp_path: Path) -> None:
    assert stylize(models, photos / "cat.jpg", "-o", tmp_path / "a.png", "--strength", "0") == 0
    with Image.open(tmp_path / "a.png") as painted, Image.open(photos / "cat.jpg") as photo:
        assert np.array_equal(np.asarray(painted), np.asarray(photo))


def test_a_broken_photo_is_named_and_the_others_are_painted(
    models: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"not a jpeg")
    out = tmp_path / "out"
    assert stylize(models, photos, "-o", out) == 1
    assert len(list(out.rglob("cat.*"))) == 2
    errors = capsys.readouterr().err
    assert "broken.jpg" in errors
    assert "1 of 3 photos failed" in errors


def test_pastiches_can_be_written_next_to_the_folder_of_their_photos(
    models: Path, photos: Path
) -> None:
    assert stylize(models, photos / "trip", "-o", photos) == 0
    assert (photos / "cat.png").exists()


def test_pastiches_of_an_earlier_run_are_not_painted_again(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert stylize(models, photos, "-o", photos / "trip" / "painted") == 0
    painted = photos / "trip" / "painted"
    written = sorted(str(p.relative_to(painted)) for p in painted.rglob("*") if p.is_file())
    assert written == ["cat.jpg", "trip/cat.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [".", "-o", "."],
        ["cat.jpg", "-o", "cat.jpg"],
        ["cat.jpg", "-o", "."],
        ["cat.jpg", "trip/cat.png", "-o", "trip/.."],
        [".", "trip", "-o", "../photos"],
    ],
)
def test_no_photo_is_overwritten(
    models: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(photos)
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    assert stylize(models, *arguments) == 1
    assert "cat.jpg is one of the photos; choose another --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("first", "second", "more"),
    [("cat.jpg", "trip/cat.jpg", []), ("cat.jpg", "trip/cat.png", ["--format", "webp"])],
)
def test_two_photos_are_not_written_to_one_file(
    models: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: str,
    second: str,
    more: list[str],
) -> None:
    monkeypatch.chdir(photos)
    Path("trip/cat.jpg").write_bytes(Path("cat.jpg").read_bytes())
    assert stylize(models, first, second, "-o", "out", *more) == 1
    assert f"{first} and {second} would both be written to out/cat." in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg", "-o", "out"], "missing.jpg: no such file"),
        (["cat.jpg", "-o", "out.gif"], "must end in one of"),
        (
            ["cat.jpg", "-o", "out.png", "--format", "jpeg"],
            "out.png: the suffix .png does not match --format jpeg",
        ),
        (["cat.jpg", "-o", "out.png", "--strength", "2"], "strength"),
        (["cat.jpg", "-o", "out.png", "--style", "nope"], "the styles are cold, plain, warm"),
    ],
)
def test_a_mistake_is_one_clear_line(
    models: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(photos)
    style = [] if "--style" in arguments else ["--style", "warm"]
    assert main(["stylize", *arguments, *style, "--models", str(models), "--device", "cpu"]) == 1
    errors = capsys.readouterr().err
    assert says in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_format_that_cannot_hold_the_photo_is_a_clear_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (16_400, 16)).save(tmp_path / "wide.png")
    assert stylize(models, tmp_path / "wide.png", "-o", tmp_path / "out.webp") == 1
    assert "format: webp allows at most 16,383 pixels per side" in capsys.readouterr().err


def test_an_empty_folder_is_a_clear_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize(models, tmp_path, "-o", tmp_path / "out") == 1
    assert "no photos found" in capsys.readouterr().err


def test_the_styles_are_listed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["styles", "--models", str(models), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["cold", "plain", "warm"]


def test_wrong_usage_exits_with_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["stylize"])
    assert stopped.value.code == 2


def generate(models: Path, *arguments: object) -> int:
    common = ["--models", str(models), "--device", "cpu"]
    return main(["generate", *map(str, arguments), *common])


def test_textures_have_consecutive_seeds_and_numbered_names(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.png"
    arguments = ["warm", "--size", "48x40", "--tileable", "--variation", "2"]
    assert generate(texture_models, *arguments, "--seed", 7, "--count", 2, "-o", out) == 0
    printed = [f"{out.with_name(f'out-{n}.png')}: seed {6 + n}" for n in (1, 2)]
    assert capsys.readouterr().out.splitlines() == printed
    assert generate(texture_models, *arguments, "--seed", 8, "-o", out) == 0
    with Image.open(out) as one, Image.open(out.with_name("out-2.png")) as same:
        assert one.size == (48, 40)
        assert one.tobytes() == same.tobytes()
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "out-1.png",
        "out-2.png",
        "out.png",
    ]


def test_the_suffix_decides_the_format_and_the_seed_is_printed(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.webp"
    assert generate(texture_models, "warm:1,sand:2", "-o", out, "--quality", 50) == 0
    with Image.open(out) as texture:
        assert (texture.format, texture.size) == ("WEBP", (512, 512))
    assert re.fullmatch(rf"{re.escape(str(out))}: seed \d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["warm", "--size=512"], "size: '512' is not WIDTHxHEIGHT in pixels, such as 1920x1080"),
        (["warm", "--size=-5x10"], "size: '-5x10' is not WIDTHxHEIGHT"),
        (["warm", "--size=0x40"], "width: Input should be greater than or equal to 16"),
        (["warm", "--size=16000x16000"], "256,000,000 pixels; at most 25,000,000 are allowed"),
        (["warm", "--size=50x48", "--tileable"], "nearest to 50: 48 and 56"),
        (["warm", "--seed=x"], "seed: Input should be a valid integer"),
        (["warm", "--seed=4294967295", "--count=2"], "need seeds up to 4294967296"),
        (["warm", "--count=0"], "count: '0' is not a number from 1 to 9999"),
        (["warm", "--count=two"], "count: 'two' is not a number"),
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


def test_a_texture_needs_a_file_name_of_a_known_format(
    texture_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(texture_models, "warm", "-o", tmp_path / "out.gif") == 1
    assert "must end in one of .jpg" in capsys.readouterr().err


def test_the_styles_are_listed_with_what_they_can_do(
    texture_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["styles", "--models", str(texture_models), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "stylize", "stylize", "stylize, generate", "generate"
    ]  # fmt: skip
