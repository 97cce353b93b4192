"""Paint one photo with Gatys' method, the slow baseline of the network.

    python -m training.optimize PHOTO PAINTING -o OUT

Every pixel is a free parameter, optimised until content and style match best (Gatys et al.,
arXiv:1508.06576). Ctrl-C keeps the best picture so far.
"""

import sys
from pathlib import Path
from typing import get_args

from training.cli.arguments import add_device, at_least, command_parser
from training.cli.run import run
from training.fit.data import SMALLEST_PAINTING
from training.fit.objective import Weights
from training.fit.recipe import DEFAULTS
from training.scoring.gatys import Method
from training.scoring.optimization import OptimizationRequest, optimize


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the picture is written, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("optimize", __doc__)
    pixels = at_least(SMALLEST_PAINTING)
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--method", default="lbfgs", choices=get_args(Method))
    parser.add_argument("--start", default="content", choices=["content", "noise"])
    parser.add_argument(
        "--evaluations", type=at_least(1), default=300, help="how often to compute the objective"
    )
    parser.add_argument(
        "--side", type=pixels, default=512, help="shorter side of the photo, pixels"
    )
    parser.add_argument(
        "--painting-size", type=pixels, default=DEFAULTS["painting_size"],
        help="shorter side of the painting, pixels",
    )  # fmt: skip
    parser.add_argument(
        "--loss-network", default=DEFAULTS["loss_network"], help="vgg16, vgg19 or a file"
    )
    for name, weight in Weights()._asdict().items():
        parser.add_argument(f"--{name}-weight", type=at_least(0, float), default=weight)
    parser.add_argument("--curve", type=Path, help="CSV file to write every evaluation to")
    add_device(parser)
    options = vars(parser.parse_args(arguments))
    weights = Weights(*(options.pop(f"{name}_weight") for name in Weights._fields))
    request = OptimizationRequest(weights=weights, **options)
    return run(lambda: _optimize(request))


def _optimize(request: OptimizationRequest) -> str:
    result = optimize(request)
    curve = result.curve
    if curve.picture is not None:
        evaluations = len(curve.objective)
        print(f"{request.out}: objective {curve.lowest:.4f} after {evaluations} evaluations")
    if result.interrupted:
        raise KeyboardInterrupt
    return ""


if __name__ == "__main__":
    sys.exit(main())
