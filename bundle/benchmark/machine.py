"""Where a benchmark ran."""

from __future__ import annotations

import platform
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """Processor, CPU threads of torch, and the GPU's name or None."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": platform.machine(), "threads": torch.get_num_threads(), "gpu": gpu}
