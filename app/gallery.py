"""All networks that are served, and the styles by id."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.card import CARD, Style, Vector, read_folder
from app.device import Device
from app.errors import BadOption, InferenceFailed, ModelFolderError, UnknownStyle
from app.model import Network

log = logging.getLogger(__name__)

MAX_BLEND = 8  # styles in one blend


@dataclass(frozen=True)
class Brush:
    """A network and the style vector float32 [D] to paint with; `label` is its canonical name."""

    network: Network
    vector: Vector
    label: str


class Gallery:
    """The networks below a folder on one device."""

    def __init__(self, models: Path, device: Device, tile_pixels: int) -> None:
        """Load every model folder below `models`; a damaged one is logged and left out.

        Raises ModelFolderError if none is left, naming what was wrong with each.
        """
        self.device = device
        self.networks: list[Network] = []
        self.problems: list[str] = []
        self._styles: dict[str, tuple[Network, Style]] = {}
        for path in sorted(file.parent for file in models.glob(f"*/{CARD}")):
            try:
                self._add(path, tile_pixels)
            except (ModelFolderError, InferenceFailed) as error:
                self._tell(f"{path.name} is not served: {error}")
        if not self.networks:
            reasons = "; ".join(self.problems) or f"no */{CARD} below {models}"
            raise ModelFolderError(f"there is no network to serve: {reasons}")

    def _add(self, path: Path, tile_pixels: int) -> None:
        folder = read_folder(path)
        network = Network(folder, self.device, tile_pixels)
        network.warm_up()
        self.networks.append(network)
        for problem in folder.problems:
            self._tell(problem)
        for style in folder.styles.values():
            if style.id in self._styles:
                other = self._styles[style.id][0].name
                self._tell(f"{network.name}/{style.id}: the network {other} has this id already")
            else:
                self._styles[style.id] = (network, style)

    def _tell(self, problem: str) -> None:
        log.error("%s", problem)
        self.problems.append(problem)

    def __iter__(self) -> Iterator[tuple[Network, Style]]:
        return iter(self._styles.values())

    def __len__(self) -> int:
        return len(self._styles)

    def find(self, style_id: str) -> tuple[Network, Style]:
        """The style of this id and its network. Raises UnknownStyle, naming those there are."""
        try:
            return self._styles[style_id]
        except KeyError:
            raise UnknownStyle(
                f"there is no style {style_id[:64]!r}; there are {', '.join(sorted(self._styles))}"
            ) from None

    def brush(self, text: str) -> Brush:
        """Read `id` or a blend `id:weight,id:weight`; weights are scaled to sum to 1.

        Raises UnknownStyle, BadOption.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > MAX_BLEND:
            raise BadOption(f"style: a blend has at most {MAX_BLEND} styles, this has {len(parts)}")
        weights: dict[str, float] = {}
        for part in parts:
            style_id, separator, weight = part.partition(":")
            weights[style_id] = weights.get(style_id, 0) + (_weight(weight) if separator else 1.0)
        found = {style_id: self.find(style_id) for style_id in weights}
        networks = {network.name for network, _ in found.values()}
        if len(networks) > 1:
            raise BadOption(
                "style: only styles of one network blend; "
                f"these are of {', '.join(sorted(networks))}"
            )
        total = sum(weights.values())
        if total <= 0:
            raise BadOption("style: the weights of a blend must not all be zero")
        vector = sum(found[i][1].vector * np.float32(w / total) for i, w in weights.items())
        network = next(iter(found.values()))[0]
        label = ",".join(f"{i}:{w / total:.3g}" for i, w in weights.items())
        label = label if len(weights) > 1 else next(iter(weights))
        return Brush(network, np.asarray(vector), label)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1000:
        raise BadOption(f"style: {text[:32]!r} is not a weight; weights are numbers from 0 to 1000")
    return weight
