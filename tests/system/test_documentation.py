"""What the code offers is documented, and what is documented is there."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from starlette.routing import Route

from app.errors import PasticheError
from app.http.problems import Problem
from app.http.routes import open_router, router
from app.http.server import create_app
from app.model_folder import Card
from app.options import Options
from app.settings import BUNDLED_MODELS, PREFIX, Settings
from training.fit.recipe import Phase, Recipe, StyleRecipe

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in (*DOCS.glob("*.md"), *ROOT.glob("*.md")))


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def rows(page: str, heading: str = "") -> dict[str, list[str]]:
    """The rows of a page's tables, from a heading to the next of its rank, by what `names` them."""
    part = text(page)
    if heading:
        rank = heading.partition(" ")[0]
        part = part.split(f"\n{heading}\n", 1)[1]
        part = re.split(rf"\n#{{1,{len(rank)}}} ", part, maxsplit=1)[0]
    found: dict[str, list[str]] = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and (name := re.search(r"`([^`]+)`", line)):
            found[name[1]] = cells
    return found


def shown(default: object) -> str:
    """A default as the documentation writes it."""
    if default == BUNDLED_MODELS:
        return "`models`"
    if not str(default):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def keys(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


@pytest.mark.parametrize("name", keys(Settings))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    _, default, meaning = rows("settings.md")[f"{PREFIX}{name.upper()}"]
    assert shown(Settings.model_fields[name].default) in default
    assert meaning


def test_no_setting_is_documented_that_there_is_not() -> None:
    assert set(rows("settings.md")) == {f"{PREFIX}{name.upper()}" for name in keys(Settings)}


def routes() -> set[str]:
    """All of them as `GET /path`, those of the framework and of no schema too."""
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


def test_no_route_is_documented_that_there_is_not() -> None:
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`\s]*)`", text("api.md")))
    assert documented <= routes()


def errors(base: type[PasticheError] = PasticheError) -> Iterator[type[PasticheError]]:
    yield base
    for derived in base.__subclasses__():
        yield from errors(derived)


CODES = {error.code: error.status for error in errors()}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_is_documented_with_status_and_example(code: str) -> None:
    status, _, when, example = rows("api.md", "## Errors")[code]
    assert status == str(CODES[code])
    assert when
    assert example


def test_no_error_code_is_documented_that_there_is_not() -> None:
    assert set(rows("api.md", "## Errors")) == set(CODES)


@pytest.mark.parametrize("name", keys(Options))
def test_every_option_is_documented_with_its_default(name: str) -> None:
    _, _, default, meaning = rows("api.md", "### Options")[name]
    field = Options.model_fields[name]
    if field.is_required():
        assert default == "required"
    elif field.default is not None:
        assert shown(field.default) in default
    assert meaning


def test_no_option_is_documented_that_there_is_not() -> None:
    assert set(rows("api.md", "### Options")) == set(keys(Options))


@pytest.mark.parametrize(
    ("model", "key"),
    [(model, key) for model in (Recipe, Phase, StyleRecipe) for key in keys(model)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_key_of_a_recipe_is_documented_with_its_default(
    model: type[BaseModel], key: str
) -> None:
    before = {
        Recipe: "Keys of the recipe:",
        Phase: "Keys of a `[[phases]]` table:",
        StyleRecipe: "Keys of a `[[styles]]` table:",
    }[model]
    table = text("training.md").split(f"\n{before}\n\n", 1)[1].partition("\n\n")[0]
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


def test_the_recipe_in_the_guide_is_one() -> None:
    examples = re.findall(r"```toml\n(.*?)```", text("training.md"), re.DOTALL)
    assert examples
    for example in examples:
        Recipe.model_validate({"name": "example", **tomllib.loads(example)})


def test_every_key_of_the_card_is_documented() -> None:
    documented = text("architecture.md").split("\n## The model folder\n", 1)[1]
    assert [key for key in keys(Card) if f"`{key}`" not in documented] == []


def test_the_problem_document_that_is_shown_is_one() -> None:
    examples = re.findall(r"```json\n(.*?)```", text("api.md"), re.DOTALL)
    problems = [json.loads(example) for example in examples if "urn:pastiche:" in example]
    assert problems
    for problem in problems:
        Problem.model_validate(problem)
        assert CODES[problem["code"]] == problem["status"]


def anchors(page: Path) -> set[str]:
    """Of all headings, as they are made where the pages are read."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_something(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(<?([^)\s>]+)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: there is no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: there is no such heading"


def test_every_test_that_a_page_names_is_there() -> None:
    named = re.findall(r"`(tests/test_\w+\.py)(?:::(\w+))?`", text("reliability.md"))
    assert len(named) > 20
    for file, name in named:
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name
