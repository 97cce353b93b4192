"""The HTTP table."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, RedirectResponse, Response

from ..engine.gallery import Gallery
from ..engine.network import Network
from ..engine.service import Service, Status
from ..errors import NotFound
from ..metrics import MEDIA_TYPE as METRICS_MEDIA_TYPE
from ..metrics import Metrics
from ..model_folder import Style
from ..options import Options, parse_options
from ..pixels.images import FORMATS, MEDIA_TYPES
from .auth import Keys
from .body import IMAGE_FIELD
from .disconnect import while_waiting
from .headers import page_policy
from .problems import MEDIA_TYPE as PROBLEM_MEDIA_TYPE
from .problems import Problem

DOCS_HOST = "https://cdn.jsdelivr.net"  # the API page's scripts; nothing else loads from elsewhere


# Coroutines, all of them: FastAPI sends a function to a thread, and each way there and back costs
# more than what it does.
async def _check_key(request: Request) -> None:
    keys: Keys = request.app.state.keys
    keys.check(request.headers)


# Without an error of their own: they are here for the OpenAPI document.
_SCHEMES = [
    Security(HTTPBearer(auto_error=False, description="where the server asks for an API key")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
]

open_router = APIRouter()  # for everyone
router = APIRouter(dependencies=[Depends(_check_key), *_SCHEMES])  # for who has a key, if needed


class StyleItem(BaseModel):
    """A style as the listing tells it."""

    id: str = Field(examples=["starry_night"])
    title: str
    artist: str
    year: int | None
    license: str
    network: str
    preview: str | None = Field(description="path of its preview picture")


class StyleList(BaseModel):
    """All styles."""

    styles: list[StyleItem]


class Readiness(BaseModel):
    """What the server runs on; device, provider and precision as the sessions really have them."""

    status: Status
    device: str | None = None
    provider: str | None = None
    precision: str | None = None
    networks: list[str] = []
    styles: int = 0
    reason: str | None = Field(default=None, description="why it is unavailable")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


ServiceOf = Annotated[Service, Depends(_service)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        s: {"model": Problem, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}} for s in statuses
    }


def _stylize_openapi() -> dict[str, Any]:
    options = Options.model_json_schema()["properties"]
    image = {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"}
    form = {
        "type": "object",
        "properties": {IMAGE_FIELD: image, **options},
        "required": [IMAGE_FIELD],
    }
    raw = {"schema": {"type": "string", "format": "binary"}}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                **{MEDIA_TYPES[f]: raw for f in FORMATS},
            },
        },
        "parameters": [
            {
                "in": "query",
                "name": name,
                "required": False,
                "schema": {k: v for k, v in schema.items() if k != "description"},
                "description": schema["description"] + " (or the form field)",
            }
            for name, schema in options.items()
        ],
    }


@router.post(
    "/stylize",
    response_class=Response,
    responses={
        200: {
            "description": "the pastiche, of the input's size",
            "content": {
                m: {"schema": {"type": "string", "format": "binary"}} for m in MEDIA_TYPES.values()
            },
        },
        **_problems(400, 401, 404, 408, 413, 415, 422, 431, 500, 503),
    },
    openapi_extra=_stylize_openapi(),
)
async def stylize(request: Request, service: ServiceOf) -> Response:
    """Paint an image in a style. Each option is a form field or a query parameter."""
    async with service.bodies.read(request) as body:
        options = parse_options([*request.query_params.multi_items(), *body.fields])
        request.state.style = _series(service.gallery, options.style)
        accept = _combined(request, "accept")
        answer = await while_waiting(request, service.stylize(body.image, options, accept))
    timing = ", ".join(f"{name};dur={1e3 * s:.1f}" for name, s in answer.seconds.items())
    headers = {
        "X-Style": answer.style,
        "X-Device": str(service.gallery.device),
        "Server-Timing": timing,
        "ETag": _etag(answer.content),
        "Cache-Control": "no-store",
    }
    return Response(answer.content, media_type=f"image/{answer.format}", headers=headers)


@router.get("/styles", response_model=StyleList, responses=_problems(401, 431, 503))
async def styles(request: Request, service: ServiceOf) -> Response:
    """List the styles."""
    items = [_item(network, style) for network, style in service.gallery]
    content = StyleList(styles=items).model_dump_json().encode()
    return _cacheable(request, content, "application/json")


@router.get("/styles/{style_id}", response_model=StyleItem, responses=_problems(401, 404, 431, 503))
async def style(style_id: str, request: Request, service: ServiceOf) -> Response:
    """Tell of one style."""
    content = _item(*service.gallery.find(style_id)).model_dump_json().encode()
    return _cacheable(request, content, "application/json")


@router.get(
    "/styles/{style_id}/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **_problems(401, 404, 431, 503)},
)
async def preview(style_id: str, request: Request, service: ServiceOf) -> Response:
    """The sample photograph in this style."""
    _, found = service.gallery.find(style_id)
    try:
        content = await asyncio.to_thread(found.preview.read_bytes) if found.preview else b""
    # It was removed, or a folder above it was replaced, since the model folder was read.
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        content = b""
    if not content:
        raise NotFound(f"the style {found.id!r} has no preview")
    return _cacheable(request, content, "image/jpeg")


@open_router.get("/healthz")
async def healthz() -> dict[Literal["status"], Literal["alive"]]:
    """Alive: the process answers."""
    return {"status": "alive"}


@open_router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(service: ServiceOf) -> Response:
    """Ready: networks are loaded, have painted, and requests are admitted."""
    await service.check()
    readiness = Readiness(status=service.status, reason=service.reason)
    if service.status == "ready":
        device = service.gallery.device
        readiness = Readiness(
            status="ready",
            device=device.name,
            provider=device.provider,
            precision=device.precision,
            networks=[network.name for network in service.gallery.networks],
            styles=len(service.gallery),
        )
    status_code = 200 if service.status == "ready" else 503
    return JSONResponse(readiness.model_dump(), status_code, headers={"Cache-Control": "no-store"})


@open_router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
async def metrics(metrics: MetricsOf) -> Response:
    """Prometheus text."""
    return Response(metrics.text(), media_type=METRICS_MEDIA_TYPE)


@open_router.get("/", include_in_schema=False)
async def root() -> Response:
    """Leads to the API page."""
    return RedirectResponse("/docs")


@open_router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """The API as a page to try it on."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Pastiche",
        swagger_js_url=f"{DOCS_HOST}/npm/swagger-ui-dist@5/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_HOST}/npm/swagger-ui-dist@5/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    policy = page_policy(bytes(page.body).decode(), DOCS_HOST)
    page.headers["Content-Security-Policy"] = policy
    return page


def _series(gallery: Gallery, text: str) -> str:
    """What metrics and log call a style: its id if there is one, `_blend`, or `_other`."""
    style_id, _, _ = text.partition(":")
    if "," in text:
        return "_blend"
    return style_id if any(style.id == style_id for _, style in gallery) else "_other"


def _item(network: Network, style: Style) -> StyleItem:
    card = style.card
    return StyleItem(
        id=style.id,
        title=card.title,
        artist=card.artist,
        year=card.year,
        license=card.license,
        network=network.name,
        preview=f"/styles/{style.id}/preview" if style.preview else None,
    )


def _combined(request: Request, name: str) -> str:
    """The value of a header that is a list, and may be repeated (RFC 9110)."""
    return ",".join(request.headers.getlist(name))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _cacheable(request: Request, content: bytes, media_type: str) -> Response:
    etag = _etag(content)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    sent = _combined(request, "if-none-match").split(",")
    known = (tag.strip().removeprefix("W/") for tag in sent)
    if not {etag, "*"}.isdisjoint(known):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
