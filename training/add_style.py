"""Add a style to a fitted network. Only the style's vector is fitted; the network stays the same.

    python -m training.add_style PAINTING --network models/gallery --photos DIR

A network that knows several styles can paint another one with a new vector alone (Dumoulin et al.,
arXiv:1610.07629). Run the same command again to resume. With --new-network, the style is written to
a new model folder, with a copy of the network. With --unfreeze, the whole network is fitted
afterwards; as that changes all of its styles, the new folder has the new style only.
"""

import shlex
import sys
from pathlib import Path

from app.settings import BUNDLED_MODELS
from training.cli.arguments import add_device, command_parser
from training.cli.run import run, stop_on_signals
from training.fit.added_style import ADVERSARIAL_WEIGHT, StyleRequest
from training.fit.adversarial.loss import LOSSES
from training.fit.collapse import CollapseError
from training.graphs.added_style import add_style


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the style is written.

    Return 1 on an error, 3 if the style became worse and was not written, 130 on Ctrl-C.
    """
    parser = command_parser("add_style", __doc__)
    parser.add_argument("painting", type=Path, help="picture of the painting")
    parser.add_argument("--network", type=Path, required=True, help="model folder to add it to")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos to train on")
    parser.add_argument("--id", help="id of the style (default: from the painting's file name)")
    parser.add_argument("--title", help="title of the painting (default: from its file name)")
    parser.add_argument("--artist", default="unknown")
    parser.add_argument("--year", type=int)
    parser.add_argument("--license", default="unknown", help="license of the painting's picture")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument(
        "--crop", type=int, nargs="+", default=[192], help="pixels; steps cycle through several"
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.02, help="peak learning rate")
    parser.add_argument("--painting-size", type=int, help="pixels (default: the network's)")
    parser.add_argument("--style-weight", type=float, help="default: the network's")
    parser.add_argument("--color-weight", type=float, help="default: the network's")
    parser.add_argument("--loss-network", help="vgg16, vgg19 or a file (default: the network's)")
    parser.add_argument(
        "--adversarial", action="store_true",
        help="fit against a discriminator too; --style-weight 0 leaves only that",
    )  # fmt: skip
    parser.add_argument("--adversarial-weight", type=float, help=f"default: {ADVERSARIAL_WEIGHT:g}")
    parser.add_argument("--adversarial-loss", choices=LOSSES, help="default: hinge")
    parser.add_argument("--discriminator-scales", type=int, help="number of discriminators")
    parser.add_argument("--discriminator-rate", type=float, help="their first learning rate")
    parser.add_argument("--sample", type=Path, help="photo for the preview (default: the first)")
    add_device(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes that read photos")
    parser.add_argument("--out", type=Path, help="folder for checkpoint and sheets (runs/ID)")
    parser.add_argument("--force", action="store_true", help="replace a style with the same id")
    parser.add_argument(
        "--unfreeze", type=int, metavar="STEPS", help="then fit the whole network for STEPS"
    )
    parser.add_argument(
        "--new-network", type=Path, help="new model folder to write (default: add to --network)"
    )
    request = StyleRequest(**vars(parser.parse_args(arguments)))
    stop_on_signals()
    return run(lambda: _add_style(request))


def _add_style(request: StyleRequest) -> str:
    try:
        added = add_style(request)
    except CollapseError as error:
        raise CollapseError(f"{error} (here: --rate, now {request.rate:g})") from error
    before, after = added.fitted.before.by_side(), added.fitted.after.by_side()
    changes = ", ".join(f"{name} {before[name]} -> {value}" for name, value in after.items())
    state = added.fitted.state
    lines = [f"{added.path}: {state.step} steps in {state.seconds:.0f} s; {changes}"]
    if added.fitted.after.objective > added.fitted.before.objective:
        lines.append("the objective, which leaves the adversary out, is higher than at the start")
    return "\n".join([*lines, f"serve it: {_serving(added.path.parent.parent)}"])


def _serving(folder: Path) -> str:
    """The command that serves a model folder, beside the bundled ones."""
    models = dict.fromkeys(path.resolve() for path in (BUNDLED_MODELS, folder.parent))
    options = [word for path in models for word in ("--models", _shown(path))]
    return shlex.join(["python", "-m", "app.cli", "serve", *(options if len(models) > 1 else [])])


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    sys.exit(main())
