"""Evaluate the textures of a model folder, and print the scores as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.engine.devices.device import CPU, Device
from app.engine.generator import Generator
from app.errors import ModelFolderError
from app.model_folder import ModelFolder, read_folder
from app.pixels.images import Pixels
from training.fit.data import SUFFIXES, DataError, to_tensor
from training.fit.features import load_loss_network
from training.fit.texture.data import load_texture_painting
from training.fit.texture.recipe import TextureRecipe
from training.scoring.contact_sheet import contact_sheet
from training.scoring.textures.judge import TextureError, TextureScores, judge

SHEET_SIDE = 384  # pixels


@dataclass(frozen=True)
class TextureEvaluationRequest:
    """The arguments of `training.evaluate_texture`. See its help."""

    folder: Path
    paintings: Path
    loss_network: str
    textures: Sequence[str] | None = None
    side: int = 512
    seed: int = 0
    json: Path | None = None
    sheet: Path | None = None


def evaluate_textures(request: TextureEvaluationRequest) -> dict[str, TextureScores]:
    """Make a texture of each painting and judge it; write what the request asks for.

    Raises TrainingError, ModelFolderError.
    """
    folder = read_folder(request.folder)
    paintings = _painting_files(folder, request)
    network = load_loss_network(request.loss_network)
    generator = Generator(folder, Device("cpu", CPU, "float32"))
    scores: dict[str, TextureScores] = {}
    shown: dict[str, list[Image.Image]] = {"painting": [], "texture": []}
    for id, path in paintings.items():
        painting = load_texture_painting(path, painting_size(folder), 1)
        texture = make_texture(generator, id, request.side, request.seed)
        try:
            scores[id] = judge(to_tensor(Image.fromarray(texture)), painting, network, request.seed)
        except TextureError as error:
            raise TextureError(f"{id}: {error}") from error
        pixels = (painting[0].permute(1, 2, 0) * 255).round().byte().numpy()
        shown["painting"].append(Image.fromarray(pixels))
        shown["texture"].append(Image.fromarray(texture))
    if request.json:
        request.json.parent.mkdir(parents=True, exist_ok=True)
        content = {id: found.dump() for id, found in scores.items()}
        request.json.write_text(json.dumps(content, indent=2) + "\n")
    if request.sheet:
        request.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(shown, SHEET_SIDE).save(request.sheet, quality=88)
    return scores


def make_texture(generator: Generator, id: str, side: int, seed: int) -> Pixels:
    """Make a texture uint8 [side, side, 3] as the server does."""
    noise = generator.noise(*generator.cells(side, side), seed=seed)
    vector = generator.folder.textures[id].vector
    texture: Pixels = generator.paint(noise[None], vector[None])[0, :side, :side]
    return texture


def painting_size(folder: ModelFolder) -> int:
    """Return the longest side of the paintings in the generator's fit, pixels."""
    default: int = TextureRecipe.model_fields["painting_size"].default
    fitted = folder.generator.fitted if folder.generator is not None else {}
    size: int = fitted.get("recipe", {}).get("painting_size", default)
    return size


def table(scores: Mapping[str, TextureScores]) -> str:
    """Format the scores, one line for each texture; a `*` marks one that copies."""
    names = ["wasserstein", "floor", "ceiling", "kernel", "floor", "ceiling", "copy ratio"]
    lines = ["".join([f"{'':<20}", *(f"{name:>13}" for name in names)])]
    for style, found in scores.items():
        distances = (found.mean_wasserstein, found.kernel)
        numbers = [x for b in distances for x in (b.value, b.floor, b.ceiling)]
        cells = [f"{x:.4f}" for x in numbers]
        cells.append(f"{found.copy_ratio:.2f}" + (" *" if found.copies else ""))
        lines.append("".join([f"{style[:19]:<20}", *(f"{cell:>13}" for cell in cells)]))
    return "\n".join(lines)


def _painting_files(folder: ModelFolder, request: TextureEvaluationRequest) -> dict[str, Path]:
    """The painting of each texture. Raises ModelFolderError for an unknown texture, DataError."""
    if not folder.textures:
        raise ModelFolderError(f"{folder.path} has no textures")
    ids = list(request.textures or folder.textures)
    if missing := set(ids) - folder.textures.keys():
        raise ModelFolderError(
            f"{folder.path} has no texture {', '.join(sorted(missing))}; "
            f"it has {', '.join(sorted(folder.textures))}"
        )
    files = {p.stem: p for p in request.paintings.glob("*") if p.suffix.lower() in SUFFIXES}
    if missing := set(ids) - files.keys():
        raise DataError(
            f"no painting in {request.paintings} is named {', '.join(sorted(missing))}; "
            "name the files after the ids of the textures, or choose some with --textures"
        )
    return {id: files[id] for id in ids}
