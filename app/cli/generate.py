"""`pastiche generate`: make textures."""

import re
import secrets
from pathlib import Path

import click
from tqdm import tqdm

from ..errors import BadOption
from ..options import MAX_SEED, GenerateOptions, parse_options
from ..pixels.images import FORMATS, Format, check_format, encode
from .files import STANDARD, check_standard_output, write
from .jobs import SUFFIX_OF, check_name, file_label
from .loading import load, model_options, settings_of

_ABOUT = {name: field.description for name, field in GenerateOptions.model_fields.items()}

EXAMPLES = """\b
Examples:
  pastiche generate great_wave --size 1920x1080 --seed 7 -o wave.png
  pastiche generate starry_night:0.5,udnie:0.5 --tileable --count 3
"""


@click.command(epilog=EXAMPLES)
@click.argument("style")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write to.")
@click.option("--size", default="512x512", show_default=True, metavar="WIDTHxHEIGHT")
@click.option("--seed", help=f"{_ABOUT['seed']}.")
@click.option("--tileable", is_flag=True, help=f"{_ABOUT['tileable']}.")
@click.option("--variation", help=f"{_ABOUT['variation']}.")
@click.option("--format", type=click.Choice(FORMATS), help="By default that of the file's suffix.")
@click.option("--quality", help=f"{_ABOUT['quality']}.")
@click.option(
    "-n", "--count", type=click.IntRange(1, 9999), default=1, help="Textures, of successive seeds."
)
@click.option("-f", "--force", is_flag=True, help="Replace files that are already there.")
@model_options
def generate(
    style: str,
    out: Path | None,
    size: str,
    tileable: bool,
    format: Format | None,
    count: int,
    force: bool,
    models: tuple[Path, ...] | None,
    device: str | None,
    **options: str | None,
) -> int:
    """Make a texture of any size in the manner of a painting.

    Without -o, it is written to STYLE-SEED.png. With --count, OUT is numbered by the seeds.
    """
    first = _options(style, size, tileable, options)
    seeds = _seeds(first.seed, count)
    settings = settings_of(models=models, device=device)
    first.check_pixels(settings.max_pixels)
    if out == STANDARD:
        check_standard_output()
        if count > 1:
            raise click.UsageError("standard output takes one texture, and --count asks for more")
        kind = format or "png"
    else:
        kind = format or "png" if out is None else check_name(out, format)
    check_format(kind, first.width, first.height)
    targets = {seed: _target(out, style, seed, kind, numbered=count > 1) for seed in seeds}
    there = [str(path) for path in targets.values() if path != STANDARD and path.exists()]
    if there and not force:
        raise BadOption(f"{', '.join(there)}: already there; --force replaces them")
    pastiche = load(settings)
    for seed, target in tqdm(targets.items(), unit="texture", disable=count == 1 or None):
        texture, _ = pastiche.make_texture(first.model_copy(update={"seed": seed}))
        write(target, encode(texture, kind, first.quality or settings.jpeg_quality))
        if target != STANDARD:
            tqdm.write(f"{target}: seed {seed}")
    return 0


def _options(
    style: str, size: str, tileable: bool, options: dict[str, str | None]
) -> GenerateOptions:
    sides = re.fullmatch(r"([0-9]+)[xX]([0-9]+)", size)
    if sides is None:
        raise BadOption(f"size: {size!r} is not WIDTHxHEIGHT in pixels, such as 1920x1080")
    values = {"style": style, "width": sides[1], "height": sides[2], "tileable": str(tileable)}
    given = {name: value for name, value in options.items() if value is not None}
    return parse_options(GenerateOptions, list({**values, **given}.items()))


def _seeds(first: int | None, count: int) -> list[int]:
    """Successive seeds, from a random one if none is given. Raises BadOption."""
    start = secrets.randbelow(MAX_SEED + 2 - count) if first is None else first
    if start + count - 1 > MAX_SEED:
        raise BadOption(
            f"seed: {count} textures need seeds to {start + count - 1:,}; at most {MAX_SEED:,}"
        )
    return list(range(start, start + count))


def _target(out: Path | None, style: str, seed: int, format: Format, *, numbered: bool) -> Path:
    if out is None:
        return Path(f"{file_label(style)}-{seed}{SUFFIX_OF[format]}")
    return out.with_name(f"{out.stem}-{seed}{out.suffix}") if numbered else out
