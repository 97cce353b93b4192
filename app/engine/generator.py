"""A loaded generator: makes textures from noise, and large ones in tiles."""

import math

import numpy as np

from ..errors import BadOption, BadOutput, ModelFolderError, OutOfMemory
from ..model_folder import GeneratorReference, ModelFolder, Vector
from ..pixels.images import Pixels
from ..settings import TILE_PIXELS
from .devices.choice import open_session
from .devices.device import CUDA, Device, OpenSession, Session
from .network import SINGLE_VALUE, is_flat
from .noise import Noise, noise_map
from .reference import compare

# Pixels. Part of a texture may be of a single colour; a texture with more pixels may not.
MAX_FLAT_PIXELS = 64 * 64
# A generator computes at full resolution, so a pixel takes several times the memory that it takes
# in a network. Small tiles are not slower, as their layers fit into caches.
TILE_SHARE = 8


class Generator:
    """The session of a model folder's generator on one device."""

    operation = "generate"

    def __init__(
        self,
        folder: ModelFolder,
        device: Device,
        tile_pixels: int = TILE_PIXELS,
        open_session: OpenSession = open_session,
    ) -> None:
        """Load the graph; textures of more than tile_pixels / TILE_SHARE are made in tiles.

        Raises ModelFolderError, also if the folder has no generator; DeviceUnavailable,
        OutOfMemory.
        """
        if folder.generator is None:
            raise ModelFolderError(f"{folder.path}: no generator")
        self.folder, self.card = folder, folder.generator
        self.name = f"{folder.card.name} (generator)"
        self.tile_pixels = tile_pixels // TILE_SHARE
        self._device, self._open_session = device, open_session
        self._session: Session | None = None
        self.rebuild()

    def rebuild(self) -> None:
        """Load the graph again, to free the memory that its session holds; see Network.rebuild.

        Raises ModelFolderError, OutOfMemory.
        """
        content = self.folder.generator_graph()
        name = f"{self.folder.path.name}/{self.card.graph.file}"
        self._session = None
        self._session = self._open_session(content, self._device, name)

    def warm_up(self) -> None:
        """Make a small texture. Raises InferenceFailed, BadOutput, OutOfMemory."""
        side = 2 * math.isqrt(MAX_FLAT_PIXELS)
        style = next(iter(self.folder.textures.values())).vector
        self.paint(self.noise(*self.cells(side, side), seed=0)[None], style[None])

    def check(self, reference: GeneratorReference) -> None:
        """Check that the graph makes the texture that it made when it was exported.

        Raises ModelFolderError, which states the difference; InferenceFailed, BadOutput,
        OutOfMemory.
        """
        painted = self._run(reference.noise, reference.style)
        compare(self.folder.path, "generate", painted, reference.texture)

    def cells(self, width: int, height: int, tileable: bool = False) -> tuple[int, int]:
        """Return the rows and columns of noise cells that cover width x height pixels.

        Raises BadOption if `tileable` and the cells do not fit exactly.
        """
        stride = self.card.stride
        if tileable:
            _check_tileable({"width": width, "height": height}, stride)
        return math.ceil(height / stride), math.ceil(width / stride)

    def noise(
        self,
        rows: int,
        columns: int,
        seed: int,
        variation: float = 0.0,
        tileable: bool = False,
    ) -> Noise:
        """Return the noise float32 [Z, h, w] of a texture of rows x columns cells; see noise_map.

        The texture made from it has whole cells: crop it at the right and at the bottom.
        """
        return noise_map(
            seed,
            rows,
            columns,
            local=self.card.local,
            global_=self.card.global_,
            waves=self.card.waves,
            variation=variation,
            margin=self.card.margin,
            tileable=tileable,
        )

    def pixels(self, noise: Noise) -> int:
        """Return the number of pixels of the texture made from noise float32 [Z, h, w]."""
        height, width = self._size(noise)
        return height * width

    def paint(self, noise: Noise, styles: Vector) -> Pixels:
        """Make textures from noise float32 [N, Z, h, w] in styles float32 [N, D].

        Returns uint8 [N, H, W, 3] with H = stride (h - margin) and W = stride (w - margin). Raises
        BadOutput if every output is invalid, InferenceFailed, OutOfMemory. If only some are
        invalid, `valid` finds them.
        """
        height, width = self._size(noise)
        # In a batch, a few values are rounded differently. CPUs gain little from batches, so there
        # a texture does not depend on other requests.
        if height * width > self.tile_pixels or self._device.provider != CUDA:
            pairs = zip(noise, styles, strict=True)
            painted = np.stack([self._paint_tiles(n, s) for n, s in pairs])
        else:
            painted = self._run(noise, styles)
        if not any(self.valid(noise, painted)):
            raise BadOutput(SINGLE_VALUE)
        return painted

    def valid(self, noise: Noise, painted: Pixels) -> list[bool]:
        """Return for each of `painted` uint8 [N, H, W, 3] whether it is a valid texture.

        Non-finite numbers are all converted to the same 8-bit value, so a texture of a single value
        is invalid, unless it is very small.
        """
        return [p.size // 3 <= MAX_FLAT_PIXELS or not is_flat(p) for p in painted]

    def _size(self, noise: Noise) -> tuple[int, int]:
        """Height and width of the texture in pixels."""
        height, width = noise.shape[-2:]
        return (
            self.card.stride * (height - self.card.margin),
            self.card.stride * (width - self.card.margin),
        )

    def _run(self, noise: Noise, styles: Vector) -> Pixels:
        if self._session is None:
            raise OutOfMemory("the device has no memory left for the generator")
        painted = self._session.run(noise=np.ascontiguousarray(noise), style=styles)
        expected = (len(noise), *self._size(noise), 3)
        if painted.shape != expected or painted.dtype != np.uint8:
            raise BadOutput(
                f"the generator returned {painted.dtype} {list(painted.shape)} "
                f"instead of uint8 {list(expected)}"
            )
        return painted

    def _paint_tiles(self, noise: Noise, style: Vector) -> Pixels:
        # The generator does not pad, and nothing in it depends on the whole picture. So a tile of
        # some cells is exactly that part of the texture.
        height, width = self._size(noise)
        stride, margin = self.card.stride, self.card.margin
        side = max(1, math.isqrt(self.tile_pixels) // stride)
        texture = np.empty((height, width, 3), np.uint8)
        for top, bottom in _spans(height // stride, side):
            for left, right in _spans(width // stride, side):
                part = noise[None, :, top : bottom + margin, left : right + margin]
                tile = self._run(part, style[None])[0]
                rows = slice(stride * top, stride * bottom)
                texture[rows, stride * left : stride * right] = tile
        return texture


def _spans(cells: int, side: int) -> list[tuple[int, int]]:
    """Spans of about equal length, at most `side`."""
    step = math.ceil(cells / math.ceil(cells / side))
    return [(start, min(start + step, cells)) for start in range(0, cells, step)]


def _check_tileable(sides: dict[str, int], stride: int) -> None:
    problems = []
    for name, side in sides.items():
        if side % stride:
            below = side // stride * stride
            nearest = f"{below} and {below + stride}" if below else f"{stride}"
            problems.append(
                f"{name}: a tileable texture needs a multiple of {stride}; "
                f"nearest to {side}: {nearest}"
            )
    if problems:
        raise BadOption("; ".join(problems))
