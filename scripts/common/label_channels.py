"""Between label values, as files hold them, and channels 0 to K, as arrays of classes hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

UNDECIDED = 255  # of voxels that two classes claim almost equally, in files and in arrays


@dataclass(frozen=True)
class LabelChannels:
    """The K classes of a cohort, background first.

    Attributes:
        classes: name -> label value, in the order of the channels 1 to K.
    """

    classes: Mapping[str, int]

    @property
    def values(self) -> list[int]:
        """The label value of each channel, 0 for the background first."""
        return [0, *self.classes.values()]

    def channel_of(self) -> dict[int, int]:
        """Label value -> channel, 0 -> 0 among them."""
        return {value: channel for channel, value in enumerate(self.values)}

    def to_channels(self, label: np.ndarray) -> np.ndarray:
        """(X, Y, Z) label values -> uint8 channels; values of no class are background."""
        channels = np.zeros(label.shape, dtype=np.uint8)
        for channel, value in enumerate(self.classes.values(), start=1):
            channels[label == value] = channel
        return channels

    def to_values(self, channels: np.ndarray) -> np.ndarray:
        """uint8 channels of any shape, `UNDECIDED` among them, -> uint8 label values of the same."""
        table = np.full(UNDECIDED + 1, UNDECIDED, dtype=np.uint8)
        table[: len(self.values)] = self.values
        return table[channels]

    def one_hot(self, label: np.ndarray) -> np.ndarray:
        """(X, Y, Z) label values -> (1 + K, X, Y, Z) bool; values of no class are background."""
        masks = [label == value for value in self.classes.values()]
        return np.stack([~np.isin(label, list(self.classes.values())), *masks])
