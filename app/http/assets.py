"""The files of the page at `/` and of the API page at `/docs`."""

import functools
import importlib.resources
from pathlib import Path

from ..errors import NotFound

PAGE = Path(__file__).parent / "page"
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@functools.cache
def _files() -> dict[str, Path]:
    """The files that may be served, by name. No path of a request ever reaches the disk."""
    found = {path.name: path for path in PAGE.iterdir() if path.suffix in MEDIA_TYPES}
    # The package holds Swagger UI for pages that must load nothing from another host.
    with importlib.resources.as_file(importlib.resources.files("fastapi_offline")) as package:
        return found | {name: package / "static" / name for name in _SWAGGER_UI}


@functools.cache
def asset(name: str) -> tuple[bytes, str]:
    """Return the content and the media type of a file. Raises NotFound."""
    path = _files().get(name)
    if path is None:
        raise NotFound("no such file of the page")
    return path.read_bytes(), MEDIA_TYPES[path.suffix]
