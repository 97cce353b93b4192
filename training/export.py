"""Export a network and its styles to a model folder.

    python -m training.export runs/gallery/checkpoint.pt models/gallery --photos DIR
    python -m training.export models/gallery --photos DIR    (rebuilds only its graphs)

Every graph is first compared with PyTorch on photos of several shapes. If one differs, nothing is
written.
"""

import argparse
import sys
from pathlib import Path

from training.cli.arguments import command_parser
from training.cli.run import run
from training.graphs.folder import export_checkpoint, rewrite_graphs


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the folder is written, 1 on an error."""
    parser = command_parser("export", __doc__)
    parser.add_argument("source", type=Path, help="a checkpoint, or a model folder")
    parser.add_argument("folder", type=Path, nargs="?", help="the model folder to write")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos to compare on")
    parser.add_argument("--sample", type=Path, help="photo for the previews")
    parser.add_argument("--data", help="what the network was fitted on, for the card")
    options = parser.parse_args(arguments)
    rewrite = options.source.is_dir()
    if rewrite != (options.folder is None):
        parser.error("give a checkpoint and the folder to write, or only a model folder")
    if rewrite and (options.sample, options.data) != (None, None):
        parser.error("--sample and --data need a checkpoint: a model folder keeps its own")
    return run(lambda: _rewrite(options.source, options.photos) if rewrite else _export(options))


def _rewrite(folder: Path, photos: Path) -> str:
    card = rewrite_graphs(folder, photos)
    return f"{folder}: rebuilt {', '.join(card.graphs)}; they match PyTorch"


def _export(options: argparse.Namespace) -> str:
    folder: Path = options.folder
    card = export_checkpoint(options.source, folder, options.photos, options.sample, options.data)
    return f"{folder}: exported {card.name}, layout {card.layout['name']}; its graphs match PyTorch"


if __name__ == "__main__":
    sys.exit(main())
