from collections.abc import Iterator
from typing import Any

import pytest

from app.http.problems import Problem
from app.http.server import create_app
from app.options import Options
from app.pixels.images import FORMATS, MEDIA_TYPES
from app.settings import Settings
from tests.tools.error_codes import CODES


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


def test_operation_ids_are_short_and_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"stylize", "list_styles", "get_style", "get_preview"} <= set(ids)
    assert all(operation["tags"] for operation in operations(document))


def test_each_option_is_in_one_place(document: dict[str, Any]) -> None:
    operation = document["paths"]["/stylize"]["post"]
    assert "parameters" not in operation
    ((media_type, content),) = operation["requestBody"]["content"].items()
    assert media_type == "multipart/form-data"
    assert set(content["schema"]["properties"]) == {"image", *Options.model_fields}
    assert content["schema"]["required"] == ["image", "style"]
    assert content["schema"]["properties"]["style"]["examples"] == ["starry_night"]


def test_no_schema_is_a_union_with_null(document: dict[str, Any]) -> None:
    for node in nodes(document):
        assert {"type": "null"} not in (node.get("anyOf") or ())
        assert node.get("default", 0) is not None


def test_the_formats_are_declared_once(document: dict[str, Any]) -> None:
    enums = [node for node in nodes(document) if node.get("enum") == list(FORMATS)]
    assert enums == [document["components"]["schemas"]["Format"]]
    assert {"$ref": "#/components/schemas/Format"}.items() <= (
        document["paths"]["/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"]
        ["schema"]["properties"]["format"].items()
    )  # fmt: skip


def test_every_error_is_a_problem_document_with_valid_examples(document: dict[str, Any]) -> None:
    codes = set()
    for operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400 or operation["operationId"] == "get_readiness":
                continue
            assert set(response["content"]) == {"application/problem+json"}
            examples = response["content"]["application/problem+json"]["examples"]
            assert examples
            for code, example in examples.items():
                found = Problem.model_validate(example["value"])
                assert (found.code, found.status) == (code, int(status))
                codes.add(code)
    assert codes == set(CODES) - {"method_not_allowed"}  # of paths that have no such operation
    assert not [name for name in document["components"]["schemas"] if "Validation" in name]


def test_pictures_are_binary(document: dict[str, Any]) -> None:
    content = document["paths"]["/stylize"]["post"]["responses"]["200"]["content"]
    assert set(content) == set(MEDIA_TYPES.values())
    preview = document["paths"]["/styles/{style_id}/preview"]["get"]["responses"]["200"]["content"]
    for media in (*content.values(), *preview.values()):
        assert media["schema"] == {"type": "string", "format": "binary"}


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    assert references <= names
