"""The process that grows support masks for the server, as the server sees it (see `grow`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from threading import Lock
from typing import Any

from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError

DONE = "done"
PROGRAM = ["-m", "bundle.monai_label.masks.grow"]


class MaskWorker:
    """One process that stays: started when the server is, or by the first look, and again if it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._alone = Lock()

    def start(self) -> subprocess.Popen[str]:
        """The process, which imports what it needs meanwhile."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-u", *PROGRAM],
                cwd=BUNDLE_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        return self._process

    def grow(self, arguments: Sequence[str]) -> None:
        """Run the command `support-mask` with these arguments, without its report.

        Raises:
            BundleError: it failed, or the process ended.
        """
        with self._alone:
            said = _asked(self.start(), json.dumps(list(arguments)))
        if isinstance(said, dict):
            raise BundleError(**said)


def _asked(process: subprocess.Popen[str], line: str) -> dict[str, Any] | str:
    """What the process answers: `DONE`, or the fields of an error.

    Raises:
        BundleError: it ended instead.
    """
    answer = ""
    if process.stdin is not None and process.stdout is not None:
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:  # told by how it ended
            pass
    if not answer:
        status = process.wait()
        raise BundleError("the process that grows masks ended", stage="MONAI Label", found=f"exit status {status}")
    said: dict[str, Any] | str = json.loads(answer)
    return said
