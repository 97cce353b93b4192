"""The application, create_app(settings), all state in its lifespan; and the server under it."""

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app import __version__, logs, problems, routes
from app.access import Access
from app.connection import Connection
from app.keys import Keys
from app.metrics import Metrics
from app.service import Service
from app.settings import Settings
from app.tracing import telemetry

log = logging.getLogger(__name__)

# Longer than the gateways before us keep theirs, so that it is never we who close a connection
# on which a request is on its way.
KEEP_ALIVE = 75  # seconds
# What a new connection has to send its request before Uvicorn closes those that have sent none.
ON_THE_WAY = 0.2  # seconds
ROUNDS = 1000  # of the event loop in which the port may be waited to be still


def create_app(settings: Settings) -> FastAPI:
    """An application that loads its networks when it starts; alive at once, ready when loaded.

    Raises SettingsError if OpenTelemetry is wanted and not installed.
    """
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
        docs_url=None,  # ours is in `routes`
        redoc_url=None,
        telemetry=telemetry(settings.opentelemetry),
    )
    app.state.keys = Keys(settings.api_keys)
    app.include_router(routes.router)
    app.include_router(routes.open_router)
    problems.install(app)
    app.add_middleware(Access, metrics=metrics)
    return app


class Server(uvicorn.Server):
    """Uvicorn's, but one that says it is draining for a while before it closes its port."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, delay: float) -> None:
        """delay: seconds from the signal to the port's closing, for balancers to look away."""
        super().__init__(config)
        self._app, self._delay = app, delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first signal begin to leave, at the second stop at once."""
        state = self._app.state
        if not self.started:
            super().handle_exit(sig, frame)
            return
        if getattr(state, "draining", False):
            log.warning("stopping at once, on a second signal")
            os._exit(128 + sig)
        state.draining = True
        state.service.status = "draining"  # what comes is answered all the same
        log.info("draining: the port closes in %g s", self._delay)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._delay, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, wait for the requests that are on their way, and for their answers."""
        await self._take_all()
        for server in self.servers:
            server.close()
        await asyncio.sleep(ON_THE_WAY)
        await super().shutdown(sockets)

    async def _take_all(self) -> None:
        """Wait until no connection waits to be taken: closing the port would break it."""
        ports = select.poll()
        for server in self.servers:
            for listening in server.sockets:
                ports.register(listening.fileno(), select.POLLIN)
        # Twice, as asyncio needs a round of the loop for a connection after it has taken it.
        still = 0
        for _ in range(ROUNDS):
            still = 0 if ports.poll(0) else still + 1
            if still == 2:
                return
            await asyncio.sleep(0)


def make_server(settings: Settings) -> Server:
    """The application behind Uvicorn, not started yet."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=partial(Connection, settings),  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.forwarded_allow),
        forwarded_allow_ips=settings.forwarded_allow,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    log.info("API keys: %d", len(app.state.keys))
    return Server(config, app, settings.shutdown_delay)


def serve(settings: Settings) -> None:
    """Run the server until it is told to stop."""
    logs.configure(settings.log_level, settings.log_format)
    server = make_server(settings)
    # To search all that was imported for garbage would stop every request for a tenth of a second.
    gc.collect()
    gc.freeze()
    server.run()
