"""Gradients of one bad batch cannot throw the network off: their norm is limited."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents


class ClipGradients:
    """Ignite handler: limits the gradient's norm before each step.

    Args:
        network: whose gradients; trained without gradient scaling.
        most: largest norm of the gradient over all parameters; larger ones are scaled down. None in a config clips
            nothing.
    """

    def __init__(self, network: torch.nn.Module, most: float) -> None:
        self.network, self.most = network, most

    def attach(self, engine: Engine) -> None:
        """Register on the training engine."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Limit the norm of what the backward pass has left."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.most)
