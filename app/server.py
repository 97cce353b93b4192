"""The application: create_app(settings), with all state in its lifespan."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from app import __version__, problems, routes
from app.access import RequestLog
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """An application that loads its networks when it starts; alive at once, ready when loaded."""
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, metrics)
        app.state.service, app.state.metrics = service, metrics
        loading = asyncio.create_task(service.load(), name="loading")
        try:
            yield
        finally:
            await loading
            await service.stop()

    app = FastAPI(
        title="Pastiche",
        version=__version__,
        summary="Repaints photographs in the style of paintings.",
        lifespan=lifespan,
    )
    app.include_router(routes.router)
    problems.install(app)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
