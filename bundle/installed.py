"""The command `oneshot-ct` of the installed wheel, which holds this tree as one package, `oneshot_ct`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "oneshot-ct"


def main() -> None:
    """Run the command line.

    Configs name `scripts.*`, and code imports `bundle.*`: here these are this tree's, whatever else is installed, and
    whatever lies in the current folder.
    """
    sys.path.insert(0, str(ROOT))
    from bundle.command_line import main as run

    run(program=PROGRAM)
