"""The gallery: all loaded networks, and their styles by id."""

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
from ..settings import TILE_PIXELS
from .device import Device, OnnxSession, OpenSession
from .network import Network
from .watch import Fingerprint, fingerprint

log = logging.getLogger(__name__)

MAX_BLEND = 8  # styles in one blend


@dataclass(frozen=True)
class Brush:
    """A network and a style vector float32 [D] to paint with; `label` is the style's full name."""

    network: Network
    vector: Vector
    label: str


@dataclass(frozen=True)
class _Served:
    """What is served of a model folder whose files have this fingerprint."""

    fingerprint: Fingerprint
    network: Network | None = None  # None if the folder cannot be served
    styles: Mapping[str, Style] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Gallery:
    """The networks in a folder, on one device. A gallery never changes; a new one replaces it."""

    def __init__(
        self,
        models: Path,
        device: Device,
        tile_pixels: int = TILE_PIXELS,
        previous: "Gallery | None" = None,
        open_session: OpenSession = OnnxSession,
    ) -> None:
        """Load every model folder in `models`; those that cannot be loaded are logged and skipped.

        previous: the gallery to replace, on the same device. Folders that have not changed are
        taken from it, and so are networks whose graphs have not. Where a folder or a style is now
        damaged, the previous version is kept. Raises ModelFolderError if no network can be served,
        with the problem of each folder; DeviceUnavailable.
        """
        self.device = device
        self.problems: list[str] = []
        self.new_problems: list[str] = []  # those that the previous gallery did not have
        self._tile_pixels, self._open_session = tile_pixels, open_session
        self._folders: dict[Path, _Served] = {}
        self._styles: dict[str, tuple[Network, Style]] = {}
        for path in model_folders(models):
            self._add(path, previous._folders.get(path) if previous else None)
        for served in self._folders.values():
            self._register(served, previous.problems if previous else ())
        if not self.networks:
            reasons = "; ".join(self.problems) or f"no */{CARD} in {models}"
            raise ModelFolderError(f"there is no network to serve: {reasons}")

    def _add(self, path: Path, previous: _Served | None) -> None:
        now = fingerprint(path)
        if previous is not None and previous.fingerprint == now:
            self._folders[path] = previous
            self.problems += previous.problems
            return
        served = self._load(path, now, previous)
        self._folders[path] = served
        for problem in served.problems:
            self._report(problem)

    def _load(self, path: Path, now: Fingerprint, previous: _Served | None) -> _Served:
        try:
            folder = read_folder(path)
            network = self._network(folder, previous.network if previous else None)
        except (ModelFolderError, InferenceFailed, BadOutput, OutOfMemory) as error:
            if previous is None or previous.network is None:
                return _Served(now, problems=(f"{path.name} is not served: {error}",))
            problem = f"{path.name}: the previous version is still served: {error}"
            return replace(previous, fingerprint=now, problems=(problem,))
        styles = dict(folder.styles)
        if previous is not None and previous.network is network:
            styles |= {i: previous.styles[i] for i in folder.problems if i in previous.styles}
        return _Served(now, network, styles, tuple(folder.problems.values()))

    def _network(self, folder: ModelFolder, previous: Network | None) -> Network:
        if previous is not None and previous.card.paints_as(folder.card):
            for graph in folder.card.graphs:
                folder.graph(graph)  # the card has not changed, but a graph's file may be damaged
            return previous
        network = Network(folder, self.device, self._tile_pixels, self._open_session)
        network.warm_up()
        if reference := folder.reference():
            network.check(reference)
        return network

    def _register(self, served: _Served, known_problems: Collection[str]) -> None:
        for style in served.styles.values():
            assert served.network is not None
            owner, _ = self._styles.setdefault(style.id, (served.network, style))
            if owner is not served.network:
                name = f"{served.network.folder.path.name}/{style.id}"
                problem = f"{name} is not served: the network {owner.name} has a style of this id"
                if problem in known_problems:
                    self.problems.append(problem)
                else:
                    self._report(problem)

    def _report(self, problem: str) -> None:
        log.error("%s", problem)
        self.problems.append(problem)
        self.new_problems.append(problem)

    @property
    def networks(self) -> list[Network]:
        """The networks, in the order of their folders' names."""
        return [served.network for served in self._folders.values() if served.network is not None]

    def __iter__(self) -> Iterator[tuple[Network, Style]]:
        return iter(self._styles.values())

    def __len__(self) -> int:
        return len(self._styles)

    def find(self, style_id: str) -> tuple[Network, Style]:
        """Return the network and the style of an id. Raises UnknownStyle, which lists all ids."""
        try:
            return self._styles[style_id]
        except KeyError:
            raise UnknownStyle(
                f"there is no style {style_id[:64]!r}; "
                f"the styles are {', '.join(sorted(self._styles))}"
            ) from None

    def brush(self, text: str, strength: float = 1.0) -> Brush:
        """Parse a style's id, or a blend `id:weight,id:weight`; weights are scaled to sum to 1.

        strength: above 1 the vectors move towards the styles' bold ones, which 2 reaches. Raises
        UnknownStyle, BadOption.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > MAX_BLEND:
            raise BadOption(
                f"style: a blend has at most {MAX_BLEND} styles, this one has {len(parts)}"
            )
        weights: dict[str, float] = {}
        for part in parts:
            style_id, separator, weight = part.partition(":")
            weights[style_id] = weights.get(style_id, 0) + (_weight(weight) if separator else 1.0)
        found = {style_id: self.find(style_id) for style_id in weights}
        networks = {id(network): network.name for network, _ in found.values()}
        if len(networks) > 1:
            raise BadOption(
                "style: only styles of one network can be blended; "
                f"these belong to {', '.join(sorted(networks.values()))}"
            )
        total = sum(weights.values())
        if total <= 0:
            raise BadOption("style: the weights of a blend must not all be 0")
        vectors = {i: _vector(style, strength) for i, (_, style) in found.items()}
        vector = sum(vectors[i] * np.float32(w / total) for i, w in weights.items())
        network = next(iter(found.values()))[0]
        label = ",".join(f"{i}:{w / total:.3g}" for i, w in weights.items())
        label = label if len(weights) > 1 else next(iter(weights))
        return Brush(network, np.asarray(vector), label)


def _vector(style: Style, strength: float) -> Vector:
    if strength <= 1:
        return style.vector
    if style.bold is None:
        raise BadOption(f"strength: at most 1 for the style {style.id!r}, which has no bold vector")
    boldness = np.float32(strength - 1)
    return style.vector + boldness * (style.bold - style.vector)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1000:
        raise BadOption(f"style: {text[:32]!r} is not a weight; weights are numbers from 0 to 1000")
    return weight
