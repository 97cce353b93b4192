import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.engine import watch
from app.engine.watch import Fingerprint, changes, fingerprint, fingerprints
from app.model_folder import CARD, WEIGHTS


@pytest.fixture
def copied(texture_models: Path, tmp_path: Path) -> Path:
    shutil.copytree(texture_models, tmp_path / "models")
    return tmp_path / "models"


def test_a_fingerprint_stays_the_same_until_a_file_changes(copied: Path) -> None:
    assert fingerprint(copied / "tiny") == fingerprint(copied / "tiny")
    assert list(fingerprints([copied])) == [copied / "tiny"]


@pytest.mark.parametrize(
    "file",
    [
        CARD,
        "stylize.onnx",
        "reference.safetensors",
        "styles/warm.safetensors",
        "textures/warm.safetensors",
        "previews/warm.jpg",
    ],
)
@pytest.mark.parametrize("change", ["touched", "renamed over", "longer", "deleted"])
def test_a_change_of_any_served_file_changes_the_fingerprint(
    copied: Path, file: str, change: str
) -> None:
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
def test_files_that_are_not_served_do_not_count(copied: Path, file: str) -> None:
    before = fingerprint(copied / "tiny")
    (copied / "tiny" / file).parent.mkdir(exist_ok=True)
    (copied / "tiny" / file).write_text("something")
    assert fingerprint(copied / "tiny") == before


def test_hidden_folders_and_folders_without_a_card_are_skipped(copied: Path) -> None:
    shutil.copytree(copied / "tiny", copied / ".second")
    (copied / "third").mkdir()
    assert list(fingerprints([copied])) == [copied / "tiny"]
    (copied / ".second").rename(copied / "second")
    assert list(fingerprints([copied])) == [copied / "second", copied / "tiny"]
    assert fingerprints([copied / "nowhere"]) == {}
    (copied / "more").mkdir()
    (copied / "second").rename(copied / "more" / "second")
    found = fingerprints([copied, copied / "more"])
    assert list(found) == [copied / "tiny", copied / "more" / "second"]


def test_a_broken_link_is_a_change_like_any_other(copied: Path) -> None:
    before = fingerprint(copied / "tiny")
    (copied / "tiny" / "styles" / "lost.safetensors").symlink_to("nowhere")
    assert fingerprint(copied / "tiny") != before


def snapshot(state: str) -> dict[Path, Fingerprint]:
    return {Path("tiny"): frozenset({(state, 0, 0, 0)})}


@pytest.mark.parametrize(
    ("polls", "yields_after"),
    [
        ("aaaa", []),
        ("abbb", [3]),
        ("abcdd", [5]),  # a folder that is being copied is not read
        ("abab", []),
        ("bbccbb", [2, 4, 6]),
        ("bbba", [2]),
        ("abbaa", [3, 5]),
    ],
)
def test_a_change_is_reported_once_two_polls_agree(
    monkeypatch: pytest.MonkeyPatch, polls: str, yields_after: list[int]
) -> None:
    found: list[int] = []
    polled = 0

    def poll(_: Path) -> dict[Path, Fingerprint]:
        nonlocal polled
        if polled == len(polls):
            raise EOFError
        polled += 1
        return snapshot(polls[polled - 1])

    async def follow() -> None:
        async for _ in changes([Path()], 0, snapshot("a")):
            found.append(polled)

    monkeypatch.setattr(watch, "fingerprints", poll)
    with pytest.raises(EOFError):
        asyncio.run(follow())
    assert found == yields_after


def test_an_error_of_the_disk_is_logged_and_polling_goes_on(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    polls = 0

    def poll(models: Sequence[Path]) -> dict[Path, Fingerprint]:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise OSError("stale file handle")
        return fingerprints(models)

    monkeypatch.setattr(watch, "fingerprints", poll)

    async def first() -> None:
        async for _ in changes([copied], 0, {}):
            break

    asyncio.run(asyncio.wait_for(first(), 60))
    assert polls == 3
    assert "stale file handle" in caplog.text
