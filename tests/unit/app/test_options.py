import inspect

import pytest

from app import Pastiche, generate, stylize
from app.errors import BadOption
from app.options import GenerateOptions, Options, answer_format, check_options, parse_options
from app.pixels.images import Format


def parsed(**options: str) -> Options:
    return parse_options(Options, {"style": "warm", **options}.items())


def test_only_the_style_is_required() -> None:
    assert parsed().model_dump() == {
        "style": "warm",
        "strength": 1.0,
        "size": None,
        "preserve_colors": False,
        "animation": False,
        "format": None,
        "quality": None,
    }
    with pytest.raises(BadOption, match="style: Field required"):
        parse_options(Options, [])


def test_every_option_is_parsed_from_text() -> None:
    options = parsed(
        strength="0.5", size="512", preserve_colors="true", format="webp", quality="80"
    )
    assert options == Options(
        style="warm", strength=0.5, size=512, preserve_colors=True, format="webp", quality=80
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("style", "x" * 512),
        ("strength", "0"),
        ("strength", "2"),
        ("size", "16"),
        ("size", "16384"),
        ("quality", "1"),
        ("quality", "100"),
        ("format", "jpeg"),
        ("format", "png"),
    ],
)
def test_a_value_at_its_limit_is_accepted(name: str, value: str) -> None:
    assert str(getattr(parsed(**{name: value}), name)).removesuffix(".0") == value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("style", "x" * 513, "at most 512"),
        ("strength", "-0.01", "greater than or equal to 0"),
        ("strength", "2.01", "less than or equal to 2"),
        ("strength", "nan", "finite"),
        ("strength", "inf", "finite"),
        ("strength", "-inf", "finite"),
        ("strength", "half", "number"),
        ("size", "15", "greater than or equal to 16"),
        ("size", "16385", "less than or equal to 16384"),
        ("size", "99.5", "integer"),
        ("size", "9" * 5000, "integer"),
        ("quality", "0", "greater than or equal to 1"),
        ("quality", "101", "less than or equal to 100"),
        ("preserve_colors", "maybe", "boolean"),
        ("format", "tiff", "'jpeg', 'png', 'webp', 'avif' or 'gif'"),
        ("format", "JPEG", "'jpeg', 'png', 'webp', 'avif' or 'gif'"),
    ],
)
def test_an_error_says_what_is_allowed(name: str, value: str, says: str) -> None:
    with pytest.raises(BadOption, match=rf"^{name}: .*{says}"):
        parsed(**{name: value})


def test_the_error_for_an_unknown_option_lists_the_options() -> None:
    with pytest.raises(BadOption) as caught:
        parsed(colour="red")
    message = str(caught.value)
    assert message.startswith("colour: no such option; the options are ")
    assert message.endswith("style, strength, size, preserve_colors, animation, format, quality")


def test_names_from_the_client_are_shortened_in_errors() -> None:
    with pytest.raises(BadOption, match=r"^x{32}: no such option"):
        parsed(**{"x" * 999: ""})
    with pytest.raises(BadOption, match=r"^x{32}: given more than once"):
        parse_options(Options, [("x" * 999, "")] * 2)


@pytest.mark.parametrize("second", ["warm", "cold"])
def test_an_option_that_is_given_twice_is_refused(second: str) -> None:
    with pytest.raises(BadOption, match="style: given more than once"):
        parse_options(Options, [("style", "warm"), ("style", second)])


@pytest.mark.parametrize("name", ["strength", "size", "preserve_colors", "format", "quality"])
def test_an_empty_value_counts_as_not_given(name: str) -> None:
    assert parsed(**{name: ""}) == parsed()


def test_an_empty_style_is_missing() -> None:
    with pytest.raises(BadOption, match="style: Field required"):
        parse_options(Options, [("style", "")])


@pytest.mark.parametrize("pair", [("strength", "0.5"), ("strength", "")])
def test_an_empty_value_still_counts_when_an_option_is_given_twice(
    pair: tuple[str, str],
) -> None:
    with pytest.raises(BadOption, match="strength: given more than once"):
        parse_options(Options, [("style", "warm"), ("strength", ""), pair])


def test_jpg_is_another_name_for_jpeg() -> None:
    assert parsed(format="jpg").format == "jpeg"


def test_only_the_first_unknown_options_are_listed_and_the_rest_counted() -> None:
    with pytest.raises(BadOption) as caught:
        parse_options(Options, ((f"{number}{'x' * 99}", "") for number in range(13_000)))
    assert "and 12,995 more: no such option; the options are style" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["", "\ud800", "\0"])
def test_an_unknown_option_is_refused_whatever_its_name(name: str) -> None:
    with pytest.raises(BadOption, match="no such option"):
        parse_options(Options, [("style", "warm"), (name, "1")])


def test_one_error_names_every_problem() -> None:
    with pytest.raises(BadOption, match=r"style: .*; strength: .*; depth: no such option"):
        parse_options(Options, [("strength", "3"), ("depth", "3")])


def test_values_that_are_not_text_are_checked_alike() -> None:
    assert check_options(Options, style="warm", strength=0.5) == parsed(strength="0.5")
    with pytest.raises(BadOption, match=r"^strength: .*less than or equal to 2; size: .*16$"):
        check_options(Options, style="warm", strength=3, size=8)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (stylize, Options),
        (Pastiche.stylize, Options),
        (generate, GenerateOptions),
        (Pastiche.generate, GenerateOptions),
    ],
)
def test_the_library_has_the_same_options_and_defaults(
    function: object, kind: type[Options] | type[GenerateOptions]
) -> None:
    assert callable(function)
    parameters = inspect.signature(function).parameters
    options = {name: p for name, p in parameters.items() if name not in ("self", "image")}
    # The library returns an image that is not encoded, and has a function for animations.
    encoding = {"animation", "format", "quality"}
    assert options.keys() == kind.model_fields.keys() - encoding
    for name, parameter in options.items():
        field = kind.model_fields[name]
        if field.is_required():
            assert parameter.default is inspect.Parameter.empty
        else:
            assert parameter.default == field.default


@pytest.mark.parametrize(
    ("accept", "sent", "expected"),
    [
        ("", "webp", "webp"),
        ("*/*", "png", "png"),
        ("image/*", "webp", "webp"),
        ("image/png", "jpeg", "png"),
        ("IMAGE/PNG", "jpeg", "png"),
        ("image/png, image/webp", "webp", "webp"),
        ("image/webp,image/png", "jpeg", "png"),
        ("image/png;q=0.5, image/webp;q=0.9", "jpeg", "webp"),
        ("image/png; q=0.5, image/*; q=0.4", "jpeg", "png"),
        ("image/png ; Q=0.9 , */*;q=0.9", "webp", "webp"),
        ("image/jpeg;q=0, */*", "jpeg", "png"),
        ("image/*;q=0, image/webp", "jpeg", "webp"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "jpeg", "webp"),
        ("image/png;level=1;q=0.3, image/jpeg;q=0.2", "jpeg", "png"),
        # If no format is acceptable, the image's own is used.
        ("text/html", "png", "png"),
        ("image/tiff", "webp", "webp"),
        ("image/gif", "webp", "gif"),
        ("image/*;q=0", "png", "png"),
        # Malformed parts are ignored.
        ("image/png;q=high, image/webp;q=0.1", "jpeg", "webp"),
        ("image/png;q=", "jpeg", "jpeg"),
        (",;,;q=1,=,", "png", "png"),
        (";;image/png;;", "jpeg", "jpeg"),
        ("image/png;q=nan", "jpeg", "jpeg"),
    ],
)
def test_the_format_is_the_one_that_accept_prefers_else_the_images(
    accept: str, sent: Format, expected: Format
) -> None:
    assert answer_format(parsed(), accept, sent) == expected


@pytest.mark.parametrize("accept", ["", "image/webp", "image/png;q=0"])
def test_the_format_option_overrides_accept(accept: str) -> None:
    assert answer_format(parsed(format="png"), accept, "jpeg") == "png"


def test_only_the_style_of_a_texture_is_required() -> None:
    options = parse_options(GenerateOptions, [("style", "warm"), ("seed", ""), ("width", "")])
    assert (options.width, options.height, options.seed) == (512, 512, None)
    assert (options.tileable, options.variation, options.format) == (False, 0, None)


@pytest.mark.parametrize("seed", ["0", "4294967295"])
def test_seeds_have_32_bits(seed: str) -> None:
    assert parse_options(GenerateOptions, [("style", "a"), ("seed", seed)]).seed == int(seed)


def test_a_texture_may_have_as_many_pixels_as_the_server_allows() -> None:
    options = check_options(GenerateOptions, style="warm", width=100, height=90)
    options.check_pixels(9000)
    with pytest.raises(BadOption, match="100x90 are 9,000 pixels; at most 8,999 are allowed"):
        options.check_pixels(8999)
