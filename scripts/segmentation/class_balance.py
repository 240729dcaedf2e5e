"""Classes weigh alike at first, large ones more later on: small organs appear early and are not overdrawn later."""

from __future__ import annotations

from ignite.engine import Engine, Events

from scripts.segmentation.loss import LocatedDiceCELoss


class FadeClassBalance:
    """Lets `class_balance` of a loss fall linearly; a function of the epoch alone, so a resumed training agrees.

    Args:
        loss: whose balance is set when an epoch starts; in the first epoch it is as it was.
        end: the class balance after `fade_epochs` epochs.
        fade_epochs: epochs over which the class balance falls.
    """

    def __init__(self, loss: LocatedDiceCELoss, end: float, fade_epochs: int) -> None:
        self.loss, self.end, self.fade_epochs = loss, end, fade_epochs
        self.start = loss.class_balance

    def attach(self, engine: Engine) -> None:
        """Set the balance whenever an epoch of `engine` starts."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the balance of the epoch that `engine` is in."""
        left = max(0.0, 1 - (engine.state.epoch - 1) / max(self.fade_epochs, 1))
        self.loss.class_balance = self.end + left * (self.start - self.end)
