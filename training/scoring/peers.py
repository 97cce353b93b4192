"""Pictures that other networks painted, read from a folder.

The folder has one folder for each size, named by the longest side in pixels. In it, NAME.photo.png
is a photograph and NAME.PEER.STYLE.jpg what a peer painted of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.fit.data import DataError, read_image

_PHOTO = re.compile(r"(?P<name>.+)\.photo\.png")
_PICTURE = re.compile(r"(?P<name>.+)\.(?P<peer>[a-z0-9_]+)\.(?P<style>[a-z0-9_]+)\.jpg")


@dataclass(frozen=True)
class Peers:
    """The files of one size."""

    photos: Mapping[str, Path]  # by name
    pictures: Mapping[tuple[str, str], Mapping[str, Path]]  # (style, peer), then the photo's name

    def of(self, style: str) -> list[str]:
        """The peers that painted in a style."""
        return sorted(peer for painted, peer in self.pictures if painted == style)

    def picture(self, style: str, peer: str, name: str) -> Image.Image:
        """What a peer painted, RGB. Raises DataError unless it has the photograph's size."""
        path = self.pictures[style, peer][name]
        picture, photo = read_image(path), read_image(self.photos[name])
        if picture.size != photo.size:
            raise DataError(
                f"{path} has {picture.width}x{picture.height} pixels, "
                f"its photograph {photo.width}x{photo.height}"
            )
        return picture


def read_peers(folder: Path, size: int) -> Peers:
    """The peers' pictures at a size.

    Raises DataError if there are none, if a file's name has another form, or if a peer did not
    paint every photograph in a style: then means over the photographs would not compare.
    """
    place = folder / str(size)
    if not place.is_dir():
        raise DataError(f"there is no folder {place}")
    photos: dict[str, Path] = {}
    pictures: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(place.iterdir()):
        if match := _PHOTO.fullmatch(path.name):
            photos[match["name"]] = path
        elif match := _PICTURE.fullmatch(path.name):
            pictures.setdefault((match["style"], match["peer"]), {})[match["name"]] = path
        else:
            raise DataError(
                f"{path}: the name must have the form NAME.photo.png or NAME.PEER.STYLE.jpg"
            )
    if not photos:
        raise DataError(f"{place} has no photographs (NAME.photo.png)")
    for (style, peer), painted in pictures.items():
        if painted.keys() != photos.keys():
            odd = ", ".join(sorted(painted.keys() ^ photos.keys()))
            raise DataError(
                f"{place}: for {peer}.{style}, photographs and pictures do not match: {odd}"
            )
    return Peers(photos, pictures)
