"""Grows support masks for the server in one process that stays: `python -m bundle.monai_label.masks.grow`.

MONAI Label unloads the package `scripts` whenever it serves a bundle, so nothing of it may live on in the server. A
process for each look would import everything anew. One line of JSON in is one look: the arguments of the command
`support-mask`; one line out says that it is done, or what went wrong. What is logged goes to the standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import IO

from bundle.arguments import command_parser
from bundle.command_line import support_mask_pipeline
from bundle.computing_device import hand_back_memory
from bundle.console import set_up_logging
from bundle.folder_lock import only_command_in
from bundle.monai_label.masks.worker import DONE
from bundle.pipeline.pipeline import Pipeline
from scripts.common.errors import UnexpectedError
from scripts.common.failures import as_bundle_error
from scripts.pseudo_labels.sweeps.compiled_sweep import compiled_sweep
from scripts.pseudo_labels.sweeps.remembered import remember_distances

REMEMBERED_BYTES = 2**30
TOLD = ("problem", "case", "stage", "file", "expected", "found")  # of an error


def serve(looks: Iterable[str], answers: IO[str]) -> None:
    """Answer each look in its turn, until there are no more."""
    for look in looks:
        answer: object = DONE
        try:
            options = command_parser().parse_args(json.loads(look))
            with only_command_in(options.output):
                pipeline: Pipeline = support_mask_pipeline(options)
                pipeline.grow_support_mask()
            print(f"support mask: {pipeline.support_mask()}")
        except Exception as error:
            problem = as_bundle_error(error)
            if isinstance(problem, UnexpectedError):
                traceback.print_exception(error)
            told = {name: getattr(problem, name) for name in TOLD}
            answer = {name: None if value is None else str(value) for name, value in told.items()}
        print(json.dumps(answer), file=answers, flush=True)
        hand_back_memory()


def main() -> None:
    """Standard input and output are the server's; whatever is printed on the way goes to the standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    set_up_logging(verbose=False)
    compiled_sweep()  # now, so that nobody waits for it later
    remember_distances(REMEMBERED_BYTES)  # between two looks most strokes stay what they are
    gc.freeze()  # what was imported stays: no look has to go through it again
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
