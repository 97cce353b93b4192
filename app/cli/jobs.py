"""Which photographs to paint in which styles, and the files to write the pastiches to."""

import glob
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import PasticheError
from ..pixels.images import FORMATS, SUFFIXES, Format, default_answer
from .files import STANDARD

SUFFIX_OF: dict[Format, str] = {format: f".{format}" for format in FORMATS} | {"jpeg": ".jpg"}
_WRITTEN = tuple(suffix for suffix, format in SUFFIXES.items() if format in FORMATS)
# Pictures that Pastiche does not read. A folder's are reported and not passed over in silence.
UNREADABLE = frozenset({".arw", ".cr2", ".cr3", ".dng", ".jp2", ".jxl", ".nef", ".psd", ".raf"})


@dataclass(frozen=True)
class Source:
    """A photograph: its path, and its path relative to the folder that was given."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Job:
    """A photograph, and the file of its pastiche in each style. sheet: of its contact sheet."""

    source: Path
    targets: dict[str, Path]
    sheet: Path | None = None


def find_sources(
    inputs: Sequence[str], out: Path | None, styles: Collection[str]
) -> tuple[list[Source], list[Path]]:
    """Return the photographs of files, folders, patterns and `-`, and pictures of other formats.

    Pastiches of earlier runs are left out: files below `out`, and files in folders whose names end
    with the id of a style, as `cat.udnie.jpg`. Raises PasticheError if an input does not exist, or
    if there is no photograph.
    """
    sources: list[Source] = []
    others: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if _is_pastiche(file, styles) or (out is not None and _is_below(file, out, path)):
                    continue
                if file.suffix.lower() in SUFFIXES:
                    sources.append(Source(file, file.relative_to(path)))
                elif file.suffix.lower() in UNREADABLE:
                    others.append(file)
        elif path == STANDARD or path.exists():
            sources.append(Source(path, Path("stdin" if path == STANDARD else path.name)))
        elif found := sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 - also absolute ones
            files = [Path(name) for name in found if Path(name).is_file()]
            readable = [f for f in files if f.suffix.lower() in SUFFIXES]
            others += [f for f in files if f.suffix.lower() in UNREADABLE]
            painted = [f for f in readable if _is_pastiche(f, styles)]
            sources += [Source(f, Path(f.name)) for f in readable if f not in painted]
        else:
            raise PasticheError(f"{text}: no such file or folder")
    if not sources:
        unread = f"; {len(others)} pictures of other formats are there" if others else ""
        raise PasticheError(f"no photos found (looked for {' '.join(SUFFIXES)}){unread}")
    if sum(source.path == STANDARD for source in sources) > 1:
        raise PasticheError("- can be given only once")
    return list({source.path: source for source in sources}.values()), others


def plan_jobs(
    sources: Sequence[Source],
    out: Path | None,
    styles: Iterable[str],
    format: Format | None,
    *,
    sheets: bool = False,
) -> list[Job]:
    """Name the file of every pastiche.

    Without `out` pastiches go beside their photographs, and that of standard input to standard
    output. With a folder they go there, under the same relative paths. With a file, the only
    pastiche goes to it. Raises PasticheError if names are not allowed, or if writing would
    overwrite a photograph or another pastiche.
    """
    ids = list(styles)
    if out is not None and out != STANDARD and out.suffix and not out.is_dir():
        check_name(out, format)
        if len(sources) > 1 or len(ids) > 1:
            raise PasticheError(f"{out} is one file; name a folder for several pastiches")
        jobs = [Job(sources[0].path, {ids[0]: out})]
    elif out == STANDARD or (out is None and sources[0].path == STANDARD):
        if len(sources) > 1 or len(ids) > 1:
            raise PasticheError("standard output takes one pastiche; name a folder with -o")
        jobs = [Job(sources[0].path, {ids[0]: STANDARD})]
    else:
        jobs = [_job(source, out, ids, format, sheets) for source in sources]
    _check_targets(jobs)
    return jobs


def check_name(out: Path, format: Format | None = None) -> Format:
    """Return the format that a file's suffix stands for. Raises PasticheError."""
    found = format_of(out)
    if found is None:
        raise PasticheError(f"{out}: the name must end in one of {' '.join(_WRITTEN)}")
    if format not in (None, found):
        raise PasticheError(f"{out}: the suffix {out.suffix} does not match --format {format}")
    return found


def format_of(path: Path) -> Format | None:
    """The format that a file is written in by its suffix, None if it has no such suffix."""
    found = SUFFIXES.get(path.suffix.lower())
    return default_answer(found) if found in FORMATS else None


def file_label(style: str) -> str:
    """Return a style or a blend as part of a file's name: `a:0.7,b:0.3` is `a-0.7+b-0.3`."""
    return re.sub(r"\s", "", style).replace(":", "-").replace(",", "+")


def _job(
    source: Source, out: Path | None, styles: Sequence[str], format: Format | None, sheet: bool
) -> Job:
    beside = source.path if out is None else out / source.relative
    own = SUFFIXES.get(beside.suffix.lower(), "png")
    if format is not None:
        suffix = SUFFIX_OF[format]
    else:
        keep = beside.suffix and own in FORMATS
        suffix = beside.suffix if keep else SUFFIX_OF[default_answer(own)]
    targets = {s: beside.with_name(f"{beside.stem}.{file_label(s)}{suffix}") for s in styles}
    return Job(
        source.path, targets, beside.with_name(f"{beside.stem}.styles.jpg") if sheet else None
    )


def _is_pastiche(file: Path, styles: Collection[str]) -> bool:
    label = Path(file.stem).suffix[1:]
    # The label of a blend holds weights, whose dots make other suffixes.
    parts = re.split(r"[+]", file.stem.partition(".")[2])
    names = {part.partition("-")[0] for part in parts}
    return label in styles or label == "styles" or (len(parts) > 1 and names <= set(styles))


def _is_below(file: Path, out: Path, folder: Path) -> bool:
    painted = out.resolve()
    return folder.resolve() in painted.parents and painted in file.resolve().parents


def _check_targets(jobs: Sequence[Job]) -> None:
    photos = {job.source.resolve() for job in jobs if job.source != STANDARD}
    sources: dict[Path, Path] = {}
    for job in jobs:
        for target in [*job.targets.values(), *([job.sheet] if job.sheet else [])]:
            if target != STANDARD and target.resolve() in photos:
                raise PasticheError(f"{target} is one of the photos; choose another --out")
            other = sources.setdefault(target, job.source)
            if other != job.source:
                raise PasticheError(
                    f"{other} and {job.source} would both be written to {target}; "
                    "paint them to different folders"
                )
