"""The settings of the server: names, defaults, ranges and descriptions."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import SettingsError
from .pixels.animation import MAX_FRAMES
from .pixels.images import FILE_FORMATS, FileFormat

PREFIX = "PASTICHE_"
_PACKAGE = Path(__file__).resolve().parent
_INSTALLED_MODELS = _PACKAGE / "models"  # the wheel has them here, a checkout beside the package
BUNDLED_MODELS = _INSTALLED_MODELS if _INSTALLED_MODELS.is_dir() else _PACKAGE.parent / "models"

DAY = 24 * 60 * 60  # seconds; the longest time that a setting may give

TILE_PIXELS = 2_100_000  # by default, larger images are painted in tiles of about this size

DeviceName = Literal["auto", "cuda", "openvino", "cpu"]


class Settings(BaseSettings):
    """Read from environment variables: PASTICHE_ and a field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    models: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(BUNDLED_MODELS,),
        description="folders whose subfolders are model folders, separated by : (; on Windows)",
    )
    device: DeviceName = Field(
        default="auto",
        description="device for inference; auto picks the first of cuda, openvino (if the CPU "
        "computes in bfloat16) and cpu that works, naming a device disables the fallback",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="threads of an inference on a CPU; 0 uses every core",
    )
    gpu_memory: int = Field(
        default=0,
        ge=0,
        le=2**20,
        description="limit of each graph's memory arena on a GPU, in MiB; 0 means no limit",
    )
    reload_seconds: float = Field(
        default=2.0,
        ge=0,
        le=DAY,
        description="interval at which the model folders are checked for changes; 0 disables "
        "reloading",
    )
    host: str = Field(
        default="127.0.0.1", description="address or host name that `pastiche serve` listens on"
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="port that `pastiche serve` listens on; 0 picks a free one",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest level of the log lines that are written"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="format of log lines: one JSON object per line, or plain text"
    )
    opentelemetry: bool = Field(
        default=False, description="send traces, metrics and logs to an OpenTelemetry collector"
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""),
        description="API keys, separated by commas; clients must send one of them; if empty, none "
        "is required",
    )
    cors_origins: str = Field(
        default="",
        description="origins of web pages, separated by commas, whose scripts may use the API, "
        "such as https://example.com; * allows all; if empty, only the server's own pages may",
    )
    forwarded_allow: str = Field(
        default="",
        description="addresses or networks of trusted gateways, separated by commas, whose "
        "X-Forwarded-For and X-Forwarded-Proto headers are used",
    )
    max_body_bytes: int = Field(
        default=32 * 2**20, ge=1024, le=2**30, description="largest request body, in bytes"
    )
    bodies_bytes: int = Field(
        default=256 * 2**20,
        ge=1024,
        le=2**40,
        description="limit of all request bodies in memory, in bytes; requests beyond it get a 503",
    )
    header_seconds: float = Field(
        default=10.0,
        gt=0,
        le=DAY,
        description="time limit for a client to send a request's header",
    )
    body_seconds: float = Field(
        default=30.0, gt=0, le=DAY, description="time limit for a client to send a request's body"
    )
    answer_seconds: float = Field(
        default=60.0,
        gt=0,
        le=DAY,
        description="time limit for a client to read 64 KiB of a response, or the rest of it",
    )
    answers_bytes: int = Field(
        default=256 * 2**20,
        ge=2**20,
        le=2**40,
        description="limit of all responses that clients have not read yet, in bytes; above it, "
        "/stylize and /generate answer 503",
    )
    connections: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="maximum number of connections; idle ones are closed to make room for new ones",
    )
    input_formats: str = Field(
        default=",".join(FILE_FORMATS),
        description="formats of the images that clients may send, separated by commas; heic also "
        "takes the extra heif",
    )
    max_pixels: int = Field(
        default=25_000_000,
        ge=256,
        le=10**9,
        description="largest image in pixels, both as sent and as painted, and largest texture",
    )
    max_frames: int = Field(
        default=MAX_FRAMES,
        ge=1,
        le=10_000,
        description="most frames of an animation, whose pixels together PASTICHE_MAX_PIXELS limits",
    )
    queue_pixels: int = Field(
        default=100_000_000,
        ge=256,
        le=10**12,
        description="limit of all admitted requests together, in pixels; requests beyond it get a "
        "503",
    )
    deadline_seconds: float = Field(
        default=20.0,
        gt=0,
        le=DAY,
        description="how long a request may wait until its painting starts; after that it gets a "
        "503",
    )
    batch_pixels: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="limit of one batch, in pixels; 0 uses the device's default",
    )
    tile_pixels: int = Field(
        default=TILE_PIXELS,
        ge=2**16,
        le=10**9,
        description="images with more pixels are painted in tiles of about this size, and textures "
        "in tiles of an eighth of it, which limits the memory of an inference",
    )
    jpeg_quality: int = Field(
        default=90, ge=1, le=100, description="default quality of JPEG, WebP and AVIF responses"
    )
    shutdown_delay: float = Field(
        default=0.0,
        ge=0,
        le=DAY,
        description="how long a stopping server still accepts requests while /readyz reports that "
        "it is draining, in seconds",
    )
    drain_seconds: int = Field(
        default=30,
        ge=0,
        le=DAY,
        description="how long a stopping server waits for admitted requests to finish, in seconds",
    )

    @field_validator("models", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        folders = value.split(os.pathsep) if isinstance(value, str) else value
        folders = [folders] if isinstance(folders, Path) else folders
        if not folders or "" in folders:
            raise ValueError(f"must be folders, separated by single {os.pathsep}")
        return folders

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

    @field_validator("input_formats")
    @classmethod
    def _formats(cls, value: str) -> str:
        if unknown := [name for name in value.split(",") if name not in FILE_FORMATS]:
            raise ValueError(
                f"{unknown[0]!r} is not a format; they are {', '.join(FILE_FORMATS)}, "
                "separated by single commas"
            )
        return value

    @property
    def allowed_formats(self) -> tuple[FileFormat, ...]:
        """The formats of `input_formats`."""
        names = self.input_formats.split(",")
        return tuple(format for format in FILE_FORMATS if format in names)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.split(",") if value else ():
            if origin != "*" and not re.fullmatch(r"https?://[0-9A-Za-z.:\[\]-]+", origin):
                raise ValueError(
                    "must be * or origins such as https://example.com, without a path, "
                    "separated by single commas"
                )
        return value

    @field_validator("forwarded_allow")
    @classmethod
    def _gateways(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            ipaddress.ip_network(part.strip())  # raises a ValueError that explains the problem
        return value


def read_settings(**values: object) -> Settings:
    """Read the environment; `values` take precedence. Raises SettingsError."""
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = (
            f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise SettingsError("; ".join(lines)) from error
