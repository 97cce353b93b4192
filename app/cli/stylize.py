"""`pastiche stylize`: paint photographs."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from tqdm import tqdm

from ..errors import PasticheError
from ..options import Options, parse_options
from ..pixels.animation import (
    MOVING,
    Animation,
    check_animation,
    encode_animation,
    read_animation,
)
from ..pixels.canvas import drawn_size
from ..pixels.contact_sheet import contact_sheet, thumbnail
from ..pixels.containers import Still
from ..pixels.images import (
    FORMATS,
    Pixels,
    check_format,
    decode,
    default_answer,
    encode,
    read_header,
    read_pixels,
)
from ..settings import Settings
from .files import STANDARD, check_standard_output, read, write
from .jobs import Job, find_sources, format_of, plan_jobs
from .loading import load, model_options, settings_of

if TYPE_CHECKING:
    from ..library import Pastiche

DEFAULT_STYLE = "starry_night"  # or the first one, if the models do not have it
THUMBNAIL = 320  # pixels; longest side of the pictures on a contact sheet

_ABOUT = {name: field.description for name, field in Options.model_fields.items()}


@dataclass(frozen=True)
class Outcome:
    """What became of one pastiche. reason: why it was skipped, or why it failed."""

    source: Path
    target: Path | None
    style: str | None
    status: Literal["painted", "skipped", "failed"]
    seconds: float = 0.0
    reason: str | None = None

    def as_json(self) -> str:
        """Return the outcome as one line of JSON."""
        paths = {"source": str(self.source), "target": self.target and str(self.target)}
        values = {"style": self.style, "status": self.status, "seconds": round(self.seconds, 3)}
        reason = {} if self.reason is None else {"reason": self.reason}
        return json.dumps({**paths, **values, **reason})


@dataclass(frozen=True)
class _Task:
    """How to paint every job of a run."""

    pastiche: "Pastiche"
    options: Options
    settings: Settings
    force: bool
    first_frame: bool


EXAMPLES = """\b
Examples:
  pastiche stylize photo.jpg -s great_wave
  pastiche stylize holiday -o painted --strength 1.5
  pastiche stylize photo.jpg --all-styles
  curl -s https://example.com/photo.jpg | pastiche stylize - > painted.jpg
"""


@click.command(epilog=EXAMPLES)
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File or folder to write to.")
@click.option("-s", "--style", help=f"{_ABOUT['style']}; by default {DEFAULT_STYLE}.")
@click.option("--all-styles", is_flag=True, help="Paint every style, and a contact sheet of all.")
@click.option("--strength", help=f"{_ABOUT['strength']}.")
@click.option("--size", help=f"{_ABOUT['size']}.")
@click.option("--preserve-colors", is_flag=True, help=f"{_ABOUT['preserve_colors']}.")
@click.option("--format", type=click.Choice(FORMATS), help="By default that of the photo.")
@click.option("--quality", help=f"{_ABOUT['quality']}.")
@click.option("--first-frame", is_flag=True, help="Paint only the first frame of an animation.")
@click.option("-f", "--force", is_flag=True, help="Replace files that are already there.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Photos to work on at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each pastiche.")
@model_options
def stylize(
    photos: tuple[str, ...],
    out: Path | None,
    all_styles: bool,
    first_frame: bool,
    force: bool,
    jobs: int,
    as_json: bool,
    models: tuple[Path, ...] | None,
    device: str | None,
    preserve_colors: bool,
    **options: str | None,
) -> int:
    """Paint photos: files, folders, patterns such as "*.jpg", or - for standard input.

    Without -o, the pastiche of photo.jpg in the style udnie is photo.udnie.jpg beside it. Files
    that are already there are skipped. The exit status is 0 if no photo failed.
    """
    settings = settings_of(models=models, device=device)
    style = options.pop("style")
    if all_styles and style is not None:
        raise click.UsageError("--style and --all-styles exclude each other")
    given = {**options, "preserve_colors": str(preserve_colors).lower(), "style": style or "any"}
    parsed = parse_options(Options, [(k, v) for k, v in given.items() if v is not None])
    find_sources(photos, out, ())  # report a missing file before loading the models
    pastiche = load(settings)
    known = list(pastiche.styles)
    default = DEFAULT_STYLE if DEFAULT_STYLE in known else known[0]
    wanted = known if all_styles else [style or default]
    for name in wanted:
        pastiche.gallery.brush(name, parsed.strength)  # report a wrong style once
    sources, others = find_sources(photos, out, known)
    plan = plan_jobs(sources, out, wanted, parsed.format, sheets=all_styles)
    single = len(plan) == 1 and len(wanted) == 1
    target = next(iter(plan[0].targets.values()))
    if target == STANDARD:
        check_standard_output()
        if as_json:
            raise click.UsageError("--json needs -o, as the pastiche goes to standard output")
    elif single and target == out and target.exists() and not force:
        raise PasticheError(f"{target} is already there; --force replaces it")
    skipped = [
        Outcome(path, None, None, "skipped", 0, f"{path.suffix} files cannot be read")
        for path in others
    ]
    task = _Task(pastiche, parsed, settings, force, first_frame)
    return _run(plan, task, skipped, jobs, as_json, quiet=single)


def _run(
    plan: Sequence[Job],
    task: _Task,
    outcomes: list[Outcome],
    jobs: int,
    as_json: bool,
    *,
    quiet: bool,
) -> int:
    """Paint every job, report, and return the exit status."""
    count = sum(len(job.targets) for job in plan)
    for outcome in outcomes:
        _report(outcome, as_json)
    # No bar for one picture, nor where nobody looks at it.
    with tqdm(total=count, unit="picture", disable=True if quiet else None) as bar:
        for found in _paint_all(plan, task, jobs):
            outcomes.extend(found)
            bar.update(len(found))
            for outcome in found:
                _report(outcome, as_json)
    counts = {s: sum(o.status == s for o in outcomes) for s in ("painted", "skipped", "failed")}
    if not quiet or counts["skipped"]:
        print(", ".join(f"{n} {status}" for status, n in counts.items() if n), file=sys.stderr)
    return 1 if counts["failed"] else 0


def _paint_all(plan: Sequence[Job], task: _Task, jobs: int) -> Iterator[list[Outcome]]:
    """Paint jobs on several threads, few at a time; yield the outcomes of each job."""
    waiting = iter(plan)
    with ThreadPoolExecutor(jobs) as threads:
        try:
            running: set[Future[list[Outcome]]] = {
                threads.submit(_paint_job, job, task) for job in islice(waiting, 2 * jobs)
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    running |= {threads.submit(_paint_job, job, task) for job in islice(waiting, 1)}
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _paint_job(job: Job, task: _Task) -> list[Outcome]:
    """Paint one photograph in its styles, and its contact sheet."""
    due = {
        style: target
        for style, target in job.targets.items()
        if task.force or target == STANDARD or not target.exists()
    }
    there = "already there; --force replaces it"
    outcomes = [
        Outcome(job.source, target, style, "skipped", 0, there)
        for style, target in job.targets.items()
        if style not in due
    ]
    if not due:
        return outcomes
    began = time.perf_counter()
    try:
        still = read_header(read(job.source), task.settings.max_pixels)
        finish = task.options.finish
        shown = None if finish.shows_photo else drawn_size(*still.size, finish.size)
        photo = read_pixels(still, shown)
        animation = _animation(still, due, task)
    except PasticheError as error:
        failed = [Outcome(job.source, t, s, "failed", 0, str(error)) for s, t in due.items()]
        return outcomes + failed
    sheet: dict[str, Pixels] = {"photograph": thumbnail(photo.rgb, THUMBNAIL)}
    for style, target in due.items():
        try:
            format = task.options.format or format_of(target) or default_answer(still.format)
            check_format(format, *still.size)
            quality = task.options.quality or task.settings.jpeg_quality
            if animation is not None and format in MOVING:
                moving = task.pastiche.paint_animation(animation, style, finish)
                painted = moving.frames[0]
                write(target, encode_animation(moving, format, quality))
            else:
                painted = task.pastiche.paint(photo, style, finish)
                write(target, encode(painted, format, quality))
        except PasticheError as error:
            outcomes.append(Outcome(job.source, target, style, "failed", 0, str(error)))
            continue
        if job.sheet is not None:
            sheet[style] = thumbnail(painted.rgb, THUMBNAIL)
        outcomes.append(Outcome(job.source, target, style, "painted", time.perf_counter() - began))
        began = time.perf_counter()
    if job.sheet is not None:
        outcomes += _write_sheet(job, sheet, task)
    return outcomes


def _animation(still: Still, targets: Mapping[str, Path], task: _Task) -> Animation | None:
    """The frames of an animation, if a target can hold them and they are wanted."""
    formats = {task.options.format or format_of(target) for target in targets.values()}
    formats = {format or default_answer(still.format) for format in formats}
    if task.first_frame or still.frames == 1 or formats.isdisjoint(MOVING):
        return None
    check_animation(still, task.settings.max_frames, task.settings.max_pixels)
    return read_animation(still)


def _write_sheet(job: Job, sheet: dict[str, Pixels], task: _Task) -> list[Outcome]:
    assert job.sheet is not None
    try:
        for style, target in job.targets.items():
            if style not in sheet and target.exists():  # painted by an earlier run
                painted = decode(read(target), task.settings.max_pixels)
                sheet[style] = thumbnail(painted.rgb, THUMBNAIL)
        order = ["photograph", *(style for style in job.targets if style in sheet)]
        picture = contact_sheet([(name, sheet[name]) for name in order])
        write(job.sheet, encode(picture, "jpeg", task.settings.jpeg_quality))
    except PasticheError as error:
        return [Outcome(job.source, job.sheet, None, "failed", 0, str(error))]
    return []


def _report(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        tqdm.write(outcome.as_json(), file=sys.stdout)
    elif outcome.reason is not None:
        what = outcome.source if outcome.status == "failed" else outcome.target or outcome.source
        tqdm.write(f"{what}: {outcome.reason}", file=sys.stderr)
