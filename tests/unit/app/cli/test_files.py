import stat
from pathlib import Path

import pytest

from app.cli.files import STANDARD, check_standard_output, read, write
from app.errors import PasticheError


def test_a_file_is_written_with_its_folders_and_as_readable_as_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.jpg"
    write(path, b"content")
    (tmp_path / "ordinary").touch()
    assert path.read_bytes() == b"content"
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, tmp_path / "ordinary")]
    assert modes[0] == modes[1]


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.cli.files.os.replace", full)
    with pytest.raises(PasticheError, match=r"cannot write .*a\.jpg: No space left on device"):
        write(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]
    assert path.read_bytes() == b"old"


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PasticheError, match="cannot read it: Is a directory"):
        read(tmp_path)


def test_standard_output_gets_the_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(STANDARD, b"\xff\xd8")
    assert capfdbinary.readouterr().out == b"\xff\xd8"


def test_a_terminal_gets_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(PasticheError, match="standard output is a terminal; name a file with -o"):
        check_standard_output()
