"""Run the command: `python -m pastiche`."""

import sys

from .cli import main

sys.exit(main())
