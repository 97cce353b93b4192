"""The command `pastiche`: serve, stylize, styles."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .errors import PasticheError
from .library import Stylizer
from .options import Options, parse_options
from .pixels.canvas import canvas_size
from .pixels.images import FORMATS, SUFFIXES, Format, encode, read_header, read_pixels
from .settings import Settings, read_settings

SUFFIX_OF: dict[Format, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all went well, 1 when something failed, 2 on wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except PasticheError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(arguments: argparse.Namespace) -> int:
    from .http.server import serve  # the web framework takes half a second to import

    serve(_settings(arguments, host=arguments.host, port=arguments.port))
    return 0


def _styles(arguments: argparse.Namespace) -> int:
    for style in _stylizer(_settings(arguments)).styles.values():
        year = f", {style.card.year}" if style.card.year else ""
        print(f"{style.id:24} {style.card.title} ({style.card.artist}{year})")
    return 0


def _stylize(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in Options.model_fields}
    options = parse_options((name, str(v)) for name, v in given.items() if v is not None)
    settings = _settings(arguments)
    pairs = list(_pairs(arguments.photos, arguments.out, options.format))
    stylizer = _stylizer(settings)
    stylizer.gallery.brush(options.style)  # an unknown style is told once, not for every photo
    finish = options.finish
    failed = 0
    for source, target in tqdm(pairs, unit="photo", disable=len(pairs) == 1):
        try:
            still = read_header(source.read_bytes(), settings.max_pixels)
            size = None if finish.shows_photo else canvas_size(*still.size, finish.size)
            picture = read_pixels(still, size)
            painted = stylizer.paint(picture, options.style, finish)
            format = SUFFIXES[target.suffix.lower()]
            content = encode(painted, format, options.quality or settings.jpeg_quality)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except (PasticheError, OSError) as error:
            failed += 1
            tqdm.write(f"{source}: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(pairs)} photos failed", file=sys.stderr)
    return 1 if failed else 0


def _pairs(photos: Sequence[Path], out: Path, format: Format | None) -> list[tuple[Path, Path]]:
    """Each photo with where its pastiche goes; folders keep their shape below out.

    What an earlier call has put below out is no photo. Raises PasticheError, also where a photo or
    another pastiche would be overwritten.
    """
    sources: list[tuple[Path, Path]] = []
    painted = out.resolve()
    for photo in photos:
        if photo.is_dir():
            found = sorted(p for p in photo.rglob("*") if p.suffix.lower() in SUFFIXES)
            if photo.resolve() in painted.parents:
                found = [p for p in found if painted not in p.resolve().parents]
            sources += [(p, p.relative_to(photo)) for p in found]
        elif photo.exists():
            sources.append((photo, Path(photo.name)))
        else:
            raise PasticheError(f"{photo}: no such file or folder")
    if not sources:
        raise PasticheError(f"no photos found (looked for {' '.join(SUFFIXES)})")
    single = len(photos) == 1 and photos[0].is_file() and not out.is_dir()
    if single and out.suffix:
        if out.suffix.lower() not in SUFFIXES:
            raise PasticheError(f"{out}: the name must end in one of {' '.join(SUFFIXES)}")
        if format not in (None, SUFFIXES[out.suffix.lower()]):
            raise PasticheError(f"{out}: the name is of another format than --format {format}")
        pairs = [(sources[0][0], out)]
    else:
        pairs = [(source, out / _renamed(relative, format)) for source, relative in sources]
    _check_targets(pairs)
    return pairs


def _check_targets(pairs: Sequence[tuple[Path, Path]]) -> None:
    photos = {source.resolve() for source, _ in pairs}
    sources: dict[Path, Path] = {}
    for source, target in pairs:
        if target.resolve() in photos:
            raise PasticheError(f"{target} is one of the photos; name another place with --out")
        other = sources.setdefault(target, source)
        if other != source:
            raise PasticheError(
                f"{other} and {source} would both become {target}; paint them to different places"
            )


def _renamed(relative: Path, format: Format | None) -> Path:
    if format is not None:
        return relative.with_suffix(SUFFIX_OF[format])
    return relative if relative.suffix.lower() in SUFFIXES else relative.with_suffix(".png")


def _settings(arguments: argparse.Namespace, **more: object) -> Settings:
    given = {"models": arguments.models, "device": arguments.device, **more}
    return read_settings(**{name: value for name, value in given.items() if value is not None})


def _stylizer(settings: Settings) -> Stylizer:
    logging.basicConfig(level="WARNING", format="%(message)s")
    return Stylizer(settings.models, settings.device, settings.threads, settings.tile_pixels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pastiche", description="Repaint photographs in the style of paintings."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--models", type=Path, help="folder of model folders (PASTICHE_MODELS)")
    common.add_argument(
        "--device", choices=["auto", "cuda", "openvino", "cpu"], help="(PASTICHE_DEVICE)"
    )
    serve = commands.add_parser("serve", parents=[common], help="start the HTTP server")
    serve.add_argument("--host", help="address to listen on (PASTICHE_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (PASTICHE_PORT)")
    serve.set_defaults(run=_serve)

    stylize = commands.add_parser("stylize", parents=[common], help="paint files and folders")
    stylize.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="file or folder")
    stylize.add_argument("-o", "--out", type=Path, required=True, help="file or folder")
    described = {name: field.description for name, field in Options.model_fields.items()}
    stylize.add_argument("--style", required=True, help=described["style"])
    for name in ("strength", "size", "quality"):
        stylize.add_argument(f"--{name}", help=described[name])
    stylize.add_argument(
        "--preserve-colors", action="store_true", default=None, help=described["preserve_colors"]
    )
    stylize.add_argument("--format", choices=FORMATS, help="else by the name, else as the input")
    stylize.set_defaults(run=_stylize)

    styles = commands.add_parser("styles", parents=[common], help="list the styles")
    styles.set_defaults(run=_styles)
    return parser


if __name__ == "__main__":
    sys.exit(main())
