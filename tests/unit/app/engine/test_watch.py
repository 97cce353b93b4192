import asyncio
import os
import shutil
from pathlib import Path

import pytest

from app.engine import watch as reload
from app.engine.watch import changes, fingerprint, fingerprints
from app.model_folder import CARD, WEIGHTS


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


def test_a_fingerprint_stays_until_a_file_changes(copied: Path) -> None:
    assert fingerprint(copied / "tiny") == fingerprint(copied / "tiny")
    assert list(fingerprints(copied)) == [copied / "tiny"]


@pytest.mark.parametrize(
    "file",
    [CARD, "stylize.onnx", "reference.safetensors", "styles/warm.safetensors", "previews/warm.jpg"],
)
@pytest.mark.parametrize("change", ["touched", "renamed over", "longer", "gone"])
def test_a_change_of_any_file_that_is_served_is_seen(copied: Path, file: str, change: str) -> None:
    path, before = copied / "tiny" / file, fingerprint(copied / "tiny")
    status = path.stat()
    if change == "touched":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "renamed over":
        twin = shutil.copy2(path, copied / "twin")
        os.replace(twin, path)
    elif change == "longer":
        path.write_bytes(path.read_bytes() + b" ")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        path.unlink()
    assert fingerprint(copied / "tiny") != before


@pytest.mark.parametrize("file", [WEIGHTS, "styles/new.partial", f"{CARD}.partial", "notes/a.txt"])
def test_what_is_not_served_does_not_count(copied: Path, file: str) -> None:
    before = fingerprint(copied / "tiny")
    (copied / "tiny" / file).parent.mkdir(exist_ok=True)
    (copied / "tiny" / file).write_text("something")
    assert fingerprint(copied / "tiny") == before


def test_a_folder_without_a_card_or_with_a_dot_before_its_name_is_none(copied: Path) -> None:
    shutil.copytree(copied / "tiny", copied / ".second")
    (copied / "third").mkdir()
    assert list(fingerprints(copied)) == [copied / "tiny"]
    (copied / ".second").rename(copied / "second")
    assert list(fingerprints(copied)) == [copied / "second", copied / "tiny"]
    assert fingerprints(copied / "nowhere") == {}


def test_a_link_that_leads_nowhere_is_a_change_like_another(copied: Path) -> None:
    before = fingerprint(copied / "tiny")
    (copied / "tiny" / "styles" / "lost.safetensors").symlink_to("nowhere")
    assert fingerprint(copied / "tiny") != before


@pytest.mark.parametrize(
    ("looks", "yields_after"),
    [
        ("aaaa", []),
        ("abbb", [3]),
        ("abcdd", [5]),  # what is being copied is not read
        ("abab", []),
        ("bbccbb", [2, 4, 6]),
        ("bbba", [2]),
        ("abbaa", [3, 5]),
    ],
)
def test_a_change_counts_when_two_looks_find_the_same(
    monkeypatch: pytest.MonkeyPatch, looks: str, yields_after: list[int]
) -> None:
    found: list[int] = []
    looked = 0

    def look(_: Path) -> dict[Path, str]:
        nonlocal looked
        if looked == len(looks):
            raise EOFError
        looked += 1
        return {Path("tiny"): looks[looked - 1]}

    async def follow() -> None:
        async for _ in changes(Path(), 0, {Path("tiny"): "a"}):  # type: ignore[dict-item]
            found.append(looked)

    monkeypatch.setattr(reload, "fingerprints", look)
    with pytest.raises(EOFError):
        asyncio.run(follow())
    assert found == yields_after


def test_a_disk_that_does_not_answer_is_told_and_asked_again(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    def look(models: Path) -> dict[Path, reload.Fingerprint]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("stale file handle")
        return fingerprints(models)

    monkeypatch.setattr(reload, "fingerprints", look)

    async def first() -> None:
        async for _ in changes(copied, 0, {}):
            break

    asyncio.run(asyncio.wait_for(first(), 60))
    assert looks == 3
    assert "stale file handle" in caplog.text
