"""The command `pastiche`: its subcommands `serve`, `stylize`, `generate` and `styles`."""

import argparse
import logging
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from .errors import PasticheError
from .options import MAX_SEED, GenerateOptions, Options, parse_options
from .pixels.canvas import canvas_size
from .pixels.images import (
    FORMATS,
    SUFFIXES,
    Format,
    check_format,
    encode,
    read_header,
    read_pixels,
)
from .settings import Settings, read_settings

if TYPE_CHECKING:
    from .library import Stylizer

SUFFIX_OF: dict[Format, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 for success, 1 for an error, 2 for wrong usage.

    arguments: those of the command line by default.
    """
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        return status
    except PasticheError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(arguments: argparse.Namespace) -> int:
    from .http.server import serve  # importing the web framework takes half a second

    serve(_settings(arguments, host=arguments.host, port=arguments.port))
    return 0


def _styles(arguments: argparse.Namespace) -> int:
    for entry in _stylizer(_settings(arguments)).gallery.entries():
        card = entry.style.card
        year = f", {card.year}" if card.year else ""
        able = ", ".join(entry.capabilities)
        print(f"{entry.style.id:24} {card.title} ({card.artist}{year}): {able}")
    return 0


def _stylize(arguments: argparse.Namespace) -> int:
    values = {name: getattr(arguments, name) for name in Options.model_fields}
    options = parse_options(
        Options, ((name, str(v)) for name, v in values.items() if v is not None)
    )
    settings = _settings(arguments)
    jobs = _jobs(arguments.photos, arguments.out, options.format)
    stylizer = _stylizer(settings)
    stylizer.gallery.brush(options.style, options.strength)  # report a wrong style once
    failed = 0
    for source, target in tqdm(jobs, unit="photo", disable=len(jobs) == 1):
        try:
            content = _paint(source, SUFFIXES[target.suffix.lower()], options, stylizer, settings)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except (PasticheError, OSError) as error:
            failed += 1
            tqdm.write(f"{source}: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(jobs)} photos failed", file=sys.stderr)
    return 1 if failed else 0


def _generate(arguments: argparse.Namespace) -> int:
    _check_name(arguments.out, None)
    every = _texture_options(arguments)
    settings = _settings(arguments)
    format = SUFFIXES[arguments.out.suffix.lower()]
    for options in every:
        options.check_pixels(settings.max_pixels)
        check_format(format, options.width, options.height)
    stylizer = _stylizer(settings)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for number, options in enumerate(every, start=1):
        name = arguments.out.name if len(every) == 1 else _numbered(arguments.out, number)
        texture, seed = stylizer.make_texture(options)
        content = encode(texture, format, options.quality or settings.jpeg_quality)
        try:
            arguments.out.with_name(name).write_bytes(content)
        except OSError as error:
            raise PasticheError(f"{arguments.out.with_name(name)}: {error.strerror}") from error
        print(f"{arguments.out.with_name(name)}: seed {seed}")
    return 0


def _texture_options(arguments: argparse.Namespace) -> list[GenerateOptions]:
    """The options of each texture: consecutive seeds, from a random one if none is given.

    Raises BadOption, PasticheError.
    """
    size = re.fullmatch(r"([0-9]+)[xX]([0-9]+)", arguments.size)
    if size is None:
        raise PasticheError(
            f"size: {arguments.size!r} is not WIDTHxHEIGHT in pixels, such as 1920x1080"
        )
    count = int(arguments.count) if re.fullmatch("[0-9]{1,4}", arguments.count) else 0
    if not count:
        raise PasticheError(f"count: {arguments.count!r} is not a number from 1 to 9999")
    values = {name: getattr(arguments, name) for name in ("style", "seed", "variation", "quality")}
    values |= {"width": size[1], "height": size[2], "tileable": arguments.tileable}
    first = parse_options(
        GenerateOptions, [(name, str(value)) for name, value in values.items() if value is not None]
    )
    seed = secrets.randbelow(MAX_SEED + 2 - count) if first.seed is None else first.seed
    if seed + count - 1 > MAX_SEED:
        raise PasticheError(
            f"seed: {count} textures need seeds up to {seed + count - 1}; at most {MAX_SEED}"
        )
    return [first.model_copy(update={"seed": seed + number}) for number in range(count)]


def _numbered(out: Path, number: int) -> str:
    return f"{out.stem}-{number}{out.suffix}"


def _paint(
    source: Path, format: Format, options: Options, stylizer: "Stylizer", settings: Settings
) -> bytes:
    """Paint an image file. Returns the pastiche encoded in `format`."""
    still = read_header(source.read_bytes(), settings.max_pixels)
    check_format(format, *still.size)
    finish = options.finish
    size = None if finish.shows_photo else canvas_size(*still.size, finish.size)
    pastiche = stylizer.paint(read_pixels(still, size), options.style, finish)
    return encode(pastiche, format, options.quality or settings.jpeg_quality)


def _jobs(photos: Sequence[Path], out: Path, format: Format | None) -> list[tuple[Path, Path]]:
    """Pair each photo with the path of its pastiche.

    Folders keep their structure below `out`. Raises PasticheError if a path does not exist, if
    there is no photo, or if writing would overwrite a photo or another pastiche.
    """
    sources = [pair for photo in photos for pair in _find(photo, out)]
    if not sources:
        raise PasticheError(f"no photos found (looked for {' '.join(SUFFIXES)})")
    to_file = len(photos) == 1 and photos[0].is_file() and not out.is_dir() and out.suffix
    if to_file:
        _check_name(out, format)
        jobs = [(sources[0][0], out)]
    else:
        jobs = [(source, out / _renamed(relative, format)) for source, relative in sources]
    _check_targets(jobs)
    return jobs


def _find(photo: Path, out: Path) -> list[tuple[Path, Path]]:
    """The photos at a path, each with its path relative to the folder that was searched."""
    if not photo.is_dir():
        if not photo.exists():
            raise PasticheError(f"{photo}: no such file or folder")
        return [(photo, Path(photo.name))]
    found = sorted(path for path in photo.rglob("*") if path.suffix.lower() in SUFFIXES)
    painted = out.resolve()
    if photo.resolve() in painted.parents:  # skip the pastiches of an earlier run
        found = [path for path in found if painted not in path.resolve().parents]
    return [(path, path.relative_to(photo)) for path in found]


def _check_name(out: Path, format: Format | None) -> None:
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise PasticheError(f"{out}: the name must end in one of {' '.join(SUFFIXES)}")
    if format not in (None, SUFFIXES[suffix]):
        raise PasticheError(f"{out}: the suffix {suffix} does not match --format {format}")


def _check_targets(jobs: Sequence[tuple[Path, Path]]) -> None:
    photos = {source.resolve() for source, _ in jobs}
    sources: dict[Path, Path] = {}
    for source, target in jobs:
        if target.resolve() in photos:
            raise PasticheError(f"{target} is one of the photos; choose another --out")
        other = sources.setdefault(target, source)
        if other != source:
            raise PasticheError(
                f"{other} and {source} would both be written to {target}; "
                "paint them to different folders"
            )


def _renamed(relative: Path, format: Format | None) -> Path:
    if format is not None:
        return relative.with_suffix(SUFFIX_OF[format])
    return relative if relative.suffix.lower() in SUFFIXES else relative.with_suffix(".png")


def _settings(arguments: argparse.Namespace, **more: object) -> Settings:
    values = {"models": arguments.models, "device": arguments.device, **more}
    return read_settings(**{name: value for name, value in values.items() if value is not None})


def _stylizer(settings: Settings) -> "Stylizer":
    from .library import Stylizer  # fails with a message, see main, if ONNX Runtime is missing

    logging.basicConfig(level="WARNING", format="%(message)s")
    return Stylizer(settings.models, settings.device, settings.threads, settings.tile_pixels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pastiche",
        description="Repaint photographs in the style of paintings, and make textures in it.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--models", type=Path, help="folder of model folders (PASTICHE_MODELS)")
    common.add_argument(
        "--device",
        choices=["auto", "cuda", "openvino", "cpu"],
        help="device to run on (PASTICHE_DEVICE)",
    )
    serve = commands.add_parser("serve", parents=[common], help="start the HTTP server")
    serve.add_argument("--host", help="address to listen on (PASTICHE_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (PASTICHE_PORT)")
    serve.set_defaults(run=_serve)

    stylize = commands.add_parser("stylize", parents=[common], help="paint photos")
    stylize.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="file or folder")
    stylize.add_argument("-o", "--out", type=Path, required=True, help="file or folder to write to")
    described = {name: field.description for name, field in Options.model_fields.items()}
    stylize.add_argument("--style", required=True, help=described["style"])
    for name in ("strength", "size", "quality"):
        stylize.add_argument(f"--{name}", help=described[name])
    stylize.add_argument(
        "--preserve-colors", action="store_true", default=None, help=described["preserve_colors"]
    )
    stylize.add_argument(
        "--format",
        choices=FORMATS,
        help="output format; by default that of the output file's suffix, or of the input",
    )
    stylize.set_defaults(run=_stylize)

    generate = commands.add_parser("generate", parents=[common], help="make textures")
    described = {name: field.description for name, field in GenerateOptions.model_fields.items()}
    generate.add_argument("style", metavar="STYLE", help=described["style"])
    generate.add_argument(
        "-o", "--out", type=Path, required=True, help="file to write to; its suffix is the format"
    )
    generate.add_argument(
        "--size", default="512x512", metavar="WIDTHxHEIGHT", help="size in pixels (512x512)"
    )
    for name in ("seed", "variation", "quality"):
        generate.add_argument(f"--{name}", help=described[name])
    generate.add_argument("--tileable", action="store_true", help=described["tileable"])
    generate.add_argument(
        "--count",
        default="1",
        help="number of textures; several have consecutive seeds and are written to OUT-1, ...",
    )
    generate.set_defaults(run=_generate)

    styles = commands.add_parser("styles", parents=[common], help="list the styles")
    styles.set_defaults(run=_styles)
    return parser


if __name__ == "__main__":
    sys.exit(main())
