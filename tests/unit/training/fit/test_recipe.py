from pathlib import Path

import pytest

import training
from training.fit.recipe import Recipe, RecipeError, read_recipe

RECIPES = Path(training.__file__).parent / "recipes"
SHIPPED = sorted(path for path in RECIPES.glob("*.toml") if path.stem != "textures")
RECIPE = """
width = 8
[[phases]]
steps = 3
crop = 32
[[phases]]
steps = 2
crop = 64
batch = 7
[[styles]]
id = "wave"
painting = "wave.jpg"
title = "Die große Welle"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.stem))
def test_every_shipped_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.steps > 0


def test_a_style_can_override_the_style_weight_of_the_recipe(path: Path) -> None:
    more = '[[styles]]\nid = "night"\npainting = "night.jpg"\ntitle = "Night"\nstyle_weight = 0\n'
    path.write_text(RECIPE + more, encoding="utf-8")
    assert read_recipe(path, ["style_weight=20"]).style_weights == [20, 0]


def test_there_are_shipped_recipes() -> None:
    assert SHIPPED


def test_missing_settings_have_defaults(path: Path) -> None:
    recipe = read_recipe(path)
    assert (recipe.name, recipe.width, recipe.residual_blocks) == ("small", 8, 5)
    assert recipe.styles[0].title == "Die große Welle"
    assert recipe.phases[0].batch == 4


def test_each_step_belongs_to_a_phase(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.steps == 5
    assert [recipe.phase(step).crop for step in range(7)] == [
        [32],
        [32],
        [32],
        [64],
        [64],
        [64],
        [64],
    ]


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("width=16", "width", 16),
        (" clip_norm = 0.5 ", "clip_norm", 0.5),
        ("name=other", "name", "other"),
        ('loss_network="vgg16"', "loss_network", "vgg16"),
        ("loss_network=../weights/vgg.safetensors", "loss_network", "../weights/vgg.safetensors"),
        ("style_layers={relu1_1=2.5}", "style_layers", {"relu1_1": 2.5}),
        ("loss_network=a=b", "loss_network", "a=b"),
    ],
)
def test_the_command_overrides_the_file(
    path: Path, override: str, field: str, value: object
) -> None:
    assert getattr(read_recipe(path, [override]), field) == value


def test_phases_and_styles_can_be_overridden_as_lists_of_tables(path: Path) -> None:
    recipe = read_recipe(
        path,
        [
            "phases=[{steps=1, crop=32}, {steps=9, crop=128, batch=2}]",
            'styles=[{id="a", painting="a.png", title="A"}]',
            "seed=1",
            "seed=2",  # the last one wins
        ],
    )
    assert [(p.steps, p.crop, p.batch) for p in recipe.phases] == [(1, [32], 4), (9, [128], 2)]
    assert [style.id for style in recipe.styles] == ["a"]
    assert recipe.seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("width", "override 'width' is not of the form key=value"),
        ("colour=red", "colour: Extra inputs are not permitted"),
        ("width=3", "width: Input should be greater than or equal to 4"),
        ("width=wide", "width: Input should be a valid integer"),
        ("name=../up", "name: String should match"),
        ("phases=[]", "phases: List should have at least 1 item"),
        ("phases=[{steps=1, crop=33}]", "phases.0.crop.0: Input should be a multiple of 4"),
        ("phases=[{steps=1, crop=32, size=1}]", "phases.0.size: Extra inputs are not permitted"),
        ("learning_rate=0", "learning_rate: Input should be greater than 0"),
        ("warmup=1", "warmup: Input should be less than 1"),
        ("adversarial_weight=-1", "adversarial_weight: Input should be greater than or equal to 0"),
        ("adversarial_loss=l2", "adversarial_loss: Input should be 'cross_entropy', 'wasserstein'"),
        ("discriminator_widths=[]", "discriminator_widths: List should have at least 1 item"),
        ("discriminator_widths=[0]", "discriminator_widths.0: Input should be greater than"),
        ("discriminator_scales=5", "discriminator_scales: Input should be less than or equal to 4"),
        ("discriminator_learning_rate=0", "discriminator_learning_rate: Input should be greater"),
        ("gradient_penalty=-1", "gradient_penalty: Input should be greater than or equal to 0"),
        ("color_weight=-1", "color_weight: Input should be greater than or equal to 0"),
        ("style_weight=-1", "style_weight: Input should be greater than or equal to 0"),
        ("style_weight=nan", "style_weight: Input should be"),
        ("style_layers={relu1_1=-1}", "style_layers.relu1_1: Input should be greater"),
        ("style_layers={relu1_1=0}", "style_layers: .*at least one layer"),
        ("content_layers={}", "content_layers: .*at least one layer"),
        ('styles=[{id="a b", painting="a.png", title="A"}]', "styles.0.id: String should match"),
        ('styles=[{id="a", painting="a.png"}]', "styles.0.title: Field required"),
        (
            'styles=[{id="a", painting="a", title="A"}, {id="a", painting="b", title="B"}]',
            "styles: Value error, two styles have the same id",
        ),
    ],
)
def test_an_invalid_setting_is_named(path: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_recipe(path, [override])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["discriminator_scales=4"], "crops and painting_size must be at least 64 for this many"),
        (
            ["style_weight=0", "bold_style_weight=20"],
            "bold_style_weight needs a style_weight above",
        ),
    ],
)
def test_settings_that_only_an_adversary_forbids_are_allowed_without_one(
    path: Path, settings: list[str], words: str
) -> None:
    read_recipe(path, settings)
    with pytest.raises(RecipeError, match=words):
        read_recipe(path, ["adversarial_weight=1", *settings])


def test_all_errors_are_reported_together(path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(path, ["width=3", "colour=red"])
    head, *faults = str(caught.value).splitlines()
    assert head == f"{path} is not a valid recipe:"
    assert [fault.split(":")[0].strip() for fault in faults] == ["width", "colour"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"cannot read the recipe .*small\.toml: No such file"),
        (b"width = 1 2", r"small\.toml is not TOML: .*line 1"),
        (b"\xff\xfe\x00", r"small\.toml is not TOML"),
        (b"width = 8", r"small\.toml is not a valid recipe:\n  styles: Field required"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_named(
    path: Path, content: bytes | None, words: str
) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        read_recipe(path)


def test_a_dumped_recipe_can_be_validated_again(path: Path) -> None:
    recipe = read_recipe(path)
    assert Recipe.model_validate(recipe.model_dump()) == recipe
