import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.cli import INTERRUPTED, main
from app.library import Pastiche

pytestmark = pytest.mark.usefixtures("tiny")


def stylize(*arguments: object) -> int:
    style = [] if {"-s", "--style", "--all-styles"} & set(arguments) else ["-s", "warm"]
    return main(["stylize", *map(str, arguments), *style])


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


ORIGINALS = ["cat.jpg", "notes.txt", "trip/cat.png"]


def test_a_pastiche_goes_beside_its_photo_under_the_name_of_its_style(photos: Path) -> None:
    assert stylize("cat.jpg") == 0
    assert written(photos) == sorted([*ORIGINALS, "cat.warm.jpg"])
    with Image.open("cat.warm.jpg") as painted:
        assert (painted.format, painted.size) == ("JPEG", (120, 80))


def test_without_a_style_the_first_one_paints(photos: Path) -> None:
    assert main(["stylize", "cat.jpg"]) == 0
    assert (photos / "cat.cold.jpg").exists()


def test_a_file_is_painted_to_the_named_file(photos: Path) -> None:
    assert stylize("cat.jpg", "-o", "out.webp") == 0
    with Image.open(photos / "out.webp") as painted:
        assert (painted.format, painted.size) == ("WEBP", (120, 80))


def test_a_folder_keeps_its_structure_and_other_files_are_ignored(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize(photos, "-o", tmp_path / "out", "--format", "png") == 0
    assert written(tmp_path / "out") == ["cat.warm.png", "trip/cat.warm.png"]
    with Image.open(tmp_path / "out" / "trip" / "cat.warm.png") as painted:
        assert painted.size == (80, 120)
    assert capsys.readouterr().err.strip() == "2 painted"


@pytest.fixture
def animation(photos: Path) -> Path:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "teal", "gold")]
    for number, frame in enumerate(frames):
        frame.paste("black", (10 * number, 5, 10 * number + 9, 20))
    path = photos / "move.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[50, 90, 70], loop=0)
    return path


@pytest.mark.parametrize(
    ("arguments", "name", "format", "frames"),
    [
        ([], "move.warm.gif", "GIF", 3),
        (["--format", "webp"], "move.warm.webp", "WEBP", 3),
        (["-o", "out.png"], "out.png", "PNG", 3),
        (["-o", "out.jpg"], "out.jpg", "JPEG", 1),
        (["--first-frame"], "move.warm.gif", "GIF", 1),
    ],
)
def test_an_animation_is_painted_where_the_format_can_hold_it(
    animation: Path, arguments: list[str], name: str, format: str, frames: int
) -> None:
    assert stylize(animation.name, *arguments) == 0
    with Image.open(animation.with_name(name)) as painted:
        assert (painted.format, painted.size) == (format, (40, 30))
        assert getattr(painted, "n_frames", 1) == frames


def test_an_animation_in_all_styles_has_a_contact_sheet(animation: Path) -> None:
    assert stylize(animation.name, "--all-styles") == 0
    for name in ("move.warm.gif", "move.cold.gif"):
        with Image.open(animation.with_name(name)) as painted:
            assert getattr(painted, "n_frames", 1) == 3
    assert animation.with_name("move.styles.jpg").exists()


def test_an_animation_with_too_many_frames_names_the_setting(
    animation: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PASTICHE_MAX_FRAMES", "2")
    assert stylize(animation.name) == 1
    errors = capsys.readouterr().err
    assert "3 frames; at most 2 are allowed (PASTICHE_MAX_FRAMES)" in errors


def test_a_photo_with_too_many_pixels_names_the_setting(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PASTICHE_MAX_PIXELS", "9000")
    assert stylize("cat.jpg") == 1
    assert (
        "9,600 in all; at most 9,000 are allowed (PASTICHE_MAX_PIXELS)" in capsys.readouterr().err
    )


def test_a_pattern_that_the_shell_did_not_expand_is_expanded(photos: Path) -> None:
    assert stylize("**/*.png") == 0
    assert written(photos) == sorted([*ORIGINALS, "trip/cat.warm.png"])


def test_a_second_run_skips_what_is_there_and_force_paints_it_again(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize(".") == 0
    (photos / "cat.warm.jpg").write_bytes(b"kept")
    assert stylize(".") == 0
    assert (photos / "cat.warm.jpg").read_bytes() == b"kept"
    errors = capsys.readouterr().err
    assert "cat.warm.jpg: already there; --force replaces it" in errors
    assert "2 skipped" in errors
    assert stylize(".", "--force") == 0
    assert (photos / "cat.warm.jpg").read_bytes() != b"kept"
    assert written(photos) == sorted([*ORIGINALS, "cat.warm.jpg", "trip/cat.warm.png"])


def test_another_style_goes_to_files_of_its_own(photos: Path) -> None:
    for style in ("warm", "cold", "warm:0.5,cold:0.5"):
        assert stylize(".", "-s", style, "-o", "out") == 0
    names = ["cat.cold.jpg", "cat.warm-0.5+cold-0.5.jpg", "cat.warm.jpg"]
    assert [n for n in written(photos / "out") if "trip" not in n] == names


def test_a_named_file_that_is_there_is_an_error_without_force(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "out.jpg").write_bytes(b"kept")
    assert stylize("cat.jpg", "-o", "out.jpg") == 1
    assert "out.jpg is already there; --force replaces it" in capsys.readouterr().err
    assert (photos / "out.jpg").read_bytes() == b"kept"
    assert stylize("cat.jpg", "-o", "out.jpg", "-f") == 0
    assert (photos / "out.jpg").read_bytes() != b"kept"


def test_every_style_is_painted_with_a_contact_sheet(photos: Path) -> None:
    assert stylize("cat.jpg", "--all-styles") == 0
    names = [f"cat.{name}.jpg" for name in ("cold", "plain", "styles", "warm")]
    assert written(photos) == sorted([*ORIGINALS, *names])
    with Image.open("cat.styles.jpg") as sheet:
        assert sheet.width > 2 * 120
        assert sheet.height > 2 * 80
        photo = np.asarray(sheet.crop((8, 8, 128, 88))).astype(int)
    with Image.open("cat.jpg") as original:
        assert np.abs(photo - np.asarray(original)).mean() < 6
    # A later run that paints a style again shows all of them again.
    whole = (photos / "cat.styles.jpg").stat().st_size
    (photos / "cat.plain.jpg").unlink()
    assert stylize("cat.jpg", "--all-styles") == 0
    assert abs((photos / "cat.styles.jpg").stat().st_size - whole) < whole / 10


def test_pictures_of_other_formats_are_reported(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "camera.DNG").write_bytes(b"II*")
    assert stylize(".", "-o", "out") == 0
    errors = capsys.readouterr().err
    assert "camera.DNG: .DNG files cannot be read" in errors
    assert "2 painted, 1 skipped" in errors


def test_a_broken_photo_is_named_and_the_others_are_painted(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"not a jpeg")
    assert stylize(".", "-o", "out") == 1
    assert len(written(photos / "out")) == 2
    errors = capsys.readouterr().err
    assert "broken.jpg: " in errors
    assert "2 painted, 1 failed" in errors


def test_json_has_a_line_for_every_pastiche(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"not a jpeg")
    (photos / "cat.warm.jpg").write_bytes(b"kept")
    assert stylize(".", "--json", "--jobs", "1") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["source"]: row["status"] for row in rows} == {
        "broken.jpg": "failed",
        "cat.jpg": "skipped",
        "trip/cat.png": "painted",
    }
    painted = next(row for row in rows if row["status"] == "painted")
    assert painted["target"] == "trip/cat.warm.png"
    assert painted["style"] == "warm"
    assert painted["seconds"] > 0


def test_options_reach_the_picture(photos: Path) -> None:
    assert stylize("cat.jpg", "-o", "a.png", "--strength", "0") == 0
    with Image.open("a.png") as painted, Image.open("cat.jpg") as photo:
        assert np.array_equal(np.asarray(painted), np.asarray(photo))


def test_standard_input_is_painted_to_standard_output(photos: Path, tiny: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    command = [sys.executable, "-m", "app.cli", "stylize", "-", "-s", "warm"]
    done = subprocess.run(
        command,
        input=Path("cat.jpg").read_bytes(),
        capture_output=True,
        env=environment,
        check=True,
    )
    with Image.open(io.BytesIO(done.stdout)) as painted:
        assert (painted.format, painted.size) == ("JPEG", (120, 80))
    # A reader that goes away ends the command without a traceback.
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed, Path("cat.jpg").open("rb") as source:
        done = subprocess.run(
            command,
            stdin=source,
            stdout=closed,
            stderr=subprocess.PIPE,
            env=environment,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_leaves_no_half_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        (photos / f"{number}.jpg").write_bytes((photos / "cat.jpg").read_bytes())
    paint, began = Pastiche.paint, threading.Event()

    def slow(self: Pastiche, *arguments: object) -> object:
        began.set()
        return paint(self, *arguments)  # type: ignore[arg-type]

    def interrupted(futures: Iterable[object], **_: object) -> object:
        assert began.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(Pastiche, "paint", slow)
    monkeypatch.setattr("app.cli.stylize.wait", interrupted)
    assert stylize(".", "-o", "out", "--jobs", "1") == INTERRUPTED
    assert len(written(photos / "out")) <= 2
    for name in written(photos / "out"):
        with Image.open(photos / "out" / name) as painted:
            painted.load()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg"], "missing.jpg: no such file"),
        (["*.gif"], "*.gif: no such file"),
        (["cat.jpg", "-o", "out.bmp"], "must end in one of"),
        (
            ["cat.jpg", "-o", "out.png", "--format", "jpeg"],
            "out.png: the suffix .png does not match --format jpeg",
        ),
        (["cat.jpg", "-o", "out.png", "--strength", "2"], "strength"),
        (["cat.jpg", "-s", "nope"], "the styles are cold, plain, warm"),
        (["cat.jpg", "trip/cat.png", "-o", "out.png"], "out.png is one file; name a folder"),
        (["-", "cat.jpg", "-o", "-"], "standard output takes one pastiche"),
        (["cat.jpg", "-o", "cat.jpg"], "cat.jpg is one of the photos"),
    ],
)
def test_a_mistake_is_one_clear_line(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert stylize(*arguments) == 1
    errors = capsys.readouterr().err
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
    assert written(photos) == ORIGINALS


def test_two_photos_are_not_written_to_one_file(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize("cat.jpg", "trip/cat.png", "-o", "out", "--format", "webp") == 1
    says = "cat.jpg and trip/cat.png would both be written to out/cat.warm.webp"
    assert says in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_format_that_cannot_hold_the_photo_is_a_clear_error(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (16_400, 16)).save(photos / "wide.png")
    assert stylize("wide.png", "-o", "out.webp") == 1
    assert "format: webp allows at most 16,383 pixels per side" in capsys.readouterr().err


@pytest.mark.usefixtures("photos")
def test_an_empty_folder_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert stylize(tmp_path / "empty") == 1
    assert "no photos found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["cat.jpg", "--jobs", "0"], ["cat.jpg", "--all-styles", "-s", "warm"]]
)
@pytest.mark.usefixtures("photos")
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert main(["stylize", *arguments]) == 2
