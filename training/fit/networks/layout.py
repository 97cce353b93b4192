"""Layouts as data, as recipes and cards state them, and the network that each describes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.fit.networks.compact import CompactNetwork
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.transform import TransformNetwork

Blocks = Annotated[int, Field(ge=0, le=16)]


class JohnsonLayout(BaseModel):
    """The layout of Johnson et al. 2016."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["johnson"] = "johnson"
    width: int = Field(default=32, ge=4, le=128, description="channels at full resolution")
    residual_blocks: int = Field(default=5, ge=1, le=16)

    def build(self) -> TransformNetwork:
        """A network of this layout with random weights."""
        return JohnsonNetwork(self.width, self.residual_blocks)


class CompactLayout(BaseModel):
    """The fast layout: a quarter and an eighth of the resolution."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["compact"] = "compact"
    quarter_width: int = Field(default=48, ge=48, le=256, description="channels at a quarter")
    eighth_width: int = Field(default=128, ge=4, le=512, description="channels at an eighth")
    blocks: tuple[Blocks, Blocks, Blocks] = Field(
        default=(1, 6, 4), description="at a quarter, at an eighth, and at a quarter again"
    )
    noise_channels: int = Field(default=0, ge=0, le=64, description="of the noise at an eighth")

    def build(self) -> TransformNetwork:
        """A network of this layout with random weights."""
        return CompactNetwork(**self.model_dump(exclude={"name"}))


Layout = Annotated[JohnsonLayout | CompactLayout, Field(discriminator="name")]
