"""Every setting of the server, with name, default and meaning together."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError

PREFIX = "PASTICHE_"
BUNDLED_MODELS = Path(__file__).resolve().parent.parent / "models"

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
        default=0, ge=0, description="threads of an inference on a CPU; 0 is one for each core"
    )
    host: str = Field(default="127.0.0.1", description="address that `pastiche serve` listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="port that it listens on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log lines that are written"
    )
    max_body_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="largest request body, in bytes"
    )
    max_pixels: int = Field(
        default=25_000_000, ge=256, description="most pixels of an image, as sent and as painted"
    )
    queue_pixels: int = Field(
        default=100_000_000,
        ge=256,
        description="most pixels admitted and not yet answered; what exceeds them gets a 503",
    )
    batch_pixels: int = Field(
        default=1_100_000, ge=256, description="most pixels that are painted in one batch"
    )
    tile_pixels: int = Field(
        default=2_100_000,
        ge=2**16,
        description="larger images are painted in tiles of about so many pixels; bounds the memory",
    )
    jpeg_quality: int = Field(
        default=90, ge=1, le=100, description="quality of JPEG and WebP answers unless asked for"
    )
    drain_seconds: int = Field(
        default=30, ge=0, description="how long a stopping server goes on with what it admitted"
    )


def read_settings(**values: object) -> Settings:
    """Settings from the environment and, above it, the values given. Raises SettingsError."""
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = (
            f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise SettingsError("; ".join(lines)) from error
