"""Train a generator of textures on paintings, against a discriminator.

    python -m training.train_texture RECIPE --paintings DIR --out runs/NAME
    torchrun --nproc-per-node 4 -m training.train_texture ...        (several GPUs)

Run the same command again to resume from the checkpoint in the output folder.
"""

import sys
from pathlib import Path

from training.cli.arguments import add_device, at_least, command_parser
from training.cli.run import run, stop_on_signals
from training.fit.device import device_name
from training.fit.texture.session import TextureFitRequest, train_texture


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the fit is complete, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("train_texture", __doc__)
    parser.add_argument("recipe", type=Path, help="TOML file; see training/recipes")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of the paintings")
    parser.add_argument("--out", type=Path, help="output folder (default: runs/NAME)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a setting of the recipe; repeatable",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "--sheet-every", type=at_least(1), default=250, metavar="STEPS",
        help="steps between checkpoints and preview sheets (default: 250)",
    )  # fmt: skip
    request = TextureFitRequest(**vars(parser.parse_args(arguments)))
    stop_on_signals()
    return run(lambda: _train(request))


def _train(request: TextureFitRequest) -> str:
    checkpoint, state = train_texture(request)
    return (
        f"{checkpoint}: {state.step} steps in {state.seconds:.0f} s on {device_name(state.device)}"
    )


if __name__ == "__main__":
    sys.exit(main())
