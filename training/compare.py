"""Compare the served pictures with those of other networks, under networks that no fit has seen.

    python -m training.compare models/gallery --peers DIR --paintings DIR
        --independent FILE --loss-network FILE [--faces DIR] [--sheet FILE]

Paints the photographs of the peers' folder with the exported graph and scores all pictures with the
same functions. Lower content, style and hatch are better. `/ PEER` is our score over the peer's.
"""

import sys
from pathlib import Path

from training.cli.arguments import at_least, between, command_parser
from training.cli.run import run
from training.fit.losses import TILE
from training.scoring.peer_report import ComparisonRequest, report


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the tables are printed, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("compare", __doc__)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' pictures")
    parser.add_argument("--paintings", type=Path, required=True, help="named by the styles' ids")
    parser.add_argument("--independent", required=True, help="loss network that no fit has seen")
    parser.add_argument("--loss-network", required=True, help="loss network of the fit")
    parser.add_argument(
        "--sizes", nargs="+", type=at_least(TILE), default=[256, 512], metavar="PX",
        help="longest sides, the names of the peers' folders",
    )  # fmt: skip
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these")
    parser.add_argument(
        "--every", type=at_least(1), default=1, metavar="N", help="take every Nth photograph"
    )
    parser.add_argument(
        "--strength", type=between(0, 1), default=1.0, help="strength of our pictures, 0 to 1"
    )
    parser.add_argument("--faces", type=Path, help="folder of further photographs with faces")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the last size here")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    request = ComparisonRequest(**vars(parser.parse_args(arguments)))
    return run(lambda: report(request))


if __name__ == "__main__":
    sys.exit(main())
