"""Painting the frames of an animation alike."""

from ..model_folder import Vector
from ..pixels.images import Pixels
from .network import Network


class SteadyNetwork:
    """A network that paints every image with the statistics of one, so that frames do not flicker.

    It is a Painter for one style: that of the first image it paints.
    """

    def __init__(self, network: Network, key: Pixels) -> None:
        """key: the image uint8 [H, W, 3] whose statistics are used."""
        self.name, self.operation = network.name, network.operation
        self._network, self._key = network, key
        self._frozen: Vector | None = None

    def pixels(self, image: Pixels) -> int:
        """Return the number of pixels of the picture painted from an image; see Network.pixels."""
        return self._network.pixels(image)

    def paint(self, images: Pixels, styles: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3]; see Network.paint."""
        if self._frozen is None:
            self._frozen = self._network.freeze(self._key, styles[0])
        return self._network.paint_frozen(images, self._frozen)

    def valid(self, images: Pixels, painted: Pixels) -> list[bool]:
        """Return for each of `painted` whether it is a valid output; see check_output."""
        return self._network.valid(images, painted)

    def rebuild(self) -> None:
        """Load the graphs again; see Network.rebuild."""
        self._network.rebuild()
