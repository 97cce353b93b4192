"""The options of pastiches and textures: names, types, ranges, defaults and descriptions."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import BadOption
from .pixels.animation import MOVING
from .pixels.canvas import DEFAULT_MAX_SIDE, MIN_SIDE, Finish
from .pixels.images import FORMATS, PIXELS_SETTING, Format

MAX_NAMED = 5  # unknown options that an error message names; it counts the rest
MAX_SEED = 2**32 - 1
MAX_SIDE = 16384  # pixels


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
        le=MAX_SIDE,
        examples=[1024],
        description="longest side in pixels at which the network paints; a smaller size gives "
        f"broader strokes; by default the image's own size, at most {DEFAULT_MAX_SIDE}; the "
        "pastiche always has the image's size",
    )
    preserve_colors: bool = Field(
        default=Finish.preserve_colors, description="keep the photograph's colours"
    )
    animation: bool = Field(
        default=False,
        description="paint every frame of an animated GIF, PNG or WebP, not only the first; the "
        "pastiche is an animation in one of these formats",
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
        description="quality of a JPEG, WebP or AVIF; by default the PASTICHE_JPEG_QUALITY setting",
    )

    @property
    def finish(self) -> Finish:
        """The options that concern the picture's pixels, apart from its style."""
        return Finish(self.strength, self.size, self.preserve_colors)


class GenerateOptions(BaseModel):
    """The options of a texture.

    They are form fields and query parameters of POST /generate, arguments of the command, and
    arguments of the library.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    style: Annotated[str, Field(max_length=512)] = Field(
        description="id of a style that can generate, or a blend such as "
        "`starry_night:0.7,udnie:0.3`",
        examples=["starry_night"],
    )
    width: int = Field(
        default=512, ge=MIN_SIDE, le=MAX_SIDE, description="width in pixels", examples=[1920]
    )
    height: int = Field(
        default=512, ge=MIN_SIDE, le=MAX_SIDE, description="height in pixels", examples=[1080]
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        examples=[7],
        description="the same seed gives the same texture; by default a random one",
    )
    tileable: bool = Field(
        default=False,
        description="make copies of the texture join seamlessly; then width and height must be "
        "multiples of the generator's stride, 32 for the bundled styles",
    )
    variation: float = Field(
        default=0.0,
        ge=0,
        le=100,
        examples=[0.5],
        allow_inf_nan=False,
        description="character of the whole texture: each whole number is another, and between two "
        "of them it changes gradually",
    )
    format: Annotated[Format | None, BeforeValidator(_jpeg)] = Field(
        default=None, description="format of the texture; by default from the Accept header, or PNG"
    )
    quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        examples=[90],
        description="quality of a JPEG, WebP or AVIF; by default the PASTICHE_JPEG_QUALITY setting",
    )

    def choose_seed(self) -> int:
        """Return the seed, or a random one if none is given."""
        return secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed

    def check_pixels(self, max_pixels: int) -> None:
        """Raise BadOption if the texture has more than max_pixels."""
        pixels = self.width * self.height
        if pixels > max_pixels:
            raise BadOption(
                f"width and height: {self.width}x{self.height} are {pixels:,} pixels; "
                f"at most {max_pixels:,} are allowed ({PIXELS_SETTING})"
            )


AnyOptions = TypeVar("AnyOptions", Options, GenerateOptions)


def parse_options(kind: type[AnyOptions], pairs: Iterable[tuple[str, str]]) -> AnyOptions:
    """Parse pairs of name and value to options of a kind.

    An empty value counts as not given, as browsers send empty form fields. Raises BadOption, which
    names every problem and what is allowed.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise BadOption(f"{name[:32]}: given more than once")
        values[name] = value
    unknown = [name for name in values if name not in kind.model_fields]
    given = {name: values[name] for name in kind.model_fields if values.get(name)}
    if not unknown:
        return check_options(kind, **given)
    problems = [_unknown(unknown, kind.model_fields)]
    try:
        check_options(kind, **given)
    except BadOption as error:
        problems.insert(0, str(error))
    raise BadOption("; ".join(problems))


def check_options(kind: type[AnyOptions], **values: object) -> AnyOptions:
    """Create options of a kind from values. Raises BadOption, which names every problem."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems = (f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details)
        raise BadOption("; ".join(problems)) from error


def _unknown(names: Sequence[str], known: Iterable[str]) -> str:
    shown = ", ".join(name[:32] for name in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f"{shown}{more}: no such option; the options are {', '.join(known)}"


def animation_format(options: Options, accept: str, default: Format) -> Format:
    """Return the format of a response that is an animation; see answer_format.

    Raises BadOption if the option is a format that cannot hold one.
    """
    if options.format is not None and options.format not in MOVING:
        raise BadOption(
            f"format: {options.format} cannot hold an animation; {', '.join(MOVING)} can"
        )
    return answer_format(options, accept, default, MOVING)


def answer_format(
    options: Options | GenerateOptions,
    accept: str,
    default: Format,
    formats: Sequence[Format] = FORMATS,
) -> Format:
    """Return the format of the response.

    It is that of the option if given, else the one of `formats` that the Accept header prefers,
    else `default`.
    """
    if options.format is not None:
        return options.format
    weights = dict(_accepted(accept))

    def weight(format: Format) -> float:
        for media_range in (f"image/{format}", "image/*", "*/*"):
            if media_range in weights:
                return weights[media_range]
        return 0.0

    return max((default, *formats), key=weight)  # of equal weights, max returns the first


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
