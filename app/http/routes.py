"""The HTTP routes."""

import asyncio
import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from .. import __version__
from ..engine.gallery import Capability, Entry, Gallery
from ..engine.pipeline import EncodedPastiche, EncodedTexture
from ..engine.service import Service, Status
from ..errors import NotFound
from ..metrics import MEDIA_TYPE as METRICS_MEDIA_TYPE
from ..metrics import Metrics
from ..options import GenerateOptions, Options, parse_options
from .answers import Answers
from .assets import asset
from .auth import Keys
from .body import IMAGE_FIELD, Bodies
from .disconnect import cancel_on_disconnect
from .headers import API_PAGE_POLICY, PAGE_POLICY
from .openapi import form, picture
from .openapi import problems as _problems


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
    year: int | None = None
    license: str
    network: str
    max_strength: float = Field(description="largest `strength`: 2 with a bold vector, else 1")
    preview: str | None = Field(default=None, description="path of the preview image")
    capabilities: list[Capability] = Field(
        description="the requests that take the style: `stylize`, `generate` or both"
    )


class StyleList(BaseModel):
    """All styles."""

    styles: list[StyleItem]


class Readiness(BaseModel):
    """Whether the server is ready, and the device, provider and precision it actually uses."""

    status: Status
    version: str = __version__
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


@router.post(
    "/stylize",
    tags=["pictures"],
    operation_id="stylize",
    response_class=Response,
    responses={
        200: picture("the pastiche, in the size of the input"),
        **_problems(400, 401, 404, 408, 413, 415, 422, 431, 500, 503),
    },
    openapi_extra=form(Options, IMAGE_FIELD),
)
async def stylize(
    request: Request, service: ServiceOf, bodies: BodiesOf, answers: AnswersOf
) -> Response:
    """Paint an image in a style.

    You can also send the image itself as the body, with `Content-Type: image/*` and the options as
    query parameters.
    """
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
    tags=["pictures"],
    operation_id="generate",
    response_class=Response,
    responses={
        200: picture("the texture, in the size requested", X_Seed="the seed of the texture"),
        **_problems(400, 401, 404, 408, 413, 415, 422, 431, 500, 503),
    },
    openapi_extra=form(GenerateOptions),
)
async def generate(
    request: Request, service: ServiceOf, bodies: BodiesOf, answers: AnswersOf
) -> Response:
    """Make a texture in a style.

    You can also send the options as query parameters or as `multipart/form-data`.
    """
    fields = await bodies.read_options(request)
    options = parse_options(GenerateOptions, [*request.query_params.multi_items(), *fields])
    request.state.style = _series(service.gallery, options.style)
    answers.check()
    work = service.generate(options, _combined(request, "accept"))
    answer = await cancel_on_disconnect(request, work)
    response = _picture(service, answer)
    response.headers["X-Seed"] = str(answer.seed)
    return response


def _picture(service: Service, answer: EncodedPastiche | EncodedTexture) -> Response:
    timing = ", ".join(f"{name};dur={1e3 * s:.1f}" for name, s in answer.seconds.items())
    headers = {
        "X-Style": answer.style,
        "X-Device": str(service.gallery.device),
        "Server-Timing": timing,
        "ETag": _etag(answer.content),
        "Cache-Control": "no-store",
    }
    return Response(answer.content, media_type=f"image/{answer.format}", headers=headers)


@open_router.get(
    "/styles",
    tags=["styles"],
    operation_id="list_styles",
    response_model=StyleList,
    responses=_problems(431, 503),
)
async def styles(request: Request, service: ServiceOf) -> Response:
    """List the styles."""
    items = [_item(entry) for entry in service.gallery.entries()]
    content = StyleList(styles=items).model_dump_json(exclude_none=True).encode()
    return _cacheable(request, content, "application/json")


@open_router.get(
    "/styles/{style_id}",
    tags=["styles"],
    operation_id="get_style",
    response_model=StyleItem,
    responses=_problems(404, 431, 503),
)
async def style(style_id: str, request: Request, service: ServiceOf) -> Response:
    """Describe one style."""
    content = _item(service.gallery.entry(style_id)).model_dump_json(exclude_none=True).encode()
    return _cacheable(request, content, "application/json")


@open_router.get(
    "/styles/{style_id}/preview",
    tags=["styles"],
    operation_id="get_preview",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **_problems(404, 431, 503),
    },
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


@open_router.get("/healthz", tags=["server"], operation_id="get_health")
async def healthz() -> dict[Literal["status"], Literal["alive"]]:
    """Report that the process is alive."""
    return {"status": "alive"}


@open_router.get(
    "/readyz",
    tags=["server"],
    operation_id="get_readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready"}},
)
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
    content = readiness.model_dump(exclude_none=True)
    return JSONResponse(content, status_code, headers={"Cache-Control": "no-store"})


@open_router.get(
    "/metrics",
    tags=["server"],
    operation_id="get_metrics",
    response_class=PlainTextResponse,
)
async def metrics(metrics: MetricsOf) -> Response:
    """Get the metrics in the Prometheus text format."""
    return Response(metrics.text(), media_type=METRICS_MEDIA_TYPE)


@open_router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Show the page on which people paint their photographs."""
    return _page(request, "index.html", PAGE_POLICY)


@open_router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show the API page, on which you can try the routes."""
    return _page(request, "docs.html", API_PAGE_POLICY)


@open_router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str, request: Request) -> Response:
    """Get a script, style sheet or picture of the two pages."""
    return _cacheable(request, *await asyncio.to_thread(asset, name))


def _page(request: Request, name: str, policy: str) -> Response:
    response = _cacheable(request, *asset(name))
    response.headers["Content-Security-Policy"] = policy
    return response


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
        max_strength=1 if style.bold is None else 2,
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
