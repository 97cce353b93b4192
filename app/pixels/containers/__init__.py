"""Parse image files without decoding pixels, and reduce them to what a decoder needs.

A parser walks a file once, in time linear in its size. It keeps only what pixels and colours depend
on. Text, EXIF, previews, further pictures and unknown chunks never reach a decoder, so a client
cannot use them to make the decoder work.
"""

import struct
from collections.abc import Callable, Collection

from ...errors import BrokenImage, UnsupportedImage
from . import bmp, gif, isobmff, jpeg, png, tiff, webp
from .still import FILE_FORMATS, FileFormat
from .still import Still as Still

_WALKERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Still]], ...] = tuple(
    (module.starts, module.walk) for module in (jpeg, png, webp, isobmff, tiff, gif, bmp)
)


def walk(content: bytes, formats: Collection[FileFormat] = FILE_FORMATS) -> Still:
    """Detect the format of a file by its content, and parse it.

    Of a file with several pictures, it is the first or the primary one. formats: those that are
    allowed. Raises UnsupportedImage, BrokenImage, ImageTooLarge.
    """
    allowed = ", ".join(format for format in FILE_FORMATS if format in formats)
    for starts, parse in _WALKERS:
        if starts(content):
            try:
                still = parse(content)
            except (struct.error, IndexError) as error:
                raise BrokenImage("the image cannot be read: its header is damaged") from error
            if still.format not in formats:
                raise UnsupportedImage(
                    f"the image is a {still.format}; the allowed formats are {allowed}"
                )
            return still
    raise UnsupportedImage(f"the content is not an image of an allowed format ({allowed})")
