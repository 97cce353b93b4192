"""The OpenAPI document of the API."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from .. import errors
from ..errors import PasticheError
from ..pixels.images import FORMATS, MEDIA_TYPES
from .problems import MEDIA_TYPE, Problem, problem

_EXAMPLES: tuple[PasticheError, ...] = (
    errors.RequestError("the request is invalid"),
    errors.MalformedBody("the form field 'style' is too long"),
    errors.Unauthorized("send a valid API key as `Authorization: Bearer KEY` or `X-API-Key`"),
    errors.UnknownStyle("there is no style 'nope'; the styles are starry_night, udnie"),
    errors.NoGenerator("the style 'nope' cannot generate; those that can are starry_night, udnie"),
    errors.NotFound("the style 'udnie' has no preview"),
    errors.RequestTimeout("the body did not arrive within 30 s"),
    errors.BodyTooLarge("the body exceeds the limit of 33,554,432 bytes"),
    errors.ImageTooLarge(
        "the image is 8000x6000 pixels, 48,000,000 in all; "
        "at most 25,000,000 are allowed (PASTICHE_MAX_PIXELS)"
    ),
    errors.UnsupportedEncoding("send the body unencoded, without Content-Encoding 'gzip'"),
    errors.UnsupportedMediaType("send the options in the query, or as a form"),
    errors.UnsupportedImage("the image is a bmp; the allowed formats are jpeg, png, webp"),
    errors.BadOption("strength: Input should be less than or equal to 2"),
    errors.MissingImage("the form has no file field `image`"),
    errors.BrokenImage("the jpeg image is damaged"),
    errors.HeaderTooLarge("the request line and the header exceed 16,384 bytes or 100 lines"),
    errors.InferenceFailed("the network could not paint this image"),
    errors.BadOutput("the network produced an invalid image"),
    PasticheError("an internal error occurred; look for the request id in the log"),
    errors.Overloaded("the queue is full", retry_after=3),
    errors.DeadlineExceeded("inference did not start within 20 s"),
    errors.OutOfMemory("the device is out of memory"),
    errors.NotReady("the server is loading", retry_after=2),
)
_REQUEST_ID = "3f5fd15bbe754c1dbd407eb2dad80e1e"

# Schemas that FastAPI adds for responses that no route sends.
_UNUSED = ("HTTPValidationError", "ValidationError")

_HEADERS = {
    "X-Style": "the style, with normalised weights",
    "X-Device": "the device that painted the picture",
    "Server-Timing": "milliseconds of each stage",
    "ETag": "digest of the body",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error responses, each with an example for every code of its status."""
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    found = [error for error in _EXAMPLES if error.status == status]
    schema = {"$ref": "#/components/schemas/Problem"}
    examples = {
        error.code: {"summary": error.title, "value": problem(error, _REQUEST_ID).model_dump()}
        for error in found
    }
    response: dict[str, Any] = {
        "description": ", ".join(error.title for error in found),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if status == 503:
        retry = {"description": "seconds to wait", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": retry}
    return response


def picture(description: str, **headers: str) -> dict[str, Any]:
    """Describe a response that is a picture. headers: further ones, with their descriptions."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return {
        "description": description,
        "content": {MEDIA_TYPES[format]: binary for format in FORMATS},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in {**_HEADERS, **named}.items()
        },
    }


def form(options: type[BaseModel], file: str | None = None) -> dict[str, Any]:
    """Describe a request body with the options as form fields, and perhaps a file.

    A raw body takes the same options as query parameters. They are not described: OpenAPI cannot
    say which parameters go with which body, and generated clients would send each option twice.
    """
    schema = options.model_json_schema()
    properties, required = dict(schema["properties"]), list(schema.get("required", ()))
    media_type = "application/x-www-form-urlencoded"
    if file is not None:
        media_type = "multipart/form-data"
        image = {
            "type": "string",
            "format": "binary",
            "description": "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP",
        }
        properties = {file: image, **properties}
        required = [file, *required]
    body = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {media_type: {"schema": body}}}}


def install(app: FastAPI) -> None:
    """Make the application serve the document as generated clients need it."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _simplified(generate())
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _simplified(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    for name in _UNUSED:
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    for operation in _operations(document):
        responses = operation["responses"]
        if "HTTPValidationError" in str(responses.get("422")):
            del responses["422"]
    simple: dict[str, Any] = _simple(document)
    simple["components"]["schemas"]["Format"] = {"type": "string", "enum": list(FORMATS)}
    return simple


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _simple(node: Any) -> Any:
    """Replace unions with null by their other member, and the formats by a reference."""
    if isinstance(node, list):
        return [_simple(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    members = [member for member in node.get("anyOf", ()) if member != {"type": "null"}]
    if len(members) == 1:
        del node["anyOf"]
        node = {**members[0], **node}
        if node.get("default", 0) is None:
            del node["default"]
    if node.get("enum") == list(FORMATS):
        node = {k: v for k, v in node.items() if k not in ("enum", "type", "title")}
        node["$ref"] = "#/components/schemas/Format"
    return {key: _simple(value) for key, value in node.items()}
