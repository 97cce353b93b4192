"""The library: paint images, and make textures."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from .engine.devices.choice import pick_device
from .engine.devices.device import Device
from .engine.gallery import Brush, Gallery
from .engine.network import Network
from .errors import BadOption
from .model_folder import Style
from .options import GenerateOptions, Options, animation_format, check_options
from .pixels.animation import (
    MAX_FRAMES,
    Animation,
    check_animation,
    encode_animation,
    key_frame,
    read_animation,
)
from .pixels.canvas import Finish, canvas, finished
from .pixels.images import (
    Picture,
    Pixels,
    default_answer,
    read_header,
    read_picture,
    to_pillow,
)
from .settings import BUNDLED_MODELS, TILE_PIXELS, DeviceName

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    AnyImage: TypeAlias = (
        str | PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
    )

MAX_PIXELS = 200_000_000  # of an image file, by default


class Pastiche:
    """Loads the networks once, paints any number of images and makes any number of textures.

    Several threads can use one object.
    """

    def __init__(
        self,
        models: Path | str | Sequence[Path | str] = BUNDLED_MODELS,
        device: DeviceName = "auto",
        threads: int = 0,
        tile_pixels: int = TILE_PIXELS,
        *,
        max_pixels: int = MAX_PIXELS,
        max_frames: int = MAX_FRAMES,
    ) -> None:
        """Load every model folder in the folder `models`, or in each of several.

        threads: CPU threads of an inference; 0 is one per core. tile_pixels: larger images are
        painted in tiles of about this many pixels. max_pixels: the largest image file that is
        decoded. max_frames: the most frames of an animation. Raises ModelFolderError,
        DeviceUnavailable.
        """
        self.device: Device = pick_device(device, threads)
        self.max_pixels, self.max_frames = max_pixels, max_frames
        folders = [models] if isinstance(models, Path | str) else models
        self.gallery = Gallery([Path(folder) for folder in folders], self.device, tile_pixels)

    @property
    def styles(self) -> dict[str, Style]:
        """The styles by id."""
        return {style.id: style for _, style in self.gallery}

    @property
    def textures(self) -> dict[str, Style]:
        """The styles that can generate, by id."""
        return dict(self.gallery.textures)

    def paint(self, picture: Picture, style: str, finish: Finish) -> Picture:
        """Paint a decoded picture. Raises UnknownStyle, BadOption."""
        brush = self.gallery.brush(style, finish.strength)
        return _painted(brush, [picture], finish)[0]

    def stylize(
        self,
        image: "AnyImage",
        style: str,
        *,
        strength: float = 1.0,
        size: int | None = None,
        preserve_colors: bool = False,
    ) -> "Image.Image":
        """Paint an image in a style, or in a blend such as `udnie:0.7,great_wave:0.3`.

        image: the path or the bytes of an image file, a Pillow image of any mode, or an array uint8
        [H, W, 3] (also [H, W] and [H, W, 4]). strength: from 0, the photograph, through 1, the
        default, to 2, the boldest. size: longest side in pixels at which the network paints;
        smaller means broader strokes; by default the image's own, at most 1600.
        preserve_colors: keep the photograph's colours. Returns an upright image of the input's
        size, RGB, or RGBA if the input has transparency. Raises UnknownStyle, BadOption,
        UnsupportedImage, BrokenImage, ImageTooLarge; TypeError for an image of another type;
        OSError if a file cannot be read.

        >>> from pastiche import Pastiche
        >>> pastiche = Pastiche()
        >>> pastiche.stylize("photo.jpg", "great_wave", strength=1.5).save("painted.png")
        """
        options = check_options(
            Options, style=style, strength=strength, size=size, preserve_colors=preserve_colors
        )
        picture = read_picture(image, self.max_pixels)
        return to_pillow(self.paint(picture, options.style, options.finish))

    def paint_animation(self, animation: Animation, style: str, finish: Finish) -> Animation:
        """Paint every frame with the statistics of one. Raises UnknownStyle, BadOption."""
        brush = self.gallery.brush(style, finish.strength)
        network = brush.network
        frozen = network.freeze(canvas(key_frame(animation.frames), finish), brush.vector)
        frames = [
            finished(f, network.paint_frozen(canvas(f, finish)[None], frozen)[0], finish)
            for f in animation.frames
        ]
        return Animation(frames, animation.milliseconds, animation.plays)

    def stylize_animation(
        self,
        image: "str | PathLike[str] | bytes",
        style: str,
        *,
        strength: float = 1.0,
        size: int | None = None,
        preserve_colors: bool = False,
        format: Literal["gif", "png", "webp"] | None = None,
        quality: int = 90,
    ) -> bytes:
        """Paint every frame of an animation without flicker, see stylize.

        image: the path or the bytes of an animated GIF, PNG or WebP. Returns the bytes of a file
        with the same timing. format: that of the result; by default that of the image. quality: of
        a WebP, from 1 to 100. Raises as stylize; ImageTooLarge above max_frames, or if the frames
        together exceed max_pixels; BadOption if the image does not move.

        >>> from pastiche import Pastiche
        >>> painted = Pastiche().stylize_animation("cat.gif", "udnie", format="webp")
        """
        options = check_options(
            Options,
            style=style,
            strength=strength,
            size=size,
            preserve_colors=preserve_colors,
            format=format,
            quality=quality,
        )
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        still = read_header(content, self.max_pixels, "max_pixels")
        if still.frames == 1:
            raise BadOption("the image has one frame; use stylize")
        check_animation(still, self.max_frames, self.max_pixels, ("max_frames", "max_pixels"))
        painted = self.paint_animation(read_animation(still), options.style, options.finish)
        kind = animation_format(options, "", default_answer(still.format))
        return encode_animation(painted, kind, quality)

    def stylize_many(
        self,
        images: "Iterable[AnyImage]",
        style: str,
        *,
        strength: float = 1.0,
        size: int | None = None,
        preserve_colors: bool = False,
    ) -> "Iterator[Image.Image]":
        """Paint many images in one style, see stylize; yield the results in order.

        Successive images of equal size share a batch where that is faster. Options are checked
        before the first image is read.

        >>> from pathlib import Path
        >>> from pastiche import Pastiche
        >>> for number, painted in enumerate(Pastiche().stylize_many(["photo.jpg"], "udnie")):
        ...     painted.save(f"painted-{number}.jpg")
        """
        options = check_options(
            Options, style=style, strength=strength, size=size, preserve_colors=preserve_colors
        )
        brush = self.gallery.brush(options.style, options.strength)
        return self._painted_in_batches(images, brush, options.finish)

    def _painted_in_batches(
        self, images: "Iterable[AnyImage]", brush: Brush[Network], finish: Finish
    ) -> "Iterator[Image.Image]":
        waiting: list[Picture] = []
        for image in images:
            picture = read_picture(image, self.max_pixels)
            pixels = sum(p.size[0] * p.size[1] for p in [*waiting, picture])
            if waiting and (waiting[0].size != picture.size or pixels > self.device.batch_pixels):
                yield from map(to_pillow, _painted(brush, waiting, finish))
                waiting = []
            waiting.append(picture)
        if waiting:
            yield from map(to_pillow, _painted(brush, waiting, finish))

    def make_texture(self, options: GenerateOptions) -> tuple[Picture, int]:
        """Make a texture; returns it with its seed. Raises UnknownStyle, NoGenerator, BadOption.

        The format and the quality in the options are not used.
        """
        seed = options.choose_seed()
        brush = self.gallery.texture_brush(options.style)
        generator = brush.network
        cells = generator.cells(options.width, options.height, options.tileable)
        noise = generator.noise(*cells, seed, options.variation, options.tileable)
        painted = generator.paint(noise[None], brush.vector[None])[0]
        return Picture(painted[: options.height, : options.width]), seed

    def generate(
        self,
        style: str,
        width: int = 512,
        height: int = 512,
        *,
        seed: int | None = None,
        tileable: bool = False,
        variation: float = 0.0,
    ) -> "Image.Image":
        """Make a texture of width x height pixels, from 16 to 16,384 each, in a style or a blend.

        seed: from 0 to 4,294,967,295; the same one gives the same texture; None draws one. It is
        `image.info["seed"]` of the result. tileable: make copies of the texture join seamlessly;
        then both sides must be multiples of 32, the stride of the bundled generator. variation:
        from 0 to 100; each whole number gives the texture another character, and between two of
        them it changes gradually. Returns an RGB image. Raises UnknownStyle, NoGenerator,
        BadOption.
        """
        options = check_options(
            GenerateOptions,
            style=style,
            width=width,
            height=height,
            seed=seed,
            tileable=tileable,
            variation=variation,
        )
        picture, used = self.make_texture(options)
        image = to_pillow(picture)
        image.info["seed"] = used
        return image


def _painted(brush: Brush[Network], pictures: list[Picture], finish: Finish) -> list[Picture]:
    """Paint pictures of equal size in one batch."""
    canvases: Pixels = np.stack([canvas(picture, finish) for picture in pictures])
    vectors = np.repeat(brush.vector[None], len(pictures), axis=0)
    pairs = zip(pictures, brush.network.paint(canvases, vectors), strict=True)
    return [finished(picture, painted, finish) for picture, painted in pairs]


@cache
def _bundled() -> Pastiche:
    return Pastiche()


def stylize(
    image: "AnyImage",
    style: str,
    *,
    strength: float = 1.0,
    size: int | None = None,
    preserve_colors: bool = False,
) -> "Image.Image":
    """Paint an image in a bundled style, see Pastiche.stylize.

    The first call loads the networks; later calls reuse them.

    >>> from pastiche import stylize
    >>> stylize("photo.jpg", "starry_night").size
    (120, 80)
    """
    return _bundled().stylize(
        image, style, strength=strength, size=size, preserve_colors=preserve_colors
    )


def generate(
    style: str,
    width: int = 512,
    height: int = 512,
    *,
    seed: int | None = None,
    tileable: bool = False,
    variation: float = 0.0,
) -> "Image.Image":
    """Make a texture in a bundled style, see Pastiche.generate.

    The first call loads the networks; later calls reuse them.
    """
    return _bundled().generate(
        style, width, height, seed=seed, tileable=tileable, variation=variation
    )
