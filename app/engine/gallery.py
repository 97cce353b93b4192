"""All networks that are served, and the styles by id."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import (
    BadOption,
    BadOutput,
    InferenceFailed,
    ModelFolderError,
    OutOfMemory,
    UnknownStyle,
)
from ..model_folder import CARD, ModelFolder, Style, Vector, model_folders, read_folder
from .device import Device
from .network import Network
from .watch import Fingerprint, fingerprint

log = logging.getLogger(__name__)

MAX_BLEND = 8  # styles in one blend


@dataclass(frozen=True)
class Brush:
    """A network and the style vector float32 [D] to paint with; `label` is its canonical name."""

    network: Network
    vector: Vector
    label: str


@dataclass(frozen=True)
class _Room:
    """What is served of a model folder since its files were as the fingerprint says."""

    fingerprint: Fingerprint
    network: Network | None = None  # None: there is nothing to serve
    styles: Mapping[str, Style] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Gallery:
    """The networks below a folder on one device. It never changes: a later one takes its place."""

    def __init__(
        self, models: Path, device: Device, tile_pixels: int, before: "Gallery | None" = None
    ) -> None:
        """Load every model folder below `models`; a damaged one is logged and left out.

        before: the gallery that this one takes the place of, on the same device. Folders that have
        not changed since, and networks whose graphs have not, are taken over from it. So is what a
        folder or a style had before it was damaged. Raises ModelFolderError if there is nothing to
        serve, naming what was wrong with each folder; DeviceUnavailable.
        """
        self.device = device
        self.problems: list[str] = []
        self.new_problems: list[str] = []  # those not told before
        self._tile_pixels = tile_pixels
        self._rooms: dict[Path, _Room] = {}
        self._styles: dict[str, tuple[Network, Style]] = {}
        for path in model_folders(models):
            self._enter(path, before._rooms.get(path) if before else None)
        for room in self._rooms.values():
            self._hang(room, before.problems if before else ())
        if not self.networks:
            reasons = "; ".join(self.problems) or f"no */{CARD} below {models}"
            raise ModelFolderError(f"there is no network to serve: {reasons}")

    def _enter(self, path: Path, before: _Room | None) -> None:
        now = fingerprint(path)
        if before is None or before.fingerprint != now:
            room = self._read(path, now, before)
            for problem in room.problems:
                self._tell(problem)
        else:
            room = before
            self.problems += room.problems
        self._rooms[path] = room

    def _read(self, path: Path, now: Fingerprint, before: _Room | None) -> _Room:
        try:
            folder = read_folder(path)
            network = self._network(folder, before.network if before else None)
        except (ModelFolderError, InferenceFailed, BadOutput, OutOfMemory) as error:
            if before is None or before.network is None:
                return _Room(now, problems=(f"{path.name} is not served: {error}",))
            problem = f"{path.name} is served as it was before: {error}"
            return replace(before, fingerprint=now, problems=(problem,))
        styles = dict(folder.styles)
        if before is not None and before.network is network:
            styles |= {i: before.styles[i] for i in folder.problems if i in before.styles}
        return _Room(now, network, styles, tuple(folder.problems.values()))

    def _network(self, folder: ModelFolder, before: Network | None) -> Network:
        if before is not None and before.card.paints_as(folder.card):
            for graph in folder.card.graphs:
                folder.graph(graph)  # the card is the same, a file need not be
            return before
        network = Network(folder, self.device, self._tile_pixels)
        network.warm_up()
        if reference := folder.reference():
            network.check(reference)
        return network

    def _hang(self, room: _Room, told: Collection[str]) -> None:
        for style in room.styles.values():
            assert room.network is not None
            other, _ = self._styles.setdefault(style.id, (room.network, style))
            if other is not room.network:
                name = f"{room.network.folder.path.name}/{style.id}"
                problem = f"{name}: the network {other.name} has this id already"
                if problem in told:
                    self.problems.append(problem)
                else:
                    self._tell(problem)

    def _tell(self, problem: str) -> None:
        log.error("%s", problem)
        self.problems.append(problem)
        self.new_problems.append(problem)

    @property
    def networks(self) -> list[Network]:
        """The networks, by the names of their folders."""
        return [room.network for room in self._rooms.values() if room.network is not None]

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
        networks = {id(network): network.name for network, _ in found.values()}
        if len(networks) > 1:
            raise BadOption(
                "style: only styles of one network blend; "
                f"these are of {', '.join(sorted(networks.values()))}"
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
