"""The teacher: a running average of the network's weights, steadier than the weights of any one step."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AveragedNetwork:
    """An exponential average of a network's weights.

    Args:
        network: the one that is trained, not wrapped.
        decay: share of the old average kept at each step; 0 is the network itself.

    Attributes:
        average: state for a checkpoint.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.trained = network
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    @property
    def network(self) -> torch.nn.Module:
        """The averaged network."""
        return self.average.module

    def update(self) -> None:
        """Take the weights of this step in."""
        self.average.update_parameters(self.trained)


class UpdateAverage:
    """Ignite handler: takes every step's weights into the average.

    Args:
        averaged: what to update.
    """

    def __init__(self, averaged: AveragedNetwork) -> None:
        self.averaged = averaged

    def attach(self, engine: Engine) -> None:
        """Register on the training engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.averaged.update)
