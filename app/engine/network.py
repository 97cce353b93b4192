"""A network that is loaded and paints: batches of one size, large images in tiles."""

import math

import numpy as np

from ..errors import BadOutput, ModelFolderError, OutOfMemory
from ..model_folder import ModelFolder, Reference, Vector, pattern
from ..pixels.images import Pixels, resize
from .device import Device, Session

STRIDE = 4  # tiles start at multiples of it, as the network sees the whole image

# How far from the folder's reference a device may paint: bfloat16 stays well within it.
MEAN, WITHIN, SHARE = 2.0, 12, 0.99  # grey levels, grey levels, share of the values


class Network:
    """The sessions of one model folder on one device."""

    def __init__(self, folder: ModelFolder, device: Device, tile_pixels: int) -> None:
        """Load the graphs. Raises ModelFolderError, DeviceUnavailable, OutOfMemory."""
        self.folder, self.name, self.card = folder, folder.card.name, folder.card
        self.tile_pixels = tile_pixels
        self._device = device
        self._sessions: dict[str, Session] = {}
        self.rebuild()

    def rebuild(self) -> None:
        """Load the graphs again, after the device ran out of memory: a new session holds little.

        The old sessions are let go first, as there may be no room for both. If the new ones cannot
        be made, `paint` raises OutOfMemory until a rebuild succeeds. Raises ModelFolderError if a
        graph is not what it was when the network was loaded, which then paints on; OutOfMemory.
        """
        half = self._device.half and "stylize.fp16" in self.card.graphs
        graphs = {"stylize": "stylize.fp16" if half else "stylize"}
        graphs |= {"freeze": "freeze", "apply": "apply"}
        contents = {use: self.folder.graph(graph) for use, graph in graphs.items()}
        self._sessions = {}
        self._sessions = {
            use: Session(content, self._device, f"{self.folder.path.name}/{graphs[use]}")
            for use, content in contents.items()
        }

    def warm_up(self) -> None:
        """Run every graph once, on the smallest image, so that the first request pays nothing.

        Raises InferenceFailed, BadOutput, OutOfMemory.
        """
        image = pattern(self.card.min_side)
        style = next(iter(self.folder.styles.values())).vector[None]
        _demand_pictures(image, self._painted("stylize", image, style=style))
        frozen = self._run("freeze", image=image, style=style)
        _demand_pictures(image, self._painted("apply", image, frozen=frozen))

    def check(self, reference: Reference) -> None:
        """Compare what the graphs paint with what they painted when they were exported.

        Raises ModelFolderError with the difference, InferenceFailed, BadOutput, OutOfMemory.
        """
        image, style = reference.image, reference.style
        frozen = self._run("freeze", image=image, style=style)
        for use, painted in {
            "stylize": self._painted("stylize", image, style=style),
            "freeze and apply": self._painted("apply", image, frozen=frozen),
        }.items():
            difference = np.abs(painted.astype(np.int16) - reference.pastiche)
            mean, share = float(difference.mean()), float((difference <= WITHIN).mean())
            if mean > MEAN or share < SHARE:
                raise ModelFolderError(
                    f"{self.folder.path}: {use} does not paint the reference: {mean:.2f} grey "
                    f"levels off on average (at most {MEAN:g}), {share:.1%} of values within "
                    f"{WITHIN} (at least {SHARE:.0%})"
                )

    def paint(self, images: Pixels, styles: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3], each with its style float32 [N, D]; same shape back.

        Raises BadOutput if none of what came out is a picture; where some are, `check_output`
        tells which. Raises InferenceFailed, OutOfMemory.
        """
        if images.shape[1] * images.shape[2] > self.tile_pixels:
            pairs = zip(images, styles, strict=True)
            painted = np.stack([self._paint_tiles(i, self._frozen(i, s)) for i, s in pairs])
        else:
            painted = self._painted("stylize", images, style=styles)
        _demand_pictures(images, painted)
        return painted

    def _run(self, use: str, **inputs: np.ndarray) -> np.ndarray:
        session = self._sessions.get(use)
        if session is None:
            raise OutOfMemory("the device has no memory left for the network")
        return session.run(**inputs)

    def _painted(self, use: str, image: Pixels, **inputs: np.ndarray) -> Pixels:
        painted = self._run(use, image=image, **inputs)
        if painted.shape != image.shape or painted.dtype != np.uint8:
            raise BadOutput(
                f"the network gave {painted.dtype} {list(painted.shape)}, not a picture's "
                f"uint8 {list(image.shape)}"
            )
        return painted

    def _frozen(self, image: Pixels, style: Vector) -> Vector:
        # Thumbnail instance norm (arXiv:2103.11784): the statistics of a reduced image, frozen into
        # the style, leave a network that is purely local, so that tiles meet without a seam.
        height, width, _ = image.shape
        shrink = math.sqrt(self.tile_pixels / (height * width))
        small = (max(self.card.min_side, int(side * shrink)) for side in (width, height))
        thumbnail = resize(image, (next(small), next(small)))
        return self._run("freeze", image=thumbnail[None], style=style[None])

    def _paint_tiles(self, image: Pixels, frozen: Vector) -> Pixels:
        height, width, _ = image.shape
        pastiche = np.empty_like(image)
        margin = math.ceil(self.card.tile_margin / STRIDE) * STRIDE
        side = max(STRIDE, (math.isqrt(self.tile_pixels) - 2 * margin) // STRIDE * STRIDE)
        for top, bottom in _spans(height, side):
            for left, right in _spans(width, side):
                y, x = max(0, top - margin), max(0, left - margin)
                tile = np.ascontiguousarray(image[y : bottom + margin, x : right + margin])
                painted = self._painted("apply", tile[None], frozen=frozen)[0]
                pastiche[top:bottom, left:right] = painted[
                    top - y : bottom - y, left - x : right - x
                ]
        return pastiche


def check_output(images: Pixels, painted: Pixels) -> list[bool]:
    """Whether each of painted uint8 [N, H, W, 3] is a picture of its image, of the same shape.

    Numbers that are not finite leave one single value behind when they become 8 bits; so may the
    paint of an image of one value, and of no other.
    """
    return [not _flat(p) or _flat(i) for i, p in zip(images, painted, strict=True)]


def _flat(picture: Pixels) -> bool:
    return bool(picture.min() == picture.max())


def _demand_pictures(images: Pixels, painted: Pixels) -> None:
    if not any(check_output(images, painted)):
        raise BadOutput("the network painted nothing but one value")


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    # Equal spans of at most `side`, cut at multiples of the stride.
    count = math.ceil(length / side)
    step = math.ceil(length / count / STRIDE) * STRIDE
    return [(start, min(start + step, length)) for start in range(0, length, step)]
