"""The application, create_app(settings), all state in its lifespan; and the server under it."""

import asyncio
import contextlib
import errno
import gc
import logging
import math
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from .. import __version__, logs
from ..engine.device import OnnxSession, OpenSession
from ..engine.service import Service
from ..metrics import Metrics
from ..settings import Settings
from . import problems, routes
from .access import Access
from .answers import Answers
from .auth import Keys
from .connection import RESERVE, Connections
from .descriptors import connection_limit
from .tracing import telemetry

log = logging.getLogger(__name__)

# Longer than the gateways before us keep theirs, so that it is never we who close a connection
# on which a request is on its way.
KEEP_ALIVE = 75  # seconds
# What a new connection has to send its request before Uvicorn closes those that have sent none.
ON_THE_WAY = 0.2  # seconds
ROUNDS = 1000  # of the event loop in which the port may be waited to be still


def create_app(settings: Settings, open_session: OpenSession = OnnxSession) -> FastAPI:
    """An application that loads its networks when it starts; alive at once, ready when loaded.

    Raises SettingsError if OpenTelemetry is wanted and not installed.
    """
    metrics = Metrics()
    answers = Answers(settings.answers_bytes, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, metrics, answers, open_session=open_session)
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
        # A redirect would lead to whatever the Host header names.
        redirect_slashes=False,
        docs_url=None,  # ours is in `routes`
        redoc_url=None,
        telemetry=telemetry(settings.opentelemetry),
    )
    app.state.answers = answers
    app.state.keys = Keys(settings.api_keys)
    app.include_router(routes.router)
    app.include_router(routes.open_router)
    problems.install(app)
    app.add_middleware(Access, metrics=metrics)
    return app


class Exhaustion:
    """An event loop's exception handler; tells of missing file descriptors once a second."""

    def __init__(self) -> None:
        self._last = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of the event loop."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() >= self._last + 1:
            self._last = loop.time()
            log.error(
                "no file descriptor is left for new connections: raise the limit on open files "
                "or lower PASTICHE_CONNECTIONS"
            )


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
            logs.flush()
            os._exit(128 + sig)
        state.draining = True
        state.service.start_draining()  # requests are still served
        log.info("draining: the port closes in %g s", self._delay)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._delay, super().handle_exit, sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving; one that stopped the server ends the process then."""
        with super().capture_signals():
            try:
                yield
            finally:
                logs.flush()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        asyncio.get_running_loop().set_exception_handler(Exhaustion())
        await super().startup(sockets)

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


def make_server(settings: Settings, open_session: OpenSession = OnnxSession) -> Server:
    """The application behind Uvicorn, not started yet."""
    app = create_app(settings, open_session)
    limit = connection_limit(settings.connections, RESERVE)
    config = uvicorn.Config(
        app,
        http=Connections(settings, app.state.answers, limit),  # type: ignore[arg-type]
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
