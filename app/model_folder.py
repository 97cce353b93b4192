"""Find, read and write model folders, the format in which training hands networks to the server.

network.json                the card
stylize.onnx ...            the graphs; the card has the sha256 of each
reference.safetensors       an image, a style and the pastiche of both; the card has its sha256
weights.safetensors         the network's weights, for fitting new styles; the server ignores them
styles/<id>.safetensors     one style: the tensors `style` and, optional, `bold`, both [D]; the
                            metadata has its StyleCard
previews/<id>.jpg           a sample photograph in that style; optional

A folder may also hold a generator, which makes textures from noise:

generate.onnx                    its graph; the card's `generator` has the sha256
generate.reference.safetensors   a noise map, a style and the texture made of both
textures/<id>.safetensors        one style for it: the tensor `style` [D] and a StyleCard
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from .errors import ModelFolderError
from .pixels.images import Pixels

CARD = "network.json"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.safetensors"
GENERATOR_GRAPH = "generate.onnx"
GENERATOR_REFERENCE = "generate.reference.safetensors"

STYLE_ID = r"^[a-z0-9][a-z0-9_]{0,63}$"
StyleId = Annotated[str, StringConstraints(pattern=STYLE_ID)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Vector = NDArray[np.float32]


class GraphFile(BaseModel):
    """A file in the folder, a graph or the reference, and the digest that it must have."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class GeneratorCard(BaseModel):
    """The `generator` of network.json: its graph, its noise, and how it was fitted.

    The graph maps noise float32 [N, Z, h, w], with Z = local + global + the number of waves, and
    style float32 [N, D] to a texture uint8 [N, stride (h - margin), stride (w - margin), 3].
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    graph: GraphFile
    layout: dict[str, Any] = Field(description="the generator's layout; only training reads it")
    style_dimension: int = Field(ge=1)
    stride: int = Field(ge=1, description="pixels of a cell of noise, down and across")
    margin: int = Field(ge=0, description="cells of noise that the convolutions consume")
    local: int = Field(ge=1, description="channels with a value of their own in each cell")
    global_: int = Field(
        default=0, ge=0, alias="global", description="channels with one value in all cells"
    )
    waves: list[tuple[float, float, float]] = Field(
        default=[], description="cycles per cell down and across, and phase in radians"
    )
    reference: GraphFile | None = None
    fitted: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    license: str = "Apache-2.0"

    @property
    def channels(self) -> int:
        """Z, the channels of a noise map."""
        return self.local + self.global_ + len(self.waves)

    def generates_as(self, other: "GeneratorCard") -> bool:
        """Whether both cards have the same graph and noise; their descriptions may differ."""
        return _differ_only_in(self, other, {"fitted", "quality", "license"})


class Card(BaseModel):
    """network.json: the network's shape, its graphs, and how it was fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1, 2] = 2
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    layout: dict[str, Any] = Field(description="the network's layout; only training reads it")
    style_dimension: int = Field(ge=1)
    min_side: int = Field(default=16, ge=1)
    stride: int = Field(default=4, ge=1, description="tiles start at multiples of it, pixels")
    tile_margin: int = Field(ge=0)
    tile_origin: bool = Field(
        default=False, description="whether `apply` takes the place of a tile, as `origin`"
    )
    graphs: dict[Literal["stylize", "stylize.fp16", "freeze", "apply"], GraphFile]
    reference: GraphFile | None = None
    generator: GeneratorCard | None = None
    fitted: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    license: str = "Apache-2.0"

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, values: Any) -> Any:
        # Version 1 had the shape of Johnson's network, the only layout, in two fields of its own.
        names = ("width", "residual_blocks")
        if not isinstance(values, dict) or values.get("schema_version") != 1:
            return values
        shape = {name: values[name] for name in names if name in values}
        rest = {name: value for name, value in values.items() if name not in names}
        return rest | {"layout": {"name": "johnson", **shape}}

    def paints_as(self, other: "Card") -> bool:
        """Whether both cards have the same graphs; descriptions and generators may differ."""
        ignored = {"schema_version", "generator", "fitted", "quality", "license"}
        return _differ_only_in(self, other, ignored)


class StyleCard(BaseModel):
    """The description of a style."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    title: str
    artist: str = "unknown"
    year: int | None = None
    license: str = "unknown"
    painting_size: int | None = None  # shorter side of the painting in the fit, pixels
    style_weight: float | None = None  # weight of the style loss in the fit
    quality: dict[str, float] = {}


@dataclass(frozen=True)
class Style:
    """A style of a network: its id, its vector float32 [D], its card and its preview's path.

    bold: the vector [D] of a bolder picture, if there is one; strengths above 1 move towards it.
    """

    id: str
    vector: Vector = field(repr=False)
    card: StyleCard
    preview: Path | None = None
    bold: Vector | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Reference:
    """A known result: pastiche uint8 [1, H, W, 3] of image, same shape, in style float32 [1, D]."""

    image: Pixels
    style: Vector
    pastiche: Pixels


@dataclass(frozen=True)
class GeneratorReference:
    """A known result: texture uint8 [1, H, W, 3] of noise float32 [1, Z, h, w] in style [1, D]."""

    noise: Vector
    style: Vector
    texture: Pixels


@dataclass(frozen=True)
class ModelFolder:
    """A folder's card, its styles by id, and its generator's styles (textures) by id.

    `problems` and `texture_problems` say why a style was left out, by file stem.
    """

    path: Path
    card: Card
    styles: Mapping[str, Style]
    problems: Mapping[str, str] = field(default_factory=dict)
    textures: Mapping[str, Style] = field(default_factory=dict)
    texture_problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def generator(self) -> GeneratorCard | None:
        """The card of the generator, if the folder has one."""
        return self.card.generator

    def graph(self, name: str) -> bytes:
        """Read a graph and check its digest. Raises ModelFolderError."""
        entry = self.card.graphs.get(name)  # type: ignore[call-overload]
        if entry is None:
            raise ModelFolderError(f"{self.path / CARD}: no graph {name!r}")
        return self._checked(entry)

    def reference(self) -> Reference | None:
        """Read the reference and check its digest; None if the card has none.

        Raises ModelFolderError.
        """
        if self.card.reference is None:
            return None
        content = self._checked(self.card.reference)
        try:
            found = Reference(**load(content))
        except (SafetensorError, TypeError, KeyError) as error:
            raise ModelFolderError(f"{self.path / REFERENCE}: not a reference: {error}") from error
        shape, picture, vector = found.image.shape, np.dtype(np.uint8), np.dtype(np.float32)
        fits = [
            (len(shape), shape[:1], shape[-1:], found.image.dtype) == (4, (1,), (3,), picture),
            (found.pastiche.shape, found.pastiche.dtype) == (shape, picture),
            (found.style.shape, found.style.dtype) == ((1, self.card.style_dimension), vector),
        ]
        if not all(fits):
            raise ModelFolderError(f"{self.path / REFERENCE}: the tensors do not fit the network")
        return found

    def generator_graph(self) -> bytes:
        """Read the generator's graph and check its digest. Raises ModelFolderError."""
        if self.generator is None:
            raise ModelFolderError(f"{self.path / CARD}: no generator")
        return self._checked(self.generator.graph)

    def generator_reference(self) -> GeneratorReference | None:
        """Read the generator's reference and check its digest; None if the card has none.

        Raises ModelFolderError.
        """
        card = self.generator
        if card is None or card.reference is None:
            return None
        path = self.path / card.reference.file
        content = self._checked(card.reference)
        try:
            found = GeneratorReference(**load(content))
        except (SafetensorError, TypeError, KeyError) as error:
            raise ModelFolderError(f"{path}: not a reference: {error}") from error
        cells, number = found.noise.shape[2:], np.dtype(np.float32)
        sides = tuple(card.stride * (side - card.margin) for side in cells)
        fits = [
            (found.noise.shape, found.noise.dtype) == ((1, card.channels, *cells), number),
            (found.style.shape, found.style.dtype) == ((1, card.style_dimension), number),
            (found.texture.shape, found.texture.dtype) == ((1, *sides, 3), np.dtype(np.uint8)),
        ]
        if not all(fits):
            raise ModelFolderError(f"{path}: the tensors do not fit the generator")
        return found

    def _checked(self, entry: GraphFile) -> bytes:
        path = self.path / entry.file
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ModelFolderError(f"{path}: the file does not have the sha256 that {CARD} states")
        return content


def model_folders(models: Path) -> list[Path]:
    """The folders in `models` that have a card, by name, except names that start with a dot."""
    return sorted(f.parent for f in models.glob(f"*/{CARD}") if not f.parent.name.startswith("."))


def read_folder(path: Path) -> ModelFolder:
    """Read the card, the styles and the textures; `problems` reports damaged ones.

    Raises ModelFolderError if the card is damaged or there is no intact style.
    """
    card = read_card(path)
    styles, problems = _read_styles(path / "styles", card.style_dimension)
    if not styles:
        reasons = "; ".join(problems.values())
        raise ModelFolderError(reasons or f"{path / 'styles'}: no styles found")
    if card.generator is None:
        return ModelFolder(path, card, styles, problems)
    textures, texture_problems = _read_styles(path / "textures", card.generator.style_dimension)
    return ModelFolder(path, card, styles, problems, textures, texture_problems)


def read_card(path: Path) -> Card:
    """Read the card of a model folder. Raises ModelFolderError."""
    card_path = path / CARD
    try:
        return Card.model_validate_json(_read(card_path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise ModelFolderError(f"{card_path}: {place}: {first['msg']}") from error


def _read_styles(folder: Path, dimension: int) -> tuple[dict[str, Style], dict[str, str]]:
    """The intact styles in a folder by id, and what is wrong with the others by file stem."""
    styles: dict[str, Style] = {}
    problems: dict[str, str] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            styles[file.stem] = read_style(file, dimension)
        except ModelFolderError as error:
            problems[file.stem] = str(error)
    return styles, problems


def read_style(path: Path, dimension: int) -> Style:
    """Read one style file. Raises ModelFolderError naming the file."""
    _check_id(path, path.stem)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = ["style", *({"bold"} & set(file.keys()))]
            for name in names:
                tensor = file.get_slice(name)
                dtype, shape = tensor.get_dtype(), tensor.get_shape()
                if dtype != "F32" or shape != [dimension]:  # NumPy lacks some of the types
                    raise ModelFolderError(
                        f"{path}: the vector {name!r} is {dtype} {shape}; "
                        f"the network needs F32 [{dimension}]"
                    )
            vectors = {name: file.get_tensor(name) for name in names}
        card = StyleCard.model_validate(
            {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        )
    except (OSError, SafetensorError, ValidationError, ValueError) as error:
        raise ModelFolderError(f"{path}: not a style file: {error}") from error
    if not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise ModelFolderError(f"{path}: the style has values that are not finite")
    preview = path.parent.parent / "previews" / f"{path.stem}.jpg"
    found = preview if preview.is_file() else None
    return Style(path.stem, vectors["style"], card, found, vectors.get("bold"))


def write_style(
    folder: Path, style_id: str, vector: Vector, card: StyleCard, bold: Vector | None = None
) -> Path:
    """Write styles/<id>.safetensors. Returns its path.

    vector: float32 [D]. bold: the vector of a bolder picture, if there is one. Raises
    ModelFolderError if the id is not allowed.
    """
    vectors = {"style": vector} if bold is None else {"style": vector, "bold": bold}
    return _write_vectors(folder / "styles", style_id, vectors, card)


def write_texture(folder: Path, style_id: str, vector: Vector, card: StyleCard) -> Path:
    """Write textures/<id>.safetensors, a style float32 [D] of the generator. Returns its path.

    Raises ModelFolderError if the id is not allowed.
    """
    return _write_vectors(folder / "textures", style_id, {"style": vector}, card)


def _write_vectors(
    folder: Path, style_id: str, vectors: Mapping[str, Vector], card: StyleCard
) -> Path:
    path = folder / f"{style_id}.safetensors"
    _check_id(path, style_id)
    metadata = {key: json.dumps(value) for key, value in card.model_dump().items()}
    tensors = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in vectors.items()}
    # Not safetensors' save_file, which makes the file readable by its owner only.
    write_atomically(path, save(tensors, metadata))
    return path


def write_card(folder: Path, card: Card) -> None:
    """Write network.json. Write it last: a folder without it is not a model folder."""
    text = json.dumps(card.model_dump(mode="json", by_alias=True), indent=2) + "\n"
    write_atomically(folder / CARD, text.encode())


def write_generator(folder: Path, generator: GeneratorCard) -> None:
    """Set the generator in the card of an existing model folder. Write its files first.

    Raises ModelFolderError if the folder's card is missing or damaged.
    """
    write_card(folder, read_card(folder).model_copy(update={"generator": generator}))


def write_graph(folder: Path, file: str, content: bytes) -> GraphFile:
    """Write a graph. Returns its entry for the card."""
    write_atomically(folder / file, content)
    return GraphFile(file=file, sha256=hashlib.sha256(content).hexdigest())


def write_reference(folder: Path, image: Pixels, style: Vector, pastiche: Pixels) -> GraphFile:
    """Write the reference. Returns its entry for the card.

    image, pastiche: uint8 [1, H, W, 3]. style: float32 [1, D].
    """
    tensors = {"image": image, "style": style, "pastiche": pastiche}
    content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return write_graph(folder, REFERENCE, content)


def write_generator_reference(
    folder: Path, noise: Vector, style: Vector, texture: Pixels
) -> GraphFile:
    """Write the generator's reference. Returns its entry for the card.

    noise: float32 [1, Z, h, w]. style: float32 [1, D]. texture: uint8 [1, H, W, 3].
    """
    tensors = {"noise": noise, "style": style, "texture": texture}
    content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return write_graph(folder, GENERATOR_REFERENCE, content)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that others see either the old content or all of the new.

    Creates the file's folder if needed. If the write fails, the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def pattern(side: int = 48) -> Pixels:
    """A test image uint8 [1, side, side, 3]: colour gradients with noise."""
    y, x, channel = np.indices((side, side, 3))
    gradient = (x * (channel + 1) + y * (3 - channel)) * 48 // side
    noise = (x * 7919 + y * 104729 + channel * 1299709) ** 2 >> 7 & 63
    image: Pixels = (gradient + noise)[None].astype(np.uint8)
    return image


def _differ_only_in(first: BaseModel, second: BaseModel, ignored: set[str]) -> bool:
    return first.model_dump(exclude=ignored) == second.model_dump(exclude=ignored)


def _check_id(path: Path, style_id: str) -> None:
    if not re.fullmatch(STYLE_ID, style_id):
        raise ModelFolderError(f"{path}: {style_id!r} is not a style id (allowed: {STYLE_ID})")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{path}: {error.strerror or error}") from error
