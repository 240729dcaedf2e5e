"""Commands of `python -m bundle`, run by the server in processes of their own.

MONAI Label unloads the package `scripts` whenever it serves a bundle; nothing of it may live on in the server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.errors import BundleError

ERROR = "error: "  # begins what the command line says of a problem


def is_small(conf: Mapping[str, str]) -> bool:
    """Whether the app was started with the configuration for two CPU cores."""
    return conf.get("small", "true").lower() != "false"


def run_command(name: str, options: Mapping[str, Any], conf: Mapping[str, str], request: Mapping[str, Any]) -> None:
    """Run a command of the pipeline in the bundle's folder; what it says is told line by line.

    Args:
        name: such as "oneshot".
        options: its options and their values; None leaves one out.
        conf: the app's settings: "small", "weights", "set".
        request: what the client sent; its "small", "device" and "set" count.

    Raises:
        BundleError: the command failed, or the client sent an expression for MONAI to evaluate.
    """
    if set("$@") & set(request.get("set", "")):
        raise BundleError("a client sends values, no expressions", stage="MONAI Label", found=request["set"])
    shared = {"weights": conf.get("weights"), "device": request.get("device") or None}
    given = [
        part for key, value in {**options, **shared}.items() if value is not None for part in (f"--{key}", str(value))
    ]
    settings = ";".join(text for text in (conf.get("set", ""), request.get("set", "")) if text)
    given += [part for setting in settings.split(";") if setting for part in ("--set", setting)]
    small = ["--small"] if request.get("small", is_small(conf)) else []
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "bundle", name, *given, *small],
        cwd=BUNDLE_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    last, error = "nothing", []
    for line in process.stdout or ():
        if not line.strip():
            continue
        last = line.strip()
        print(last, flush=True)
        if line.startswith(ERROR):
            error = [last.removeprefix(ERROR)]
        elif error:
            error.append(last)
    if process.wait() != 0:
        raise BundleError(f"{name} ended with an error", stage="MONAI Label", found=" ".join(error) or last)
