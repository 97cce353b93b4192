"""Add a fitted generator of textures to a model folder.

    python -m training.export_texture runs/textures/checkpoint.pt models/gallery

The graph is first compared with PyTorch in every style. If it differs, nothing is written.
"""

import sys
from pathlib import Path

from training.cli.arguments import command_parser
from training.cli.run import run
from training.graphs.textures import export_textures


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the generator is written, 1 on an error."""
    parser = command_parser("export_texture", __doc__)
    parser.add_argument("source", type=Path, help="a checkpoint of training.train_texture")
    parser.add_argument("folder", type=Path, help="the model folder to add the generator to")
    parser.add_argument(
        "--data", default="unknown", help="what the generator was fitted on, for the card"
    )
    options = parser.parse_args(arguments)
    return run(lambda: _export(options.source, options.folder, options.data))


def _export(source: Path, folder: Path, data: str) -> str:
    card = export_textures(source, folder, data)
    return f"{folder}: exported a generator of stride {card.stride}; its graph matches PyTorch"


if __name__ == "__main__":
    sys.exit(main())
