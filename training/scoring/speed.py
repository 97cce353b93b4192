"""Measure time and memory of a network: PyTorch, the sessions and the server, side by side.

Every round times each contender once, so that noise of the machine affects all of them alike.
Times are medians over the rounds; ratios are of medians of the same run.
"""

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from app.engine.devices.choice import pick_device
from app.engine.devices.device import CPU, Device
from app.engine.network import Network
from app.model_folder import ModelFolder, read_folder
from app.pixels.images import encode, from_pillow
from app.settings import TILE_PIXELS
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.styled import StyledNetwork
from training.fit.networks.transform import TransformNetwork
from training.fit.recipe import Recipe
from training.fit.weights import load_network
from training.graphs.folder import export
from training.scoring.server import Server, running_server

SIDES = (256, 512, 1024)
BATCHES = (1, 4)
MEGAPIXELS = (1, 2, 4, 8, 12)
FULL_HD = (1920, 1080)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Contenders:
    """One network on every path. plain: ONNX Runtime's own CPU device, float32."""

    folder: ModelFolder
    pytorch: TransformNetwork
    plain: Network
    session: Network
    style_id: str


def bench(
    path: Path, rounds: int, sides: Sequence[int] = SIDES, batches: Sequence[int] = BATCHES
) -> dict[str, Any]:
    """Measure a model folder, print a table and return the measurements.

    rounds: per row of the table. sides: of square photos, in pixels. Raises ModelFolderError,
    WeightsError.
    """
    folder = read_folder(path)
    picked = pick_device()
    contenders = _Contenders(
        folder,
        load_network(folder).eval(),
        Network(folder, Device("cpu", CPU, "float32"), TILE_PIXELS),
        Network(folder, picked, TILE_PIXELS),
        next(iter(folder.styles)),
    )
    card = folder.card
    print(f"{card.name}, layout {card.layout['name']}, on {picked}; {cpu_name()}")
    measured: dict[str, Any] = {
        "network": card.name,
        "layout": card.layout,
        "device": str(picked),
        "cpu": cpu_name(),
        "torch_threads": torch.get_num_threads(),
    }
    print(f"{'image':>12} {'PyTorch':>9} {'plain CPU':>9} {'session':>9} {'served':>9}   ratios")
    with running_server(path.parent) as server, ThreadPoolExecutor(max(batches)) as clients:
        measured["rows"] = [
            _row(contenders, server, clients, side, batch, rounds)
            for side in sides
            for batch in batches
        ]
    with running_server(path.parent) as server:
        measured |= _memory(server, contenders.style_id)
    if folder.textures:
        texture_id = next(iter(folder.textures))
        with running_server(path.parent) as server:
            measured["generate"] = _textures(server, texture_id, contenders.style_id, sides, rounds)
    return measured


def unfitted_network(width: int, models: Path) -> Path:
    """Export an unfitted network of another width to a model folder in `models`; return it."""
    recipe = Recipe.model_validate(
        {
            "name": f"width{width}",
            "width": width,
            "styles": [{"id": "unfitted", "painting": "unused", "title": "Unfitted"}],
            "phases": [{"steps": 1, "crop": 32}],
        }
    )
    torch.manual_seed(0)
    model = StyledNetwork(JohnsonNetwork(width), 1)
    export(model, recipe, models / recipe.name, [photograph(64, 48)], {})
    return models / recipe.name


def photograph(width: int, height: int) -> Pixels:
    """Return a photo of this size, uint8 [H, W, 3]."""
    return np.asarray(Image.fromarray(data.astronaut()).resize((width, height)))


def median_seconds(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender, after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round in range(rounds + 1):
        for name, work in contenders.items():
            elapsed = _seconds(work)
            if round:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def cpu_name() -> str:
    """Return the CPU's model, its cores and its widest vector instructions."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    name = model[1] if model else platform.processor() or platform.machine()
    units = [u for u in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if u in text]
    return f"{name}, {os.cpu_count()} cores, {units[0] if units else 'no AVX'}"


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(
    contenders: _Contenders,
    server: Server,
    clients: ThreadPoolExecutor,
    side: int,
    batch: int,
    rounds: int,
) -> dict[str, float]:
    """Time `batch` photos of `side` pixels; print and return one row of the table."""
    vector = contenders.folder.styles[contenders.style_id].vector
    image = np.repeat(photograph(side, side)[None], batch, 0)
    vectors = np.repeat(vector[None], batch, 0)
    jpeg = _jpeg(image[0])
    planes, styles = torch.tensor(image).permute(0, 3, 1, 2).float() / 255, torch.tensor(vectors)

    def pytorch() -> None:
        with torch.inference_mode():
            contenders.pytorch(planes, styles)

    def served() -> None:
        work = partial(server.stylize, jpeg, contenders.style_id, side)
        list(clients.map(lambda _: work(), range(batch)))

    server.inference_seconds.clear()
    row = median_seconds(
        {
            "pytorch": pytorch,
            "plain": partial(contenders.plain.paint, image, vectors),
            "session": partial(contenders.session.paint, image, vectors),
            "served": served,
        },
        rounds,
    )
    # The session inside the server does not share a process with PyTorch's threads and heap.
    inside = statistics.median(server.inference_seconds[batch:])
    print(
        f"{batch:>3} x {side:>4}px "
        + " ".join(f"{1e3 * value:>6.0f} ms" for value in row.values())
        + f"   PyTorch/session {row['pytorch'] / row['session']:.1f}, "
        f"plain/session {row['plain'] / row['session']:.1f}"
        + (f", served/its inference {row['served'] / inside:.2f}" if batch == 1 else "")
    )
    return {"side": side, "batch": batch, **row, "inside": inside}


def _memory(server: Server, style_id: str) -> dict[str, Any]:
    """Measure the server's peak memory, and its time for photos of many megapixels."""
    jpeg = _jpeg(photograph(*FULL_HD))
    for _ in range(3):
        server.stylize(jpeg, style_id, max(FULL_HD))
    full_hd = server.peak_mib()
    print(f"peak memory of the server at 1920x1080: {full_hd:.0f} MiB")
    rows = []
    for megapixels in MEGAPIXELS:
        width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
        jpeg = _jpeg(photograph(width, width * 3 // 4))
        elapsed = _seconds(partial(server.stylize, jpeg, style_id, width))
        peak = server.peak_mib()
        rows.append({"megapixels": megapixels, "seconds": elapsed, "peak_mib": peak})
        print(
            f"{megapixels:>3} MP served in {elapsed:.2f} s, {elapsed / megapixels:.3f} s per MP, "
            f"peak {peak:.0f} MiB"
        )
    return {"full_hd_peak_mib": full_hd, "megapixels": rows}


def _textures(
    server: Server, texture_id: str, style_id: str, sides: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Time /generate beside /stylize at each size; measure its memory for many megapixels."""
    large = []
    for megapixels in MEGAPIXELS:
        width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
        elapsed = _seconds(partial(server.generate, texture_id, width, width * 3 // 4))
        peak = server.peak_mib()
        large.append({"megapixels": megapixels, "seconds": elapsed, "peak_mib": peak})
        print(
            f"{megapixels:>3} MP generated in {elapsed:.2f} s, {elapsed / megapixels:.3f} s per "
            f"MP, peak {peak:.0f} MiB"
        )
    rows = []
    for side in sides:
        jpeg = _jpeg(photograph(side, side))
        row = median_seconds(
            {
                "stylize": partial(server.stylize, jpeg, style_id, side),
                "generate": partial(server.generate, texture_id, side, side),
            },
            rounds,
        )
        rows.append({"side": side, **row})
        print(
            f"{side:>4}px served: stylize {1e3 * row['stylize']:.0f} ms, "
            f"generate {1e3 * row['generate']:.0f} ms, "
            f"generate/stylize {row['generate'] / row['stylize']:.2f}"
        )
    return {"rows": rows, "megapixels": large}


def _jpeg(pixels: Pixels) -> bytes:
    return encode(from_pillow(Image.fromarray(pixels)), "jpeg", 95)
