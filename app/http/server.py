"""The application, its state, and the server that runs it."""

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
import sys
from _thread import start_new_thread
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from .. import __version__, logs
from ..engine.devices.choice import open_session
from ..engine.devices.device import OpenSession
from ..engine.service import Service
from ..metrics import Metrics
from ..settings import Settings
from . import cors, openapi, problems, routes
from .access import Access
from .answers import Answers
from .auth import Keys
from .body import Bodies
from .connection import RESERVE, Connections
from .descriptors import ExceptionHandler, connection_limit
from .tracing import telemetry

log = logging.getLogger(__name__)

# Longer than gateways keep idle connections, so that the server never closes a connection on which
# a gateway is just sending a request.
KEEP_ALIVE = 75  # seconds
# How long a new connection has to send its request before Uvicorn closes the idle connections.
GRACE = 0.2  # seconds
SWITCH_SECONDS = 0.0005
MAX_TURNS = 1000  # of the event loop, while waiting for the port to have no pending connections


def create_app(settings: Settings, open_session: OpenSession = open_session) -> FastAPI:
    """Create an application. It answers immediately and becomes ready when its models are loaded.

    Raises SettingsError if OpenTelemetry is enabled but not installed.
    """
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, metrics, open_session)
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
        # A redirect would use the Host header, which the client chooses.
        redirect_slashes=False,
        docs_url=None,  # see `routes.docs`
        redoc_url=None,
        telemetry=telemetry(settings.opentelemetry),
    )
    app.state.metrics = metrics
    app.state.bodies = Bodies(settings.max_body_bytes, settings.bodies_bytes, settings.body_seconds)
    app.state.answers = Answers(settings.answers_bytes, metrics)
    app.state.keys = Keys(settings.api_keys)
    app.include_router(routes.router)
    app.include_router(routes.open_router)
    problems.install(app)
    openapi.install(app)
    cors.install(app, settings.cors_origins)
    app.add_middleware(Access, metrics=metrics)
    return app


class Server(uvicorn.Server):
    """A Uvicorn server that reports itself as draining for a while before it closes its port."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, delay: float) -> None:
        """delay: seconds from the signal to closing the port, for load balancers to react."""
        super().__init__(config)
        self._app, self._delay = app, delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining on the first signal; exit immediately on the second.

        Takes no lock: the signal may have interrupted code that holds it, such as a log call.
        """
        if not self.started:
            super().handle_exit(sig, frame)
            return
        service: Service = self._app.state.service
        if service.status == "draining":
            start_new_thread(_exit_immediately, (sig,))  # the event loop may be blocked
            return
        service.start_draining()  # requests are still served
        self._loop.call_soon_threadsafe(self._drain, sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        log.info("draining: the port closes in %g s", self._delay)
        self._loop.call_later(self._delay, super().handle_exit, sig, frame)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until a signal stops the server, with an interpreter tuned for short delays."""
        # Exclude everything imported so far from garbage collection: a full collection would stop
        # all requests for about 0.1 s.
        gc.collect()
        gc.freeze()
        # Every read and write of the event loop gives up the interpreter's lock. At Python's
        # default of 5 ms it would wait that long each time for a thread that parses a form.
        sys.setswitchinterval(SWITCH_SECONDS)
        super().run(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. Flush the logs before a signal ends the process."""
        with super().capture_signals():
            try:
                yield
            finally:
                logs.flush()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(ExceptionHandler())
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port and finish the requests in progress."""
        await self._accept_pending()
        for server in self.servers:
            server.close()
        await asyncio.sleep(GRACE)
        await super().shutdown(sockets)

    async def _accept_pending(self) -> None:
        """Accept all connections that the kernel has queued; closing the port would reset them."""
        ports = select.poll()
        for server in self.servers:
            for listening in server.sockets:
                ports.register(listening.fileno(), select.POLLIN)
        # Two quiet turns: asyncio sets up an accepted connection in the turn after it.
        quiet = 0
        for _ in range(MAX_TURNS):
            quiet = 0 if ports.poll(0) else quiet + 1
            if quiet == 2:
                return
            await asyncio.sleep(0)


def _exit_immediately(sig: int) -> None:
    log.warning("exiting immediately on a second signal")
    logs.flush()
    os._exit(128 + sig)


def make_server(settings: Settings, open_session: OpenSession = open_session) -> Server:
    """Create the application and its server, without starting it."""
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
    """Run the server until a signal stops it."""
    logs.configure(settings.log_level, settings.log_format)
    server = make_server(settings)
    server.run()
