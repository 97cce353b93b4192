"""Animations: decode every frame, and encode them with their timing."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BrokenImage, ImageTooLarge
from .containers import Still
from .images import (
    PIXELS_SETTING,
    Format,
    Picture,
    from_pillow,
    reader,
    to_palette,
    to_pillow,
    transposed,
)

MOVING: tuple[Format, ...] = ("gif", "png", "webp")  # the formats that can hold an animation
FRAMES_SETTING = "PASTICHE_MAX_FRAMES"
MAX_FRAMES = 120  # by default


@dataclass(frozen=True)
class Animation:
    """Frames of equal size. plays: how often they are shown; 0 is without end."""

    frames: Sequence[Picture]
    milliseconds: Sequence[int]  # for which each frame is shown
    plays: int = 0


def check_animation(
    still: Still,
    max_frames: int,
    max_pixels: int,
    limits: tuple[str, str] = (FRAMES_SETTING, PIXELS_SETTING),
) -> None:
    """Raise ImageTooLarge above max_frames, or above max_pixels in all frames together.

    limits: the names of what sets the two, for the error message.
    """
    if still.frames > max_frames:
        raise ImageTooLarge(
            f"the animation has {still.frames:,} frames; at most {max_frames:,} are allowed "
            f"({limits[0]})"
        )
    pixels = still.frames * still.pixels
    if pixels > max_pixels:
        raise ImageTooLarge(
            f"the animation has {still.frames:,} frames of {still.width}x{still.height} pixels, "
            f"{pixels:,} in all; at most {max_pixels:,} are allowed ({limits[1]})"
        )


def read_animation(still: Still) -> Animation:
    """Decode every frame of an animation, as read_pixels decodes the first. Raises BrokenImage."""
    frames, milliseconds = [], []
    try:
        file = io.BytesIO(b"".join(still.moving))
        with reader(still.format)(file) as image:
            if still.profile is not None:
                image.info["icc_profile"] = still.profile
            # A PNG may have another picture, for programs that do not know animations.
            first = int(image.info.get("default_image", False))
            plays = _plays(still, image.info.get("loop"))
            for number in range(first, first + still.frames):
                image.seek(number)
                image.load()
                if image.size != (still.width, still.height):
                    raise BrokenImage(f"the {still.format} image states two different sizes")
                frames.append(from_pillow(transposed(image, still.orientation), still.format))
                milliseconds.append(round(image.info.get("duration", 0)))
    except BrokenImage:
        raise
    except Exception as error:
        # On damaged files Pillow raises exceptions of almost any type.
        raise BrokenImage(f"the {still.format} image cannot be decoded: it is damaged") from error
    return Animation(frames, milliseconds, plays)


def key_frame(frames: Sequence[Picture]) -> Picture:
    """The frame with the strongest contrast: an animation may begin with a blank one."""
    return max(frames, key=lambda frame: float(np.std(frame.rgb[::4, ::4])))


def encode_animation(animation: Animation, format: Format, quality: int = 90) -> bytes:
    """Encode without metadata. format: one of MOVING. quality: of a WebP, from 1 to 100."""
    images = [to_pillow(frame) for frame in animation.frames]
    if len({image.mode for image in images}) > 1:
        images = [image.convert("RGBA") for image in images]
    out = io.BytesIO()
    plays = animation.plays
    options: dict[str, Any] = {}
    if format == "gif":
        # A GIF states how often to repeat, and nothing if it is shown once.
        images = [to_palette(image) for image in images]
        options |= {} if plays == 1 else {"loop": max(0, plays - 1)}
        options |= {"disposal": 2} if images[0].mode == "RGBA" else {}
    elif format == "webp":
        options |= {"loop": plays, "quality": quality, "method": 2}
    else:
        options |= {"loop": plays, "compress_level": 1}
    images[0].save(
        out,
        format.upper(),
        save_all=True,
        append_images=images[1:],
        duration=list(animation.milliseconds),
        **options,
    )
    return out.getvalue()


def _plays(still: Still, loop: int | None) -> int:
    if still.format != "gif":
        return loop or 0
    if loop is None:
        return 1
    return loop + 1 if loop else 0
