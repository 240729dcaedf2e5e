"""A command of the bundle that dies at a given place, as by kill -9: `python -m tests.killed_run PLACE COMMAND ...`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from bundle.command_line import main
from scripts.point_propagation.point_propagation import ScribblePropagation
from scripts.segmentation.label_correction import ProgressiveLabelCorrection
from scripts.training.checkpointing import ResumableCheckpoint
from scripts.training.progress import ProgressReporter


def _die_in(owner: type, method: str, is_there: Callable[..., bool]) -> None:
    """Let the process be killed on entry to `owner.method`, once `is_there(self, *arguments)`."""
    original = getattr(owner, method)

    def wrapped(self: Any, *arguments: Any) -> Any:
        if is_there(self, *arguments):
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    setattr(owner, method, wrapped)


PLACES = {
    # Epoch 2 was trained, but neither its curve nor its checkpoint is written.
    "prnet": (ProgressReporter, "finish_epoch", lambda self, engine: engine.state.epoch == 2),
    # Two of four cases are done.
    "propagation": (ScribblePropagation, "_propagate", lambda self, case, described: case == "phantom_02"),
    # The corrected labels of epoch 2 are written, but their manifest is not, and there is no checkpoint.
    "segmentation": (ProgressiveLabelCorrection, "_finish", lambda self, epoch, delta, flips: epoch == 2),
    # The last epoch's labels are complete, but its checkpoint is missing.
    "checkpoint": (
        ResumableCheckpoint,
        "save",
        lambda self, engine: engine.state.epoch == 3 and "segmentation" in str(self.directory),
    ),
}

if __name__ == "__main__":
    _die_in(*PLACES[sys.argv[1]])
    main(sys.argv[2:])
