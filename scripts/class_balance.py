"""Classes weigh alike at first, as often as they come at last: small organs are found early and not overdrawn later."""

from __future__ import annotations

from ignite.engine import Engine, Events

from scripts.segmentation_loss import LocatedDiceCELoss


class FadeClassBalance:
    """Lets `class_balance` of a loss fall linearly to 0; a function of the epoch alone, so a resumed training agrees.

    Args:
        loss: whose balance is set when an epoch starts.
        start: in the first epoch.
        epochs: after which it is 0.
    """

    def __init__(self, loss: LocatedDiceCELoss, start: float, epochs: int) -> None:
        self.loss, self.start, self.epochs = loss, start, epochs

    def attach(self, engine: Engine) -> None:
        """Set the balance whenever an epoch of `engine` starts."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the balance of the epoch that `engine` is in."""
        self.loss.class_balance = self.start * max(0.0, 1 - (engine.state.epoch - 1) / max(self.epochs, 1))
