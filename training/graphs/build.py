"""The ONNX graphs of a transform network, whatever its layout."""

import onnx

from training.fit.networks.compact import CompactNetwork
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.transform import TransformNetwork
from training.graphs import compact, johnson
from training.graphs.transform import ORIGIN, Graph, Kind, Normalisation, model


def build_graph(network: TransformNetwork, kind: Kind, *, half: bool = False) -> onnx.ModelProto:
    """Write a graph of the network.

    stylize: image uint8 [N, H, W, 3], style float32 [N, D] -> pastiche uint8 [N, H, W, 3].
    freeze:  image, style -> frozen float32 [N, D], the image's statistics folded into the style.
    apply:   image, frozen -> pastiche, without looking at the image's statistics. If the network
             has noise, also origin int64 [2]: the y and x of the image's first pixel in the picture
             that it is a tile of, multiples of the stride.
    half: convolutions in float16; normalisation statistics stay in float32, whose range they need.
    """
    g = Graph(half)
    normalise = Normalisation(g, kind, network)
    if isinstance(network, JohnsonNetwork):
        pastiche = johnson.paint(g, network, normalise)
    elif isinstance(network, CompactNetwork):
        pastiche = compact.paint(g, network, normalise, ORIGIN if kind == "apply" else None)
    else:
        raise TypeError(f"there is no graph for a {type(network).__name__}")
    return model(g, kind, network, normalise, pastiche)
