"""The life of a server process: loading the networks, following their changes, stopping."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..errors import DeviceUnavailable, ModelFolderError, NotReady, PasticheError
from ..metrics import Metrics
from ..options import GenerateOptions, Options
from ..settings import Settings
from .devices.choice import open_session, pick_device
from .devices.device import Device, OpenSession
from .gallery import Gallery
from .memory import DeviceMemory
from .pipeline import EncodedPastiche, EncodedTexture, Pipeline
from .probe import Probe
from .scheduler import Scheduler
from .watch import Fingerprint, changes, fingerprints

log = logging.getLogger(__name__)

Status = Literal["loading", "ready", "draining", "unavailable"]


class Service:
    """The gallery, the scheduler and the status of a server process.

    Create it inside a running event loop. `load` makes it ready, `stop` ends it.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, open_session: OpenSession = open_session
    ) -> None:
        """Start the scheduler; registers the collector of GPU memory with `metrics`."""
        self.settings, self.metrics = settings, metrics
        self.scheduler = Scheduler(
            settings.queue_pixels, settings.batch_pixels, metrics, settings.deadline_seconds
        )
        self._open_session = open_session
        self._status: Status = "loading"
        self._reason: str | None = None
        self._probe = Probe()
        self._pipeline = Pipeline(settings, metrics, self.scheduler, self._probe)
        self._gallery: Gallery | None = None
        self._watcher: asyncio.Task[None] | None = None
        metrics.register(DeviceMemory())

    @property
    def status(self) -> Status:
        """What the server is doing. "draining" lasts until the process ends."""
        return self._status

    @property
    def reason(self) -> str | None:
        """Why the server is unavailable, in words that clients may read; None if it is not."""
        return self._reason

    @property
    def gallery(self) -> Gallery:
        """The current gallery. Raises NotReady if none has been loaded."""
        if self._gallery is None:
            raise NotReady(f"the server is {self.status}", retry_after=2)
        return self._gallery

    async def load(self) -> None:
        """Load the networks, and start to follow changes of their folders.

        If that fails, logs why and makes the service unavailable.
        """
        settings = self.settings
        try:
            seen = await asyncio.to_thread(fingerprints, settings.models)
            device = await asyncio.to_thread(
                pick_device, settings.device, settings.threads, settings.gpu_memory
            )
        except Exception as error:
            self._handle_load_error(error)
            return
        self.scheduler.limit_batches(settings.batch_pixels or device.batch_pixels)
        await self._load_gallery(device)
        if settings.reload_seconds:
            self._watcher = asyncio.create_task(self._watch(device, seen), name="reloading")

    async def stylize(self, content: bytes, options: Options, accept: str) -> EncodedPastiche:
        """Paint an image file; see Pipeline.stylize. Also raises UnknownStyle, NotReady."""
        brush = self.gallery.brush(options.style, options.strength)
        return await self._pipeline.stylize(brush, content, options, accept)

    async def generate(self, options: GenerateOptions, accept: str) -> EncodedTexture:
        """Make a texture; see Pipeline.generate.

        Also raises UnknownStyle, NoGenerator, NotReady.
        """
        brush = self.gallery.texture_brush(options.style)
        return await self._pipeline.generate(brush, options, accept)

    async def check(self) -> None:
        """Update `status` and `reason` by painting the smallest image; see Probe."""
        if self._gallery is None or self.status == "draining":
            return
        previous = self.reason
        gallery = self._gallery
        reason = await self._probe.fault([*gallery.networks, *gallery.generators])
        if reason != previous:
            log.log(logging.ERROR if reason else logging.INFO, "%s", reason or "ready again")
            self._set_status("unavailable" if reason else "ready", reason)

    def start_draining(self) -> None:
        """Set the status to "draining". Requests are still served, until `stop` is called."""
        self._set_status("draining")

    async def stop(self) -> None:
        """Refuse new requests, finish those that are admitted, and release the threads."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        self.start_draining()
        self._probe.close()
        await self.scheduler.drain(self.settings.drain_seconds)
        self._pipeline.close()

    async def _watch(self, device: Device, seen: Mapping[Path, Fingerprint]) -> None:
        settings = self.settings
        async for _ in changes(settings.models, settings.reload_seconds, seen):
            complete = await self._load_gallery(device)
            self.metrics.reloads.labels("ok" if complete else "failed").inc()

    async def _load_gallery(self, device: Device) -> bool:
        """Replace the gallery; returns whether every folder could be loaded.

        Requests that are being painted keep the network they started with.
        """
        started = time.perf_counter()
        settings = self.settings
        try:
            gallery = await asyncio.to_thread(
                Gallery,
                settings.models,
                device,
                settings.tile_pixels,
                self._gallery,
                self._open_session,
            )
        except Exception as error:
            self._handle_load_error(error)
            return False
        self._gallery = gallery
        self._set_status("ready")
        log.info(
            "ready after %.1f s on %s: %d styles and %d textures of %s",
            time.perf_counter() - started,
            device,
            len(gallery),
            len(gallery.textures),
            ", ".join(network.name for network in gallery.networks),
        )
        return not gallery.new_problems

    def _handle_load_error(self, error: Exception) -> None:
        expected = isinstance(error, PasticheError)
        state = "not ready" if self._gallery is None else "still serving the previous models"
        log.error("%s: %s", state, error, exc_info=not expected)
        if self._gallery is not None:
            return
        if isinstance(error, DeviceUnavailable):
            reason = str(error)
        elif isinstance(error, ModelFolderError):  # its message contains paths
            reason = "the model folders cannot be served; see the server's log"
        else:
            reason = "an unexpected error occurred; see the server's log"
        self._set_status("unavailable", reason)

    def _set_status(self, status: Status, reason: str | None = None) -> None:
        if self._status != "draining":
            self._status, self._reason = status, reason
