"""Write a fitted texture generator into a model folder."""

from pathlib import Path
from typing import Any

from app.engine.noise import noise_map
from app.model_folder import (
    GENERATOR_GRAPH,
    GeneratorCard,
    StyleCard,
    read_folder,
    write_generator,
    write_generator_reference,
    write_graph,
    write_texture,
)
from training.fit.networks.generator import TextureModel
from training.fit.texture.checkpoint import load_texture_model, read_texture_checkpoint
from training.fit.texture.recipe import TextureRecipe
from training.graphs.provenance import fitted_on
from training.graphs.texture_parity import checked_graph, generate

REFERENCE_CELLS = 3
SHAPE = ("widths", "local_noise", "global_noise", "waves")  # stated elsewhere in the card


def export_textures(source: Path, folder: Path, data: str = "unknown") -> GeneratorCard:
    """Add the generator of a texture checkpoint to a model folder; return its card.

    data: what the generator was fitted on, for the card. Raises TrainingError, ModelFolderError;
    ParityError before anything is written.
    """
    read_folder(folder)
    checkpoint = read_texture_checkpoint(source)
    recipe, model = load_texture_model(checkpoint)
    settings = recipe.model_dump(exclude={"styles", "name", *SHAPE})
    return write_textures(model, recipe, folder, fitted_on(checkpoint, settings, data))


def write_textures(
    model: TextureModel, recipe: TextureRecipe, folder: Path, fitted: dict[str, Any]
) -> GeneratorCard:
    """Check the graph; write it, its reference, the styles and, last, the card; return the card.

    Textures of an earlier generator are removed. fitted: for the card. Raises ParityError before
    anything is written, ModelFolderError if the folder has no card.
    """
    generator = model.generator.float().eval()
    styles = model.styles.detach().float()
    content = checked_graph(generator, styles)
    noise = noise_map(
        0,
        REFERENCE_CELLS,
        REFERENCE_CELLS,
        local=recipe.local_noise,
        global_=recipe.global_noise,
        waves=recipe.waves,
        margin=generator.margin,
    )[None]
    texture = generate(generator, noise, styles[:1])
    ids = {style.id for style in recipe.styles}
    for file in (folder / "textures").glob("*.safetensors"):
        if file.stem not in ids:
            file.unlink()
    for style, vector in zip(recipe.styles, styles, strict=True):
        description = style.model_dump(include={"title", "artist", "year", "license"})
        write_texture(folder, style.id, vector.numpy(), StyleCard(**description))
    card = GeneratorCard(
        graph=write_graph(folder, GENERATOR_GRAPH, content),
        layout={"widths": recipe.widths},
        style_dimension=generator.style_dimension,
        stride=generator.stride,
        margin=generator.margin,
        local=recipe.local_noise,
        global_=recipe.global_noise,
        waves=recipe.waves,
        reference=write_generator_reference(folder, noise, styles[:1].numpy(), texture),
        fitted=fitted,
    )
    write_generator(folder, card)
    return card
