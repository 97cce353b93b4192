"""Draw the sample picture of the page: a mountain lake, made of noise alone.

python -m tests.tools.sample_picture
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.tools.repository import ROOT

PATH = ROOT / "app" / "http" / "page" / "sample.jpg"
WIDTH, HEIGHT = 1200, 800
SUPERSAMPLING = 2
SIDE = 2048  # of the height map, cells
WATER = 0.34
SUN = np.array([0.62, -0.35, 0.55])
Plane = NDArray[np.float32]


def noise(shape: tuple[int, int], cells: int, octaves: int, fade: float, seed: int) -> Plane:
    """Sum octaves of smooth noise, float32 [H, W] in [0, 1]."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        n = cells * 2**octave
        grid = Image.fromarray(rng.random((n + 3, n + 3), np.float32))
        plane = grid.resize(shape[::-1], Image.Resampling.BICUBIC, (1, 1, n + 1, n + 1))
        total += fade**octave * np.asarray(plane)
    low, high = float(total.min()), float(total.max())
    return ((total - low) / (high - low)).astype(np.float32)


def blend(a: NDArray[np.float32], b: NDArray[np.float32], t: Plane) -> NDArray[np.float32]:
    share = np.clip(t, 0, 1)[..., None]
    return np.asarray(a * (1 - share) + b * share, np.float32)


def color(*rgb: int) -> NDArray[np.float32]:
    return np.array([value / 255 for value in rgb], np.float32)


def terrain() -> tuple[Plane, NDArray[np.float32]]:
    """Return the heights [S, S] and the lit colours [S, S, 3] of the land."""
    shape = (SIDE, SIDE)
    rough = noise(shape, 5, 8, 0.48, 11)
    ridges = 1 - np.abs(2 * noise(shape, 4, 8, 0.44, 5) - 1)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    valley = np.clip(np.abs(x - 0.5 - 0.09 * np.sin(5 * y)) * 3.0 - 0.10, 0, 1)
    far = np.clip((0.82 - y) * 2.2, 0, 1)
    height = 0.25 + 0.14 * rough + (0.58 * ridges**2 + 0.2 * rough) * valley * (0.25 + 0.75 * far)
    dy, dx = np.gradient(height * (SIDE / 9.3))
    normal = np.dstack([-dx, -dy, np.ones(shape, np.float32)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    light = np.clip(normal @ (SUN / np.linalg.norm(SUN)), 0, 1).astype(np.float32)
    fine = noise(shape, 64, 4, 0.7, 3)
    meadow = blend(color(74, 98, 40), color(158, 150, 66), fine * 1.6 - 0.3)
    forest = blend(color(20, 48, 34), color(48, 82, 44), fine)
    rock = blend(color(104, 92, 84), color(150, 136, 122), fine)
    land = blend(meadow, forest, (noise(shape, 14, 5, 0.6, 8) - 0.44) * 12)
    land = blend(land, rock, (1 - normal[..., 2]) * 3.4 - 0.75 + (height - 0.62) * 2.4)
    land = blend(land, np.ones(3, np.float32) * 0.96, (height - 0.70 + 0.12 * fine) * 10)
    land = blend(land, color(196, 176, 132), 1 - np.abs(height - WATER - 0.004) * 160)
    shade = blend(color(74, 92, 140) * 0.75, color(255, 232, 196) * 1.28, light * 1.12)
    return height, land * shade


def sky(height: int, width: int) -> NDArray[np.float32]:
    """Return the sky above the horizon, [H, W, 3], with the horizon at the bottom."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None] * np.ones((1, width), np.float32)
    base = blend(color(58, 112, 190), color(250, 214, 168), y**1.7)
    clouds = noise((height, width), 3, 7, 0.56, 21)
    squeezed = (
        Image.fromarray(clouds).resize((width, height * 3)).crop((0, height, width, 2 * height))
    )
    clouds = np.asarray(squeezed.resize((width, height)), np.float32)
    lit = noise((height, width), 5, 6, 0.55, 22)
    tint = blend(color(214, 196, 204), color(255, 248, 236), lit * 1.3)
    return blend(base, tint, (clouds - 0.50) * 3.6 * (0.35 + 0.65 * y))


def render() -> Image.Image:
    """Look over the lake from the shore, column by column, front to back."""
    w, h = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    horizon = int(0.47 * h)
    heights, colors = terrain()
    picture = np.zeros((h, w, 3), np.float32)
    above = sky(horizon + h // 12, w)
    picture[: len(above)] = above
    column = np.arange(w)
    rows = np.arange(h)[:, None]
    limit = np.full(w, h)  # the lowest row of each column that is not painted yet
    haze = color(206, 208, 214)
    eye, reach = WATER + 0.085, 0.98
    distance = 0.012
    while distance < reach:
        x = (0.5 + (column / w - 0.5) * distance * 1.15) * SIDE
        y = np.full(w, (1 - distance) * SIDE)
        i, j = np.clip(y, 0, SIDE - 1).astype(int), np.clip(x, 0, SIDE - 1).astype(int)
        ground = np.maximum(heights[i, j], WATER)
        top = (horizon + (eye - ground) / distance * 0.36 * h).astype(int)
        tone = colors[i, j]
        is_water = heights[i, j] < WATER
        fog = np.full(w, 0.62 * distance**1.4, np.float32)
        tone = blend(tone, np.broadcast_to(haze, tone.shape), fog)
        tone[is_water] = np.nan  # filled with the reflection below
        painted = (rows >= np.maximum(top, 0)) & (rows < limit)
        r, c = np.nonzero(painted)
        picture[r, c] = tone[c]
        limit = np.minimum(limit, np.maximum(top, 0))
        distance *= 1.0032
        distance += 0.00025
    water = np.isnan(picture[..., 0])
    r, c = np.nonzero(water)
    ripple = noise((h, w // 4), 8, 8, 0.74, 31).repeat(4, axis=1) - 0.5
    depth = (r - horizon) / (h - horizon)
    shift = (ripple[r, c] * (8 + 130 * depth)).astype(int)
    source = np.clip(2 * horizon - r + shift + int(0.02 * h), 0, horizon)
    mirrored = picture[source, np.clip(c + shift // 2, 0, w - 1)]
    mirrored = np.where(np.isnan(mirrored), haze, mirrored)
    deep = color(24, 66, 92)
    picture[r, c] = mirrored * (0.84 - 0.4 * depth[:, None]) + deep * (0.12 + 0.4 * depth[:, None])
    image = Image.fromarray((np.clip(picture, 0, 1) ** 0.92 * 255).astype(np.uint8))
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return image.filter(ImageFilter.UnsharpMask(1.2, 60, 2))


def main() -> None:
    render().save(PATH, quality=86, optimize=True, progressive=False)


if __name__ == "__main__":
    main()
