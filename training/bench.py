"""Measure the speed and memory of the server, side by side with PyTorch on the same network.

python -m training.bench [--network models/gallery | --width 32] [--json OUT]

Every round times each contender once, so that noise of the machine affects all of them alike.
Times are medians over the rounds; ratios are of medians of the same run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from app.settings import BUNDLED_MODELS
from training.cli.arguments import at_least, command_parser
from training.cli.run import run
from training.scoring.speed import BATCHES, SIDES, bench, unfitted_network


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when all is measured, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("bench", __doc__)
    one = at_least(1)
    parser.add_argument("--network", type=Path, default=BUNDLED_MODELS / "gallery")
    parser.add_argument("--width", type=one, help="use an unfitted network of this width instead")
    parser.add_argument("--rounds", type=one, default=7)
    parser.add_argument("--sides", type=at_least(16), nargs="+", default=SIDES, help="pixels")
    parser.add_argument("--batches", type=one, nargs="+", default=BATCHES)
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    options = parser.parse_args(arguments)
    return run(lambda: _bench(options))


def _bench(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as models:
        path = options.network
        if options.width:
            path = unfitted_network(options.width, Path(models))
        measured = bench(path, options.rounds, options.sides, options.batches)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")
    return ""


if __name__ == "__main__":
    sys.exit(main())
