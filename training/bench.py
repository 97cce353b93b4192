"""Time and weigh what is served, beside PyTorch with the same network, in one run.

python -m training.bench [--network models/gallery | --width 32] [--json OUT]

Every round times each contender once, so that a noisy machine disturbs all alike; medians are
over the rounds, ratios are of medians of this run.
"""

import argparse
import http.client
import json
import os
import platform
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from skimage import data

from app.engine.device import CPU, Device, pick_device
from app.engine.network import Network
from app.model_folder import WEIGHTS, ModelFolder, read_folder
from app.pixels.images import encode, from_pillow
from app.settings import BUNDLED_MODELS, TILE_PIXELS
from training.export import export
from training.fit.network import Gallery, TransformNetwork
from training.fit.recipe import Recipe

SIDES = (256, 512, 1024)
BATCHES = (1, 4)
MEGAPIXELS = (1, 2, 4, 8, 12)
FULL_HD = (1920, 1080)

Pixels = NDArray[np.uint8]


def photograph(width: int, height: int) -> Pixels:
    """A photograph of this size, uint8 [H, W, 3]."""
    return np.asarray(Image.fromarray(data.astronaut()).resize((width, height)))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each, after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round in range(rounds + 1):
        for name, work in contenders.items():
            taken = seconds(work)
            if round:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


class Server:
    """A server process of its own on a loopback port, as `pastiche serve` starts it."""

    def __init__(self, process: psutil.Popen, port: int) -> None:
        self._process, self._port = process, port
        self.inference_seconds: list[float] = []  # of every picture, as the server tells

    def get(self, path: str) -> bytes:
        """The body of a GET."""
        return self._call("GET", path, None)

    def stylize(self, jpeg: bytes, style: str, size: int) -> bytes:
        """The pastiche as JPEG, painted at `size` pixels on its longest side."""
        return self._call("POST", f"/stylize?style={style}&size={size}", jpeg)

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if match := re.search(r"inference;dur=([\d.]+)", answer.headers.get("Server-Timing", "")):
            self.inference_seconds.append(float(match[1]) / 1e3)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content

    def peak_mib(self) -> float:
        """The most memory that the process has held, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024


@contextmanager
def running_server(models: Path) -> Iterator[Server]:
    """Start a server and wait until it is ready; prints how long that took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PASTICHE_MODELS": str(models), "PASTICHE_LOG_LEVEL": "error"}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    began = time.perf_counter()
    process = psutil.Popen(command, env=environment)
    server = Server(process, port)
    try:
        while time.perf_counter() - began < 60:
            try:
                server.get("/readyz")
                break
            except (OSError, RuntimeError):
                time.sleep(0.02)
        print(f"server ready after {time.perf_counter() - began:.1f} s")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def load(folder: ModelFolder) -> TransformNetwork:
    """The PyTorch network of a model folder."""
    network = TransformNetwork(folder.card.width, folder.card.residual_blocks)
    network.load_state_dict(load_file(folder.path / WEIGHTS))
    return network.eval()


def unfitted(width: int, models: Path) -> Path:
    """A model folder with an unfitted network of another width, to time it."""
    recipe = Recipe.model_validate(
        {
            "name": f"width{width}",
            "width": width,
            "styles": [{"id": "none", "painting": "none", "title": "None"}],
            "phases": [{"steps": 1, "crop": 32}],
        }
    )
    torch.manual_seed(0)
    gallery = Gallery(TransformNetwork(width), 1)
    export(gallery, recipe, models / recipe.name, [photograph(64, 48)], {})
    return models / recipe.name


def bench(path: Path, rounds: int, sides: list[int], batches: list[int]) -> dict[str, Any]:
    """Print all tables for a model folder and return the figures."""
    folder = read_folder(path)
    device = pick_device()
    network, plain = load(folder), Device("cpu", CPU, "float32")
    fallback = Network(folder, plain, TILE_PIXELS)
    session = Network(folder, device, TILE_PIXELS)
    style_id, style = next(iter(folder.styles.items()))
    figures: dict[str, Any] = {
        "network": folder.card.name,
        "width": folder.card.width,
        "device": str(device),
        "cpu": cpu_name(),
        "torch_threads": torch.get_num_threads(),
        "rows": [],
        "megapixels": [],
    }
    print(f"{folder.card.name}, width {folder.card.width}, on {device}; {cpu_name()}")
    print(f"{'image':>12} {'PyTorch':>9} {'plain CPU':>9} {'session':>9} {'served':>9}   ratios")
    with running_server(path.parent) as server, ThreadPoolExecutor(max(batches)) as clients:
        for side in sides:
            for batch in batches:
                image = np.repeat(photograph(side, side)[None], batch, 0)
                vectors = np.repeat(style.vector[None], batch, 0)
                jpeg = encode(from_pillow(Image.fromarray(image[0])), "jpeg", 95)
                planes = torch.tensor(image).permute(0, 3, 1, 2).float() / 255
                vector = torch.tensor(vectors)

                def eager(planes: torch.Tensor = planes, vector: torch.Tensor = vector) -> None:
                    with torch.inference_mode():
                        network(planes, vector)

                def served(jpeg: bytes = jpeg, batch: int = batch, side: int = side) -> None:
                    work = partial(server.stylize, jpeg, style_id, side)
                    list(clients.map(lambda _: work(), range(batch)))

                server.inference_seconds.clear()
                row = medians(
                    {
                        "pytorch": eager,
                        "plain": partial(fallback.paint, image, vectors),
                        "session": partial(session.paint, image, vectors),
                        "served": served,
                    },
                    rounds,
                )
                # The session inside the server, free of PyTorch's threads and heap beside it.
                inside = statistics.median(server.inference_seconds[batch:])
                figures["rows"].append({"side": side, "batch": batch, **row, "inside": inside})
                print(
                    f"{batch:>3} x {side:>4}px "
                    + " ".join(f"{1e3 * value:>6.0f} ms" for value in row.values())
                    + f"   PyTorch/session {row['pytorch'] / row['session']:.1f}, "
                    f"plain/session {row['plain'] / row['session']:.1f}"
                    + (f", served/its inference {row['served'] / inside:.2f}" if batch == 1 else "")
                )
    with running_server(path.parent) as server:
        jpeg = encode(from_pillow(Image.fromarray(photograph(*FULL_HD))), "jpeg", 95)
        for _ in range(3):
            server.stylize(jpeg, style_id, max(FULL_HD))
        figures["full_hd_peak_mib"] = server.peak_mib()
        print(f"peak memory of the server at 1920x1080: {figures['full_hd_peak_mib']:.0f} MiB")
        for megapixels in MEGAPIXELS:
            width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
            content = photograph(width, width * 3 // 4)
            jpeg = encode(from_pillow(Image.fromarray(content)), "jpeg", 95)
            taken = seconds(partial(server.stylize, jpeg, style_id, width))
            entry = {"megapixels": megapixels, "seconds": taken, "peak_mib": server.peak_mib()}
            figures["megapixels"].append(entry)
            print(
                f"{megapixels:>3} MP served in {taken:.2f} s, {taken / megapixels:.3f} s each MP, "
                f"peak {entry['peak_mib']:.0f} MiB"
            )
    return figures


def cpu_name() -> str:
    """The processor, its cores, and whether it multiplies bfloat16."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    name = model[1] if model else platform.processor() or platform.machine()
    units = [u for u in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if u in text]
    return f"{name}, {os.cpu_count()} cores, {units[0] if units else 'no AVX'}"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--network", type=Path, default=BUNDLED_MODELS / "gallery")
    parser.add_argument("--width", type=int, help="an unfitted network of this width instead")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as models:
        path = unfitted(options.width, Path(models)) if options.width else options.network
        figures = bench(path, options.rounds, options.sides, options.batches)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
