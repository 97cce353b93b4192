"""Every setting of the server, with name, default and meaning together."""

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import SettingsError

PREFIX = "PASTICHE_"
_PACKAGE = Path(__file__).resolve().parent
_INSTALLED_MODELS = _PACKAGE / "models"  # the wheel has them here, a checkout beside the package
BUNDLED_MODELS = _INSTALLED_MODELS if _INSTALLED_MODELS.is_dir() else _PACKAGE.parent / "models"

DAY = 24 * 60 * 60  # seconds: no setting of a time is longer

DeviceName = Literal["auto", "cuda", "openvino", "cpu"]


class Settings(BaseSettings):
    """Read from the environment: each field's name in capitals behind PASTICHE_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    models: Path = Field(
        default=BUNDLED_MODELS, description="folder whose subfolders are model folders"
    )
    device: DeviceName = Field(
        default="auto",
        description="auto takes the first of cuda, openvino, cpu that works; a name is a must",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="threads of an inference on a CPU; 0 is one for each core",
    )
    gpu_memory: int = Field(
        default=0,
        ge=0,
        le=2**20,
        description="MiB that the arena of each graph may hold on a GPU; 0 is no limit",
    )
    reload_seconds: float = Field(
        default=2.0,
        ge=0,
        le=DAY,
        description="how often the model folders are looked at for changes; 0 is never",
    )
    host: str = Field(default="127.0.0.1", description="address that `pastiche serve` listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="port that it listens on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log lines that are written"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="one JSON object a line, or text to read"
    )
    opentelemetry: bool = Field(
        default=False, description="send traces, metrics and logs to an OpenTelemetry collector"
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="keys, separated by commas, one of which callers must send; none is no check",
    )
    forwarded_allow: str = Field(
        default="",
        description="addresses or networks of the gateways whose X-Forwarded-For is believed",
    )
    max_body_bytes: int = Field(
        default=32 * 2**20, ge=1024, le=2**30, description="largest request body, in bytes"
    )
    bodies_bytes: int = Field(
        default=256 * 2**20,
        ge=1024,
        le=2**40,
        description="most bytes of bodies that are held at once; what exceeds them gets a 503",
    )
    header_seconds: float = Field(
        default=10.0,
        gt=0,
        le=DAY,
        description="time in which the header of a request must come",
    )
    body_seconds: float = Field(
        default=30.0, gt=0, le=DAY, description="time in which its body must come"
    )
    answer_seconds: float = Field(
        default=60.0,
        gt=0,
        le=DAY,
        description="time in which a client must take 64 KiB of an answer, or the rest of it",
    )
    answers_bytes: int = Field(
        default=256 * 2**20,
        ge=2**20,
        le=2**40,
        description="bytes of answers that clients have not taken; above them stylize gets a 503",
    )
    connections: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="most connections at once; idle ones give way to new ones",
    )
    max_pixels: int = Field(
        default=25_000_000,
        ge=256,
        le=10**9,
        description="most pixels of an image, as sent and as painted",
    )
    queue_pixels: int = Field(
        default=100_000_000,
        ge=256,
        le=10**12,
        description="most pixels admitted and not yet answered; what exceeds them gets a 503",
    )
    deadline_seconds: float = Field(
        default=20.0,
        gt=0,
        le=DAY,
        description="how long a picture waits to be painted, at most; then it gets a 503",
    )
    batch_pixels: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="most pixels that are painted in one batch; 0: as the device likes",
    )
    tile_pixels: int = Field(
        default=2_100_000,
        ge=2**16,
        le=10**9,
        description="larger images are painted in tiles of about so many pixels; bounds the memory",
    )
    jpeg_quality: int = Field(
        default=90, ge=1, le=100, description="quality of JPEG and WebP answers unless asked for"
    )
    shutdown_delay: float = Field(
        default=0.0,
        ge=0,
        le=DAY,
        description="how long a server that was told to stop still serves while it says so",
    )
    drain_seconds: int = Field(
        default=30,
        ge=0,
        le=DAY,
        description="how long a stopping server goes on with what it admitted",
    )

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9A-Za-z._:%-]+", value):
            raise ValueError(
                "must be one address or host name, such as 127.0.0.1, "
                "or 0.0.0.0 to listen on all addresses"
            )
        return value

    @field_validator("api_keys")
    @classmethod
    def _keys(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not re.fullmatch(r"[!-+\--~]+(?:,[!-+\--~]+)*", text):
            raise ValueError("must be keys of visible ASCII characters, separated by single commas")
        return value

    @field_validator("forwarded_allow")
    @classmethod
    def _gateways(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            ipaddress.ip_network(part.strip())  # its ValueError says what is wrong
        return value


def read_settings(**values: object) -> Settings:
    """Settings from the environment and, above it, the values given. Raises SettingsError."""
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = (
            f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise SettingsError("; ".join(lines)) from error
