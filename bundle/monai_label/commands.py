"""Commands of `python -m bundle`, run by the server in processes of their own.

MONAI Label unloads the package `scripts` whenever it serves a bundle; nothing of it may live on in the server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bundle.monai_label.gate.rules import TRAINING, client_settings, judge
from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError

ERROR = "error: "  # begins what the command line says of a problem


def is_small(conf: Mapping[str, str]) -> bool:
    """Whether the app was started with the configuration for two CPU cores."""
    return conf.get("small", "true").lower() != "false"


def command_line(
    name: str, options: Mapping[str, Any], conf: Mapping[str, str], request: Mapping[str, Any]
) -> list[str]:
    """Arguments of `python -m bundle`.

    Args:
        name: such as "oneshot".
        options: its options and their values; None leaves one out.
        conf: the app's settings: "small", "weights", "modality", "set".
        request: what the client sent; its "small", "device", "modality" and "set" count.

    Raises:
        BundleError: the client sent anything else than values that clients may choose.
    """
    judge({key: request[key] for key in TRAINING if key in request}, TRAINING)
    shared = {"weights": conf.get("weights"), "device": request.get("device") or None}
    shared["modality"] = request.get("modality") or conf.get("modality")
    values = {key: str(value) for key, value in {**options, **shared}.items() if value is not None}
    settings = [*filter(None, conf.get("set", "").split(";")), *client_settings(request.get("set", ""))]
    return [
        name,
        *(part for key, value in values.items() for part in (f"--{key}", value)),
        *(part for setting in settings for part in ("--set", setting)),
        *(["--small"] if request.get("small", is_small(conf)) else []),
    ]


def run_command(arguments: Sequence[str], follow: Callable[[str], None] = lambda line: None) -> None:
    """Run `python -m bundle` in the bundle's folder; its output is passed on line by line.

    Args:
        arguments: see `command_line`.
        follow: is told each line.

    Raises:
        BundleError: the command failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "bundle", *arguments],
        cwd=BUNDLE_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    last, error = "nothing", []
    try:
        for line in process.stdout or ():
            if not line.strip():
                continue
            last = line.strip()
            print(last, flush=True)
            follow(last)
            if line.startswith(ERROR):
                error = [last.removeprefix(ERROR)]
            elif error:
                error.append(last)
    except BaseException:  # nobody would ever read what it says, and its folder would stay locked
        process.kill()
        process.wait()
        raise
    if process.wait() != 0:
        raise BundleError(f"{arguments[0]} ended with an error", stage="MONAI Label", found=" ".join(error) or last)
