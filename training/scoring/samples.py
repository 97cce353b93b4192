"""Sample photos from scikit-image, for commands that you run without photos of your own."""

from PIL import Image


def sample_photos() -> list[Image.Image]:
    """Return three RGB photos: an astronaut, a cup of coffee and a cat.

    Needs scikit-image, which is a development dependency.
    """
    from skimage import data

    return [Image.fromarray(s) for s in (data.astronaut(), data.coffee(), data.chelsea())]
