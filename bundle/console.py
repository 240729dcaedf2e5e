"""What a command prints of what is logged, and how it ends where nobody reads that."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import NoReturn

OURS = ("bundle", "scripts")  # whose loggers speak to the user
OUTPUT_CLOSED = 141  # exit status, as shells have it for SIGPIPE


def end_unread() -> NoReturn:
    """End quietly: what Python still flushes on its way out goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.exit(OUTPUT_CLOSED)


class _Console(logging.Handler):
    """Prints what is logged to the standard output of the moment; where nobody reads it, the command ends."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True)
        except BrokenPipeError:
            end_unread()


def set_up_logging(verbose: bool) -> None:
    """Print what our code says, and what libraries say if `verbose`."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        root.addHandler(_Console())
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    if not verbose:
        quieten_libraries()


def quieten_libraries() -> None:
    """Print nothing of what libraries say; errors are ours to print."""
    # Filters, as MONAI sets levels itself when it is imported. The second one tells of a decoder nobody asked for.
    for name in ("monai.bundle.workflows", "monai.data.nvimgcodec_pydicom_plugin"):
        logging.getLogger(name).addFilter(_is_error)
    # An error passes two engines and their handlers; it is ours to print, once.
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.handlers.StatsHandler").addFilter(_is_no_traceback)
    warnings.filterwarnings("ignore")


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info
