"""Fit, export and serve a network, and compare the pictures with PyTorch."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from starlette.testclient import TestClient

from app.http.server import create_app
from app.settings import read_settings
from tests.conftest import wait_until_ready
from training import export, train
from training.fit.checkpoint import load_model, read_checkpoint
from training.graphs.parity import paint

RECIPE = """
name = "stripes"
width = 4
residual_blocks = 1
painting_size = 64
learning_rate = 0.02
style_learning_rate = 0.1
warmup = 0.3
loss_network = "{loss_network}"
content_layers = {{ relu2_1 = 1.0 }}
style_layers = {{ relu1_1 = 1.0, relu2_1 = 1.0 }}
phases = [{{ steps = 12, crop = 32, batch = 2 }}]

[[styles]]
id = "red"
painting = "red.png"
title = "Red"

[[styles]]
id = "blue"
painting = "blue.png"
title = "Blue"
"""


def stripes(color: tuple[int, int, int], side: int = 80) -> Image.Image:
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, (np.arange(side) // 4) % 2 == 0] = color
    return Image.fromarray(pixels)


def test_a_fitted_network_is_served_with_the_pixels_of_pytorch(
    tmp_path: Path, photo: Image.Image
) -> None:
    torch.manual_seed(0)
    weights = {
        "conv1_1.weight": 0.3 * torch.randn(8, 3, 3, 3), "conv1_1.bias": torch.zeros(8),
        "conv2_1.weight": 0.2 * torch.randn(8, 8, 3, 3), "conv2_1.bias": torch.zeros(8),
    }  # fmt: skip
    save_file(weights, tmp_path / "loss.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(loss_network=tmp_path / "loss.safetensors"))
    for folder in ("paintings", "photos"):
        (tmp_path / folder).mkdir()
    stripes((255, 40, 0)).save(tmp_path / "paintings" / "red.png")
    stripes((0, 40, 255)).save(tmp_path / "paintings" / "blue.png")
    photo.save(tmp_path / "photos" / "cat.png")

    run = tmp_path / "run"
    assert train.main([
        str(tmp_path / "recipe.toml"), "--photos", str(tmp_path / "photos"),
        "--paintings", str(tmp_path / "paintings"), "--out", str(run),
        "--device", "cpu", "--workers", "0",
    ]) == 0  # fmt: skip
    models = tmp_path / "models"
    assert export.main([
        str(run / "checkpoint.pt"), str(models / "stripes"), "--photos", str(tmp_path / "photos"),
        "--sample", str(tmp_path / "photos" / "cat.png"),
    ]) == 0  # fmt: skip

    _, model = load_model(read_checkpoint(run / "checkpoint.pt"))
    with TestClient(create_app(read_settings(models=models, device="cpu"))) as client:
        wait_until_ready(client)
        content = (tmp_path / "photos" / "cat.png").read_bytes()
        served = {}
        for number, style in enumerate(("red", "blue")):
            response = client.post("/stylize", files={"image": content}, data={"style": style})
            served[style] = np.asarray(Image.open(io.BytesIO(response.content))).astype(int)
            vector = model.styles[number : number + 1].detach()
            expected = paint(model.network, np.asarray(photo)[None], vector)[0]
            assert np.abs(served[style] - expected).max() <= 1
        assert np.abs(served["red"] - served["blue"]).mean() > 1
