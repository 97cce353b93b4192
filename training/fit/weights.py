"""Load the network of a model folder for training."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.model_folder import WEIGHTS, ModelFolder
from training.fit.errors import TrainingError
from training.fit.networks.layout import CompactLayout, JohnsonLayout, Layout
from training.fit.networks.transform import TransformNetwork

LAYOUT: TypeAdapter[JohnsonLayout | CompactLayout] = TypeAdapter(Layout)


class WeightsError(TrainingError):
    """The weights of a network are missing, damaged, or of another network."""


def load_network(folder: ModelFolder) -> TransformNetwork:
    """Return the folder's transform network, in float32 on the CPU. Raises WeightsError."""
    path, card = folder.path / WEIGHTS, folder.card
    try:
        network = LAYOUT.validate_python(card.layout).build()
    except ValidationError as error:
        message = f"{folder.path}: the card has an unknown layout: {card.layout}"
        raise WeightsError(message) from error
    if network.style_dimension != card.style_dimension:
        raise _mismatch(path, folder)
    try:
        network.load_state_dict(load_file(path))
    except OSError as error:
        raise WeightsError(f"cannot read {path}; training needs the network's weights") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    except RuntimeError as error:
        raise _mismatch(path, folder) from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise WeightsError(f"{path} contains values that are not finite")
    return network


def _mismatch(path: Path, folder: ModelFolder) -> WeightsError:
    card = folder.card
    layout = ", ".join(f"{name} {value}" for name, value in card.layout.items())
    return WeightsError(
        f"{path} does not match the card: a network of layout {layout}, "
        f"with {card.style_dimension} numbers per style"
    )
