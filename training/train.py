"""Train a transform network and its style vectors on paintings.

    python -m training.train RECIPE --photos DIR --paintings DIR --out runs/NAME
    torchrun --nproc-per-node 4 -m training.train ...        (several GPUs)

Run the same command again to resume from the checkpoint in the output folder.
"""

import sys
from pathlib import Path

from training.cli.arguments import add_device, at_least, command_parser
from training.cli.run import run, stop_on_signals
from training.fit.device import device_name
from training.fit.session import FitOptions, FitRequest, train


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the fit is complete, 1 on an error, 130 on Ctrl-C."""
    parser = command_parser("train", __doc__)
    positive = at_least(1)
    parser.add_argument("recipe", type=Path, help="TOML file; see training/recipes")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos to train on")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of the paintings")
    parser.add_argument("--out", type=Path, help="output folder (default: runs/NAME)")
    parser.add_argument("--start-from", type=Path, help="checkpoint or model folder to start from")
    parser.add_argument(
        "--validate", type=Path, metavar="DIR", help="folder of held-out photos to validate on"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a setting of the recipe; repeatable",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "--compile", action="store_true", help="use torch.compile: slower start, faster steps"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that read photos")
    parser.add_argument(
        "--sheet-every", type=positive, default=250, metavar="STEPS",
        help="steps between checkpoints, preview sheets and validations (default: 250)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    request = FitRequest(
        recipe=options.recipe,
        photos=options.photos,
        paintings=options.paintings,
        overrides=options.overrides,
        out=options.out,
        start_from=options.start_from,
        validate=options.validate,
        device=options.device,
        options=FitOptions(
            workers=options.workers, compiled=options.compile, sheet_every=options.sheet_every
        ),
    )
    stop_on_signals()
    return run(lambda: _train(request))


def _train(request: FitRequest) -> str:
    checkpoint, state = train(request)
    return (
        f"{checkpoint}: {state.step} steps in {state.seconds:.0f} s on {device_name(state.device)}"
    )


if __name__ == "__main__":
    sys.exit(main())
