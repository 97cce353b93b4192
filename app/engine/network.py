"""A loaded network: paints batches of equal size, and large images in tiles."""

import math

import numpy as np

from ..errors import BadOutput, OutOfMemory
from ..model_folder import ModelFolder, Reference, Vector, pattern
from ..pixels.images import Pixels, resize
from ..settings import TILE_PIXELS
from .devices.choice import open_session
from .devices.device import Device, OpenSession, Session
from .reference import compare

SINGLE_VALUE = "the network painted a single value instead of a picture"


class Network:
    """The sessions of one model folder on one device."""

    operation = "stylize"

    def __init__(
        self,
        folder: ModelFolder,
        device: Device,
        tile_pixels: int = TILE_PIXELS,
        open_session: OpenSession = open_session,
    ) -> None:
        """Load the graphs; images of more than `tile_pixels` are painted in tiles.

        Raises ModelFolderError, DeviceUnavailable, OutOfMemory.
        """
        self.folder, self.name, self.card = folder, folder.card.name, folder.card
        self.tile_pixels = tile_pixels
        self._device, self._open_session = device, open_session
        self._sessions: dict[str, Session] = {}
        self.rebuild()

    def rebuild(self) -> None:
        """Load the graphs again, to free the memory that their sessions hold.

        The old sessions are released first, as there may not be enough memory for both. If the new
        ones cannot be created, `paint` raises OutOfMemory until a rebuild succeeds. Raises
        ModelFolderError if a graph's file has changed since the network was loaded, in which case
        the old sessions remain; OutOfMemory.
        """
        half = self._device.half and "stylize.fp16" in self.card.graphs
        graphs = {"stylize": "stylize.fp16" if half else "stylize"}
        graphs |= {"freeze": "freeze", "apply": "apply"}
        contents = {use: self.folder.graph(graph) for use, graph in graphs.items()}
        self._sessions = {}
        self._sessions = {
            use: self._open_session(content, self._device, f"{self.folder.path.name}/{graphs[use]}")
            for use, content in contents.items()
        }

    def warm_up(self) -> None:
        """Run every graph once on the smallest image, so that the first request is not slower.

        Raises InferenceFailed, BadOutput, OutOfMemory.
        """
        image = pattern(self.card.min_side)
        style = next(iter(self.folder.styles.values())).vector[None]
        _require_pictures(image, self._run_image("stylize", image, style=style))
        frozen = self._run("freeze", image=image, style=style)
        _require_pictures(image, self._apply(image, frozen))

    def check(self, reference: Reference) -> None:
        """Check that the graphs paint what they painted when they were exported.

        Raises ModelFolderError, which states the difference; InferenceFailed, BadOutput,
        OutOfMemory.
        """
        image, style = reference.image, reference.style
        frozen = self._run("freeze", image=image, style=style)
        for use, painted in {
            "stylize": self._run_image("stylize", image, style=style),
            "freeze and apply": self._apply(image, frozen),
        }.items():
            compare(self.folder.path, use, painted, reference.pastiche)

    def pixels(self, image: Pixels) -> int:
        """Return the number of pixels of the picture painted from an image uint8 [H, W, 3]."""
        height, width, _ = image.shape
        return int(height * width)

    def paint(self, images: Pixels, styles: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3] in styles float32 [N, D]; returns uint8 [N, H, W, 3].

        Raises BadOutput if every output is invalid, InferenceFailed, OutOfMemory. If only some are
        invalid, `valid` finds them.
        """
        if images.shape[1] * images.shape[2] > self.tile_pixels:
            pairs = zip(images, styles, strict=True)
            painted = np.stack([self._paint_tiles(i, self.freeze(i, s)) for i, s in pairs])
        else:
            painted = self._run_image("stylize", images, style=styles)
        _require_pictures(images, painted)
        return painted

    def paint_frozen(self, images: Pixels, frozen: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3] in a style that `freeze` has returned.

        Raises as `paint`.
        """
        if images.shape[1] * images.shape[2] > self.tile_pixels:
            painted = [self._paint_tiles(image, frozen) for image in images]
        else:
            painted = [self._apply(image[None], frozen)[0] for image in images]
        _require_pictures(images, np.stack(painted))
        return np.stack(painted)

    def valid(self, images: Pixels, painted: Pixels) -> list[bool]:
        """Return for each of `painted` whether it is a valid output; see check_output."""
        return check_output(images, painted)

    def _run(self, use: str, **inputs: np.ndarray) -> np.ndarray:
        session = self._sessions.get(use)
        if session is None:
            raise OutOfMemory("the device has no memory left for the network")
        return session.run(**inputs)

    def _run_image(self, use: str, image: Pixels, **inputs: np.ndarray) -> Pixels:
        painted = self._run(use, image=image, **inputs)
        if painted.shape != image.shape or painted.dtype != np.uint8:
            raise BadOutput(
                f"the network returned {painted.dtype} {list(painted.shape)} "
                f"instead of uint8 {list(image.shape)}"
            )
        return painted

    def _apply(self, image: Pixels, frozen: Vector, origin: tuple[int, int] = (0, 0)) -> Pixels:
        inputs: dict[str, np.ndarray] = {"frozen": frozen}
        if self.card.tile_origin:
            inputs["origin"] = np.array(origin, np.int64)
        return self._run_image("apply", image, **inputs)

    def freeze(self, image: Pixels, style: Vector) -> Vector:
        """Freeze the statistics of an image uint8 [H, W, 3] into a style float32 [D].

        Raises InferenceFailed, OutOfMemory.
        """
        # Thumbnail instance norm (arXiv:2103.11784): with the statistics of a reduced image frozen
        # into the style, the network is purely local, so that tiles join without a seam.
        height, width, _ = image.shape
        shrink = min(1, math.sqrt(self.tile_pixels / (height * width)))
        small = (max(self.card.min_side, int(side * shrink)) for side in (width, height))
        thumbnail = resize(image, (next(small), next(small)))
        return self._run("freeze", image=thumbnail[None], style=style[None])

    def _paint_tiles(self, image: Pixels, frozen: Vector) -> Pixels:
        height, width, _ = image.shape
        pastiche = np.empty_like(image)
        stride = self.card.stride
        margin = math.ceil(self.card.tile_margin / stride) * stride
        side = max(stride, (math.isqrt(self.tile_pixels) - 2 * margin) // stride * stride)
        for top, bottom in _spans(height, side, stride):
            for left, right in _spans(width, side, stride):
                y, x = max(0, top - margin), max(0, left - margin)
                tile = np.ascontiguousarray(image[y : bottom + margin, x : right + margin])
                painted = self._apply(tile[None], frozen, (y, x))[0]
                pastiche[top:bottom, left:right] = painted[
                    top - y : bottom - y, left - x : right - x
                ]
        return pastiche


def check_output(images: Pixels, painted: Pixels) -> list[bool]:
    """Return for each of `painted` uint8 [N, H, W, 3] whether it is a valid output for its image.

    Non-finite numbers are all converted to the same 8-bit value. So an output of a single value is
    invalid, unless its image has a single value too.
    """
    return [not is_flat(p) or is_flat(i) for i, p in zip(images, painted, strict=True)]


def is_flat(picture: Pixels) -> bool:
    """Whether a picture uint8 [H, W, 3] consists of a single value."""
    return bool(picture.min() == picture.max())


def _require_pictures(images: Pixels, painted: Pixels) -> None:
    if not any(check_output(images, painted)):
        raise BadOutput(SINGLE_VALUE)


def _spans(length: int, side: int, stride: int) -> list[tuple[int, int]]:
    # Spans of about equal length, at most `side`. They start at multiples of the network's stride,
    # so that tiles match.
    count = math.ceil(length / side)
    step = math.ceil(length / count / stride) * stride
    return [(start, min(start + step, length)) for start in range(0, length, step)]
