"""The gallery: all loaded networks and generators, and their styles by id."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np

from ..errors import (
    BadOption,
    BadOutput,
    InferenceFailed,
    ModelFolderError,
    NoGenerator,
    OutOfMemory,
    UnknownStyle,
)
from ..model_folder import (
    CARD,
    Card,
    GeneratorCard,
    ModelFolder,
    Style,
    Vector,
    model_folders,
    read_folder,
)
from ..settings import TILE_PIXELS
from .devices.choice import open_session
from .devices.device import Device, OpenSession
from .generator import Generator
from .network import Network
from .watch import Fingerprint, fingerprint

log = logging.getLogger(__name__)

MAX_BLEND = 8  # styles in one blend


Capability = Literal["stylize", "generate"]
Model = TypeVar("Model", Network, Generator)

_FAILURES = (ModelFolderError, InferenceFailed, BadOutput, OutOfMemory)


@dataclass(frozen=True)
class Brush(Generic[Model]):
    """A network or a generator, and a style vector float32 [D] to paint with.

    `label` is the style's full name.
    """

    network: Model
    vector: Vector
    label: str


@dataclass(frozen=True)
class Entry:
    """A style by id, as the gallery lists it, and what it can be used for."""

    style: Style
    network: str  # the name of its model folder's network
    capabilities: tuple[Capability, ...]


@dataclass(frozen=True)
class Served:
    """What is served of a model folder whose files have this fingerprint.

    Folders with the same graphs share a network and a generator, those of the first of them.
    """

    fingerprint: Fingerprint
    network: Network | None = None  # None if the folder cannot be served
    styles: Mapping[str, Style] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    generator: Generator | None = None
    textures: Mapping[str, Style] = field(default_factory=dict)


class Gallery:
    """The networks and generators of several folders, on one device.

    A gallery never changes; a new one replaces it.
    """

    def __init__(
        self,
        models: Sequence[Path],
        device: Device,
        tile_pixels: int = TILE_PIXELS,
        previous: "Gallery | None" = None,
        open_session: OpenSession = open_session,
    ) -> None:
        """Load every model folder in `models`; those that cannot be loaded are logged and skipped.

        previous: the gallery to replace, on the same device. Folders that have not changed are
        taken from it, and so are networks and generators whose graphs have not. Where a folder, a
        generator or a style is now damaged, the previous version is kept. Raises ModelFolderError
        if no network can be served, with the problem of each folder, or if two folders have
        different styles of the same id; DeviceUnavailable.
        """
        self.device = device
        self.problems: list[str] = []
        self.new_problems: list[str] = []  # those that the previous gallery did not have
        self._tile_pixels, self._open_session = tile_pixels, open_session
        self._folders: dict[Path, Served] = {}
        for folder in dict.fromkeys(models):
            found = model_folders(folder)
            for path in found:
                self._add(path, previous._folders.get(path) if previous else None)
            if not found:
                problem = f"no */{CARD} in {folder}"
                if (folder / CARD).exists():
                    problem += ", which is a model folder: name the folder that it is in"
                self._report(problem, previous.problems if previous else ())
        if not self.networks:
            raise ModelFolderError(f"there is no network to serve: {'; '.join(self.problems)}")
        served = self._folders.items()
        self._styles = _by_id((path, s.network, s.styles) for path, s in served)
        self._textures = _by_id((path, s.generator, s.textures) for path, s in served)

    def _add(self, path: Path, previous: Served | None) -> None:
        now = fingerprint(path)
        if (
            previous is not None
            and previous.fingerprint == now
            and self._is_current(path, previous)
        ):
            self._folders[path] = previous
            self.problems += previous.problems
            return
        served = self._load(path, now, previous)
        self._folders[path] = served
        for problem in served.problems:
            self._report(problem)

    def _is_current(self, path: Path, previous: Served) -> bool:
        """Whether a folder's network and generator are still those that it would share or load."""
        network, generator = previous.network, previous.generator
        return (
            network is None or self._loaded_network(path, network.card, network) is network
        ) and (
            generator is None
            or self._loaded_generator(path, generator.card, generator) is generator
        )

    def _load(self, path: Path, now: Fingerprint, previous: Served | None) -> Served:
        try:
            folder = read_folder(path)
            network = self._network(folder, previous.network if previous else None)
        except _FAILURES as error:
            if previous is None or previous.network is None:
                return Served(now, problems=(f"{path.name} is not served: {error}",))
            problem = f"{path.name}: the previous version is still served: {error}"
            return replace(previous, fingerprint=now, problems=(problem,))
        styles = dict(folder.styles)
        if previous is not None and previous.network is network:
            styles |= {i: previous.styles[i] for i in folder.problems if i in previous.styles}
        served = Served(now, network, styles, tuple(folder.problems.values()))
        return self._with_generator(served, folder, previous)

    def _with_generator(
        self, served: Served, folder: ModelFolder, previous: Served | None
    ) -> Served:
        if folder.generator is None:
            return served
        old = previous.generator if previous else None
        try:
            generator = self._generator(folder, old)
        except _FAILURES as error:
            if old is None or previous is None:
                problem = f"{folder.path.name}: the generator is not served: {error}"
                return replace(served, problems=(*served.problems, problem))
            problem = f"{folder.path.name}: the previous generator is still served: {error}"
            return replace(
                served,
                problems=(*served.problems, problem),
                generator=old,
                textures=previous.textures,
            )
        textures = dict(folder.textures)
        if previous is not None and old is generator:
            damaged = folder.texture_problems.keys() & previous.textures.keys()
            textures |= {style_id: previous.textures[style_id] for style_id in damaged}
        problems = (*served.problems, *folder.texture_problems.values())
        return replace(served, problems=problems, generator=generator, textures=textures)

    def _generator(self, folder: ModelFolder, previous: Generator | None) -> Generator:
        assert folder.generator is not None
        if not folder.textures:
            reasons = "; ".join(folder.texture_problems.values())
            raise ModelFolderError(reasons or f"{folder.path / 'textures'}: no styles found")
        if loaded := self._loaded_generator(folder.path, folder.generator, previous):
            folder.generator_graph()  # the card has not changed, but the file may be damaged
            return loaded
        generator = Generator(folder, self.device, self._tile_pixels, self._open_session)
        generator.warm_up()
        if reference := folder.generator_reference():
            generator.check(reference)
        return generator

    def _network(self, folder: ModelFolder, previous: Network | None) -> Network:
        if loaded := self._loaded_network(folder.path, folder.card, previous):
            for graph in folder.card.graphs:
                folder.graph(graph)  # the card has not changed, but a graph's file may be damaged
            return loaded
        network = Network(folder, self.device, self._tile_pixels, self._open_session)
        network.warm_up()
        if reference := folder.reference():
            network.check(reference)
        return network

    def _loaded_network(self, path: Path, card: Card, previous: Network | None) -> Network | None:
        """The network with a card's graphs: an earlier folder's, or the folder's previous one."""
        candidates = _candidates(path, self.networks, previous)
        return next((network for network in candidates if network.card.paints_as(card)), None)

    def _loaded_generator(
        self, path: Path, card: GeneratorCard, previous: Generator | None
    ) -> Generator | None:
        """The generator with a card's graph: an earlier folder's, or the folder's previous one."""
        candidates = _candidates(path, self.generators, previous)
        return next((known for known in candidates if known.card.generates_as(card)), None)

    def _report(self, problem: str, known: Sequence[str] = ()) -> None:
        self.problems.append(problem)
        if problem not in known:
            log.error("%s", problem)
            self.new_problems.append(problem)

    @property
    def folders(self) -> Mapping[Path, Served]:
        """What is served of every model folder, in order."""
        return self._folders

    @property
    def networks(self) -> list[Network]:
        """The networks, in the order of their folders."""
        found = (served.network for served in self._folders.values())
        return list(dict.fromkeys(network for network in found if network is not None))

    @property
    def generators(self) -> list[Generator]:
        """The generators, in the order of their folders."""
        found = (served.generator for served in self._folders.values())
        return list(dict.fromkeys(generator for generator in found if generator is not None))

    @property
    def textures(self) -> Mapping[str, Style]:
        """The styles that can generate, by id."""
        return {style_id: style for style_id, (_, style) in self._textures.items()}

    def entries(self) -> list[Entry]:
        """Return all styles, first those of the networks, with what each can be used for."""
        return [self.entry(style_id) for style_id in {**self._styles, **self._textures}]

    def entry(self, style_id: str) -> Entry:
        """Return the style of an id with what it can be used for. Raises UnknownStyle."""
        stylizing, generating = self._styles.get(style_id), self._textures.get(style_id)
        model, style = stylizing or generating or self.find(style_id)
        able: dict[Capability, object] = {"stylize": stylizing, "generate": generating}
        return Entry(style, model.folder.card.name, tuple(c for c, found in able.items() if found))

    def __iter__(self) -> Iterator[tuple[Network, Style]]:
        return iter(self._styles.values())

    def __contains__(self, style_id: object) -> bool:
        return style_id in self._styles or style_id in self._textures

    def __len__(self) -> int:
        return len(self._styles)

    def find(self, style_id: str) -> tuple[Network, Style]:
        """Return the network and the style of an id. Raises UnknownStyle, which lists all ids."""
        if style_id in self._styles:
            return self._styles[style_id]
        able = ", ".join(sorted(self._styles))
        if style_id in self._textures:
            raise UnknownStyle(f"the style {style_id!r} can only generate; the others are {able}")
        raise UnknownStyle(f"there is no style {style_id[:64]!r}; the styles are {able}")

    def find_texture(self, style_id: str) -> tuple[Generator, Style]:
        """Return the generator and the style of an id.

        Raises NoGenerator if the style can only stylize, UnknownStyle; both list the ids of the
        styles that can generate.
        """
        if style_id in self._textures:
            return self._textures[style_id]
        able = ", ".join(sorted(self._textures))
        if not able:
            raise NoGenerator("no style can generate, as no generator is loaded")
        if style_id in self._styles:
            raise NoGenerator(f"the style {style_id!r} cannot generate; those that can are {able}")
        raise UnknownStyle(
            f"there is no style {style_id[:64]!r}; those that can generate are {able}"
        )

    def brush(self, text: str, strength: float = 1.0) -> Brush[Network]:
        """Parse a style's id, or a blend `id:weight,id:weight`; weights are scaled to sum to 1.

        strength: above 1 the vectors move towards the styles' bold ones, which 2 reaches. Raises
        UnknownStyle, BadOption.
        """
        return _blend(text, self.find, lambda style: _vector(style, strength))

    def texture_brush(self, text: str) -> Brush[Generator]:
        """Parse a style's id or a blend, as `brush` does, for a generator.

        Raises UnknownStyle, NoGenerator, BadOption.
        """
        return _blend(text, self.find_texture, lambda style: style.vector)


def _candidates(path: Path, loaded: Iterable[Model], previous: Model | None) -> list[Model]:
    candidates = list(loaded)
    # A shared model reads its graphs from the first of its folders, so it must not outlive that.
    if previous is not None and previous.folder.path == path:
        candidates.append(previous)
    return candidates


def _by_id(
    served: Iterable[tuple[Path, Model | None, Mapping[str, Style]]],
) -> dict[str, tuple[Model, Style]]:
    """The styles of all folders by id, with their models.

    Raises ModelFolderError if two folders have a style of the same id, unless one is a copy.
    """
    found: dict[str, tuple[Model, Style]] = {}
    homes: dict[str, Path] = {}
    for path, model, styles in served:
        if model is None:
            continue
        for style in styles.values():
            owner, other = found.setdefault(style.id, (model, style))
            home = homes.setdefault(style.id, path)
            if owner is not model or not _is_copy(style, other):
                raise ModelFolderError(
                    f"{home} and {path} have different styles of the id {style.id!r}; "
                    "rename or remove one"
                )
    return found


def _is_copy(style: Style, other: Style) -> bool:
    if style.bold is None or other.bold is None:
        return style.bold is other.bold and np.array_equal(style.vector, other.vector)
    return np.array_equal(
        [style.vector, style.bold],
        [other.vector, other.bold],
    )


def _blend(
    text: str,
    find: Callable[[str], tuple[Model, Style]],
    vector_of: Callable[[Style], Vector],
) -> Brush[Model]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_BLEND:
        raise BadOption(f"style: a blend has at most {MAX_BLEND} styles, this one has {len(parts)}")
    weights: dict[str, float] = {}
    for part in parts:
        style_id, separator, weight = part.partition(":")
        weights[style_id] = weights.get(style_id, 0) + (_weight(weight) if separator else 1.0)
    found = {style_id: find(style_id) for style_id in weights}
    models = {id(model): model.name for model, _ in found.values()}
    if len(models) > 1:
        raise BadOption(
            "style: only styles of one network can be blended; "
            f"these belong to {', '.join(sorted(models.values()))}"
        )
    total = sum(weights.values())
    if total <= 0:
        raise BadOption("style: the weights of a blend must not all be 0")
    vectors = {i: vector_of(style) for i, (_, style) in found.items()}
    vector = sum(vectors[i] * np.float32(w / total) for i, w in weights.items())
    model = next(iter(found.values()))[0]
    label = ",".join(f"{i}:{w / total:.3g}" for i, w in weights.items())
    return Brush(model, np.asarray(vector), label if len(weights) > 1 else next(iter(weights)))


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
