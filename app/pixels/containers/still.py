"""What every container is reduced to, and the limits that all of them share."""

from dataclasses import dataclass
from typing import Literal

from ...errors import ImageTooLarge

FileFormat = Literal["jpeg", "png", "webp", "avif", "heic", "tiff", "gif", "bmp"]
Part = bytes | memoryview

FILE_FORMATS: tuple[FileFormat, ...] = (
    *("jpeg", "png", "webp", "avif", "heic", "tiff", "gif", "bmp"),
)
MAX_CHUNKS = 16_384  # chunks, segments, boxes or entries: 32 MiB in chunks of 2 KiB
MAX_PROFILE = 4 * 2**20  # bytes of a colour profile; profiles for printing have 1 or 2 MB


@dataclass(frozen=True)
class Still:
    """A picture in its file, not decoded. Width and height are as stored, in pixels."""

    format: FileFormat
    width: int
    height: int
    orientation: int  # as in EXIF, 1 to 8
    parts: tuple[Part, ...]
    profile: bytes | None = None  # ICC, decompressed, where decoders do not find it in `parts`
    crop: tuple[int, int, int, int] | None = None  # left, top, right and bottom of what is visible
    moving: tuple[Part, ...] = ()  # all frames, reduced like `parts`, if there are several
    frames: int = 1

    @property
    def pixels(self) -> int:
        """width x height."""
        return self.width * self.height

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture, in pixels, where it is visible."""
        left, top, right, bottom = self.crop or (0, 0, self.width, self.height)
        width, height = right - left, bottom - top
        return (height, width) if self.orientation >= 5 else (width, height)

    @property
    def content(self) -> bytes:
        """The file, reduced to what its pixels and colours depend on."""
        return b"".join(self.parts)


def check_profile(format: FileFormat, length: int) -> None:
    """Raise ImageTooLarge if a colour profile of this many bytes is too large."""
    if length > MAX_PROFILE:
        raise ImageTooLarge(
            f"the {format} image has a colour profile of more than {MAX_PROFILE:,} bytes, "
            "the limit; convert it to sRGB"
        )
