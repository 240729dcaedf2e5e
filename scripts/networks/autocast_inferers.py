"""Inferers that run the network in bfloat16 autocast where the processor computes in it, on the CPU and on the GPU."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from scripts.networks.precision import autocast


class AutocastInferer(SimpleInferer):
    """`SimpleInferer` under bfloat16 autocast. bfloat16 has float32's range, so no gradient scaler is needed.

    Args:
        enabled: whether the network computes in bfloat16 where the processor does; False takes float32.
    """

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Run `network(inputs)`; see the base class."""
        with autocast(inputs.device, self.enabled):
            return super().__call__(inputs, network, *args, **kwargs)


class PositionInferer(AutocastInferer):
    """PRNet's positions alone, a few patches at a time: validation needs no decoder and little memory."""

    def __init__(self, enabled: bool = True, patches: int = 16) -> None:
        super().__init__(enabled)
        self.patches = patches

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """{"position": (B, 3)} of (B, C, X, Y, Z) patches."""
        parts = inputs.split(self.patches)
        return {
            "position": torch.cat([super(PositionInferer, self).__call__(part, network.position) for part in parts])
        }


class AutocastSlidingWindowInferer(SlidingWindowInferer):
    """`SlidingWindowInferer` under bfloat16 autocast; windows are summed in float32.

    Args:
        sw_batch_size: windows that the network sees at once.
        overlap: share of a window that the next one covers, too.
        enabled: whether the network computes in bfloat16 where the processor does; False takes float32.
    """

    def __init__(self, *args: Any, enabled: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Run `network` over the windows of `inputs`; see the base class."""

        def window(patch: torch.Tensor, *window_args: Any, **window_kwargs: Any) -> torch.Tensor:
            with autocast(patch.device, self.enabled):
                return network(patch, *window_args, **window_kwargs).float()

        return super().__call__(inputs, window, *args, **kwargs)
