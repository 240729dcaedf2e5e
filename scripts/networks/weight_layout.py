"""The order of a network's weights in memory: the one that convolutions are fastest in."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from scripts.networks.precision import computes_in_bfloat16

Network = TypeVar("Network", bound=nn.Module)


def on_device(network: Network, device: torch.device | str, bfloat16: bool = True) -> Network:
    """The same network on a device; on a CPU in float32 channels come last, in files they do not.

    3-D convolutions and above all their gradients then take less time; the numbers are the same but for rounding.

    Args:
        network: moved in place.
        device: where it computes.
        bfloat16: what `precision.autocast` is told. On GPUs, and where a CPU computes in it, the order stays.
    """
    network = network.to(device)
    if torch.device(device).type == "cpu" and not (bfloat16 and computes_in_bfloat16("cpu")):
        # PyTorch's stubs know no overload of `to` with a memory format alone.
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network
