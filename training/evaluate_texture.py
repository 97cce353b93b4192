"""Evaluate the textures of a model folder: how near to their paintings, and whether they copy.

    python -m training.evaluate_texture models/gallery --paintings DIR --loss-network FILE

Every distance stands beside its floor, of one half of the painting from the other, and its
ceiling, of the painting's pixels in random order. For the measures, see training/scoring/textures.
"""

import sys
from pathlib import Path

from training.cli.arguments import at_least, command_parser
from training.cli.run import run
from training.scoring.textures.evaluation import (
    TextureEvaluationRequest,
    evaluate_textures,
    table,
)
from training.scoring.textures.judge import SMALLEST


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the table is printed, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("evaluate_texture", __doc__)
    parser.add_argument("folder", type=Path, help="model folder with a generator")
    parser.add_argument(
        "--paintings", type=Path, required=True, help="files named after the textures' ids"
    )
    parser.add_argument("--loss-network", required=True, help="vgg16, vgg19 or a file")
    parser.add_argument("--textures", nargs="+", metavar="ID", help="only these textures")
    parser.add_argument(
        "--side", type=at_least(SMALLEST), default=512, metavar="PX", help="of each texture"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="of the textures and of the measures"
    )
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    parser.add_argument("--sheet", type=Path, help="sheet of paintings and textures to write")
    request = TextureEvaluationRequest(**vars(parser.parse_args(arguments)))
    return run(lambda: table(evaluate_textures(request)))


if __name__ == "__main__":
    sys.exit(main())
