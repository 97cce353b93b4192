"""The model folder, the contract between training and serving: its one reader and writer.

network.json                the card
stylize.onnx ...            the graphs, each with its sha256 in the card
reference.safetensors       an image, a style and what the graphs made of them; sha256 in the card
weights.safetensors         the network's weights, to fit new styles on; never read for serving
styles/<id>.safetensors     one style: tensor `style` [D], the rest in its metadata
previews/<id>.jpg           the sample photograph in that style
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from .errors import ModelFolderError

CARD = "network.json"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.safetensors"

STYLE_ID = r"^[a-z0-9][a-z0-9_]{0,63}$"
StyleId = Annotated[str, StringConstraints(pattern=STYLE_ID)]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Vector = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class GraphFile(BaseModel):
    """A file of the folder and the digest that it must have: a graph, or the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Card(BaseModel):
    """network.json: what the network is, which graphs it has, how it was fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    width: int = Field(ge=1)
    residual_blocks: int = Field(ge=1)
    style_dimension: int = Field(ge=1)
    min_side: int = Field(default=16, ge=1)
    tile_margin: int = Field(ge=0)
    graphs: dict[Literal["stylize", "stylize.fp16", "freeze", "apply"], GraphFile]
    reference: GraphFile | None = None
    fitted: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    license: str = "Apache-2.0"

    def paints_as(self, other: "Card") -> bool:
        """Whether the two tell of the same graphs; what is only told of them may differ."""
        told = {"fitted", "quality", "license"}
        return self.model_dump(exclude=told) == other.model_dump(exclude=told)


class StyleCard(BaseModel):
    """What is told of a style beside its vector."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    title: str
    artist: str = "unknown"
    year: int | None = None
    license: str = "unknown"
    painting_size: int | None = None  # shorter side that it was fitted to, pixels
    style_weight: float | None = None  # that it was fitted with
    quality: dict[str, float] = {}


@dataclass(frozen=True)
class Style:
    """A style of a network: its id, its vector float32 [D], its card and its preview, if any."""

    id: str
    vector: Vector = field(repr=False)
    card: StyleCard
    preview: Path | None = None


@dataclass(frozen=True)
class Reference:
    """What was painted when the folder was written: uint8 [1, H, W, 3] in float32 [1, D]."""

    image: Pixels
    style: Vector
    pastiche: Pixels


@dataclass(frozen=True)
class ModelFolder:
    """A folder as read: the card, the styles by id, and why others were left out, by file name."""

    path: Path
    card: Card
    styles: Mapping[str, Style]
    problems: Mapping[str, str] = field(default_factory=dict)

    def graph(self, name: str) -> bytes:
        """The bytes of a graph, checked against the card. Raises ModelFolderError."""
        entry = self.card.graphs.get(name)  # type: ignore[call-overload]
        if entry is None:
            raise ModelFolderError(f"{self.path / CARD}: there is no graph {name!r}")
        return self._checked(entry)

    def reference(self) -> Reference | None:
        """What the graphs must paint, if the card has it. Raises ModelFolderError."""
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
            raise ModelFolderError(f"{self.path / REFERENCE}: its tensors do not fit the network")
        return found

    def _checked(self, entry: GraphFile) -> bytes:
        path = self.path / entry.file
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ModelFolderError(f"{path}: the file does not have the sha256 that {CARD} states")
        return content


def read_folder(path: Path) -> ModelFolder:
    """Read the card and all styles; a damaged style is left out and told in `problems`.

    Raises ModelFolderError if the card cannot be used or no style is left.
    """
    card_path = path / CARD
    try:
        card = Card.model_validate_json(_read(card_path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise ModelFolderError(f"{card_path}: {place}: {first['msg']}") from error
    styles: dict[str, Style] = {}
    problems: dict[str, str] = {}
    for file in sorted((path / "styles").glob("*.safetensors")):
        try:
            styles[file.stem] = read_style(file, card.style_dimension)
        except ModelFolderError as error:
            problems[file.stem] = str(error)
    if not styles:
        reasons = "; ".join(problems.values())
        raise ModelFolderError(reasons or f"{path / 'styles'}: there is no style")
    return ModelFolder(path, card, styles, problems)


def read_style(path: Path, dimension: int) -> Style:
    """Read one style file. Raises ModelFolderError naming the file."""
    _check_id(path, path.stem)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensor = file.get_slice("style")
            dtype, shape = tensor.get_dtype(), tensor.get_shape()
            if dtype != "F32" or shape != [dimension]:  # numpy cannot even hold some types
                raise ModelFolderError(
                    f"{path}: the style is {dtype} {shape}, the network takes F32 [{dimension}]"
                )
            vector = file.get_tensor("style")
        card = StyleCard.model_validate(
            {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        )
    except (OSError, SafetensorError, ValidationError, ValueError) as error:
        raise ModelFolderError(f"{path}: not a style file: {error}") from error
    if not np.isfinite(vector).all():
        raise ModelFolderError(f"{path}: the style holds values that are not finite")
    preview = path.parent.parent / "previews" / f"{path.stem}.jpg"
    return Style(path.stem, vector, card, preview if preview.is_file() else None)


def write_style(folder: Path, style_id: str, vector: Vector, card: StyleCard) -> Path:
    """Write styles/<id>.safetensors by renaming into place; returns its path.

    Raises ModelFolderError if the id is not one.
    """
    path = folder / "styles" / f"{style_id}.safetensors"
    _check_id(path, style_id)
    metadata = {key: json.dumps(value) for key, value in card.model_dump().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # Not by save_file, whose files only their owner can read.
    partial.write_bytes(save({"style": np.ascontiguousarray(vector, dtype=np.float32)}, metadata))
    os.replace(partial, path)
    return path


def write_card(folder: Path, card: Card) -> None:
    """Write network.json by renaming into place; last, so that a half-written folder has none."""
    partial = folder / (CARD + ".partial")
    partial.write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n")
    os.replace(partial, folder / CARD)


def write_graph(folder: Path, file: str, content: bytes) -> GraphFile:
    """Write a graph's file by renaming into place; returns its entry for the card."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (file + ".partial")
    partial.write_bytes(content)
    os.replace(partial, folder / file)
    return GraphFile(file=file, sha256=hashlib.sha256(content).hexdigest())


def write_reference(folder: Path, image: Pixels, style: Vector, pastiche: Pixels) -> GraphFile:
    """Write image and pastiche uint8 [1, H, W, 3] and style float32 [1, D]; the card's entry."""
    tensors = {"image": image, "style": style, "pastiche": pastiche}
    content = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return write_graph(folder, REFERENCE, content)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it: readers never see half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def pattern(side: int = 48) -> Pixels:
    """The image uint8 [1, side, side, 3] to paint for a test: slopes of colour under noise."""
    y, x, channel = np.indices((side, side, 3))
    slope = (x * (channel + 1) + y * (3 - channel)) * 48 // side
    noise = (x * 7919 + y * 104729 + channel * 1299709) ** 2 >> 7 & 63
    image: Pixels = (slope + noise)[None].astype(np.uint8)
    return image


def _check_id(path: Path, style_id: str) -> None:
    if not re.fullmatch(STYLE_ID, style_id):
        raise ModelFolderError(f"{path}: {style_id!r} is not a style id ({STYLE_ID})")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{path}: {error.strerror or error}") from error
