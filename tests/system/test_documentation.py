"""The documentation matches the code, in both directions."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from starlette.routing import Route

from app.http.problems import Problem
from app.http.routes import open_router, router
from app.http.server import create_app
from app.metrics import Metrics
from app.model_folder import Card, GeneratorCard
from app.settings import Settings
from tests.tools.error_codes import CODES
from tests.tools.markdown import anchors
from tests.tools.reference import TABLES, StaleDocsError, modules, with_table
from tests.tools.repository import ROOT
from training.fit.recipe import PaintingRecipe, Phase, Recipe, StyleRecipe
from training.fit.texture.recipe import TexturePhase, TextureRecipe

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The cells of each table row between a heading and the next of its rank, by the row's name."""
    rank = heading.partition(" ")[0]
    part = text(page).split(f"\n{heading}\n", 1)[1]
    part = re.split(rf"\n#{{1,{len(rank)}}} ", part, maxsplit=1)[0]
    found: dict[str, list[str]] = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and (name := re.search(r"`([^`]+)`", line)):
            found[name[1]] = cells
    return found


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_up_to_date(name: str) -> None:
    file = TABLES[name][0]
    page = (ROOT / file).read_text(encoding="utf-8")
    assert with_table(page, name) == page, f"{file} is stale: run `make docs` and commit the result"


def test_a_page_without_the_markers_of_its_table_is_an_error() -> None:
    with pytest.raises(StaleDocsError, match=r"docs/settings\.md must have the lines"):
        with_table("# Settings\n", "settings")


@pytest.mark.parametrize("name", ["settings", "options", "metrics"])
def test_every_row_of_a_generated_table_has_a_meaning(name: str) -> None:
    lines = TABLES[name][1]().splitlines()[2:]
    assert lines
    assert [line for line in lines if not line.strip("| ").rpartition(" | ")[2]] == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("settings", "| `PASTICHE_DEVICE` | `auto`, `cuda`, `openvino`, `cpu` | `auto` | "),
        ("settings", "| `PASTICHE_HEADER_SECONDS` | above 0 to 86,400 | `10.0` | "),
        ("settings", "| `PASTICHE_API_KEYS` | text | none | "),
        ("options", "| `style` | text, at most 512 characters | required | "),
        ("options", "| `preserve_colors` | `true`, `false` | `false` | "),
        ("metrics", "| `pastiche_requests_total` | counter | `route`, `status`, `style` | "),
        ("metrics", "| `pastiche_queue_seconds` | histogram |  | "),
    ],
)
def test_generated_rows_show_types_ranges_and_defaults(name: str, row: str) -> None:
    assert any(line.startswith(row) for line in TABLES[name][1]().splitlines())


@pytest.mark.parametrize("package", ["app", "training"])
def test_every_module_is_listed_with_its_purpose(package: str) -> None:
    listed = dict(line.strip("| ").split(" | ", 1) for line in modules(package).splitlines()[2:])
    files = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
    names = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files}
    assert {name.strip("`") for name in listed} == names
    assert [name for name, purpose in listed.items() if not purpose] == []


def test_every_metric_is_in_the_operations_guide() -> None:
    families = re.findall(r"^# TYPE (\S+)", Metrics().text().decode(), re.MULTILINE)
    guide = text("operations.md")
    missing = [name for name in families if f"`{name}`" not in guide]
    assert missing == []


def routes() -> set[str]:
    """Every route as `GET /path`, including those outside the OpenAPI document."""
    app = create_app(Settings())
    found = {
        f"{method} {route.path}"
        for route in (*app.routes, *router.routes, *open_router.routes)
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    for path, operations in app.openapi()["paths"].items():
        found |= {f"{method.upper()} {path}" for method in operations}
    return {call for call in found if not call.startswith("HEAD ")}


@pytest.mark.parametrize("call", sorted(routes()))
def test_every_route_is_documented(call: str) -> None:
    assert f"`{call}`" in text("api.md")


def test_every_documented_route_exists() -> None:
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`\s]*)`", text("api.md")))
    assert documented <= routes()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_is_documented_with_status_and_example(code: str) -> None:
    status, _, when, example = rows("api.md", "## Errors")[code]
    assert status == str(CODES[code])
    assert when
    assert example


def test_every_documented_error_code_exists() -> None:
    assert set(rows("api.md", "## Errors")) == set(CODES)


# What precedes the table of each part of a recipe.
RECIPE_TABLES: dict[type[BaseModel], str] = {
    Recipe: "Keys of the recipe",
    Phase: "Keys of a `[[phases]]` table",
    StyleRecipe: "Keys of a `[[styles]]` table",
    TextureRecipe: "Keys of the recipe of textures",
    TexturePhase: "Keys of a `[[phases]]` table of textures",
    PaintingRecipe: "Keys of a `[[styles]]` table of textures",
}


def shown(default: object) -> str:
    """A default of a recipe as the guide shows it."""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize(
    ("model", "key"),
    [(model, key) for model in RECIPE_TABLES for key in model.model_fields],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_key_of_a_recipe_is_documented_with_its_default(
    model: type[BaseModel], key: str
) -> None:
    before = RECIPE_TABLES[model]
    table = text("training.md").split(f"\n{before}:\n\n", 1)[1].partition("\n\n")[0]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{key}` | "))
    _, default, meaning = row.strip("| ").split(" | ")
    field = model.model_fields[key]
    if isinstance(field.default, str | int | float):
        assert shown(field.default) in default
    elif isinstance(field.default, dict):
        names = list(field.default)
        assert {names[0], names[-1]} <= set(re.findall(r"relu\d_\d", default))
    elif field.is_required() and key != "name":
        assert default == "required"
    assert meaning


def test_the_recipes_in_the_guide_are_valid() -> None:
    examples = re.findall(r"```toml\n(.*?)```", text("training.md"), re.DOTALL)
    assert examples
    kinds = set()
    for example in examples:
        values = tomllib.loads(example)
        kind = TextureRecipe if "patch" in values else Recipe
        kind.model_validate({"name": "example", **values})
        kinds.add(kind)
    assert kinds == {Recipe, TextureRecipe}


def test_every_key_of_the_card_is_documented() -> None:
    documented = text("architecture.md").split("\n## The model folder\n", 1)[1]
    names = [field.alias or key for key, field in GeneratorCard.model_fields.items()]
    assert [key for key in (*Card.model_fields, *names) if f"`{key}`" not in documented] == []


def test_the_problem_document_in_the_api_guide_is_valid() -> None:
    examples = re.findall(r"```json\n(.*?)```", text("api.md"), re.DOTALL)
    problems = [json.loads(example) for example in examples if "urn:pastiche:" in example]
    assert problems
    for problem in problems:
        Problem.model_validate(problem)
        assert CODES[problem["code"]] == problem["status"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    content = prose(page)
    links = re.findall(r"\]\(<?([^)\s>]+)", content)
    links += re.findall(r'(?:src|href)="([^"]+)"', content)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: there is no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_source_file_and_test_that_a_page_names_exists(page: Path) -> None:
    named = r"`((?:app|deploy|tests|training)/[\w./-]*\w\.\w+)(?:::(\w+))?`"
    for file, test in re.findall(named, prose(page)):
        path = ROOT / file
        assert path.is_file(), f"{file}: there is no such file"
        if test:
            content = path.read_text(encoding="utf-8")
            assert f"def {test}(" in content, f"{file}: there is no test {test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_a_page_shows_names_a_module_that_exists(page: Path) -> None:
    for name in re.findall(r"python -m ((?:app|training|tests)[\w.]*\w)", page.read_text("utf-8")):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    content = page.read_text("utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", content, re.MULTILINE))
    assert named <= targets
