"""Evaluate the served pictures: every style on photos that training did not use.

    python -m training.evaluate models/gallery --photos DIR --paintings DIR

Content, style and objective (without total variation) are those of training, in float32, of the
pictures that the exported graph paints. `iterations` counts the function evaluations of L-BFGS,
from the photo, until Gatys' method reaches the same objective (Johnson et al., arXiv:1603.08155,
figure 5). For the artifacts, see training/scoring/artifacts.py.
"""

import sys
from pathlib import Path

from training.cli.arguments import add_device, at_least, command_parser
from training.cli.run import run
from training.fit.data import SMALLEST_PAINTING
from training.scoring.evaluation import LARGE, EvaluationRequest, evaluate, table


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the table is printed, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("evaluate", __doc__)
    one, pixels = at_least(1), at_least(SMALLEST_PAINTING)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--photos", type=Path, required=True, help="photos not used in training")
    parser.add_argument(
        "--paintings", type=Path, required=True, help="files named after the styles' ids"
    )
    parser.add_argument("--recipe", type=Path, help="of the training (default: the card's)")
    parser.add_argument("--loss-network", help="vgg16, vgg19 or a file (default: the recipe's)")
    parser.add_argument(
        "--second-network", help="another loss network (default: torchvision's, if cached here)"
    )
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these styles")
    parser.add_argument("--sides", nargs="+", type=pixels, default=[256, 512, 1024], metavar="PX")
    parser.add_argument("--every", type=one, default=1, metavar="N", help="use every Nth photo")
    parser.add_argument(
        "--every-large", type=one, default=4, metavar="N",
        help=f"of those, use every Nth from {LARGE} pixels up",
    )  # fmt: skip
    parser.add_argument(
        "--equivalents-at", nargs="*", type=pixels, default=[256, 512], metavar="PX",
        help="sides at which Gatys' method runs; give no number to skip it",
    )  # fmt: skip
    parser.add_argument("--most-evaluations", type=one, default=100, help="limit for Gatys' method")
    parser.add_argument("--curves", type=Path, help="file that caches the curves of Gatys' method")
    add_device(parser)
    parser.add_argument("--json", type=Path, help="file to write the metrics to")
    parser.add_argument("--sheet", type=Path, help="sheet of pictures to write")
    parser.add_argument(
        "--store", action="store_true", help="store the metrics in the styles' metadata"
    )
    request = EvaluationRequest(**vars(parser.parse_args(arguments)))
    return run(lambda: _evaluate(request))


def _evaluate(request: EvaluationRequest) -> str:
    found = evaluate(request)
    tables = (f"{table(found.metrics, s)}\n{count} photos\n" for s, count in found.photos.items())
    return "\n".join(tables)


if __name__ == "__main__":
    sys.exit(main())
