"""Scores of the pictures of several painters on the same photographs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from statistics import mean

import torch
from PIL import Image
from torch import Tensor

from training.fit.data import to_tensor
from training.fit.features import LossNetwork
from training.scoring.faces import CLEAR, Face, FaceDetector, Survival, survival
from training.scoring.hatch import Spectrum, flat_spectrum, hatch, whole_spectrum
from training.scoring.perception import (
    CONTENT_LAYERS,
    PerceptualErrors,
    content_features,
    perceptual_errors,
    style_grams,
)


@dataclass(frozen=True)
class Score:
    """Means and sums over the pictures that one painter made in one style at one size."""

    photos: int
    errors: Mapping[str, PerceptualErrors]  # means, by the loss network's name
    faces: Survival
    hatch: float  # NaN where the photographs have too few flat regions


@dataclass(frozen=True)
class Photograph:
    """A photograph and what every picture of it is compared with."""

    image: Image.Image  # RGB
    pixels: Tensor  # float32 [1, 3, H, W] in [0, 1]
    content: Mapping[str, Mapping[str, Tensor]]  # features by loss network and layer
    faces: list[Face]


@dataclass(frozen=True)
class Painting:
    """A painting and what every picture in its style is compared with."""

    grams: Mapping[str, Mapping[str, Tensor]]  # by loss network and layer
    spectrum: Spectrum


class Comparison:
    """Compares pictures under the same loss networks and the same face detector."""

    def __init__(self, networks: Mapping[str, LossNetwork]) -> None:
        self.networks = {
            key: net.to(memory_format=torch.channels_last)  # faster on CPUs
            for key, net in networks.items()
        }
        self.detector = FaceDetector()

    def photograph(self, image: Image.Image) -> Photograph:
        """Measure an RGB photograph once. Raises LossNetworkError if a layer is missing."""
        pixels = to_tensor(image)
        content = {key: content_features(net, pixels) for key, net in self.networks.items()}
        return Photograph(image, pixels, content, self.detector.faces(image, CLEAR))

    def painting(self, image: Image.Image) -> Painting:
        """Measure an RGB painting once. Raises LossNetworkError if a layer is missing."""
        pixels = to_tensor(image)
        grams = {key: style_grams(net, pixels) for key, net in self.networks.items()}
        return Painting(grams, whole_spectrum(pixels))

    def score(
        self,
        photos: Mapping[str, Photograph],
        painting: Painting,
        pictures: Mapping[str, Image.Image],
    ) -> Score:
        """Score RGB pictures, by the names of their photographs, which have the same sizes."""
        tensors = {name: to_tensor(picture) for name, picture in pictures.items()}
        errors = {
            key: _mean(
                [
                    perceptual_errors(net, tensor, photos[name].content[key], painting.grams[key])
                    for name, tensor in tensors.items()
                ]
            )
            for key, net in self.networks.items()
        }
        spectra = [flat_spectrum(tensor, photos[name].pixels) for name, tensor in tensors.items()]
        faces = [
            survival(photos[name].faces, self.detector.faces(picture))
            for name, picture in pictures.items()
        ]
        return Score(
            len(pictures),
            errors,
            sum(faces, Survival()),
            hatch(reduce(add, spectra), painting.spectrum),
        )


def _mean(errors: list[PerceptualErrors]) -> PerceptualErrors:
    content = {name: mean(e.content[name] for e in errors) for name in CONTENT_LAYERS}
    return PerceptualErrors(content, mean(e.style for e in errors))
