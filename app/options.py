"""The options of a pastiche: names, types, ranges, defaults and descriptions."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import BadOption
from .pixels.canvas import DEFAULT_MAX_SIDE, Finish
from .pixels.images import FORMATS, MIN_SIDE, Format

MAX_NAMED = 5  # unknown options that an error message names; it counts the rest


def _jpeg(value: object) -> object:
    return "jpeg" if value == "jpg" else value


class Options(BaseModel):
    """The options of a pastiche.

    They are form fields and query parameters of POST /stylize, arguments of the command, and
    arguments of the library.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    style: Annotated[str, Field(max_length=512)] = Field(
        description="id of a style, or a blend such as `starry_night:0.7,udnie:0.3`",
        examples=["starry_night"],
    )
    strength: float = Field(
        default=Finish.strength,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="from 0, the photograph, through 1, the default, to 2, the boldest; above 1 "
        "only for styles with a bold vector",
    )
    size: int | None = Field(
        default=Finish.size,
        ge=MIN_SIDE,
        le=16384,
        examples=[1024],
        description="longest side in pixels at which the network paints; a smaller size gives "
        f"broader strokes; by default the image's own size, at most {DEFAULT_MAX_SIDE}; the "
        "pastiche always has the image's size",
    )
    preserve_colors: bool = Field(
        default=Finish.preserve_colors, description="keep the photograph's colours"
    )
    format: Annotated[Format | None, BeforeValidator(_jpeg)] = Field(
        default=None,
        description="format of the pastiche; by default from the Accept header, else the image's",
    )
    quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        examples=[90],
        description="quality of a JPEG or WebP; by default the PASTICHE_JPEG_QUALITY setting",
    )

    @property
    def finish(self) -> Finish:
        """The options that concern the picture's pixels, apart from its style."""
        return Finish(self.strength, self.size, self.preserve_colors)


def parse_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Parse pairs of name and value.

    An empty value counts as not given, as browsers send empty form fields. Raises BadOption, which
    names every problem and what is allowed.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise BadOption(f"{name[:32]}: given more than once")
        values[name] = value
    unknown = [name for name in values if name not in Options.model_fields]
    given = {name: values[name] for name in Options.model_fields if values.get(name)}
    if not unknown:
        return check_options(**given)
    problems = [_unknown(unknown)]
    try:
        check_options(**given)
    except BadOption as error:
        problems.insert(0, str(error))
    raise BadOption("; ".join(problems))


def check_options(**values: object) -> Options:
    """Create options from values. Raises BadOption, which names every problem."""
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems = (f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details)
        raise BadOption("; ".join(problems)) from error


def _unknown(names: Sequence[str]) -> str:
    shown = ", ".join(name[:32] for name in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f"{shown}{more}: no such option; the options are {', '.join(Options.model_fields)}"


def answer_format(options: Options, accept: str, sent: Format) -> Format:
    """Return the format of the response.

    It is that of the option if given, else the one that the Accept header prefers, else the format
    of the image that was sent.
    """
    if options.format is not None:
        return options.format
    weights = dict(_accepted(accept))

    def weight(format: Format) -> float:
        for media_range in (f"image/{format}", "image/*", "*/*"):
            if media_range in weights:
                return weights[media_range]
        return 0.0

    return max((sent, *FORMATS), key=weight)  # of equal weights, max returns the first


def _accepted(accept: str) -> Iterable[tuple[str, float]]:
    """The media ranges of an Accept header with their weights; an invalid weight counts as 0."""
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
