"""Scores of a model folder's pictures beside those of other networks, as tables, JSON and a sheet.

The photographs of the peers' folder are painted with the exported graph. All pictures are scored
with the same functions, under a loss network and a face detector that no fit has seen.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from app.engine.devices.device import CPU, Device
from app.engine.network import Network
from app.model_folder import ModelFolder, Style, read_folder
from app.pixels.canvas import Finish, canvas, finished
from app.pixels.images import from_pillow, to_pillow
from training.fit.data import SUFFIXES, DataError, find_photos, read_image
from training.fit.features import load_loss_network
from training.fit.losses import TILE
from training.scoring.comparison import Comparison, Score
from training.scoring.contact_sheet import contact_sheet
from training.scoring.faces import CLEAR, FaceDetector, Survival, survival
from training.scoring.hatch import LIMIT
from training.scoring.peers import Peers, read_peers
from training.scoring.perception import CONTENT_LAYERS

OURS = "ours"
LONGEST = 512  # pixels, the longest side of paintings and of photographs with faces
SHEET_SIDE = 256  # pixels

Scores = dict[str, dict[str, Score]]  # by style, then by painter, ours first


@dataclass(frozen=True)
class ComparisonRequest:
    """What to compare. peers: folder of the peers' pictures. paintings: named by the styles' ids.

    independent, loss_network: names or files of loss networks; no fit has seen the first, and the
    styles were fitted with the second. sizes: longest sides in pixels, the names of the peers'
    folders. every: take every Nth photograph. faces: folder of further photographs with faces.
    """

    folder: Path
    peers: Path
    paintings: Path
    independent: str
    loss_network: str
    sizes: Sequence[int] = (256, 512)
    styles: Sequence[str] | None = None
    every: int = 1
    strength: float = 1.0
    faces: Path | None = None
    sheet: Path | None = None
    json: Path | None = None


class Painter:
    """Paints as the server does, on the CPU in float32."""

    def __init__(self, folder: ModelFolder, strength: float) -> None:
        """Raises ModelFolderError."""
        self.network = Network(folder, Device("cpu", CPU, "float32"))
        self.finish = Finish(strength)

    def paint(self, photo: Image.Image, style: Style) -> Image.Image:
        """Paint an RGB photograph at its own size."""
        picture = from_pillow(photo)
        pixels = canvas(picture, self.finish)
        painted = self.network.paint(pixels[None], style.vector[None])[0]
        return to_pillow(finished(picture, painted, self.finish))


def compare(
    painter: Painter,
    styles: Iterable[Style],
    paintings: Path,
    peers: Peers,
    judge: Comparison,
    every: int = 1,
) -> tuple[Scores, dict[str, list[Image.Image]]]:
    """The scores of all painters in each style, and the columns of a contact sheet.

    every: take every Nth photograph. Raises DataError, LossNetworkError.
    """
    names = list(peers.photos)[::every]
    photos = {name: judge.photograph(_photo(peers.photos[name])) for name in names}
    scores: Scores = {}
    columns = {"photograph": [photo.image for photo in photos.values()]}
    for style in tqdm(list(styles), unit="style"):
        path = _painting(paintings, style.id)
        painting = judge.painting(_large_enough(_longest(read_image(path)), path))
        pictures = {OURS: {name: painter.paint(p.image, style) for name, p in photos.items()}}
        for peer in peers.of(style.id):
            pictures[peer] = {name: peers.picture(style.id, peer, name) for name in photos}
        scores[style.id] = {
            who: judge.score(photos, painting, painted) for who, painted in pictures.items()
        }
        for who, painted in pictures.items():
            columns[f"{style.id}, {who}"] = list(painted.values())
    return scores, columns


def face_survival(
    painter: Painter, styles: Iterable[Style], photos: list[Path], detector: FaceDetector
) -> dict[str, Survival]:
    """The faces of other photographs at LONGEST pixels, in each style. Raises DataError."""
    images = [_longest(_photo(path)) for path in photos]
    known = [(image, detector.faces(image, CLEAR)) for image in images]
    known = [(image, faces) for image, faces in known if faces]
    if not known:
        raise DataError("no clear face was found in the photographs of --faces")
    return {
        style.id: sum(
            (
                survival(faces, detector.faces(painter.paint(image, style)))
                for image, faces in known
            ),
            Survival(),
        )
        for style in tqdm(list(styles), unit="style", desc="faces")
    }


def table(scores: Scores, networks: Iterable[str]) -> str:
    """The scores at one size, a painter a line. `*` marks a hatch above its limit."""
    headings = [
        f"{network} {what}"
        for network in networks
        for what in (*(layer.removeprefix("relu") for layer in CONTENT_LAYERS), "style")
    ]
    lines = ["".join(f"{h:>20}" for h in ["", *headings, "faces", "hatch"])]
    for style, rows in scores.items():
        lines.append(style)
        lines += [_line(who, _numbers(score), score.faces) for who, score in rows.items()]
        for who, score in rows.items():
            if who != OURS:
                pairs = zip(_numbers(rows[OURS]), _numbers(score), strict=True)
                lines.append(_line(f"/ {who}", [ours / theirs for ours, theirs in pairs]))
    return "\n".join(lines)


def _numbers(score: Score) -> list[float]:
    errors = score.errors.values()
    return [x for e in errors for x in (*e.content.values(), e.style)] + [score.hatch]


def _line(label: str, numbers: list[float], faces: Survival | None = None) -> str:
    *errors, hatch = ("-" if math.isnan(x) else f"{x:.3f}" for x in numbers)
    mark = " *" if faces and numbers[-1] > LIMIT else ""
    cells = [*errors, f"{faces.found}/{faces.faces}" if faces else "", hatch + mark]
    return "".join(f"{cell:>20}" for cell in [label, *cells])


def report(request: ComparisonRequest) -> str:
    """Score a model folder beside its peers, write the files asked for, and return the tables.

    Raises DataError, LossNetworkError, ModelFolderError.
    """
    folder = read_folder(request.folder)
    styles = [_style(folder, id) for id in request.styles or folder.styles]
    peers = {size: read_peers(request.peers, size) for size in request.sizes}
    painter = Painter(folder, request.strength)
    files = {"independent": request.independent, "fitted": request.loss_network}
    judge = Comparison({key: load_loss_network(file) for key, file in files.items()})
    result: dict[str, Any] = {
        "folder": request.folder.name,
        "strength": request.strength,
        "networks": {key: Path(file).name for key, file in files.items()},
        "hatch_limit": LIMIT,
        "sizes": {},
    }
    text = ""
    for size, pictures in peers.items():
        scores, columns = compare(
            painter, styles, request.paintings, pictures, judge, request.every
        )
        text += f"{size} px, {len(columns['photograph'])} photographs\n"
        text += f"{table(scores, judge.networks)}\n\n"
        result["sizes"][str(size)] = {
            style: {who: _plain(score) for who, score in rows.items()}
            for style, rows in scores.items()
        }
    if request.sheet:
        request.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(columns, SHEET_SIDE).save(request.sheet, quality=90)
    if request.faces:
        found = face_survival(painter, styles, find_photos(request.faces), judge.detector)
        text += f"faces found again, {LONGEST} px\n"
        for style_id, faces in found.items():
            text += f"{style_id:>18}{f'{faces.found}/{faces.faces}':>10}{faces.share:>7.2f}\n"
        result["faces"] = {style_id: asdict(faces) for style_id, faces in found.items()}
    if request.json:
        request.json.parent.mkdir(parents=True, exist_ok=True)
        request.json.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    return text.rstrip()


def _plain(score: Score) -> Mapping[str, Any]:
    """For JSON, which has no NaN."""
    return {**asdict(score), "hatch": None if math.isnan(score.hatch) else score.hatch}


def _style(folder: ModelFolder, id: str) -> Style:
    if id not in folder.styles:
        raise DataError(
            f"{folder.path} has no style {id}; it has {', '.join(sorted(folder.styles))}"
        )
    return folder.styles[id]


def _painting(paintings: Path, id: str) -> Path:
    for path in sorted(paintings.glob("*")):
        if path.stem == id and path.suffix.lower() in SUFFIXES:
            return path
    raise DataError(f"no painting in {paintings} is named {id}")


def _photo(path: Path) -> Image.Image:
    return _large_enough(read_image(path), path)


def _large_enough(image: Image.Image, path: Path) -> Image.Image:
    if min(image.size) < TILE:
        raise DataError(
            f"{path} has {image.width}x{image.height} pixels; each side must have at least {TILE}"
        )
    return image


def _longest(image: Image.Image) -> Image.Image:
    """Resized to LONGEST pixels on the longest side."""
    scale = LONGEST / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
