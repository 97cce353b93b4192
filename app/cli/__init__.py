"""The command `pastiche`. Each subcommand has a module of its own, which imports what it needs."""

import sys
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import PasticheError
from . import add_style, doctor, generate, serve, styles, stylize

INTERRUPTED = 130

EXAMPLES = """\b
Examples:
  pastiche stylize photo.jpg                     paint it; writes photo.starry_night.jpg
  pastiche stylize holiday -o painted -s udnie   paint a folder
  pastiche generate great_wave -o paper.png      make a texture
  pastiche serve                                 start the HTTP server and its page
"""


@click.group(
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pastiche")
def pastiche() -> None:
    """Repaint photographs in the style of paintings, and make textures in their manner.

    For completion in bash, run: eval "$(_PASTICHE_COMPLETE=bash_source pastiche)"; for zsh and
    fish, write zsh_source or fish_source instead.
    """


for _command in (
    stylize.stylize,
    generate.generate,
    styles.styles,
    serve.serve,
    add_style.add_style,
    doctor.doctor,
):
    pastiche.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status.

    0 is success, 1 an error, 2 wrong usage, 130 Ctrl-C. arguments: those of the command line by
    default. Raises SystemExit(1) when the reader of standard output has gone; Click does.
    """
    try:
        status = pastiche.main(arguments, prog_name="pastiche", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PasticheError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return status if isinstance(status, int) else 0
