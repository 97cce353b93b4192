from pathlib import Path

import pytest

from app.cli.jobs import Source, check_name, file_label, find_sources, plan_jobs
from app.errors import PasticheError

STYLES = ["udnie", "great_wave"]


@pytest.mark.parametrize(
    "name",
    ["cat.udnie.jpg", "cat.styles.jpg", "my.cat.great_wave.png", "a.udnie-0.5+great_wave-0.5.jpg"],
)
def test_pastiches_of_earlier_runs_are_not_painted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "my.cat.jpg").touch()
    sources, others = find_sources([str(tmp_path)], None, STYLES)
    assert [source.relative for source in sources] == [Path("my.cat.jpg")]
    assert others == []


def test_pictures_below_the_output_folder_are_not_painted(tmp_path: Path) -> None:
    out = tmp_path / "trip" / "out"
    out.mkdir(parents=True)
    (out / "a.jpg").touch()
    (tmp_path / "b.jpg").touch()
    sources, _ = find_sources([str(tmp_path)], out, STYLES)
    assert [source.path.name for source in sources] == ["b.jpg"]


def test_a_photo_that_is_named_twice_is_painted_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    sources, _ = find_sources([str(tmp_path), str(tmp_path / "a.jpg")], None, STYLES)
    assert len(sources) == 1


def test_only_other_formats_is_an_error_that_counts_them(tmp_path: Path) -> None:
    (tmp_path / "a.dng").touch()
    with pytest.raises(PasticheError, match=r"no photos found .*1 pictures of other formats"):
        find_sources([str(tmp_path)], None, STYLES)


def test_a_photo_is_never_the_target_of_another(tmp_path: Path) -> None:
    photo, other = tmp_path / "a.jpg", tmp_path / "a.udnie.jpg"
    sources = [Source(photo, Path("a.jpg")), Source(other, Path("a.udnie.jpg"))]
    with pytest.raises(PasticheError, match=r"a\.udnie\.jpg is one of the photos"):
        plan_jobs(sources, None, ["udnie"], None)


def test_a_blend_makes_a_name_that_every_system_allows() -> None:
    assert file_label("udnie:0.7, great_wave:0.3") == "udnie-0.7+great_wave-0.3"


def test_the_suffix_says_the_format() -> None:
    assert check_name(Path("a.JPG")) == "jpeg"
    with pytest.raises(PasticheError, match="must end in one of"):
        check_name(Path("a.tiff"))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.AVIF", "a.udnie.AVIF"),
        ("a.heic", "a.udnie.jpg"),
        ("a.HEIF", "a.udnie.jpg"),
        ("a.tif", "a.udnie.png"),
        ("a.gif", "a.udnie.gif"),
        ("a.bmp", "a.udnie.png"),
        ("a", "a.udnie.png"),
    ],
)
def test_a_pastiche_has_a_format_that_can_be_written(name: str, target: str) -> None:
    (job,) = plan_jobs([Source(Path(name), Path(name))], None, ["udnie"], None)
    assert job.targets == {"udnie": Path(target)}
