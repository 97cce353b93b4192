import torch
import torch.nn.functional as F

from training.fit.networks.upsampling import UpsampledConvolution


@torch.no_grad()
def test_it_is_nearest_upsampling_and_a_convolution() -> None:
    torch.manual_seed(0)
    layer = UpsampledConvolution(3, 5)
    x = torch.randn(2, 3, 4, 7)
    doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
    expected = F.conv2d(doubled, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    assert expected.shape == (2, 5, 6, 12)
