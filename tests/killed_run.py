"""A command of the bundle, killed again and again: `python -m tests.killed_run PLACE ... -- COMMAND ...`.

A PLACE is the end of a file's path: the process dies, as by kill -9, when that file is written but not yet there
under its name; `PLACE@2` lets it appear once before. Each place kills a run of its own, one after the other; all are
children of one process, so that everything is imported once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bundle.command_line import main
from bundle.pipeline import pipeline  # noqa: F401 - imported before the first fork
from tests.paths import ROOT


def killed(places: Sequence[str], command: Sequence[str]) -> None:
    """Run the command once for each place, in processes that are killed there."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    arguments = [sys.executable, "-m", "tests.killed_run", *places, "--", *command]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _die_at(place: str) -> None:
    """Let this process be killed when the file at `place` would appear."""
    ending, _, count = place.partition("@")
    replace, left = Path.replace, [int(count or 1)]

    def wrapped(self: Path, target: Any) -> Path:
        if str(target).endswith(ending):
            left[0] -= 1
            if left[0] == 0:
                sys.stdout.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = wrapped  # type: ignore[method-assign]


def _run(arguments: Sequence[str]) -> int:
    end = arguments.index("--")
    for place in arguments[:end]:
        child = os.fork()
        if child == 0:
            _die_at(place)
            main(arguments[end + 1 :])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            print(f"the run was not killed at {place}: status {status}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
