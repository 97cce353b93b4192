"""What the OpenAPI document says about POST /generate that FastAPI cannot derive."""

from typing import Any

from ..options import GenerateOptions
from ..pixels.images import MEDIA_TYPES
from .body import MULTIPART, URL_ENCODED

_EXAMPLES = {
    "style": "starry_night",
    "width": 1920,
    "height": 1080,
    "seed": 7,
    "tileable": False,
    "variation": 0.5,
    "format": "jpeg",
    "quality": 90,
}
_PICTURE = {"schema": {"type": "string", "format": "binary"}}


def _openapi() -> dict[str, Any]:
    options = GenerateOptions.model_json_schema()["properties"]
    described = {
        name: {**schema, "examples": [_EXAMPLES[name]]} for name, schema in options.items()
    }
    form = {"schema": {"type": "object", "properties": described}}
    return {
        "requestBody": {"required": False, "content": {URL_ENCODED: form, MULTIPART: form}},
        "parameters": [
            {
                "in": "query",
                "name": name,
                "required": False,
                "schema": {k: v for k, v in schema.items() if k != "description"},
                "description": f"{schema['description']} (or the form field)",
                "example": _EXAMPLES[name],
            }
            for name, schema in options.items()
        ],
    }


def _header(description: str, example: str, type: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": type}, "example": example}


OPENAPI = _openapi()
SUCCESS: dict[str, Any] = {
    "description": "the texture, of the requested size",
    "content": dict.fromkeys(MEDIA_TYPES.values(), _PICTURE),
    "headers": {
        "X-Seed": {
            "description": "the seed that the texture was made from",
            "schema": {"type": "integer"},
            "example": 7,
        },
        "X-Style": _header(
            "the style, with normalised weights to three digits", "starry_night:0.7,udnie:0.3"
        ),
        "X-Device": _header(
            "the device that made it", "cpu;provider=CPUExecutionProvider;precision=float32"
        ),
        "Server-Timing": _header(
            "milliseconds of each stage", "queue;dur=0.0, inference;dur=90.6, encode;dur=2.0"
        ),
        "ETag": _header("digest of the body", '"a58aead6b4d585646bd809d15e3ee1d0"'),
    },
}
