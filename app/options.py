"""The options of POST /stylize, and which format the answer takes."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import BadOption
from .pixels.canvas import DEFAULT_MAX_SIDE
from .pixels.images import FORMATS, MIN_SIDE, Format

NAMED = 5  # unknown options that an error names; it counts the others


def _jpeg(value: object) -> object:
    return "jpeg" if value == "jpg" else value


class Options(BaseModel):
    """As they come: form fields and query parameters, text values."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    style: Annotated[str, Field(max_length=512)] = Field(
        description="a style's id, or a blend such as `starry_night:0.7,udnie:0.3`"
    )
    strength: float = Field(
        default=1.0, ge=0, le=1, allow_inf_nan=False, description="0 leaves the photograph"
    )
    size: int | None = Field(
        default=None,
        ge=MIN_SIDE,
        le=16384,
        description="longest side in pixels at which the network paints; smaller means broader "
        f"strokes; the image's own, at most {DEFAULT_MAX_SIDE}, if not given; the answer has the "
        "input's size all the same",
    )
    preserve_colors: bool = Field(default=False, description="keep the photograph's colours")
    format: Annotated[Format | None, BeforeValidator(_jpeg)] = Field(
        default=None, description="of the answer; else by Accept, else as the input"
    )
    quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="of JPEG and WebP; the server's default if not given",
    )


def parse_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Options from name and value pairs.

    An option without a value counts as not given: browsers send form fields that were left blank.
    Raises BadOption, which names what is wrong and what is allowed.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise BadOption(f"{name[:32]}: given more than once")
        values[name] = value
    unknown = [name for name in values if name not in Options.model_fields]
    given = {name: values[name] for name in Options.model_fields if values.get(name)}
    problems = [_unknown(unknown)] if unknown else []
    try:
        options = Options.model_validate(given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details] + problems
    if problems:
        raise BadOption("; ".join(problems))
    return options


def _unknown(names: Sequence[str]) -> str:
    shown = ", ".join(name[:32] for name in names[:NAMED])
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{shown}{more}: no such option; there are {', '.join(Options.model_fields)}"


def answer_format(options: Options, accept: str, sent: Format) -> Format:
    """The option, else the best of Accept, else the format that was sent."""
    if options.format is not None:
        return options.format
    weights = dict(_accepted(accept))

    def weight(format: Format) -> float:
        for media_range in (f"image/{format}", "image/*", "*/*"):
            if media_range in weights:
                return weights[media_range]
        return 0.0

    return max((sent, *FORMATS), key=weight)  # the first of equals: the format that was sent


def _accepted(accept: str) -> Iterable[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        yield media_range, quality
