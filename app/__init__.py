"""Pastiche repaints photographs in the style of paintings: HTTP server, library and command.

from PIL import Image
from pastiche import generate, stylize

stylize(Image.open("photo.jpg"), "starry_night").save("out.png")
generate("starry_night", 1920, 1080, seed=7).save("texture.png")

In a checkout, this package is called `app`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .library import Pastiche, generate, stylize

__all__ = ["Pastiche", "__version__", "generate", "stylize"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported on first use: training reads model folders without ONNX Runtime being installed.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import library

    return getattr(library, name)
