"""The library: paint Pillow images, and make textures."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .engine.device import pick_device
from .engine.gallery import Gallery
from .errors import ImageTooSmall
from .model_folder import Style
from .options import GenerateOptions, Options, check_options
from .pixels.canvas import Finish, canvas, finished
from .pixels.images import MIN_SIDE, Picture, from_pillow, to_pillow
from .settings import BUNDLED_MODELS, TILE_PIXELS, DeviceName

if TYPE_CHECKING:
    from PIL import Image


class Stylizer:
    """Loads the networks once, paints any number of images and makes any number of textures."""

    def __init__(
        self,
        models: Path | str = BUNDLED_MODELS,
        device: DeviceName = "auto",
        threads: int = 0,
        tile_pixels: int = TILE_PIXELS,
    ) -> None:
        """Load every model folder in the folder `models`.

        threads: CPU threads of an inference; 0 is one per core. tile_pixels: larger images are
        painted in tiles of about this many pixels. Raises ModelFolderError, DeviceUnavailable.
        """
        self.gallery = Gallery(Path(models), pick_device(device, threads), tile_pixels)

    @property
    def styles(self) -> dict[str, Style]:
        """The styles by id."""
        return {style.id: style for _, style in self.gallery}

    def paint(self, picture: Picture, style: str, finish: Finish) -> Picture:
        """Paint a decoded picture. Raises UnknownStyle, BadOption, ImageTooSmall."""
        if min(picture.size) < MIN_SIDE:
            raise ImageTooSmall(f"each side of the image must have at least {MIN_SIDE} pixels")
        brush = self.gallery.brush(style, finish.strength)
        painted = brush.network.paint(canvas(picture, finish)[None], brush.vector[None])[0]
        return finished(picture, painted, finish)

    def stylize(
        self,
        image: "Image.Image",
        style: str,
        *,
        strength: float = 1.0,
        size: int | None = None,
        preserve_colors: bool = False,
    ) -> "Image.Image":
        """Paint an image of any mode in a style, or in a blend such as `udnie:0.7,great_wave:0.3`.

        strength: from 0, the photograph, through 1, the default, to 2, the boldest. size: longest
        side in pixels at which the network paints; smaller means broader strokes; by default the
        image's own, at most 1600. preserve_colors: keep the photograph's colours. Returns an
        upright image of the input's size, RGB, or RGBA if the input has transparency. Raises
        UnknownStyle, BadOption, ImageTooSmall.
        """
        options = check_options(
            Options, style=style, strength=strength, size=size, preserve_colors=preserve_colors
        )
        return to_pillow(self.paint(from_pillow(image), options.style, options.finish))

    @property
    def textures(self) -> dict[str, Style]:
        """The styles that can generate, by id."""
        return dict(self.gallery.textures)

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


@cache
def _bundled() -> Stylizer:
    return Stylizer()


def stylize(
    image: "Image.Image",
    style: str,
    *,
    strength: float = 1.0,
    size: int | None = None,
    preserve_colors: bool = False,
) -> "Image.Image":
    """Paint an image in a bundled style, see Stylizer.stylize.

    The first call loads the networks; later calls reuse them.
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
    """Make a texture in a bundled style, see Stylizer.generate.

    The first call loads the networks; later calls reuse them.
    """
    return _bundled().generate(
        style, width, height, seed=seed, tileable=tileable, variation=variation
    )
