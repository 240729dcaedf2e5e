"""When, by which version and where a benchmark ran."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from typing import Any

import torch

from bundle.pipeline.configs import BUNDLE_ROOT
from scripts.common.files import read_json


def machine() -> dict[str, Any]:
    """Processor, CPU threads of torch, and the GPU's name or None."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": platform.machine(), "threads": torch.get_num_threads(), "gpu": gpu}


def made() -> dict[str, Any]:
    """What each measured line says of its origin: date (UTC), version, commit (None outside a checkout), machine."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "version": read_json(BUNDLE_ROOT / "configs" / "metadata.json")["version"],
        "commit": _commit(),
        "machine": machine(),
    }


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=BUNDLE_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
