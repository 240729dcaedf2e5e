"""The order of a network's weights in memory while it is trained: the one that convolutions are fastest in."""

from __future__ import annotations

import torch
from torch import nn

from scripts.networks.precision import computes_in_bfloat16


def for_training(network: nn.Module, device: torch.device | str, bfloat16: bool) -> nn.Module:
    """The same network on its device; on a CPU in float32 channels come last, in files they do not.

    Gradients of 3-D convolutions then take less time; the numbers are the same but for rounding.

    Args:
        network: moved in place.
        device: where it is trained.
        bfloat16: as for `precision.autocast`. With it, and on GPUs, the order stays.
    """
    network = network.to(device)
    if torch.device(device).type == "cpu" and not (bfloat16 and computes_in_bfloat16("cpu")):
        # PyTorch's stubs know no overload of `to` with a memory format alone.
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network
