import pytest

from app.errors import BadOption
from app.options import Options, answer_format, parse_options
from app.pixels.images import Format


def parsed(**options: str) -> Options:
    return parse_options({"style": "warm", **options}.items())


def test_only_the_style_must_be_given() -> None:
    assert parsed().model_dump() == {
        "style": "warm",
        "strength": 1.0,
        "size": None,
        "preserve_colors": False,
        "format": None,
        "quality": None,
    }
    with pytest.raises(BadOption, match="style: Field required"):
        parse_options([])


def test_every_option_is_read_from_text() -> None:
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
        ("strength", "1"),
        ("size", "16"),
        ("size", "16384"),
        ("quality", "1"),
        ("quality", "100"),
        ("format", "jpeg"),
        ("format", "png"),
    ],
)
def test_a_value_at_its_bound_is_taken(name: str, value: str) -> None:
    assert str(getattr(parsed(**{name: value}), name)).removesuffix(".0") == value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("style", "x" * 513, "at most 512"),
        ("strength", "-0.01", "greater than or equal to 0"),
        ("strength", "1.01", "less than or equal to 1"),
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
        ("format", "gif", "'jpeg', 'png' or 'webp'"),
        ("format", "JPEG", "'jpeg', 'png' or 'webp'"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_is_allowed(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(BadOption, match=rf"^{name}: .*{says}"):
        parsed(**{name: value})


def test_an_unknown_option_is_told_with_those_there_are() -> None:
    with pytest.raises(BadOption) as caught:
        parsed(colour="red")
    message = str(caught.value)
    assert message.startswith("colour: no such option; there are ")
    assert message.endswith("style, strength, size, preserve_colors, format, quality")


def test_what_a_caller_makes_up_is_told_shortened() -> None:
    with pytest.raises(BadOption, match=r"^x{32}: no such option"):
        parsed(**{"x" * 999: ""})
    with pytest.raises(BadOption, match=r"^x{32}: given more than once"):
        parse_options([("x" * 999, "")] * 2)


@pytest.mark.parametrize("second", ["warm", "cold"])
def test_an_option_given_twice_is_refused(second: str) -> None:
    with pytest.raises(BadOption, match="style: given more than once"):
        parse_options([("style", "warm"), ("style", second)])


@pytest.mark.parametrize("name", ["strength", "size", "preserve_colors", "format", "quality"])
def test_an_option_without_a_value_counts_as_not_given(name: str) -> None:
    assert parsed(**{name: ""}) == parsed()


def test_a_style_without_a_value_is_missing() -> None:
    with pytest.raises(BadOption, match="style: Field required"):
        parse_options([("style", "")])


@pytest.mark.parametrize("pair", [("strength", "0.5"), ("strength", "")])
def test_an_option_without_a_value_is_given_all_the_same_if_it_comes_twice(
    pair: tuple[str, str],
) -> None:
    with pytest.raises(BadOption, match="strength: given more than once"):
        parse_options([("style", "warm"), ("strength", ""), pair])


def test_jpg_is_jpeg() -> None:
    assert parsed(format="jpg").format == "jpeg"


def test_many_unknown_options_are_counted_not_listed() -> None:
    with pytest.raises(BadOption) as caught:
        parse_options((f"{number}{'x' * 99}", "") for number in range(13_000))
    assert "and 12,995 more: no such option; there are style" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["", "\ud800", "\0"])
def test_an_unknown_option_of_any_name_is_refused(name: str) -> None:
    with pytest.raises(BadOption, match="no such option"):
        parse_options([("style", "warm"), (name, "1")])


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadOption, match=r"style: .*; strength: .*; depth: no such option"):
        parse_options([("strength", "2"), ("depth", "3")])


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
        # Nothing that we have is acceptable: what was sent will do.
        ("text/html", "png", "png"),
        ("image/gif", "webp", "webp"),
        ("image/*;q=0", "png", "png"),
        # Malformed parts count for nothing, whole ones still do.
        ("image/png;q=high, image/webp;q=0.1", "jpeg", "webp"),
        ("image/png;q=", "jpeg", "jpeg"),
        (",;,;q=1,=,", "png", "png"),
        (";;image/png;;", "jpeg", "jpeg"),
        ("image/png;q=nan", "jpeg", "jpeg"),
    ],
)
def test_the_answers_format_is_the_best_of_accept_else_what_was_sent(
    accept: str, sent: Format, expected: Format
) -> None:
    assert answer_format(parsed(), accept, sent) == expected


@pytest.mark.parametrize("accept", ["", "image/webp", "image/png;q=0"])
def test_the_format_option_goes_before_accept(accept: str) -> None:
    assert answer_format(parsed(format="png"), accept, "jpeg") == "png"
