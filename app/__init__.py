"""Pastiche repaints photographs in the style of paintings: over HTTP, as a library, as a command.

from PIL import Image
from . import stylize

stylize(Image.open("photo.jpg"), "starry_night").save("out.png")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .library import Stylizer, stylize

__all__ = ["Stylizer", "__version__", "stylize"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that training can read model folders without the runtime being there.
    if name not in __all__:
        raise AttributeError(f"module 'app' has no attribute {name!r}")
    from . import library as stylizer

    return getattr(stylizer, name)
