"""Add a tiny generator to a model folder."""

from pathlib import Path

from app.engine.noise import noise_map
from app.model_folder import (
    GENERATOR_GRAPH,
    GeneratorCard,
    StyleCard,
    write_generator,
    write_generator_reference,
    write_graph,
    write_texture,
)
from tests.tools.tiny import tiny_generator
from training.graphs.generate import generate_graph
from training.graphs.texture_parity import generate

TEXTURES = ("warm", "sand")  # a style of the tiny networks, and one that can only generate
WAVES = [(0.15, -0.1, 0.5)]
STRIDE = 8


def add_generator(
    folder: Path, textures: tuple[str, ...] = TEXTURES, seed: int = 0
) -> GeneratorCard:
    """Write a generator with styles of these ids to a model folder; return its card."""
    model = tiny_generator(len(textures), seed)
    generator, styles = model.generator, model.styles.detach()
    for style_id, vector in zip(textures, styles, strict=True):
        write_texture(folder, style_id, vector.numpy(), StyleCard(title=style_id.title()))
    noise = noise_map(0, 3, 4, local=1, global_=1, waves=WAVES, margin=generator.margin)[None]
    card = GeneratorCard(
        graph=write_graph(folder, GENERATOR_GRAPH, generate_graph(generator).SerializeToString()),
        layout={"widths": generator.channels},
        style_dimension=generator.style_dimension,
        stride=generator.stride,
        margin=generator.margin,
        local=1,
        global_=1,
        waves=WAVES,
        reference=write_generator_reference(
            folder, noise, styles[:1].numpy(), generate(generator, noise, styles[:1])
        ),
    )
    write_generator(folder, card)
    return card
