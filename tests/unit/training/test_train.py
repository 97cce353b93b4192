import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from tests.tools.generated import loss_weights, planes, write_pictures
from training import train
from training.fit import previews as preview
from training.fit.checkpoint import CHECKPOINT, Run, read_checkpoint, start
from training.fit.data import Batches, find_photos
from training.fit.objective import perceptual_loss
from training.fit.recipe import Recipe, read_recipe
from training.train import CollapseError, Flatness, fit

CPU = torch.device("cpu")
RECIPE = """
width = 4
residual_blocks = 1
painting_size = 64
content_layers = {relu2_1 = 1}
style_layers = {relu1_1 = 1, relu2_1 = 1}
phases = [{steps = 6, crop = 32, batch = 2}]

[[styles]]
id = "wave"
painting = "0.png"
title = "Wave"

[[styles]]
id = "night"
painting = "1.png"
title = "Night"
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More only get in each other's way on networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with all that a fit needs: recipe, photos, paintings, loss network."""
    write_pictures(tmp_path / "photos", 4)
    write_pictures(tmp_path / "paintings", 2)
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    (tmp_path / "tiny.toml").write_text(f'loss_network = "{tmp_path}/loss.safetensors"\n{RECIPE}')
    return tmp_path


def arguments(place: Path, *more: str, **paths: str) -> list[str]:
    """Of the command; paths, relative to the place, in place of the usual."""
    names = {"recipe": "tiny.toml", "photos": "photos", "paintings": "paintings", "out": "run"}
    named = {name: str(place / path) for name, path in (names | paths).items()}
    options = [f"--{name}={path}" for name, path in named.items() if name != "recipe"]
    return [named["recipe"], *options, "--device=cpu", "--workers=0", *more]


def checkpoint(place: Path, run: str = "run") -> dict[str, Any]:
    return read_checkpoint(place / run / CHECKPOINT)


def assert_same(one: Any, other: Any) -> None:
    """The same to the last bit, but for the time it took."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


def fit_here(place: Path, run: Run, **options: Any) -> None:
    photos = find_photos(place / "photos")
    loss = perceptual_loss(run.recipe, place / "paintings", CPU)
    fit(run, loss, photos, place, preview.sheet_crops(photos, 32), workers=0, **options)


def recipe(place: Path, *overrides: str) -> Recipe:
    return read_recipe(place / "tiny.toml", overrides)


def test_a_fit_lowers_the_loss(place: Path) -> None:
    run = start(recipe(place, "phases=[{steps=40, crop=32, batch=4}]", "learning_rate=0.01"), CPU)
    loss = perceptual_loss(run.recipe, place / "paintings", CPU)
    photos, styles = planes(2, 48, 48), torch.tensor([0, 1])

    @torch.no_grad()
    def measure() -> float:
        content, style, _ = loss(run.gallery.paint(photos, styles), photos, styles)
        return float(content.mean() + 10 * style.mean())

    before = measure()
    fit_here(place, run)
    assert run.step == 40
    assert measure() < 0.7 * before


def test_the_weight_of_a_style_counts_for_that_style(place: Path) -> None:
    found = []
    for weight in (10, 30):
        values = recipe(place).model_dump()
        values["styles"][1]["style_weight"] = weight
        values["clip_norm"] = 1e6  # all vectors are clipped together
        run = start(Recipe.model_validate(values), CPU)
        run.gallery.network.requires_grad_(False)
        fit_here(place, run)
        found.append(run.gallery.styles.detach())
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1])


def test_a_fit_leaves_checkpoint_sheet_and_scalars(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(recipe(place, "phases=[{steps=5, crop=32, batch=2}]"), CPU)
    fit_here(place, run, log_every=2, sheet_every=3)

    held = checkpoint(place, ".")
    assert held["step"] == 5
    assert held["seconds"] > 0
    assert_same(held["gallery"], dict(run.gallery.state_dict()))
    assert Recipe.model_validate(held["recipe"]) == run.recipe

    assert [path.name for path in sorted(place.glob("sheet-*"))] == [
        "sheet-000003.jpg",
        "sheet-000005.jpg",
    ]
    with Image.open(place / "sheet-000005.jpg") as sheet:
        assert sheet.size == (32 * (1 + 2), 32 * preview.SHEET_PHOTOS)

    board = EventAccumulator(str(place))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        *(f"loss/{name}" for name in ("content", "style", "variation", "objective")),
        *("gradient_norm", "learning_rate", "loss/peaks", "loss/checkerboard"),
    }
    content, style, variation, total = (
        board.Scalars(f"loss/{name}") for name in ("content", "style", "variation", "objective")
    )
    assert [scalar.step for scalar in total] == [2, 4]
    terms = content[1].value + 10 * style[1].value + 0.2 * variation[1].value
    assert terms == pytest.approx(total[1].value, rel=1e-3)


@torch.no_grad()
def test_a_sheet_shows_each_photo_and_then_its_styles(place: Path) -> None:
    gallery = start(recipe(place), CPU).gallery
    gallery.network.output.weight.mul_(20)
    photos = preview.sheet_crops(find_photos(place / "photos"), 32)
    sheet = np.asarray(preview.preview_sheet(gallery, photos))
    assert sheet.shape == (3 * 32, 3 * 32, 3)
    for row, photo in enumerate(photos):
        cells = [photo, *(gallery.paint(photo, torch.tensor([i])) for i in range(2))]
        expected = torch.cat(cells, dim=3)[0].permute(1, 2, 0) * 255
        assert np.abs(sheet[32 * row : 32 * row + 32] - expected.numpy()).max() <= 1


def test_sheets_do_without_photos_that_cannot_be_read(place: Path) -> None:
    photos = write_pictures(place / "many", 12)
    for photo in photos[:11]:
        photo.write_bytes(b"no picture")
    (crop,) = preview.sheet_crops(photos, 64)
    assert crop.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("moment", ["reading", "judging"])
def test_a_stopped_fit_resumes_to_the_same_numbers(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    assert train.main(arguments(place, out="whole")) == 0

    owner, name = {"reading": (Batches, "__getitem__"), "judging": (Flatness, "watch")}[moment]
    real, calls = getattr(owner, name), 0

    def press_ctrl_c(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, name, press_ctrl_c)
    assert train.main(arguments(place)) == 130
    stopped = checkpoint(place)
    assert stopped["step"] == 3
    assert "holds step 3, run again to resume" in capsys.readouterr().out
    with pytest.raises(AssertionError):  # control: the comparison can tell them apart
        assert_same(stopped, checkpoint(place, "whole"))

    torch.save(stopped | {"seconds": 1000.0}, place / "run" / CHECKPOINT)
    assert train.main(arguments(place)) == 0
    assert_same(checkpoint(place), checkpoint(place, "whole"))
    assert checkpoint(place)["seconds"] > 1000


def test_a_whole_fit_is_left_as_it_is(place: Path) -> None:
    assert train.main(arguments(place)) == 0
    content = (place / "run" / CHECKPOINT).read_bytes()
    assert train.main(arguments(place)) == 0
    assert (place / "run" / CHECKPOINT).read_bytes() == content


def test_the_checkpoint_of_another_recipe_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(place)) == 0
    content = (place / "run" / CHECKPOINT).read_bytes()
    capsys.readouterr()
    assert train.main(arguments(place, "--set=seed=1")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt was fitted with another recipe" in line
    assert (place / "run" / CHECKPOINT).read_bytes() == content


def test_a_fit_can_start_from_another_and_tells_it(place: Path) -> None:
    assert train.main(arguments(place)) == 0
    first = place / "run" / CHECKPOINT
    run = start(recipe(place, "seed=1"), CPU)
    run.start_from(first)
    assert_same(dict(run.gallery.state_dict()), checkpoint(place)["gallery"])
    assert (run.step, run.seconds, [o.state for o in run.optimizers]) == (0, 0, [{}, {}])

    (place / "second").mkdir()
    torch.nn.init.constant_(run.gallery.styles, 7)
    run.step = 5  # stopped: the command resumes it and does not start from the first again
    run.save(place / "second")
    another = ["--set=seed=1", f"--start-from={first}"]
    assert train.main(arguments(place, *another, out="second")) == 0
    assert checkpoint(place, "second")["gallery"]["styles"].sub(7).abs().max() < 1
    second = place / "second" / CHECKPOINT
    assert train.main(arguments(place, "--set=seed=2", f"--start-from={second}", out="third")) == 0
    earlier = checkpoint(place, "third")["earlier"]
    assert [(fit["recipe"]["seed"], fit["steps"]) for fit in earlier] == [(0, 6), (1, 6)]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("width=8", "another width"),
        ("residual_blocks=2", "another residual_blocks"),
    ],
)
def test_a_fit_does_not_start_from_another_network(
    place: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    start(recipe(place), CPU).save(place)
    options = [f"--set={override}", f"--start-from={place / CHECKPOINT}"]
    assert train.main(arguments(place, *options)) == 1
    assert capsys.readouterr().err.endswith(f"was fitted with {words}\n")


def test_unreadable_photos_are_named_once_and_counted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "2"):
        (place / "photos" / f"{name}.png").write_bytes(b"no picture")
    assert train.main(arguments(place, "--set=phases=[{steps=12, crop=32}]")) == 0
    lines = capsys.readouterr().out.splitlines()
    skipped = sorted(line.split(":")[1] for line in lines if line.startswith("skipped: "))
    assert skipped == [f" cannot read the picture {place}/photos/{name}.png" for name in "02"]
    assert "2 photos could not be read and were skipped" in lines


def test_a_fit_lost_in_nan_is_stopped_and_its_checkpoint_is_sound(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(place, "--set=learning_rate=1e30", "--sheet-every=1")) == 1
    assert "NaN: lower learning_rate" in capsys.readouterr().err.splitlines()[-1]
    assert checkpoint(place)["step"] > 0
    assert all(tensor.isfinite().all() for tensor in checkpoint(place)["gallery"].values())


@pytest.mark.parametrize(("loss", "norm"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_a_number_that_is_not_finite_is_a_collapse(loss: float, norm: float) -> None:
    photos = planes(1, 32, 32)
    with pytest.raises(CollapseError, match="NaN"):
        Flatness().watch(photos, photos, loss, norm)


def test_a_fit_that_paints_flat_pictures_is_stopped(place: Path) -> None:
    phases = f"phases=[{{steps={train.FLAT_STEPS + 5}, crop=32, batch=1}}]"
    run = start(recipe(place, phases, "learning_rate=1e-12", "style_learning_rate=1e-12"), CPU)
    torch.nn.init.zeros_(run.gallery.network.output.weight)
    with pytest.raises(CollapseError, match="flat pictures for 25 steps: lower learning_rate"):
        fit_here(place, run)
    assert run.step == train.FLAT_STEPS - 1
    assert not (place / CHECKPOINT).exists()


def test_one_lively_batch_clears_the_suspicion() -> None:
    flatness, photos, flat = Flatness(), planes(3, 32, 32), torch.full((3, 3, 32, 32), 0.5)
    for _ in range(3):
        for _ in range(train.FLAT_STEPS - 1):
            flatness.watch(photos, flat, 1.0, 1.0)
        # Lively enough with two samples of three: one flat picture is no collapse.
        flatness.watch(photos, torch.cat([flat[:1], photos[1:]]), 1.0, 1.0)
    for _ in range(train.FLAT_STEPS - 1):
        flatness.watch(photos, flat, 1.0, 1.0)
    with pytest.raises(CollapseError):
        flatness.watch(photos, flat, 1.0, 1.0)


@pytest.mark.parametrize(
    ("paths", "option", "words"),
    [
        ({"photos": "none"}, "", "the photo folder .*none does not exist"),
        ({"photos": "run"}, "", "no photos below .*run"),
        ({"photos": "broken"}, "", "none of the 2 photos can be read; .*broken/"),
        ({"paintings": "none"}, "", r"cannot read the picture .*none/0\.png: .*No such file"),
        ({"paintings": "small"}, "", "the painting .* is 32x32 pixels"),
        ({"recipe": "none.toml"}, "", r"cannot read the recipe .*none\.toml: No such file"),
        ({"recipe": "loss.safetensors"}, "", "is not TOML"),
        ({}, "--set=width", "override 'width' is not of the form"),
        ({}, "--set=loss_network=vgg99", "'vgg99' is neither vgg16 nor vgg19"),
        ({}, "--set=content_layers={relu4_1=1}", "no layer relu4_1; it has relu1_1"),
    ],
)
def test_the_command_tells_a_fault_in_one_line(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    paths: dict[str, str],
    option: str,
    words: str,
) -> None:
    for photo in write_pictures(place / "broken", 2):
        photo.write_bytes(b"no picture")
    write_pictures(place / "small", 2, 32, 32)
    assert train.main(arguments(place, *filter(None, [option]), **paths)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{words}", line)


def test_an_invalid_recipe_is_told_setting_by_setting(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(place, "--set=width=3", "--set=colour=red")) == 1
    head, *faults = capsys.readouterr().err.splitlines()
    assert head == f"error: {place}/tiny.toml is not a valid recipe:"
    assert [fault.split(":")[0] for fault in faults] == ["  width", "  colour"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(place, "--device=cuda")) == 1
    assert capsys.readouterr().err == "error: PyTorch finds no CUDA device; name --device cpu\n"


# The command, which then leaves what each process has fitted and how often it wrote.
WITNESS = """
import os, sys, torch
from training.fit import checkpoint
from training import train

fit, save, saved = train.fit, checkpoint.Run.save, []

def count(run, folder):
    saved.append(run.step)
    save(run, folder)

def keep(run, loss, photos, folder, *rest, **options):
    fit(run, loss, photos, folder, *rest, **options)
    witness = {"gallery": run.gallery.state_dict(), "saved": saved}
    torch.save(witness, folder / f"rank{os.environ['RANK']}.pt")

checkpoint.Run.save, train.fit = count, keep
sys.exit(train.main())
"""


def test_two_processes_fit_one_network(place: Path) -> None:
    (place / "witness.py").write_text(WITNESS)
    phases = "--set=phases=[{steps=2, crop=32, batch=2}]"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(place / "witness.py"), *arguments(place, phases, "--workers=1")],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    chief, other = (torch.load(place / "run" / f"rank{rank}.pt") for rank in range(2))
    assert_same(chief["gallery"], other["gallery"])
    assert_same(dict(chief["gallery"]), checkpoint(place)["gallery"])
    assert (chief["saved"], other["saved"]) == ([2], [])
    # Control: alone, the first process would have fitted something else.
    assert train.main(arguments(place, phases, out="alone")) == 0
    with pytest.raises(AssertionError):
        assert_same(checkpoint(place)["gallery"], checkpoint(place, "alone")["gallery"])
