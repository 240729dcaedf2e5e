"""Where networks run on this machine."""

from __future__ import annotations

import gc

import torch


def uses_gpu(device: str | None) -> bool:
    """Whether networks run on a GPU of this machine.

    Args:
        device: that was asked for, such as "cpu" or "cuda:0"; None takes a GPU if there is one.
    """
    return torch.cuda.is_available() and (device is None or device.startswith("cuda"))


def hand_back_memory() -> None:
    """Let go of what nobody uses any more; on a GPU torch keeps it otherwise, and other processes lack it."""
    gc.collect()
    torch.cuda.empty_cache()
