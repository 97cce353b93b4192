"""The HTTP routes."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, RedirectResponse, Response

from ..engine.gallery import Capability, Entry, Gallery
from ..engine.pipeline import Pastiche, Texture
from ..engine.service import Service, Status
from ..errors import NotFound
from ..metrics import MEDIA_TYPE as METRICS_MEDIA_TYPE
from ..metrics import Metrics
from ..options import GenerateOptions, Options, parse_options
from ..pixels.images import FORMATS, MEDIA_TYPES
from .answers import Answers
from .auth import Keys
from .body import IMAGE_FIELD, Bodies
from .disconnect import cancel_on_disconnect
from .generate import OPENAPI as GENERATE_OPENAPI
from .generate import SUCCESS as GENERATED
from .headers import page_policy
from .problems import MEDIA_TYPE as PROBLEM_MEDIA_TYPE
from .problems import Problem

DOCS_HOST = "https://cdn.jsdelivr.net"  # scripts and styles of the API page


# All routes and dependencies are coroutines. FastAPI runs plain functions in a thread, which costs
# more than the functions themselves.
async def _check_key(request: Request) -> None:
    keys: Keys = request.app.state.keys
    keys.check(request.headers)


# Only for the OpenAPI document; `_check_key` raises the error.
_SCHEMES = [
    Security(HTTPBearer(auto_error=False, description="if the server requires an API key")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
]

open_router = APIRouter()  # needs no API key
router = APIRouter(dependencies=[Depends(_check_key), *_SCHEMES])


class StyleItem(BaseModel):
    """A style."""

    id: str = Field(examples=["starry_night"])
    title: str
    artist: str
    year: int | None
    license: str
    network: str
    preview: str | None = Field(description="path of the preview image")
    capabilities: list[Capability] = Field(
        description="the requests that take the style: `stylize`, `generate` or both"
    )


class StyleList(BaseModel):
    """All styles."""

    styles: list[StyleItem]


class Readiness(BaseModel):
    """Whether the server is ready, and the device, provider and precision it actually uses."""

    status: Status
    device: str | None = None
    provider: str | None = None
    precision: str | None = None
    networks: list[str] = []
    styles: int = 0
    reason: str | None = Field(default=None, description="why the server is unavailable")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _bodies(request: Request) -> Bodies:
    bodies: Bodies = request.app.state.bodies
    return bodies


async def _answers(request: Request) -> Answers:
    answers: Answers = request.app.state.answers
    return answers


ServiceOf = Annotated[Service, Depends(_service)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]
BodiesOf = Annotated[Bodies, Depends(_bodies)]
AnswersOf = Annotated[Answers, Depends(_answers)]


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
            "description": "the pastiche, in the size of the input",
            "content": {
                m: {"schema": {"type": "string", "format": "binary"}} for m in MEDIA_TYPES.values()
            },
        },
        **_problems(400, 401, 404, 408, 413, 415, 422, 431, 500, 503),
    },
    openapi_extra=_stylize_openapi(),
)
async def stylize(
    request: Request, service: ServiceOf, bodies: BodiesOf, answers: AnswersOf
) -> Response:
    """Paint an image in a style. Send each option as a form field or a query parameter."""
    async with bodies.read(request) as body:
        options = parse_options(Options, [*request.query_params.multi_items(), *body.fields])
        request.state.style = _series(service.gallery, options.style)
        answers.check()
        accept = _combined(request, "accept")
        work = service.stylize(body.image, options, accept)
        answer = await cancel_on_disconnect(request, work)
    return _picture(service, answer)


@router.post(
    "/generate",
    response_class=Response,
    responses={200: GENERATED, **_problems(400, 401, 404, 408, 413, 415, 422, 431, 500, 503)},
    openapi_extra=GENERATE_OPENAPI,
)
async def generate(
    request: Request, service: ServiceOf, bodies: BodiesOf, answers: AnswersOf
) -> Response:
    """Make a texture in a style. Send each option as a query parameter or a form field."""
    fields = await bodies.read_options(request)
    options = parse_options(GenerateOptions, [*request.query_params.multi_items(), *fields])
    request.state.style = _series(service.gallery, options.style)
    answers.check()
    work = service.generate(options, _combined(request, "accept"))
    answer = await cancel_on_disconnect(request, work)
    response = _picture(service, answer)
    response.headers["X-Seed"] = str(answer.seed)
    return response


def _picture(service: Service, answer: Pastiche | Texture) -> Response:
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
    items = [_item(entry) for entry in service.gallery.entries()]
    content = StyleList(styles=items).model_dump_json().encode()
    return _cacheable(request, content, "application/json")


@router.get("/styles/{style_id}", response_model=StyleItem, responses=_problems(401, 404, 431, 503))
async def style(style_id: str, request: Request, service: ServiceOf) -> Response:
    """Describe one style."""
    content = _item(service.gallery.entry(style_id)).model_dump_json().encode()
    return _cacheable(request, content, "application/json")


@router.get(
    "/styles/{style_id}/preview",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **_problems(401, 404, 431, 503)},
)
async def preview(style_id: str, request: Request, service: ServiceOf) -> Response:
    """Get a sample photograph painted in this style."""
    found = service.gallery.entry(style_id).style
    try:
        content = await asyncio.to_thread(found.preview.read_bytes) if found.preview else b""
    # The file, or a folder above it, was removed after the model folder was read.
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        content = b""
    if not content:
        raise NotFound(f"the style {found.id!r} has no preview")
    return _cacheable(request, content, "image/jpeg")


@open_router.get("/healthz")
async def healthz() -> dict[Literal["status"], Literal["alive"]]:
    """Report that the process is alive."""
    return {"status": "alive"}


@open_router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(service: ServiceOf) -> Response:
    """Report whether the networks are loaded and working, and requests are accepted."""
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
    """Get the metrics in the Prometheus text format."""
    return Response(metrics.text(), media_type=METRICS_MEDIA_TYPE)


@open_router.get("/", include_in_schema=False)
async def root() -> Response:
    """Redirect to the API page."""
    return RedirectResponse("/docs")


@open_router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Show the API page, on which you can try the routes."""
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
    """Return the label of a style in metrics and logs: its id, `_blend` or `_other`."""
    style_id, _, _ = text.partition(":")
    if "," in text:
        return "_blend"
    return style_id if style_id in gallery else "_other"


def _item(entry: Entry) -> StyleItem:
    style, card = entry.style, entry.style.card
    return StyleItem(
        id=style.id,
        title=card.title,
        artist=card.artist,
        year=card.year,
        license=card.license,
        network=entry.network,
        preview=f"/styles/{style.id}/preview" if style.preview else None,
        capabilities=list(entry.capabilities),
    )


def _combined(request: Request, name: str) -> str:
    """Return the value of a list header, whose lines may be repeated (RFC 9110)."""
    return ",".join(request.headers.getlist(name))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _cacheable(request: Request, content: bytes, media_type: str) -> Response:
    etag = _etag(content)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    received = _combined(request, "if-none-match").split(",")
    known = (tag.strip().removeprefix("W/") for tag in received)
    if not {etag, "*"}.isdisjoint(known):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
