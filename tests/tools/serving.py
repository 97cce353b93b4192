"""A server as it is run, on a port, in this process: what tests of the wire share."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.http.connection import Connections
from app.http.server import create_app
from app.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[int]:
    """The port of a server; ready or not, it answers."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=Connections(settings, app.state.answers),  # type: ignore[arg-type]
        port=0,
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
