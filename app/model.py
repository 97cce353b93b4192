"""A network that is loaded and paints: batches of one size, large images in tiles."""

import math

import numpy as np

from app.card import ModelFolder, Vector
from app.device import Device, Session
from app.images import Pixels, resize

STRIDE = 4  # tiles start at multiples of it, as the network sees the whole image


class Network:
    """The sessions of one model folder on one device."""

    def __init__(self, folder: ModelFolder, device: Device, tile_pixels: int) -> None:
        """Load the graphs. Raises ModelFolderError, DeviceUnavailable."""
        self.name, self.card = folder.card.name, folder.card
        self.styles = folder.styles
        self.tile_pixels = tile_pixels

        def session(graph: str) -> Session:
            return Session(folder.graph(graph), device, f"{folder.path.name}/{graph}")

        half = device.half and "stylize.fp16" in folder.card.graphs
        self._stylize = session("stylize.fp16" if half else "stylize")
        self._freeze, self._apply = session("freeze"), session("apply")

    def warm_up(self) -> None:
        """Run every graph once, on the smallest image, so that the first request pays nothing.

        Raises InferenceFailed.
        """
        side = self.card.min_side
        image = np.full((1, side, side, 3), 128, np.uint8)
        style = next(iter(self.styles.values())).vector[None]
        self._stylize.run(image=image, style=style)
        self._apply.run(image=image, frozen=self._freeze.run(image=image, style=style))

    def paint(self, images: Pixels, styles: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3], each with its style float32 [N, D]; same shape back.

        Raises InferenceFailed.
        """
        if images.shape[1] * images.shape[2] > self.tile_pixels:
            pairs = zip(images, styles, strict=True)
            return np.stack([self._paint_tiles(i, self._frozen(i, s)) for i, s in pairs])
        return self._stylize.run(image=images, style=styles)

    def _frozen(self, image: Pixels, style: Vector) -> Vector:
        # Thumbnail instance norm (arXiv:2103.11784): the statistics of a reduced image, frozen into
        # the style, leave a network that is purely local, so that tiles meet without a seam.
        height, width, _ = image.shape
        shrink = math.sqrt(self.tile_pixels / (height * width))
        small = (max(self.card.min_side, int(side * shrink)) for side in (width, height))
        thumbnail = resize(image, (next(small), next(small)))
        return self._freeze.run(image=thumbnail[None], style=style[None])

    def _paint_tiles(self, image: Pixels, frozen: Vector) -> Pixels:
        height, width, _ = image.shape
        pastiche = np.empty_like(image)
        margin = math.ceil(self.card.tile_margin / STRIDE) * STRIDE
        side = max(STRIDE, (math.isqrt(self.tile_pixels) - 2 * margin) // STRIDE * STRIDE)
        for top, bottom in _spans(height, side):
            for left, right in _spans(width, side):
                y, x = max(0, top - margin), max(0, left - margin)
                tile = image[y : bottom + margin, x : right + margin]
                painted = self._apply.run(image=np.ascontiguousarray(tile)[None], frozen=frozen)[0]
                pastiche[top:bottom, left:right] = painted[
                    top - y : bottom - y, left - x : right - x
                ]
        return pastiche


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    # Equal spans of at most `side`, cut at multiples of the stride.
    count = math.ceil(length / side)
    step = math.ceil(length / count / STRIDE) * STRIDE
    return [(start, min(start + step, length)) for start in range(0, length, step)]
